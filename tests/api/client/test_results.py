"""Typed requests and answers, curves and event streams: known answers and properties, without any server."""

import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.client import Circle, Grid, Map, MovingObstacle, Options, PlanResult, Polygon, Request, Robot
from api.client.curves import Curve
from api.client.errors import InvalidRequest, NotReady, Overloaded, PlannerError, ServerFault, error_of
from api.client.events import Event, EventReader
from api.examples import PLAN_ANSWER, PROBLEM
from api.wire import PlanRequest
from maps.files.inline_grid import decode_cells

ROBOT = Robot("a", start=(1, 2), goal=(9, 3), radius=0.3, v_max=1.5, a_max=1.0)


def test_importing_the_client_imports_nothing_heavy():
    code = (
        "import sys, api.client; print(sorted({'torch', 'numba', 'scipy', 'fastapi', 'pydantic', 'planner', 'maps'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_what_is_left_out_is_left_to_the_server():
    document = Request("depot", [ROBOT]).to_dict()
    robot = {"id": "a", "start": {"x": 1, "y": 2}, "goal": {"x": 9, "y": 3}, "radius": 0.3, "limits": {"v_max": 1.5, "a_max": 1.0}}
    assert document == {"map": {"id": "depot"}, "robots": [robot]}


def test_everything_that_can_be_said_is_what_the_server_reads():
    options = Options(1, 4, 2, 0.1, 500, True, 0.1, ("search", "flow"), False, 3)
    moving = Robot("b", (4, 2), (5, 2), 0.3, 1.5, 1.0, velocity=(0.5, 0.25), acceleration=(-0.5, 0.75))
    kept = Robot("c", None, (6, 2), 0.3, 1.5, 1.0, frozen=True)
    drawn = Map(
        (0, 0, 10, 6), [Circle(5, 3, 0.8), Polygon([(1, 1), (3, 1), (2, 3)], [[(1.8, 1.5), (2.2, 1.5), (2, 2)]])], Grid.of([[1]], 0.5)
    )
    cart = MovingObstacle("cart", 0.4, [0, 5], [0, 3], [1, 1])
    request = Request(drawn, [ROBOT, moving, kept], 12, [cart], options, previous_plan={"robots": []}, commit_s=0.5)
    read = PlanRequest.model_validate(json.loads(json.dumps(request.to_dict())))
    assert read.model_dump(exclude_unset=True) == request.to_dict()
    assert set(PlanRequest.model_fields) - {"previous_plan_id"} == read.model_fields_set
    assert set(read.options.model_fields_set) == set(type(read.options).model_fields)
    assert Request("depot", [kept], previous_plan_id="8c").to_dict()["previous_plan_id"] == "8c"


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_a_grid_keeps_its_cells(rows, columns, seed):
    cells = np.random.default_rng(seed).random((rows, columns)) < 0.5
    grid = Grid.of(cells.tolist(), 0.1)
    assert grid.shape == (rows, columns)
    assert np.array_equal(decode_cells(grid.data, rows, columns), cells)


def test_a_grid_of_one_dimension_is_none():
    with pytest.raises(ValueError, match="1 dimensions"):
        Grid.of([1, 0], 0.1)


def bezier_of(polynomial: np.ndarray, horizon: float) -> np.ndarray:
    """Control values of the fifth degree of a polynomial in t / horizon, lowest power first."""
    from math import comb

    scaled = [polynomial[j] * horizon**j for j in range(6)]
    return np.array([sum(comb(i, j) / comb(5, j) * scaled[j] for j in range(i + 1)) for i in range(6)])


@pytest.mark.parametrize("horizon", [1.0, 7.5])
def test_a_curve_and_its_derivatives_are_those_of_the_polynomial(horizon):
    x, y = np.array([1, -2, 0.5, 0.25, -0.125, 0.0625]), np.array([0, 1, 2, -1, 0.5, -0.1])
    control = np.stack([bezier_of(x, horizon), bezier_of(y, horizon)], 1)
    curve = Curve.of({"degree": 5, "knots_s": [0.0] * 6 + [horizon] * 6, "control_points": control.tolist()})
    t = np.linspace(0, horizon, 41)
    for derivative in range(3):
        expected = np.stack([np.polynomial.Polynomial(p).deriv(derivative)(t) for p in (x, y)], 1)
        assert np.allclose(curve.at(t, derivative), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def test_knots_may_be_uneven_and_repeated():
    """The curve x(t) = t has the means of five following knots as its control points, whatever the knots (Greville)."""
    knots = np.array([0.0] * 6 + [0.5, 2.0, 2.0, 2.0, 7.0] + [9.0] * 6)
    means = np.array([knots[k + 1 : k + 6].mean() for k in range(len(knots) - 6)])
    curve = Curve(5, knots, np.stack([means, 3 - 2 * means], 1))
    t = np.linspace(0, 9, 100)
    assert np.allclose(curve.at(t), np.stack([t, 3 - 2 * t], 1))
    assert np.allclose(curve.at(t, 1), [1, -2])
    assert np.allclose(curve.at(t, 2), 0, atol=1e-9)


def test_a_robot_stands_before_and_after_its_curve():
    curve = Curve(1, np.array([1.0, 1, 3, 3]), np.array([[0.0, 0], [4, 2]]))
    assert curve.at([0, 1, 2, 3, 9]).tolist() == [[0, 0], [0, 0], [2, 1], [4, 2], [4, 2]]
    assert curve.at([0, 2, 9], 1).tolist() == [[0, 0], [2, 1], [0, 0]]


def plan_of(*curves: dict) -> PlanResult:
    robots = [{"id": f"r{k}", "status": "planned", "source": "flow", "reason": None, "curve": c} for k, c in enumerate(curves)]
    return PlanResult.of(PLAN_ANSWER | {"robots": robots})


def line(horizon: float, count: int = 2) -> dict:
    return {"degree": 1, "knots_s": [0, *np.linspace(0, horizon, count), horizon], "control_points": [[k, 0] for k in range(count)]}


def test_robots_with_other_knots_are_sampled_but_have_no_common_array():
    plan = plan_of(line(2.0), line(4.0, 3))
    with pytest.raises(ValueError, match="r1"):
        plan.to_numpy()
    motion = plan.sample(1.0)
    assert motion.t.tolist() == [0, 1, 2, 3, 4]
    assert motion.position[..., 0].tolist() == [[0, 0.5, 1, 1, 1], [0, 0.5, 1, 1.5, 2]]
    assert motion.velocity[..., 0].tolist() == [[0.5, 0.5, 0.5, 0, 0], [0.5] * 5]
    assert plan_of(line(2.0), line(2.0)).to_numpy().control_points.shape == (2, 2, 2)


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan")])
def test_a_step_that_leads_nowhere_is_refused(step):
    with pytest.raises(ValueError, match="step"):
        plan_of(line(1.0)).sample(step)


def test_an_answer_is_read_whatever_a_newer_server_adds_and_an_older_leaves_out():
    plan = PlanResult.of(PLAN_ANSWER | {"colour": "red", "certificate": PLAN_ANSWER["certificate"] | {"colour": "red"}})
    assert (plan.robots[0].id, plan.robots[0].source, plan.diagnostics["certified"]) == ("amr-1", "straight", 6)
    assert plan.certificate is not None
    assert plan.certificate.closest_pair == ("amr-1", "amr-2")
    assert plan.raw["colour"] == "red"
    bare = PlanResult.of({"status": "failed"})
    assert (bare.robots, bare.certificate, bare.metrics, bare.warnings) == ((), None, None, ())
    with pytest.raises(KeyError):
        plan.robot("nobody")


def test_an_error_holds_its_problem():
    error = error_of(PROBLEM, retry_after=2.0)
    assert isinstance(error, InvalidRequest)
    assert (error.status, error.code, error.request_id, str(error)) == (422, "INVALID_REQUEST", PROBLEM["request_id"], PROBLEM["detail"])
    assert (error.errors[0].pointer, error.errors[0].value, error.errors[0].limit) == ("/robots/0/radius", 0, 1e-6)
    import pickle

    again = pickle.loads(pickle.dumps(error))  # from a worker process
    assert (type(again), again.problem, again.retry_after) == (InvalidRequest, PROBLEM, 2.0)


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        ({"status": 503, "code": "QUEUE_FULL"}, Overloaded),
        ({"status": 429, "code": "TOO_MANY_REQUESTS"}, Overloaded),
        ({"status": 503, "code": "NOT_READY"}, NotReady),
        ({"status": 418}, ServerFault),
        ({"status": "odd", "errors": "none", "detail": None}, ServerFault),
    ],
)
def test_errors_are_told_apart(problem, kind):
    error = error_of(problem)
    assert type(error) is kind
    assert isinstance(error, PlannerError)
    assert str(error)
    assert error.errors == ()


STREAM = (
    '\ufeffid: 1\nevent: state\ndata: {"a": 1}\n\n: a comment\n\nretry: 250\ndata: two\ndata:lines\n\n'
    "id: 2\ndata: \u00e9\nignored\n\nevent: none\n\nid: 3\n\n"
).encode()
EVENTS = [Event("state", '{"a": 1}', "1"), Event("message", "two\nlines", "1"), Event("message", "é", "2")]


@settings(max_examples=60)
@given(st.sets(st.integers(1, len(STREAM) - 1)), st.sampled_from([b"\n", b"\r", b"\r\n"]))
def test_events_are_the_same_however_the_stream_is_cut(cuts, end):
    stream, reader = STREAM.replace(b"\n", end), EventReader()
    places = [0, *sorted(cuts), len(stream)]
    found = [event for a, b in pairwise(places) for event in reader.feed(stream[a:b])]
    assert found == EVENTS
    assert (reader.last_id, reader.retry, found[0].document, found[1].document) == ("3", 0.25, {"a": 1}, None)


def test_an_event_that_is_cut_off_does_not_count():
    reader = EventReader("7")
    assert list(reader.feed(b"id: 8\ndata: half")) == []
    assert reader.last_id == "7"  # what to go on after is the last whole event
    assert [event.id for event in reader.feed(b"\n\n")] == ["8"]
    assert reader.last_id == "8"


def test_all_services_take_the_same_arguments():
    import inspect

    from api.client import AsyncPlannerClient, PlannerClient, PlanningService
    from api.local import LocalPlanner

    def calls(kind: type) -> dict[str, list]:
        named = {name: call for name, call in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}
        return {name: [(p.name, p.kind, p.default) for p in inspect.signature(call).parameters.values()] for name, call in named.items()}

    asked = calls(PlanningService)
    assert len(asked) >= 10
    assert calls(PlannerClient) == calls(AsyncPlannerClient)
    assert calls(LocalPlanner) == asked
    assert {name: call for name, call in calls(PlannerClient).items() if name in asked} == asked
