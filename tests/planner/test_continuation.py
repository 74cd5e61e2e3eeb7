"""Plans that go on from earlier ones: joined without a jump, certified as a whole, the same alone or in company."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from maps.errors import InvalidScenario
from maps.fleet import Fleet
from maps.reason import ReasonCode
from maps.sampling import SamplingConfig, sample_scenario
from maps.scenario import MovingObstacle, Scenario
from maps.scene import Scene
from planner.assembly import load_planner
from planner.continuation import Continuation
from planner.curve_joining import state_at_end, uniform_curve
from planner.pipeline import Planner
from planner.plan import Plan, PlanOptions, PlanStatus
from safety_filter.timed_curve import TimedCurve

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from score import judge


@pytest.fixture(scope="module")
def planner() -> Planner:
    return load_planner()


def disc(x: float, y: float, radius: float) -> torch.Tensor:
    return torch.tensor([[x, y, radius]], dtype=torch.float64)


def hall(starts, goals, horizon: float | None = 12.0, **changes) -> Scenario:
    start, goal = torch.tensor(starts, dtype=torch.float64), torch.tensor(goals, dtype=torch.float64)
    ones, rest = torch.ones(len(starts), dtype=torch.float64), torch.zeros_like(start)
    fleet = Fleet(tuple(f"r{k}" for k in range(len(starts))), 0.3 * ones, 1.5 * ones, 1.0 * ones)
    scene = Scene((-1.0, -4.0, 9.0, 4.0), discs=disc(4.0, -0.2, 0.5))
    return replace(Scenario(scene, fleet, start, goal, rest, rest, horizon), **changes)


CROSSING = hall([[0, 0], [8, 0], [4, 3], [4, -3]], [[8, 0.5], [0, -0.5], [4, -3], [4, 3]])


def curves_of(plan: Plan) -> dict[str, TimedCurve]:
    out = {}
    for robot in plan.robots:
        assert robot.control_points is not None
        assert plan.horizon is not None
        uniform = uniform_curve(robot.control_points, 0.0, plan.horizon)
        out[robot.id] = uniform if robot.knots is None else TimedCurve(5, robot.knots, robot.control_points)
    return out


def spline(curve: TimedCurve) -> BSpline:
    return BSpline(curve.knots, curve.control_points, 5)


@pytest.fixture(scope="module")
def earlier(planner) -> dict[str, TimedCurve]:
    plan = planner.plan(CROSSING)
    assert plan.status is PlanStatus.SUCCEEDED
    return curves_of(plan)


def moved(scenario: Scenario, robot: int, x: float, y: float, horizon: float | None) -> Scenario:
    goal = scenario.goal.clone()
    goal[robot] = torch.tensor([x, y])
    return replace(scenario, goal=goal, horizon=horizon)


def assert_goes_on(plan: Plan, continuation: Continuation) -> None:
    """It is certified, equals the earlier curves as far as they are kept, and has no jump there."""
    assert plan.certificate is not None
    assert plan.certificate.safe, plan.certificate.violations
    times = np.linspace(0.0, continuation.commit, 60)
    for name, curve in curves_of(plan).items():
        assert curve.span == (0.0, plan.horizon)
        if name in continuation.curves:
            assert np.abs(spline(curve)(times) - spline(continuation.curves[name])(times)).max() < 1e-9
        kept_to = continuation.kept_to
        for order in range(3):
            left, right = (spline(curve)(t, nu=order) for t in (np.nextafter(kept_to, 0.0), kept_to))
            assert np.abs(left - right).max() < 1e-9 * (1.0 + np.abs(left).max())


def test_the_independent_judge_accepts_the_whole(planner, earlier) -> None:
    asked = moved(CROSSING, 0, 7.0, 3.0, 16.0)
    going_on = Continuation(asked, earlier, 3.7)
    plan = going_on.join(planner.plan(going_on.subproblem))
    assert plan.status is PlanStatus.SUCCEEDED
    assert_goes_on(plan, going_on)
    row = judge(_request(asked), _answer(plan), samples=2000)
    assert row["fault"] is None
    assert plan.metrics is not None
    assert row["ratio"] == pytest.approx(plan.metrics.length_ratio, rel=1e-3)
    assert row["acc2"] == pytest.approx(plan.metrics.mean_sq_acc, rel=2e-2)
    assert row["robot_gap"] >= plan.certificate.min_robot_gap - 1e-6


def _request(asked: Scenario) -> dict:
    robots = [
        {
            "id": name,
            "start": dict(zip("xy", p, strict=True)),
            "goal": dict(zip("xy", q, strict=True)),
            "radius": 0.3,
            "limits": {"v_max": 1.5, "a_max": 1.0},
        }
        for name, p, q in zip(asked.fleet.ids, asked.start.tolist(), asked.goal.tolist(), strict=True)
    ]
    world = {"bounds": [-1, -4, 9, 4], "obstacles": [{"type": "circle", "x": 4.0, "y": -0.2, "radius": 0.5}]}
    return {"map": world, "horizon_s": asked.horizon, "robots": robots}


def _answer(plan: Plan) -> dict:
    curves = [
        {"id": name, "curve": {"degree": 5, "knots_s": curve.knots.tolist(), "control_points": curve.control_points.tolist()}}
        for name, curve in curves_of(plan).items()
    ]
    return {"status": "succeeded", "certificate": {"safe": True, "continuous": True}, "robots": curves}


def test_frozen_robots_keep_their_very_numbers(planner, earlier) -> None:
    asked = moved(CROSSING, 0, 7.0, 3.0, None)
    going_on = Continuation(asked, earlier, 2.0, frozenset({"r1", "r3"}))
    plan = going_on.join(planner.plan(going_on.subproblem))
    assert plan.status is PlanStatus.SUCCEEDED
    assert plan.horizon is not None
    assert plan.horizon >= 12.0 - 1e-9  # nobody's curve is cut short
    assert_goes_on(plan, going_on)
    for name in ("r1", "r3"):
        kept = curves_of(plan)[name]
        assert (kept.control_points[: len(earlier[name].control_points) - 2] == earlier[name].control_points[:-2]).all()
        times = np.linspace(0.0, 12.0, 100)
        assert np.abs(spline(kept)(times) - spline(earlier[name])(times)).max() < 1e-9


def test_a_chain_of_replans_with_changing_goals_stays_certified(planner, earlier) -> None:
    asked, curves, horizon = CROSSING, earlier, 12.0
    for k, (x, y) in enumerate([(7.5, 2.5), (0.0, 2.5), (6.5, -3.0), (1.5, -3.0), (2.0, 3.0)]):
        asked = moved(asked, k % 4, x, y, horizon + 3.0)
        going_on = Continuation(asked, curves, 0.8 * (k + 1))
        plan = going_on.join(planner.plan(going_on.subproblem))
        assert plan.status is PlanStatus.SUCCEEDED, [robot.reason for robot in plan.robots]
        assert_goes_on(plan, going_on)
        curves, horizon = curves_of(plan), horizon + 3.0


def test_in_company_and_in_another_order_the_plan_is_the_same(planner, earlier) -> None:
    asked = moved(CROSSING, 0, 7.0, 3.0, 16.0)
    one = Continuation(asked, earlier, 2.0)
    other = Continuation(moved(CROSSING, 2, 6.0, -3.0, 15.0), earlier, 1.0, frozenset({"r0"}))
    alone = one.join(planner.plan(one.subproblem))
    together = [c.join(p) for c, p in zip((other, one), planner.plan_batch([other.subproblem, one.subproblem]), strict=True)]
    for robot, same in zip(alone.robots, together[1].robots, strict=True):
        assert np.array_equal(robot.control_points, same.control_points)
    order = [3, 1, 0, 2]
    turned = replace(
        asked,
        fleet=replace(asked.fleet, ids=tuple(asked.fleet.ids[k] for k in order)),
        **{name: getattr(asked, name)[order] for name in ("start", "goal", "start_velocity", "start_acceleration")},
    )
    again = Continuation(turned, earlier, 2.0)
    plan = again.join(planner.plan(again.subproblem))
    assert plan.status is PlanStatus.SUCCEEDED
    assert_goes_on(plan, again)
    assert plan.metrics is not None
    assert alone.metrics is not None
    assert plan.metrics.cost == pytest.approx(alone.metrics.cost, rel=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_random_fleets_go_on_from_any_time(planner, seed) -> None:
    rng = np.random.default_rng(seed)
    scenario = sample_scenario(rng, 4, "discs", SamplingConfig(size=8.0, slack=(1.5, 2.0)), margin=0.01)
    first = planner.plan(scenario)
    if first.status is not PlanStatus.SUCCEEDED:
        pytest.skip("the scene has no first plan")
    assert first.horizon is not None
    asked = replace(scenario, goal=scenario.goal[[1, 0, 2, 3]], horizon=2.0 * first.horizon)
    share = float(rng.choice([1e-4, 0.25, 1.0 / 3.0, 0.9, 1.0]))
    going_on = Continuation(asked, curves_of(first), share * first.horizon)
    plan = going_on.join(planner.plan(going_on.subproblem, PlanOptions(seed=seed)))
    if plan.status is PlanStatus.SUCCEEDED:
        assert_goes_on(plan, going_on)
    else:
        assert any(robot.reason for robot in plan.robots)


def test_a_new_robot_stands_at_its_start_until_the_commit_time(planner, earlier) -> None:
    more = hall([*CROSSING.start.tolist(), [8.0, 3.0]], [*CROSSING.goal.tolist(), [0.0, 3.0]], 16.0)
    going_on = Continuation(more, earlier, 2.5)
    plan = going_on.join(planner.plan(going_on.subproblem))
    assert plan.status is PlanStatus.SUCCEEDED
    assert_goes_on(plan, going_on)
    assert np.abs(spline(curves_of(plan)["r4"])(np.linspace(0, 2.5, 20)) - [8.0, 3.0]).max() < 1e-9


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"scene": Scene((-1.0, -4.0, 9.0, 4.0), discs=disc(0.6, 0.0, 0.2))}, ReasonCode.START_OCCUPIED),
        ({"scene": Scene((-0.2, -4.0, 9.0, 4.0))}, ReasonCode.START_OUTSIDE_MAP),
        ({"margin": 7.0, "scene": Scene((-99.0, -99.0, 99.0, 99.0))}, ReasonCode.START_OVERLAP),
        ({"v_max": 0.2}, ReasonCode.START_SPEED_EXCEEDS_LIMIT),
        ({"a_max": 0.05}, ReasonCode.NO_PLAN_FOUND),
        (
            {"moving": (MovingObstacle("cart", 0.5, torch.tensor([0.0, 2.0]).double(), torch.tensor([[0.3, 3.0], [0.3, 0.0]]).double()),)},
            ReasonCode.START_OCCUPIED,
        ),
    ],
    ids=["disc", "bounds", "margin", "speed", "acceleration", "cart"],
)
def test_a_kept_part_that_breaks_a_rule_is_a_failed_plan_with_its_reason(earlier, change, code) -> None:
    limits = {key: change[key] * torch.ones(4, dtype=torch.float64) for key in ("v_max", "a_max") if key in change}
    rest = {key: value for key, value in change.items() if key not in limits}
    asked = replace(CROSSING, horizon=20.0, fleet=replace(CROSSING.fleet, **limits), **rest)
    plan = Continuation(asked, earlier, 2.5).refusal(PlanOptions(seed=4))
    assert plan is not None
    assert plan.status is PlanStatus.FAILED
    assert plan.robots[0].reason is not None
    assert plan.robots[0].reason.code is code


def test_reasons_count_time_from_the_earlier_plans_start(planner, earlier) -> None:
    going_on = Continuation(replace(CROSSING, horizon=6.5), earlier, 6.0)
    plan = going_on.join(planner.plan(going_on.subproblem))
    reasons = [robot.reason for robot in plan.robots if robot.reason is not None]
    assert reasons[0].code is ReasonCode.HORIZON_TOO_SHORT
    assert (reasons[0].value, reasons[0].limit) == (pytest.approx(6.5), pytest.approx(reasons[0].limit))
    assert reasons[0].limit is not None
    assert reasons[0].limit > 6.5
    frozen = Continuation(moved(CROSSING, 0, 0.1, -0.4, 14.0), earlier, 1.0, frozenset({"r1"}))  # onto r1's goal
    reason = frozen.join(planner.plan(frozen.subproblem)).robots[0].reason
    assert reason is not None
    assert (reason.code, reason.other) == (ReasonCode.GOAL_OVERLAP, "r1")
    assert reason.limit == pytest.approx(0.6)


def test_a_robot_without_a_plan_is_left_out_only_where_it_stands(planner, earlier) -> None:
    blocked = moved(CROSSING, 3, 4.0, -0.2, 20.0)  # into the pillar
    for commit, status in ((2.5, PlanStatus.FAILED), (12.0, PlanStatus.PARTIAL)):
        going_on = Continuation(blocked, earlier, commit)
        plan = going_on.join(planner.plan(going_on.subproblem, PlanOptions(allow_partial=True)))
        assert plan.status is status
        assert plan.robots[3].reason is not None
        assert plan.robots[3].reason.code is ReasonCode.GOAL_OCCUPIED
        assert (plan.certificate is not None) == (status is PlanStatus.PARTIAL)


@pytest.mark.parametrize(("commit", "frozen"), [(-1.0, ()), (12.0, ()), (np.nan, ()), (1.0, ("r0", "r1", "r2", "r3"))])
def test_what_leaves_nothing_to_plan_is_refused(earlier, commit, frozen) -> None:
    with pytest.raises(InvalidScenario):
        Continuation(CROSSING, earlier, commit, frozenset(frozen))


def test_the_kept_part_ends_where_it_should(earlier) -> None:
    knot = float(earlier["r0"].breaks[3])
    for commit, expected in ((1.0, 1.0), (knot, knot), (knot + 1e-12, knot), (knot + 1e-5, knot + 1e-3), (0.0, 0.0)):
        going_on = Continuation(replace(CROSSING, horizon=20.0), earlier, commit)
        assert going_on.kept_to == pytest.approx(expected, abs=1e-11)
        for curve, state in zip(going_on.kept, going_on.subproblem.start, strict=False):
            assert np.abs(state_at_end(curve)[0] - state.numpy()).max() < 1e-9
