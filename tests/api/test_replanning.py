"""Going on from a previous plan over HTTP: what is kept stays, what is wrong is named, and the example runs."""

import copy
import importlib.util
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from scipy.interpolate import BSpline

from api.answers import CheckAnswer, PlanAnswer, ProblemAnswer
from api.batch import BatchPlanner
from api.picture import read_back
from api.recent_plans import RecentPlans
from planner.pipeline import Planner
from planner.plan import PlanStatus
from planner.staging import Motion

ROOT = Path(__file__).resolve().parents[2]


def post(client, body: Any, path: str = "/v1/plans") -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def first(client, two_robots) -> dict[str, Any]:
    """The plan to go on from; not to be changed."""
    plan = post(client, two_robots)
    assert plan["status"] == "succeeded"
    return plan


@pytest.fixture
def onward(two_robots, first) -> dict[str, Any]:
    """A request that goes on from it: another goal, no starts."""
    body = copy.deepcopy(two_robots) | {"horizon_s": 15, "previous_plan_id": first["plan_id"], "commit_s": 3.0}
    for robot in body["robots"]:
        del robot["start"]
    body["robots"][0]["goal"] = {"x": 8.5, "y": 1.0}
    return body


def curve_of(plan: dict[str, Any], k: int) -> BSpline:
    curve = plan["robots"][k]["curve"]
    return BSpline(np.array(curve["knots_s"]), np.array(curve["control_points"]), curve["degree"])


def test_up_to_commit_s_the_curves_are_the_old_ones(client, first, onward) -> None:
    plan = PlanAnswer.model_validate(post(client, onward)).model_dump()
    assert plan["status"] == "succeeded"
    times = np.linspace(0.0, 3.0, 100)
    for k in range(2):
        assert np.abs(curve_of(plan, k)(times) - curve_of(first, k)(times)).max() < 1e-9
        for order in range(3):
            left, right = curve_of(plan, k)([np.nextafter(3.0, 0.0), 3.0], nu=order)
            assert np.abs(left - right).max() < 1e-9
    assert np.allclose(curve_of(plan, 0)(15.0), [8.5, 1.0], atol=1e-6)
    verdict = CheckAnswer.model_validate(post(client, {"request": onward, "plan": plan}, "/v1/plans:check"))
    assert verdict.certificate.safe
    assert verdict.certificate.min_robot_gap == pytest.approx(plan["certificate"]["min_robot_gap"], abs=1e-6)


def test_a_plan_brought_along_in_a_batch_leads_to_the_same_plan(client, first, onward) -> None:
    onward["options"] = {"sources": ["straight"]}  # needs no weights
    by_id = post(client, onward)
    brought = {key: value for key, value in onward.items() if key != "previous_plan_id"} | {"previous_plan": first}
    assert post(client, brought)["robots"] == by_id["robots"]
    broken = copy.deepcopy(brought)
    broken["map"]["obstacles"][0] = {"type": "circle", "x": 1.2, "y": 2.5, "radius": 0.1}
    lines = [orjson.dumps(body) for body in (brought, onward, broken, brought)]
    out = [orjson.loads(line.text) for line in BatchPlanner(Planner()).plan(lines, 4)]
    assert [plan["status"] for plan in out] == ["succeeded", "failed", "failed", "succeeded"]
    assert out[0]["robots"] == by_id["robots"] == out[3]["robots"]
    assert out[1]["problem"]["errors"][0]["code"] == "UNKNOWN_PLAN"
    assert out[2]["robots"][0]["reason"]["code"] == "START_OCCUPIED"


def test_a_frozen_robot_keeps_its_curve_and_samples_follow_it(client, first, onward) -> None:
    onward["robots"][1]["frozen"] = True
    onward["options"] = {"samples_dt": 0.5}
    plan = PlanAnswer.model_validate(post(client, onward)).model_dump()
    assert plan["status"] == "succeeded"
    samples = plan["robots"][1]["samples"]
    assert samples["t"][-1] == 15.0
    times = np.array(samples["t"])
    expected = curve_of(first, 1)(np.minimum(times, 12.0))
    assert np.abs(np.stack([samples["x"], samples["y"]], 1) - expected).max() < 1e-9
    speeds = np.abs(curve_of(first, 1)(np.minimum(times, 12.0), nu=1) * (times <= 12.0)[:, None])
    assert np.abs(np.abs(np.stack([samples["vx"], samples["vy"]], 1)) - speeds).max() < 1e-6


def test_without_a_horizon_one_is_chosen_that_cuts_no_frozen_curve(client, onward) -> None:
    del onward["horizon_s"]
    free = post(client, onward)
    onward["robots"][1]["frozen"] = True
    held = post(client, onward)
    assert free["status"] == held["status"] == "succeeded"
    assert 3.0 < free["horizon_s"] < 12.0
    assert held["horizon_s"] >= 12.0
    assert held["robots"][0]["curve"]["knots_s"][-1] == held["horizon_s"]


def test_left_out_robots_are_named_and_a_chain_goes_on(client, first, onward) -> None:
    for step in range(1, 4):
        onward |= {"commit_s": 1.5 * step, "horizon_s": 14 + step}
        onward["robots"][0]["goal"] = {"x": 8.5 - step, "y": 1.0}
        plan = post(client, onward)
        assert plan["status"] == "succeeded"
        onward["previous_plan_id"] = plan["plan_id"]
    del onward["robots"][1]
    assert any("'b'" in warning for warning in post(client, onward)["warnings"])


def test_validation_is_of_what_is_left_to_plan(client, onward) -> None:
    assert post(client, onward, "/v1/plans:validate")["valid"]
    onward["horizon_s"] = 3.5
    robots = post(client, onward, "/v1/plans:validate")["robots"]
    assert robots[0]["reason"]["code"] == "HORIZON_TOO_SHORT"
    assert robots[0]["reason"]["value"] == pytest.approx(3.5)
    onward |= {"horizon_s": 15, "moving_obstacles": [{"id": "m", "radius": 0.3, "t": [0], "x": [1.1], "y": [2.5]}]}
    assert post(client, onward, "/v1/plans:validate")["robots"][0]["reason"]["code"] == "START_OCCUPIED"
    failed = PlanAnswer.model_validate(post(client, onward))
    assert (failed.status, failed.certificate) == ("failed", None)


def test_pictures_are_drawn_of_joined_curves(client, onward, first) -> None:
    from api.intake import Intake
    from api.maps_store import MapsStore
    from api.settings import Settings

    plan = post(client, onward)
    body = {key: value for key, value in onward.items() if key != "previous_plan_id"} | {"previous_plan": first}
    scenario = Intake(Settings(), MapsStore(Settings())).order(orjson.dumps(body), time.monotonic()).scenario
    drawn = read_back(plan, scenario)
    assert drawn.status is PlanStatus.SUCCEEDED
    assert drawn.certificate is not None
    assert drawn.certificate.safe
    times = np.linspace(0.0, 15.0, 40)
    assert np.abs(Motion(scenario, drawn).position(times)[0] - curve_of(plan, 0)(times)).max() < 1e-9


def brought(change):
    """A change of the previous plan, which is brought along for it."""

    def apply(body, first) -> None:
        del body["previous_plan_id"]
        body["previous_plan"] = copy.deepcopy(first)
        change(body["previous_plan"])

    return apply


def of_curve(**changes):
    return brought(lambda plan: plan["robots"][1]["curve"].update({key: f(plan["robots"][1]["curve"]) for key, f in changes.items()}))


def asked(**changes):
    return lambda body, _: body.update(changes)


def of_robot(k, **changes):
    return lambda body, _: body["robots"][k].update(changes)


CURVE = "/previous_plan/robots/1/curve"
BAD = [
    (asked(previous_plan_id="0" * 32), "UNKNOWN_PLAN", "/previous_plan_id"),
    (asked(previous_plan_id=7), "WRONG_TYPE", "/previous_plan_id"),
    (asked(previous_plan={"robots": []}), "TWO_PREVIOUS_PLANS", "/previous_plan"),
    (asked(commit_s=-0.1), "OUT_OF_RANGE", "/commit_s"),
    (asked(commit_s=12.5), "OUT_OF_RANGE", "/commit_s"),
    (asked(commit_s="3"), "WRONG_TYPE", "/commit_s"),
    (asked(horizon_s=2.5), "OUT_OF_RANGE", "/commit_s"),
    (of_robot(1, id="z"), "MISSING", "/robots/1/start"),
    (of_robot(1, id="z", frozen=True, start={"x": 9, "y": 2.5}), "NO_PREVIOUS_CURVE", "/robots/1/frozen"),
    (of_robot(1, id="z", start={"x": 9, "y": 5, "vx": 0.2}), "NEW_ROBOT_MOVES", "/robots/1/start/vx"),
    (of_robot(0, start={"x": 1.5, "y": 2.5}), "START_MISMATCH", "/robots/0/start"),
    (of_robot(0, start={"x": 1, "y": 2.5, "vy": 0.1}), "START_MISMATCH", "/robots/0/start"),
    (of_robot(0, frozen=True), "GOAL_MISMATCH", "/robots/0/goal"),
    (lambda body, _: [robot.update(frozen=True) for robot in body["robots"]], "ALL_FROZEN", "/robots"),
    (lambda body, _: (body["robots"][1].update(frozen=True), body.update(horizon_s=11)), "OUT_OF_RANGE", "/horizon_s"),
    (brought(lambda plan: plan.clear()), "MISSING", "/previous_plan/robots"),
    (brought(lambda plan: [robot.update(curve=None) for robot in plan["robots"]]), "NO_CURVES", "/previous_plan/robots"),
    (brought(lambda plan: plan["robots"][1].update(id="a")), "DUPLICATE_ID", "/previous_plan/robots/1/id"),
    (brought(lambda plan: plan["robots"][1].update(curve=5)), "WRONG_TYPE", CURVE),
    (of_curve(degree=lambda _: 3), "BAD_CURVE", f"{CURVE}/degree"),
    (of_curve(knots_s=lambda c: c["knots_s"][1:]), "BAD_CURVE", f"{CURVE}/knots_s"),
    (of_curve(knots_s=lambda c: [0.5, *c["knots_s"][1:]]), "TIMES_NOT_INCREASING", f"{CURVE}/knots_s"),
    (of_curve(knots_s=lambda c: [t + 1.0 for t in c["knots_s"]]), "BAD_CURVE", f"{CURVE}/knots_s"),
    (of_curve(knots_s=lambda c: [*c["knots_s"][:-6], *[601] * 6]), "LIMIT_EXCEEDED", f"{CURVE}/knots_s"),
    (of_curve(knots_s=lambda c: [*c["knots_s"][:-6], *[c["knots_s"][-7] + 1e-9] * 6]), "BAD_CURVE", f"{CURVE}/knots_s"),
    (of_curve(control_points=lambda c: [*c["control_points"][:-1], [1.5, 3.5]]), "NOT_AT_REST", f"{CURVE}/control_points"),
    (of_curve(control_points=lambda c: [[1e9, 0], *c["control_points"][1:]]), "OUT_OF_RANGE", f"{CURVE}/control_points/0/0"),
    (of_curve(control_points=lambda _: [[0, 0]] * 10_001), "LIMIT_EXCEEDED", f"{CURVE}/control_points"),
    (
        of_curve(knots_s=lambda _: [0] * 6 + [5] * 6 + [12] * 6, control_points=lambda _: [[9, 2.5]] * 6 + [[1, 3.5]] * 6),
        "DISCONTINUOUS",
        f"{CURVE}/control_points",
    ),
]


@pytest.mark.parametrize(("change", "code", "pointer"), BAD, ids=[f"{code}-{k}" for k, (_, code, _) in enumerate(BAD)])
def test_what_cannot_be_gone_on_from_is_named(client, onward, first, change, code, pointer) -> None:
    change(onward, first)
    answer = client.post("/v1/plans", json=onward)
    problem = ProblemAnswer.model_validate(answer.json())
    assert (answer.status_code, problem.errors[0].code, problem.errors[0].pointer) == (422, code, pointer)


def test_a_failed_plan_cannot_be_gone_on_from(client, request_body) -> None:
    failed = post(client, request_body | {"horizon_s": 1})
    answer = client.post("/v1/plans", json=request_body | {"previous_plan_id": failed["plan_id"]})
    assert (answer.status_code, answer.json()["errors"][0]["code"], answer.json()["errors"][0]["pointer"]) == (
        422,
        "NO_CURVES",
        "/previous_plan_id",
    )


def test_the_plans_longest_unused_are_forgotten() -> None:
    recent = RecentPlans(30)
    for name in "abc":
        recent.keep(name, name.encode() * 10)
    assert recent.find_plan("a") == b"a" * 10
    recent.keep("d", b"d" * 10)
    assert [recent.find_plan(name) is not None for name in "abcd"] == [True, False, True, True]
    recent.keep("e", b"e" * 31)
    assert recent.find_plan("e") is None


def test_the_example_runs(client) -> None:
    spec = importlib.util.spec_from_file_location("replan", ROOT / "examples" / "replan.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    plans = example.replan(lambda path, body: post(client, body, path))
    assert [plan["status"] for plan in plans] == ["succeeded"] * 3
    assert all(plan["certificate"]["safe"] for plan in plans)
    assert [robot["id"] for robot in plans[2]["robots"]] == ["a", "b", "c"]
