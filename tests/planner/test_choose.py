"""Metrics against dense sampling, and what counts as different."""

import numpy as np
import pytest
import torch

from maps.curve import curve_basis
from maps.fleet import Fleet
from maps.scenario import Scenario
from maps.scene import Scene
from planner.choose import Candidate, best, count_homotopies, different, mean_pairwise_distance, measure
from planner.plan import Metrics
from planner.polish import smoothed
from safety_filter.verify import certify


def scenario_of(points: np.ndarray, horizon: float) -> Scenario:
    ones, rest = torch.ones(len(points), dtype=torch.float64), torch.zeros(len(points), 2, dtype=torch.float64)
    start, goal = torch.as_tensor(points[:, 0]), torch.as_tensor(points[:, -1])
    fleet = Fleet(tuple(f"r{k}" for k in range(len(points))), 0.1 * ones, 5 * ones, torch.tensor([3.0, 5.0]).double())
    return Scenario(Scene(), fleet, start, goal, rest, rest, horizon)


def bent(side: float) -> np.ndarray:
    """Two robots that swap places, the first passing on the given side."""
    u = np.linspace(0.0, 1.0, 24)
    bow = side * np.sin(np.pi * u)
    return np.stack([np.stack([4 * u, bow], -1), np.stack([4 - 4 * u, -bow], -1)])


@pytest.mark.parametrize("far", [5e5, 5e6])
def test_metrics_and_smoothing_are_the_same_far_from_the_origin(far):
    points, horizon = bent(1.0), 7.0
    here, there = scenario_of(points, horizon), scenario_of(points + far, horizon)
    known, found = measure(points, here, horizon), measure(points + far, there, horizon)
    for name in ("path_length", "length_ratio", "mean_sq_acc", "mean_sq_jerk", "cost"):
        assert getattr(found, name) == pytest.approx(getattr(known, name), rel=1e-5), name
    assert np.allclose(smoothed(points + far, there, horizon, 0.1) - far, smoothed(points, here, horizon, 0.1), rtol=0.0, atol=1e-6)


def test_a_fleet_that_stands_still_costs_nothing():
    points = np.tile(np.array([[3.1, 0.7], [6.3, 2.9]])[:, None], (1, 24, 1))
    metrics = measure(points, scenario_of(points, 1e-3), 1e-3)
    assert (metrics.mean_sq_acc, metrics.mean_sq_jerk, metrics.cost) == (0.0, 0.0, 0.0)


def test_metrics_agree_with_sampling():
    rng = np.random.default_rng(2)
    points, horizon = bent(1.0) + 0.02 * rng.normal(size=(2, 24, 2)), 7.0
    scenario = scenario_of(points, horizon)
    metrics = measure(points, scenario, horizon)
    u = np.linspace(0.0, 1.0, 40001)
    basis = curve_basis(24)
    place, bend, jerk = (basis.matrix(u, k) @ points / horizon**k for k in (0, 2, 3))
    length = np.linalg.norm(np.diff(place, axis=1), axis=-1).sum()
    assert metrics.path_length == pytest.approx(length, rel=1e-4)
    assert metrics.length_ratio == pytest.approx(length / np.linalg.norm(points[:, -1] - points[:, 0], axis=1).sum(), rel=1e-4)
    trapezoid = lambda value: np.trapezoid((value**2).sum(-1), u, axis=1).mean()  # noqa: E731
    assert metrics.mean_sq_acc == pytest.approx(trapezoid(bend), rel=1e-4)
    assert metrics.mean_sq_jerk == pytest.approx(trapezoid(jerk), rel=1e-3)
    assert metrics.cost == pytest.approx(metrics.length_ratio + 0.5 * metrics.mean_sq_acc / ((1.5**2 + 2.5**2) / 2))


def candidate(points: np.ndarray, cost: float) -> Candidate:
    return Candidate(points, "straight", certify(points, 5.0, scenario_of(points, 5.0)), Metrics(1.0, 1.0, 0.0, 0.0, cost), 0)


def test_different_keeps_the_cheapest_of_each_kind():
    plans = [candidate(bent(0.5), 2.0), candidate(bent(0.6), 1.0), candidate(bent(-0.5), 3.0)]
    kept = different(plans, 5, Scene())
    assert [c.metrics.cost for c in kept] == [1.0, 3.0]
    assert best(plans).metrics.cost == 1.0
    assert different(plans, 1, Scene()) == kept[:1]
    assert count_homotopies(plans, Scene()) == 2


def test_an_obstacle_in_between_makes_plans_different():
    # both robots pass each other as before, but a pillar stands between the two bends
    plans = [candidate(bent(0.5), 2.0), candidate(bent(1.5), 1.0), candidate(bent(0.6), 3.0)]
    pillar = Scene(discs=torch.tensor([[2.0, 1.0, 0.1]], dtype=torch.float64))
    assert [c.metrics.cost for c in different(plans, 5, pillar)] == [1.0, 2.0]
    assert count_homotopies(plans, pillar) == 2
    assert count_homotopies(plans, Scene()) == 1
    assert count_homotopies([], pillar) == 0


def test_mean_distance_of_plans():
    plan = bent(0.5)
    shifted = [candidate(plan + np.array([0.0, shift]), 1.0) for shift in (0.0, 1.0, 3.0)]
    assert mean_pairwise_distance(shifted) == pytest.approx((1.0 + 3.0 + 2.0) / 3)
    assert mean_pairwise_distance(shifted[:1]) == 0.0
    # one of two robots drifts away evenly, up to 1 m: half a metre over time, a quarter over both robots
    drift = np.zeros_like(plan)
    u = np.linspace(0.0, 1.0, 50)
    drift[0, :, 0] = np.linalg.lstsq(curve_basis(24).matrix(u), u)[0]
    assert mean_pairwise_distance([candidate(plan, 1.0), candidate(plan + drift, 1.0)]) == pytest.approx(0.25)


@pytest.mark.parametrize("robots", [1, 2])
def test_smoothing_leaves_its_input_alone(robots):
    # a lone robot's transposed points are a view, which a copy made for contiguity alone would not part from the plan
    points = np.ascontiguousarray(bent(0.5)[:robots])
    before = points.copy()
    ends = torch.from_numpy(points[:, 0]), torch.from_numpy(points[:, -1])
    still = torch.zeros_like(ends[0])
    ones = torch.ones(robots, dtype=torch.float64)
    fleet = Fleet(tuple(f"r{k}" for k in range(robots)), 0.2 * ones, ones, ones)
    after = smoothed(points, Scenario(Scene(), fleet, *ends, still, still, 5.0), 5.0, 0.1)
    assert np.array_equal(points, before)
    assert np.abs(after - before).max() > 1e-3


@pytest.mark.parametrize("pull", [1e-3, 1e-1, 10.0])
def test_smoothing_lowers_the_cost_and_keeps_the_ends(pull):
    # the quadratic that is minimised lies on the cost from above, so that its minimum cannot cost more
    rng = np.random.default_rng(5)
    points = bent(0.5) + 0.1 * rng.normal(size=(2, 24, 2))
    scenario = scenario_of(points, 5.0)
    after = smoothed(points, scenario, 5.0, pull)
    assert measure(after, scenario, 5.0).cost < measure(points, scenario, 5.0).cost
    assert np.array_equal(after[:, :3], points[:, :3])
    assert np.array_equal(after[:, -3:], points[:, -3:])
