"""The filter as its callers see it: statuses, no coupling, acceptance, limits and ends."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from maps.fleet import Fleet
from maps.sampling import sample_scenario
from maps.scenario import MovingObstacle, Scenario, ScenarioBatch
from maps.scene import Scene
from maps.trajectory import TrajectoryBatch
from safety_filter.problem import FilterConfig
from safety_filter.solver import FilterStatus, SafetyFilter
from safety_filter.verify import certify

COUNT = 24


def lines(batch: ScenarioBatch) -> TrajectoryBatch:
    return TrajectoryBatch(batch.minimum_jerk(COUNT)[:, None], batch.horizon[:, None])


def crossing(radius=(0.2, 0.4), gap=0.02, **changes) -> Scenario:
    """Two robots of different size and limits that swap places."""
    start = torch.tensor([[0.0, 0.0], [4.0, gap]], dtype=torch.float64)
    fleet = Fleet(
        ("small", "large"), torch.tensor(radius, dtype=torch.float64), torch.tensor([1.5, 1.2]).double(), torch.tensor([2.0, 1.0]).double()
    )
    rest = torch.zeros(2, 2, dtype=torch.float64)
    scene = Scene((-2.0, -3.0, 6.0, 3.0), torch.tensor([[2.0, 1.9, 0.6]], dtype=torch.float64))
    return replace(Scenario(scene, fleet, start, start.flip(0), rest, rest, 9.0), **changes)


def certified(result, scenario, s=0, m=0):
    return certify(result.trajectory.control_points[s, m, : len(scenario)].numpy().copy(), scenario.horizon, scenario)


def accepted_by(scenarios):
    return lambda s, m, control: certify(control, scenarios[s].horizon, scenarios[s]).safe


@pytest.mark.parametrize(
    "scenario",
    [
        crossing(),
        crossing(margin=0.1),
        crossing(
            start_velocity=torch.tensor([[0.5, 0.4], [-0.6, 0.0]]).double(),
            start_acceleration=torch.tensor([[0.3, 0.0], [0.0, 0.2]]).double(),
        ),
        crossing(
            moving=(MovingObstacle("cart", 0.3, torch.tensor([0.0, 9.0]).double(), torch.tensor([[2.0, -2.5], [2.0, 2.5]]).double()),)
        ),
    ],
    ids=["plain", "margin", "moving start", "cart"],
)
def test_swap_is_solved_and_certified(scenario):
    batch = ScenarioBatch.stack([scenario])
    before = certify(batch.minimum_jerk(COUNT)[0].numpy().copy(), scenario.horizon, scenario)
    result = SafetyFilter().project(lines(batch), batch, accepted_by([scenario]))
    assert not before.safe
    assert FilterStatus(int(result.status[0, 0])) is FilterStatus.PASSED
    assert certified(result, scenario).safe


def test_ends_are_kept_exactly():
    scenario = crossing(start_velocity=torch.tensor([[0.5, 0.4], [-0.6, 0.0]]).double())
    batch = ScenarioBatch.stack([scenario])
    proposal = lines(batch)
    result = SafetyFilter().project(proposal, batch)
    assert torch.equal(result.trajectory.control_points[..., :3, :], proposal.control_points[..., :3, :])
    assert torch.equal(result.trajectory.control_points[..., -3:, :], proposal.control_points[..., -3:, :])


def test_feasible_proposal_is_left_alone():
    scenario = crossing(goal=torch.tensor([[0.0, 1.0], [4.0, 1.0]]).double())
    batch = ScenarioBatch.stack([scenario])
    result = SafetyFilter().project(lines(batch), batch)
    assert int(result.rounds[0, 0]) == 0
    assert torch.equal(result.trajectory.control_points, lines(batch).control_points)


def test_alone_or_together_bitwise():
    rng = np.random.default_rng(5)
    scenarios = [sample_scenario(rng, robots, family) for robots, family in ((3, "discs"), (6, "open"), (2, "boxes"))]
    batch = ScenarioBatch.stack(scenarios)
    with ThreadPoolExecutor(2) as pool:
        together = SafetyFilter(pool=pool).project(lines(batch), batch)
    for k, scenario in enumerate(scenarios):
        one = ScenarioBatch.stack([scenario])
        alone = SafetyFilter().project(lines(one), one)
        assert torch.equal(together.trajectory.control_points[k, 0, : len(scenario)], alone.trajectory.control_points[0, 0])
        assert int(together.rounds[k, 0]) == int(alone.rounds[0, 0])


def test_refused_iterates_are_run_on_with_more_room():
    scenario = crossing()
    batch = ScenarioBatch.stack([scenario])
    gaps = []

    def accept(s, m, control):
        gaps.append(certify(control, scenario.horizon, scenario).min_robot_gap)
        return len(gaps) == 3

    result = SafetyFilter().project(lines(batch), batch, accept)
    assert int(result.status[0, 0]) == FilterStatus.PASSED
    assert len(gaps) == 3
    assert gaps[2] > gaps[0]


def test_what_cannot_be_is_not_called_passed():
    # the goal lies behind a wall from side to side
    disc = torch.tensor([[2.0, y, 0.5] for y in np.arange(-3.0, 3.1, 0.5)], dtype=torch.float64)
    scenario = crossing(scene=Scene((-2.0, -3.0, 6.0, 3.0), disc))
    batch = ScenarioBatch.stack([scenario])
    result = SafetyFilter().project(lines(batch), batch, accepted_by([scenario]))
    assert int(result.status[0, 0]) in (FilterStatus.STALLED, FilterStatus.EXHAUSTED)
    assert float(result.residual[0, 0]) > 0.05


def test_deadline_stops():
    batch = ScenarioBatch.stack([crossing()])
    result = SafetyFilter(FilterConfig(growth=1.0, penalty=1e-6)).project(lines(batch), batch, stops=[lambda: True])
    assert int(result.status[0, 0]) == FilterStatus.STOPPED
    assert int(result.rounds[0, 0]) <= 40


def test_what_is_not_finite_is_told():
    batch = ScenarioBatch.stack([crossing()])
    proposal = lines(batch)
    proposal.control_points[0, 0, 0, 10, 0] = torch.nan
    result = SafetyFilter().project(proposal, batch)
    assert int(result.status[0, 0]) == FilterStatus.DIVERGED


@pytest.mark.parametrize("two_mode", [False, True])
def test_both_linear_systems_solve(two_mode):
    scenario = crossing(gap=0.3)
    batch = ScenarioBatch.stack([scenario])
    result = SafetyFilter(FilterConfig(two_mode=two_mode)).project(lines(batch), batch, accepted_by([scenario]))
    assert certified(result, scenario).safe


def test_starts_that_touch_can_part():
    # two robots side by side, exactly touching at the start: no more room than they have is asked of them there
    start = torch.tensor([[0.0, 0.0], [0.6, 0.0]], dtype=torch.float64)
    goal = torch.tensor([[0.0, 2.0], [0.6, -2.0]], dtype=torch.float64)
    scenario = crossing(start=start, goal=goal)
    batch = ScenarioBatch.stack([scenario])
    result = SafetyFilter().project(lines(batch), batch, accepted_by([scenario]))
    assert certified(result, scenario).safe


def test_lengths_in_the_cost_make_plans_shorter():
    scenario = crossing()
    batch = ScenarioBatch.stack([scenario])
    lengths = []
    for weight in (0.0, 1.0):
        filtered = SafetyFilter(FilterConfig(length_weight=weight)).project(lines(batch), batch, accepted_by([scenario]))
        assert certified(filtered, scenario).safe
        place = filtered.trajectory.position(np.linspace(0.0, 1.0, 500))[0, 0]
        lengths.append(place.diff(dim=1).norm(dim=-1).sum().item())
    assert lengths[1] < lengths[0] - 0.005


def test_a_fleet_that_stays_where_it_is_has_no_length_to_save():
    scenario = crossing(goal=crossing().start)
    batch = ScenarioBatch.stack([scenario])
    result = SafetyFilter(FilterConfig(length_weight=1.0)).project(lines(batch), batch, accepted_by([scenario]))
    assert FilterStatus(int(result.status[0, 0])) is FilterStatus.PASSED
