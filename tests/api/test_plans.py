"""Planning over HTTP with the real planner: what comes back is what was asked, and holds."""

import asyncio
import base64
import copy
import json
import math
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.interpolate import BSpline

from api.answers import CheckAnswer, PlanAnswer


def plan(client, body) -> PlanAnswer:
    answer = client.post("/v1/plans", json=body)
    assert answer.status_code == 200, answer.text
    return PlanAnswer.model_validate(answer.json())


def curve_of(robot) -> BSpline:
    return BSpline(robot.curve.knots_s, np.array(robot.curve.control_points), robot.curve.degree)


def test_curves_span_the_horizon_and_meet_their_ends(client, request_body) -> None:
    answer = plan(client, request_body)
    assert answer.status == "succeeded"
    assert [r.id for r in answer.robots] == ["a", "b"]
    for asked, robot in zip(request_body["robots"], answer.robots, strict=True):
        curve = curve_of(robot)
        assert robot.curve is not None
        assert (robot.curve.knots_s[0], robot.curve.knots_s[-1]) == (0.0, 12.0)
        assert np.allclose(curve(0.0), [asked["start"]["x"], asked["start"]["y"]], atol=1e-4)
        assert np.allclose(curve(12.0), [asked["goal"]["x"], asked["goal"]["y"]], atol=1e-4)
        assert np.allclose(curve.derivative()([0.0, 12.0]), 0.0, atol=1e-3)


def test_the_certificate_is_true_of_the_curves(client, request_body) -> None:
    answer = plan(client, request_body)
    assert answer.certificate is not None
    times = np.linspace(0, 12, 20_001)
    places = [curve_of(r)(times) for r in answer.robots]
    gap = np.linalg.norm(places[0] - places[1], axis=1).min() - 0.6
    walls = min(np.linalg.norm(p - [5, 3], axis=1).min() - 1.1 for p in places)
    assert 0.99 * gap <= answer.certificate.min_robot_gap <= gap + 1e-6  # a lower bound, tight where it matters
    assert answer.certificate.min_obstacle_gap is not None
    assert answer.certificate.min_obstacle_gap <= walls + 1e-6
    speed = max(np.linalg.norm(curve_of(r).derivative()(times), axis=1).max() for r in answer.robots)
    assert answer.certificate.max_speed_ratio == pytest.approx(speed / 1.5, abs=1e-3)


def test_a_start_in_motion_is_kept(client, request_body) -> None:
    request_body["robots"][0]["start"] |= {"vx": 0.5, "vy": 0.1, "ax": 0.2}
    answer = plan(client, request_body)
    assert answer.status == "succeeded"
    assert np.allclose(curve_of(answer.robots[0]).derivative()(0.0), [0.5, 0.1], atol=1e-3)


def test_samples_are_of_the_curve_and_end_at_the_horizon(client, request_body) -> None:
    request_body["options"] = {"samples_dt": 0.7}
    for robot in plan(client, request_body).robots:
        samples = robot.samples
        assert samples is not None
        assert samples.t == pytest.approx([*np.arange(0, 12, 0.7), 12.0])
        assert np.allclose(np.stack([samples.x, samples.y], 1), curve_of(robot)(samples.t), atol=1e-9)
        assert np.allclose(np.stack([samples.vx, samples.vy], 1), curve_of(robot).derivative()(samples.t), atol=1e-9)


def test_without_a_horizon_the_server_chooses_one(client, request_body) -> None:
    del request_body["horizon_s"]
    answer = plan(client, request_body)
    assert answer.status == "succeeded"
    assert answer.horizon_s is not None
    assert answer.horizon_s > 8 / 1.5
    assert answer.robots[0].curve is not None
    assert answer.robots[0].curve.knots_s[-1] == answer.horizon_s


def test_the_same_request_and_seed_give_the_same_curves(client, request_body) -> None:
    with ThreadPoolExecutor(6) as callers:
        answers = list(callers.map(lambda _: plan(client, request_body), range(6)))
    assert len({a.plan_id for a in answers}) == 6
    assert all(a.robots == answers[0].robots for a in answers)


def test_a_partial_plan_leaves_out_the_impossible_robot(client, request_body) -> None:
    request_body["robots"][1]["goal"] = {"x": 5, "y": 3}
    assert plan(client, request_body).status == "failed"
    request_body["options"] = {"allow_partial": True}
    answer = plan(client, request_body)
    assert (answer.status, [r.status for r in answer.robots]) == ("partial", ["planned", "failed"])
    reason = answer.robots[1].reason
    assert reason is not None
    assert reason.code == "GOAL_OCCUPIED"


def test_a_deadline_that_has_passed_is_a_reason_on_all_robots(client, request_body) -> None:
    request_body["options"] = {"deadline_ms": 1e-6}
    answer = plan(client, request_body)
    assert answer.status == "failed"
    assert [r.reason.code for r in answer.robots if r.reason] == ["DEADLINE_EXCEEDED"] * 2


def test_times_add_up(client, request_body) -> None:
    times = plan(client, request_body).timings_ms
    stages = times.queue + times.generate + times.search + times.filter + times.verify
    assert 0 < stages <= times.total


def test_an_inline_grid_is_an_obstacle(client, request_body) -> None:
    cells = np.zeros((60, 100), dtype=bool)
    cells[:, 48:52] = True
    grid = {
        "resolution": 0.1,
        "origin": [0, 0],
        "shape": [60, 100],
        "encoding": "packbits+zlib+base64",
        "data": base64.b64encode(zlib.compress(np.packbits(cells).tobytes())).decode(),
    }
    request_body["map"] = {"grid": grid}
    for _ in range(2):  # the second time from memory
        answer = plan(client, request_body)
        assert {r.reason.code for r in answer.robots if r.reason} == {"GOAL_DISCONNECTED"}


def test_an_obstacle_outside_of_the_bounds_is_a_warning(client, request_body) -> None:
    request_body["map"]["obstacles"].append({"type": "circle", "x": 50, "y": 50, "radius": 1})
    assert any("outside of the bounds" in w for w in plan(client, request_body).warnings)


def test_our_own_plan_passes_the_check(client, request_body) -> None:
    answer = client.post("/v1/plans", json=request_body).json()
    verdict = client.post("/v1/plans:check", json={"request": request_body, "plan": answer})
    assert verdict.status_code == 200, verdict.text
    assert CheckAnswer.model_validate(verdict.json()).violations == []
    for key, value in verdict.json()["certificate"].items():
        assert value == (pytest.approx(answer["certificate"][key], abs=1e-9) if isinstance(value, float) else answer["certificate"][key])


def test_a_plan_that_breaks_rules_is_told_which(client, request_body) -> None:
    answer = client.post("/v1/plans", json=request_body).json()
    broken = copy.deepcopy(answer)
    broken["robots"][1]["curve"]["control_points"] = [[10 - x, y] for x, y in broken["robots"][0]["curve"]["control_points"]]
    verdict = CheckAnswer.model_validate(client.post("/v1/plans:check", json={"request": request_body, "plan": broken}).json())
    assert not verdict.certificate.safe
    assert any(set(v.robots) == {"a", "b"} for v in verdict.violations)


def test_robots_without_a_motion_are_a_violation_unless_a_partial_plan_is_allowed(client, request_body) -> None:
    answer = client.post("/v1/plans", json=request_body).json()
    answer["robots"][1]["curve"] = None
    verdict = client.post("/v1/plans:check", json={"request": request_body, "plan": answer}).json()
    assert not verdict["certificate"]["safe"]
    assert (verdict["violations"][0]["code"], verdict["violations"][0]["robots"]) == ("MISSING_CURVE", ["b"])


@pytest.mark.parametrize(
    ("plan_robots", "pointer"),
    [
        ([], "/plan/robots"),
        ([{"id": "a"}], "/plan/robots"),
        ([{"id": "x"}], "/plan/robots/0/id"),
        (
            [{"id": "a", "curve": {"degree": 1, "knots_s": [0, 0, 1, 1], "control_points": [[0, 0], [1]]}}],
            "/plan/robots/0/curve/control_points/1",
        ),
        (
            [{"id": "a", "curve": {"degree": 1, "knots_s": [0, 0, 1, 1, 1], "control_points": [[0, 0], [1, 1]]}}],
            "/plan/robots/0/curve/knots_s",
        ),
        (
            [{"id": "a", "curve": {"degree": 1, "knots_s": [0, 1, 0, 1], "control_points": [[0, 0], [1, 1]]}}],
            "/plan/robots/0/curve/knots_s",
        ),
        ([{"id": "a", "samples": {"t": [0, 0], "x": [0, 1], "y": [0, 1]}}], "/plan/robots/0/samples/t"),
        ([{"id": "a", "samples": {"t": [0, 1], "x": [0], "y": [0, 1]}}], "/plan/robots/0/samples/x"),
    ],
)
def test_a_plan_that_is_none_is_refused_with_its_place(client, request_body, plan_robots, pointer) -> None:
    answer = client.post("/v1/plans:check", json={"request": request_body, "plan": {"robots": plan_robots}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


def test_faults_of_the_checked_request_have_their_place_too(client, request_body) -> None:
    request_body["robots"][1]["radius"] = 0
    answer = client.post("/v1/plans:check", json={"request": request_body, "plan": {"robots": []}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/request/robots/1/radius")


def test_sixty_four_robots_come_back_in_their_order(client) -> None:
    ids = [f"r{k}" for k in range(64)]
    robots = [
        {
            "id": name,
            "start": {"x": 1 + 2 * (k % 8), "y": 1 + 2 * (k // 8)},
            "goal": {"x": 1.5 + 2 * (k % 8), "y": 1 + 2 * (k // 8)},
            "radius": 0.3,
            "limits": {"v_max": 1, "a_max": 1},
        }
        for k, name in enumerate(ids)
    ]
    answer = plan(client, {"map": {"bounds": [0, 0, 17, 17]}, "horizon_s": 6, "robots": robots})
    assert answer.status == "succeeded"
    assert [r.id for r in answer.robots] == ids
    assert answer.metrics is not None
    assert math.isclose(answer.metrics.path_length, 32, rel_tol=0.01)


def test_a_caller_who_hangs_up_is_forgotten(client, request_body) -> None:
    body = json.dumps(request_body).encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/plans",
        "raw_path": b"/v1/plans",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json")],
    }

    async def call() -> tuple[int, list[int]]:
        engine = client.app.state.desk.engine
        order = await client.app.state.desk.order(body, time.monotonic())
        ahead = [asyncio.ensure_future(engine.submit(order.scenario, order.options)) for _ in range(40)]
        messages = iter([{"type": "http.request", "body": body}, {"type": "http.disconnect"}])
        statuses: list[int] = []

        async def receive():
            return next(messages)

        async def send(message) -> None:
            statuses.extend([message["status"]] if "status" in message else [])

        await client.app(scope, receive, send)
        left = engine.depth
        await asyncio.gather(*ahead)
        return left, statuses

    left, statuses = client.portal.call(call)
    assert left <= 40
    assert statuses == [499]
