"""Every kind of bad request over HTTP: status, code and exact place, soon, and nothing of the server's inside."""

import json
import math
import time
from typing import Any

import pytest

from api.answers import PlanAnswer, ProblemAnswer

LONGEST = 1.0  # s, on a loaded machine; a hundredth of it is usual


def put(path: str, value: Any):
    """A change of a request: the value at a JSON pointer; `...` takes it away."""

    def change(body: dict) -> None:
        *way, last = [int(k) if k.isdecimal() else k for k in path.split("/")[1:]]
        inner: Any = body
        for key in way:
            inner = inner[key]
        if value is ...:
            del inner[last]
        else:
            inner[last] = value

    return change


def polygon(*vertices, **more) -> list:
    return [{"type": "polygon", "vertices": list(vertices), **more}]


CIRCLE = [[math.cos(k * math.tau / 20_000), math.sin(k * math.tau / 20_000)] for k in range(20_000)]
GRID = {"resolution": 0.1, "origin": [0, 0], "shape": [8, 8], "encoding": "packbits+zlib+base64", "data": "AAAA"}
ROBOT = {"start": {"x": 1, "y": 1}, "goal": {"x": 2, "y": 2}, "radius": 0.1, "limits": {"v_max": 1, "a_max": 1}}

DOES_NOT_FIT = [
    (put("/robots", []), "NO_ROBOTS", "/robots"),
    (put("/robots", ...), "MISSING", "/robots"),
    (put("/robots", {}), "WRONG_TYPE", "/robots"),
    (put("/robots", [{"id": str(k), **ROBOT} for k in range(10_000)]), "LIMIT_EXCEEDED", "/robots"),
    (put("/robots/1/id", "a"), "DUPLICATE_ID", "/robots/1/id"),
    (put("/robots/1/id", ""), "WRONG_LENGTH", "/robots/1/id"),
    (put("/robots/1/id", 7), "WRONG_TYPE", "/robots/1/id"),
    (put("/robots/0/radius", 0), "OUT_OF_RANGE", "/robots/0/radius"),
    (put("/robots/0/radius", -0.3), "OUT_OF_RANGE", "/robots/0/radius"),
    (put("/robots/0/radius", "0.3"), "WRONG_TYPE", "/robots/0/radius"),
    (put("/robots/0/radius", True), "WRONG_TYPE", "/robots/0/radius"),
    (put("/robots/0/limits/v_max", 0), "OUT_OF_RANGE", "/robots/0/limits/v_max"),
    (put("/robots/1/limits/a_max", -1), "OUT_OF_RANGE", "/robots/1/limits/a_max"),
    (put("/robots/1/limits/a_max", ...), "MISSING", "/robots/1/limits/a_max"),
    (put("/robots/1/goal/x", 1.1e6), "OUT_OF_RANGE", "/robots/1/goal/x"),
    (put("/robots/1/goal/x", None), "WRONG_TYPE", "/robots/1/goal/x"),
    (put("/robots/1/goal/y", ...), "MISSING", "/robots/1/goal/y"),
    (put("/robots/0/start", ...), "MISSING", "/robots/0/start"),
    (put("/robots/0/start/vx", -2e6), "OUT_OF_RANGE", "/robots/0/start/vx"),
    (put("/robots/0/goal/theta", 0), "UNKNOWN_KEY", "/robots/0/goal/theta"),
    (put("/robots/0/a~b", 1), "UNKNOWN_KEY", "/robots/0/a~0b"),
    (put("/robots/0/frozen", True), "NEEDS_PREVIOUS_PLAN", "/robots/0/frozen"),
    (put("/previous_plan_id", "8c1f"), "UNKNOWN_PLAN", "/previous_plan_id"),
    (put("/previous_plan", {"robots": []}), "NO_CURVES", "/previous_plan/robots"),
    (put("/commit_s", 0.5), "NEEDS_PREVIOUS_PLAN", "/commit_s"),
    (put("/colour", "red"), "UNKNOWN_KEY", "/colour"),
    (put("/horizon_s", 0), "OUT_OF_RANGE", "/horizon_s"),
    (put("/horizon_s", 1e5), "LIMIT_EXCEEDED", "/horizon_s"),
    (put("/map", ...), "MISSING", "/map"),
    (put("/map", 5), "WRONG_TYPE", "/map"),
    (put("/map", {"id": "nowhere"}), "UNKNOWN_MAP", "/map/id"),
    (put("/map", {"id": "../../etc/passwd"}), "UNKNOWN_MAP", "/map/id"),
    (put("/map/id", "open"), "UNKNOWN_KEY", "/map/bounds"),
    (put("/map/colour", 1), "UNKNOWN_KEY", "/map/colour"),
    (put("/map/bounds", [0, 0, 1]), "WRONG_LENGTH", "/map/bounds"),
    (put("/map/bounds/2", -1), "EMPTY_BOUNDS", "/map/bounds"),
    (put("/map/bounds/2", 1e7), "OUT_OF_RANGE", "/map/bounds/2"),
    (put("/map/obstacles/0/type", "square"), "NOT_ALLOWED", "/map/obstacles/0"),
    (put("/map/obstacles/0/type", ...), "NOT_ALLOWED", "/map/obstacles/0"),
    (put("/map/obstacles/0/radius", -1), "OUT_OF_RANGE", "/map/obstacles/0/radius"),
    (put("/map/obstacles/0/circle", -1), "UNKNOWN_KEY", "/map/obstacles/0/circle"),
    (put("/map/obstacles", polygon(*CIRCLE)), "LIMIT_EXCEEDED", "/map/obstacles/0/vertices"),
    (put("/map/obstacles", 5 * polygon(*CIRCLE[::5])), None, None),
    (put("/map/obstacles", 6 * polygon(*CIRCLE[::5])), "LIMIT_EXCEEDED", "/map/obstacles"),
    (put("/map/obstacles", polygon([1, 1], [2, 2], [2, 1], [1, 2])), "INVALID_POLYGON", "/map/obstacles/0/vertices"),
    (put("/map/obstacles", polygon([1, 1], [2, 2])), "WRONG_LENGTH", "/map/obstacles/0/vertices"),
    (put("/map/obstacles", polygon([1, 1], [2, 2], [3])), "WRONG_LENGTH", "/map/obstacles/0/vertices/2"),
    (put("/map/obstacles", polygon([1, 1], [2, 2], [3, "1"])), "WRONG_TYPE", "/map/obstacles/0/vertices/2/1"),
    (put("/map/grid", GRID), "INVALID_GRID", "/map/grid/data"),
    (put("/map/grid", GRID | {"shape": [10**6, 10**6]}), "LIMIT_EXCEEDED", "/map/grid/shape"),
    (put("/map/grid", GRID | {"shape": [2**62, 2**62]}), "LIMIT_EXCEEDED", "/map/grid/shape"),
    (put("/map/grid", GRID | {"shape": [0, 8]}), "OUT_OF_RANGE", "/map/grid/shape/0"),
    (put("/map/grid", GRID | {"encoding": "rle"}), "NOT_ALLOWED", "/map/grid/encoding"),
    (put("/map/grid", GRID | {"yaw": 0}), "UNKNOWN_KEY", "/map/grid/yaw"),
    (
        put("/moving_obstacles", [{"id": "c", "radius": 1, "t": [0, 0], "x": [0, 1], "y": [0, 1]}]),
        "TIMES_NOT_INCREASING",
        "/moving_obstacles/0/t",
    ),
    (put("/moving_obstacles", [{"id": "c", "radius": 1, "t": [0, 1], "x": [0], "y": [0, 1]}]), "WRONG_LENGTH", "/moving_obstacles/0"),
    (put("/moving_obstacles", 2 * [{"id": "c", "radius": 1, "t": [0], "x": [5], "y": [5]}]), "DUPLICATE_ID", "/moving_obstacles/1/id"),
    (put("/moving_obstacles", [{"id": "c", "radius": 1, "t": [], "x": [], "y": []}]), "WRONG_LENGTH", "/moving_obstacles/0/t"),
    (put("/options", {"seed": -1}), "OUT_OF_RANGE", "/options/seed"),
    (put("/options", {"seed": 2**63}), "OUT_OF_RANGE", "/options/seed"),
    (put("/options", {"seed": 1.5}), "WRONG_TYPE", "/options/seed"),
    (put("/options", {"candidates": 10**9}), "LIMIT_EXCEEDED", "/options/candidates"),
    (put("/options", {"alternatives": 0}), "OUT_OF_RANGE", "/options/alternatives"),
    (put("/options", {"deadline_ms": 0}), "OUT_OF_RANGE", "/options/deadline_ms"),
    (put("/options", {"deadline_ms": 1e12}), "LIMIT_EXCEEDED", "/options/deadline_ms"),
    (put("/options", {"margin": -0.1}), "OUT_OF_RANGE", "/options/margin"),
    (put("/options", {"sources": []}), "WRONG_LENGTH", "/options/sources"),
    (put("/options", {"sources": ["magic"]}), "NOT_ALLOWED", "/options/sources/0"),
    (put("/options", {"samples_dt": 0}), "OUT_OF_RANGE", "/options/samples_dt"),
    (put("/options", {"samples_dt": 1e-5}), "LIMIT_EXCEEDED", "/options/samples_dt"),
    (put("/options", {"allow_partial": 1}), "WRONG_TYPE", "/options/allow_partial"),
    (put("/options", {"priority": 10}), "OUT_OF_RANGE", "/options/priority"),
    (put("/options", {"turbo": True}), "UNKNOWN_KEY", "/options/turbo"),
]


def post(client, body: bytes | dict, path: str = "/v1/plans", **headers: str):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    began = time.perf_counter()
    answer = client.post(path, content=content, headers={"content-type": "application/json"} | headers)
    return answer, time.perf_counter() - began


def problem_of(answer) -> ProblemAnswer:
    assert answer.headers["content-type"] == "application/problem+json"
    for word in ("Traceback", "pydantic", 'File "', "Error("):
        assert word not in answer.text
    problem = ProblemAnswer.model_validate(answer.json())
    assert problem.status == answer.status_code
    assert problem.request_id == answer.headers["x-request-id"]
    return problem


@pytest.mark.parametrize("path", ["/v1/plans", "/v1/plans:validate"])
@pytest.mark.parametrize(("change", "code", "pointer"), DOES_NOT_FIT, ids=[f"{p}-{c}-{k}" for k, (_, c, p) in enumerate(DOES_NOT_FIT)])
def test_a_request_that_does_not_fit_is_answered_422_with_its_place(client, request_body, path, change, code, pointer) -> None:
    change(request_body)
    answer, spent = post(client, request_body, path)
    if code is None:
        assert answer.status_code == 200
        return
    problem = problem_of(answer)
    assert (answer.status_code, problem.errors[0].code, problem.errors[0].pointer) == (422, code, pointer)
    assert spent < LONGEST


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"not json", 400),
        (b"\xff\xfe{}", 400),
        (b"[]", 422),
        (b"null", 422),
        (b"5", 422),
        (b"{}", 422),
        (b'{"map": NaN}', 422),
        (b'{"map": {"bounds": [0, 0, 1e999, 1]}}', 422),
        (b'{"a":' * 900 + b"1" + b"}" * 900, 422),
        (b"[" * 5000, 400),
    ],
)
@pytest.mark.parametrize("path", ["/v1/plans", "/v1/plans:validate", "/v1/plans:check"])
def test_what_is_no_request_at_all_is_refused(client, path, body, status) -> None:
    answer, spent = post(client, body, path)
    assert answer.status_code == status
    assert problem_of(answer).errors
    assert spent < LONGEST


def test_a_number_that_is_not_finite_is_named_by_its_place(client, request_body) -> None:
    text = json.dumps(request_body | {"horizon_s": 3.25}).replace("3.25", "1e999")
    assert problem_of(post(client, text.encode())[0]).errors[0].pointer == "/horizon_s"


def test_a_body_over_the_cap_is_answered_413(client, request_body) -> None:
    limit = 8 * 1024 * 1024
    answer, spent = post(client, json.dumps(request_body).encode() + b" " * limit)
    assert (answer.status_code, problem_of(answer).errors[0].limit) == (413, limit)
    assert spent < 3 * LONGEST  # the time to send it counts


def test_a_body_of_unsaid_length_over_the_cap_is_answered_413(client) -> None:
    answer = client.post("/v1/plans", content=(b" " * 65536 for _ in range(200)), headers={"content-type": "application/json"})
    assert (answer.status_code, problem_of(answer).code) == (413, "BODY_TOO_LARGE")


@pytest.mark.parametrize(
    "headers", [{"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}, {"content-encoding": "gzip"}]
)
def test_another_media_type_is_answered_415(client, request_body, headers) -> None:
    answer, _ = post(client, request_body, **headers)
    assert (answer.status_code, problem_of(answer).status) == (415, 415)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/plan", 404), ("GET", "/v1/plans", 405), ("DELETE", "/v1/maps", 405)])
def test_unknown_calls_are_problems_too(client, method, path, status) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, problem_of(answer).instance) == (status, path)


IMPOSSIBLE = [
    ([put("/robots/0/start/x", 11)], 0, "START_OUTSIDE_MAP"),
    ([put("/robots/1/goal/y", 5.9)], 1, "GOAL_OUTSIDE_MAP"),
    ([put("/robots/0/start", {"x": 5, "y": 3})], 0, "START_OCCUPIED"),
    ([put("/robots/1/goal", {"x": 5, "y": 4})], 1, "GOAL_OCCUPIED"),
    ([put("/robots/1/start", {"x": 1.2, "y": 2.5})], 1, "START_OVERLAP"),
    ([put("/robots/1/goal", {"x": 9, "y": 3.4})], 1, "GOAL_OVERLAP"),
    ([put("/map/obstacles", polygon([4, -1], [6, -1], [6, 7], [4, 7]))], 0, "GOAL_DISCONNECTED"),
    ([put("/horizon_s", 1)], 0, "HORIZON_TOO_SHORT"),
    ([put("/robots/0/start/vx", 5)], 0, "START_SPEED_EXCEEDS_LIMIT"),
    ([put("/robots/0/start", {"x": 4, "y": 5.5, "vy": 1.4})], 0, "CANNOT_STOP_IN_TIME"),
]


@pytest.mark.parametrize(("changes", "robot", "code"), IMPOSSIBLE, ids=[code for _, _, code in IMPOSSIBLE])
def test_what_is_proven_impossible_is_an_answer_with_a_reason(client, request_body, changes, robot, code) -> None:
    for change in changes:
        change(request_body)
    answer, spent = post(client, request_body)
    plan = PlanAnswer.model_validate(answer.json())
    assert (answer.status_code, plan.status, plan.certificate) == (200, "failed", None)
    reason = plan.robots[robot].reason
    assert reason is not None
    assert reason.code == code
    assert spent < LONGEST
    validated = post(client, request_body, "/v1/plans:validate")[0].json()
    assert not validated["valid"]
    assert validated["robots"][robot]["reason"]["code"] == code
