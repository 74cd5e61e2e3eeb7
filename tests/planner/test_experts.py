"""Experts: certified, best first, truly different, the same for a seed, and none where there is no plan."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from maps.fleet import Fleet
from maps.sampling import Family, sample_scenario
from maps.scenario import Scenario
from maps.scene import Polygon, Scene
from planner.choose import Candidate, different
from planner.experts import ExpertConfig, find_experts
from safety_filter.solver import SafetyFilter
from safety_filter.verify import certify


def swap(scene: Scene, ends: list[list[list[float]]]) -> Scenario:
    place = torch.tensor(ends, dtype=torch.float64)
    ones, rest = torch.ones(len(ends), dtype=torch.float64), torch.zeros(len(ends), 2, dtype=torch.float64)
    fleet = Fleet(tuple(f"r{k}" for k in range(len(ends))), 0.3 * ones, 1.2 * ones, 1.5 * ones)
    return Scenario(scene, fleet, place[:, 0], place[:, 1], rest, rest, 14.0, 0.02)


CROSS = [[[1.0, 4.0], [7.0, 4.0]], [[7.0, 4.0], [1.0, 4.0]], [[4.0, 1.0], [4.0, 7.0]]]
PILLAR = Scene((0.0, 0.0, 8.0, 8.0), torch.tensor([[4.0, 4.0, 0.7]], dtype=torch.float64))


def experts(scenario: Scenario, seed: int = 1, config: ExpertConfig | None = None) -> list[Candidate]:
    return find_experts(scenario, seed, SafetyFilter(pool=None), config)


def test_a_swap_around_a_pillar_has_several_experts():
    plans = experts(swap(PILLAR, CROSS))
    assert 2 <= len(plans) <= 4
    assert len(different(plans, 9, PILLAR)) == len(plans)
    few = experts(swap(PILLAR, CROSS), config=replace(ExpertConfig(), kept=1))
    best = [plans[0].metrics.cost]
    assert [plan.metrics.cost for plan in few] == best
    assert [plan.metrics.cost for plan in experts(swap(PILLAR, CROSS), config=replace(ExpertConfig(), worst=1.0))] == best


@pytest.mark.parametrize("family", ["open", "boxes", "rooms", "racks"])
def test_experts_are_certified_best_first_and_not_much_worse(family: Family):
    found = 0
    for seed in range(2):
        scenario = sample_scenario(np.random.default_rng([seed, 5]), 4, family)
        plans = experts(scenario, seed)
        costs = [plan.metrics.cost for plan in plans]
        assert costs == sorted(costs)
        assert all(certify(plan.control_points, float(scenario.horizon or 0.0), scenario).safe for plan in plans)
        assert all(plan.certificate.safe for plan in plans)
        assert len(different(plans, 9, scenario.scene)) == len(plans) <= 4
        assert all(cost <= ExpertConfig().worst * costs[0] for cost in costs)
        found += len(plans)
    assert found >= 2


def test_the_same_seed_finds_the_same():
    scenario = swap(PILLAR, CROSS)
    first, again, other = (experts(scenario, seed) for seed in (3, 3, 4))
    assert len(first) == len(again)
    assert all(np.array_equal(a.control_points, b.control_points) for a, b in zip(first, again, strict=True))
    same = len(first) == len(other) and all(np.array_equal(a.control_points, b.control_points) for a, b in zip(first, other, strict=True))
    assert not same


def test_what_cannot_be_solved_has_no_experts():
    outer = np.array([[5.0, 5.0], [7.9, 5.0], [7.9, 7.9], [5.0, 7.9]])
    cell = Polygon(outer, (np.array([[5.5, 5.5], [7.4, 5.5], [7.4, 7.4], [5.5, 7.4]]),))
    locked = swap(Scene((0.0, 0.0, 8.0, 8.0), polygons=(cell,)), [[[1.0, 1.0], [6.4, 6.4]], CROSS[0]])
    assert experts(locked) == []
    hurried = replace(swap(PILLAR, CROSS), horizon=4.0)  # 6 m at 1.2 m/s take longer
    assert experts(hurried) == []
