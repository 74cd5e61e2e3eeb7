"""The planner as its callers see it: certified or honestly failed, the same alone or in company."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from maps.fleet import Fleet
from maps.library import load_map
from maps.reason import ReasonCode
from maps.sampling import sample_scenario
from maps.scenario import MovingObstacle, Scenario
from maps.scene import Polygon, Scene
from maps.world import obstacle_distances
from planner.assembly import load_planner
from planner.pipeline import Planner, PlannerConfig
from planner.plan import Plan, PlanOptions, PlanStatus
from safety_filter.verify import certify


@pytest.fixture(scope="module")
def planner() -> Planner:
    return load_planner()


def fleet_of(starts, goals, scene=None, radius=0.2, horizon: float | None = 10.0, **changes) -> Scenario:
    start, goal = torch.tensor(starts, dtype=torch.float64), torch.tensor(goals, dtype=torch.float64)
    ones, rest = torch.ones(len(starts), dtype=torch.float64), torch.zeros_like(start)
    fleet = Fleet(tuple(f"r{k}" for k in range(len(starts))), radius * ones, 1.5 * ones, 2.0 * ones)
    scene = scene or Scene((-1.0, -3.0, 7.0, 3.0))
    return replace(Scenario(scene, fleet, start, goal, rest, rest, horizon), **changes)


def box(x0, y0, x1, y1) -> Polygon:
    return Polygon(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=float))


def certified(plan: Plan, scenario: Scenario) -> bool:
    points = np.stack([robot.control_points for robot in plan.robots])
    return certify(points, plan.horizon, replace(scenario, horizon=plan.horizon)).safe


HEAD_ON = [[0.0, 0.0], [6.0, 0.0]]
# a wall with one door, wide enough for one robot at a time
ROOMS = Scene((-1.0, -3.0, 7.0, 3.0), polygons=(box(2.8, -3.0, 3.2, -0.35), box(2.8, 0.35, 3.2, 3.0)))


@pytest.mark.parametrize(
    "scenario",
    [
        fleet_of(HEAD_ON, HEAD_ON[::-1]),
        fleet_of(HEAD_ON, HEAD_ON[::-1], margin=0.15),
        fleet_of(HEAD_ON, HEAD_ON[::-1], start_velocity=torch.tensor([[0.6, 0.3], [-0.5, 0.0]]).double()),
        fleet_of([[0.0, -2.0], [0.0, 2.0]], [[6.0, 2.0], [6.0, -2.0]], ROOMS, horizon=14.0),
        fleet_of(
            [[0.0, 0.0]],
            [[6.0, 0.0]],
            moving=(MovingObstacle("cart", 0.5, torch.tensor([0.0, 10.0]).double(), torch.tensor([[6.5, 0.2], [-0.5, -0.2]]).double()),),
        ),
    ],
    ids=["head-on", "margin", "moving start", "one door", "cart"],
)
def test_solved_and_certified(planner, scenario):
    plan = planner.plan(scenario)
    assert plan.status is PlanStatus.SUCCEEDED
    assert plan.certificate is not None
    assert plan.certificate.safe
    assert certified(plan, scenario)


@pytest.mark.parametrize("map_id", ["open_hall", "warehouse", "office", "depot", "crossing"])
def test_built_in_maps_can_be_planned(planner, map_id):
    scene = load_map(map_id)
    rng = np.random.default_rng(4)
    x0, y0, x1, y1 = scene.extent
    free: list[list[float]] = []
    while len(free) < 8:
        place = rng.uniform([x0 + 0.3, y0 + 0.3], [x1 - 0.3, y1 - 0.3])
        clear = obstacle_distances(place[None], scene.world, 1.0)[0][0] > 0.3
        if clear and all(np.hypot(*(place - other)) > 0.6 for other in free):
            free.append(place.tolist())
    scenario = fleet_of(free[:4], free[4:], scene, 0.25, 60.0)
    assert not any(scenario.check())
    plan = planner.plan(scenario)
    assert plan.status is PlanStatus.SUCCEEDED
    assert certified(plan, scenario)


def test_same_seed_same_plan_alone_or_in_company(planner):
    rng = np.random.default_rng(8)
    scenarios = [sample_scenario(rng, n, family) for n, family in ((3, "discs"), (6, "boxes"), (4, "rooms"), (2, "open"))]
    options = [PlanOptions(seed=k) for k in range(4)]
    together = planner.plan_batch(scenarios, options)
    for scenario, option, other in zip(scenarios, options, together, strict=True):
        alone = planner.plan(scenario, option)
        assert alone.status == other.status
        assert alone.diagnostics == other.diagnostics
        for mine, theirs in zip(alone.robots, other.robots, strict=True):
            assert (mine.control_points is None) == (theirs.control_points is None)
            assert mine.control_points is None or np.array_equal(mine.control_points, theirs.control_points)


def test_sources_are_honoured(planner):
    scenario = fleet_of([[0.0, -2.0], [0.0, 2.0]], [[6.0, 2.0], [6.0, -2.0]], ROOMS, horizon=14.0)
    assert {robot.source for robot in planner.plan(scenario, PlanOptions(sources=("search",))).robots} == {"search"}
    drawn = planner.plan(scenario, PlanOptions(sources=("flow",)))
    assert {robot.source for robot in drawn.robots} == {"flow"}
    assert drawn.model == planner.proposer.identity
    assert planner.plan(scenario, PlanOptions(sources=("search",))).model is None


def test_without_a_generator_nothing_is_drawn():
    scenario = fleet_of([[0.0, 0.0]], [[6.0, 0.0]], Scene(), horizon=10.0)
    nothing = Planner(PlannerConfig(threads=1)).plan(scenario, PlanOptions(sources=("flow",)))
    assert nothing.status is PlanStatus.FAILED
    assert nothing.diagnostics.candidates == 0


def test_impossible_is_told_before_solving(planner):
    closed = Scene((-1.0, -3.0, 7.0, 3.0), polygons=(box(2.8, -3.0, 3.2, 3.0),))
    plan = planner.plan(fleet_of([[0.0, 0.0], [1.0, 1.0]], [[6.0, 0.0], [1.0, -1.0]], closed))
    assert plan.status is PlanStatus.FAILED
    assert plan.robots[0].reason is not None
    assert plan.robots[0].reason.code is ReasonCode.GOAL_DISCONNECTED
    assert plan.diagnostics.candidates == 0


def test_partial_plan_goes_around_who_is_left_out(planner):
    inside = Scene((-1.0, -3.0, 7.0, 3.0), torch.tensor([[6.0, 2.0, 0.5]], dtype=torch.float64))
    # r1 stands on r0's straight way, and its own goal is in an obstacle
    scenario = fleet_of([[0.0, 0.0], [3.0, 0.0]], [[6.0, 0.0], [6.0, 2.0]], inside)
    plan = planner.plan(scenario, PlanOptions(allow_partial=True))
    assert plan.status is PlanStatus.PARTIAL
    assert plan.robots[1].control_points is None
    assert plan.robots[1].reason.code is ReasonCode.GOAL_OCCUPIED
    both = np.stack([plan.robots[0].control_points, np.tile(scenario.start[1].numpy(), (len(plan.robots[0].control_points), 1))])
    assert certify(both, plan.horizon, replace(scenario, goal=torch.stack([scenario.goal[0], scenario.start[1]]))).safe
    assert planner.plan(scenario).status is PlanStatus.FAILED


def test_partial_plan_leaves_out_who_cannot_pass(planner):
    # a corridor with no room to pass: one of the two has to stay
    corridor = Scene((-1.0, -0.3, 7.0, 0.3))
    scenario = fleet_of([[0.0, 0.0], [6.0, 0.0], [3.0, 0.0]], [[1.0, 0.0], [5.0, 0.0], [-0.7, 0.0]], corridor)
    plan = planner.plan(scenario, PlanOptions(allow_partial=True))
    assert plan.status is PlanStatus.PARTIAL
    assert 1 <= sum(robot.control_points is not None for robot in plan.robots) <= 2
    assert all(robot.reason is not None for robot in plan.robots if robot.control_points is None)


def test_unsolved_says_who_is_in_conflict(planner):
    corridor = Scene((-1.0, -0.3, 7.0, 0.3))
    plan = planner.plan(fleet_of(HEAD_ON, HEAD_ON[::-1], corridor))
    assert plan.status is PlanStatus.FAILED
    reasons = [robot.reason for robot in plan.robots]
    assert all(reason is not None for reason in reasons)
    assert reasons[0].code is ReasonCode.CONFLICT_UNRESOLVED
    assert (reasons[0].other, reasons[1].other) == ("r1", "r0")
    assert reasons[0].value < reasons[0].limit


def test_deadline_in_the_past(planner):
    plan = planner.plan(fleet_of(HEAD_ON, HEAD_ON[::-1]), PlanOptions(deadline=time.monotonic() - 1.0))
    assert plan.status is PlanStatus.FAILED
    assert {robot.reason.code for robot in plan.robots} == {ReasonCode.DEADLINE_EXCEEDED}


def test_alternatives_pass_on_other_sides(planner):
    scenario = fleet_of(HEAD_ON, HEAD_ON[::-1])
    plan = planner.plan(scenario, PlanOptions(alternatives=2))
    assert len(plan.alternatives) == 1
    other = plan.alternatives[0]
    assert other.certificate.safe
    assert plan.metrics.cost <= other.metrics.cost
    sides = [np.stack([r.control_points for r in robots])[:, 12, 1] for robots in (plan.robots, other.robots)]
    assert (sides[0][0] - sides[0][1]) * (sides[1][0] - sides[1][1]) < 0


def test_alternatives_pass_a_pillar_on_other_sides(planner):
    pillar = Scene((-1.0, -3.0, 7.0, 3.0), discs=torch.tensor([[3.0, 0.1, 0.6]], dtype=torch.float64))
    plan = planner.plan(fleet_of([[0.0, 0.0]], [[6.0, 0.0]], pillar), PlanOptions(alternatives=3))
    middle = [robots[0].control_points[12, 1] for robots in (plan.robots, *(other.robots for other in plan.alternatives))]
    assert sorted(np.sign(middle)) == [-1.0, 1.0]  # there is no third way that is worth going


def test_shortest_horizon_is_close_to_the_bound(planner):
    # one robot on an open floor: full acceleration, top speed, full braking take 6 / 1.5 + 1.5 / 2 = 4.75 s
    plan = planner.plan(fleet_of([[0.0, 0.0]], [[6.0, 0.0]], horizon=None))
    assert plan.status is PlanStatus.SUCCEEDED
    assert 4.75 <= plan.horizon <= 1.15 * 4.75


def test_shortest_horizon_holds_within_a_tenth(planner):
    scenario = fleet_of([[0.0, -2.0], [0.0, 2.0]], [[6.0, 2.0], [6.0, -2.0]], ROOMS, horizon=None)
    plan = planner.plan(scenario)
    assert plan.status is PlanStatus.SUCCEEDED
    assert certified(plan, scenario)
    tried = [planner.plan(replace(scenario, horizon=plan.horizon * share)).status for share in (0.9, 0.85, 0.8)]
    assert PlanStatus.SUCCEEDED not in tried


def test_nothing_to_do(planner):
    scenario = fleet_of(HEAD_ON, HEAD_ON)
    plan = planner.plan(scenario)
    assert plan.status is PlanStatus.SUCCEEDED
    assert plan.metrics.path_length < 1e-6
