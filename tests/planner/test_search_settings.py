"""Search under what the request adds: moving obstacles, margins, tight starts, real grids, seeds and orders."""

import numpy as np
import pytest
import torch

from maps.fleet import Fleet
from maps.scenario import MovingObstacle, Scenario
from maps.scene import Grid, Scene
from planner.search import SearchOptions, lone_paths, propose

SAMPLES = 120


def line_up(start, goal, horizon, scene, radius=0.3, **changes):
    """A fleet of alike robots, v_max 1.5 m/s, at rest."""
    start, goal = torch.tensor(start, dtype=torch.float64), torch.tensor(goal, dtype=torch.float64)
    count = start.shape[0]
    ones, rest = torch.ones(count, dtype=torch.float64), torch.zeros(count, 2, dtype=torch.float64)
    fleet = Fleet(tuple(f"r{k}" for k in range(count)), radius * ones, 1.5 * ones, ones)
    return Scenario(scene, fleet, start, goal, rest, rest, horizon, **changes)


def smallest_distance(position, others):
    """Least distance of any robot (N, T, 2) to any of others (M, T, 2) at the same time, m."""
    return np.linalg.norm(position[:, None] - others[None], axis=-1).min()


def pairwise(position):
    """Least distance of two different robots, m."""
    return min(smallest_distance(position[i : i + 1], position[:i]) for i in range(1, len(position)))


def in_own_timing(proposals):
    return [p.position for p in proposals if not p.retimed]


def crossing(count=4, **changes):
    angle = 2.0 * np.pi * np.arange(count) / count
    ring = 3.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return line_up(ring.tolist(), (-ring).tolist(), 10.0, Scene((-4.0, -4.0, 4.0, 4.0)), **changes)


def test_a_moving_obstacle_is_let_pass():
    path = torch.tensor([[2.0, -3.0], [2.0, 3.0]], dtype=torch.float64)
    cart = MovingObstacle("cart", 0.5, torch.tensor([0.0, 8.0], dtype=torch.float64), path)
    scenario = line_up([[0.0, 0.0], [0.0, 1.0]], [[4.0, 0.0], [4.0, 1.0]], 10.0, Scene((-1.0, -3.0, 5.0, 3.0)), moving=(cart,))
    there = cart.at(torch.linspace(0.0, 10.0, SAMPLES, dtype=torch.float64)).numpy()
    for position in in_own_timing(propose(scenario, 10.0, SAMPLES, 0, 4)):
        assert smallest_distance(position, there[None]) >= 0.8
        assert pairwise(position) >= 0.6


def test_a_moving_obstacle_that_stays_in_the_door_bars_it():
    occupied = np.zeros((30, 40), dtype=bool)
    occupied[:10, 19:21] = occupied[20:, 19:21] = True
    scene = Scene(grid=Grid(occupied, 0.1, (0.0, 0.0)))
    place = torch.tensor([[2.0, 1.5]], dtype=torch.float64)
    cart = MovingObstacle("cart", 0.4, torch.zeros(1, dtype=torch.float64), place)
    start, goal = [[0.7, 1.5]], [[3.3, 1.5]]
    assert propose(line_up(start, goal, 8.0, scene), 8.0, SAMPLES, 0, 1)
    assert propose(line_up(start, goal, 8.0, scene, moving=(cart,)), 8.0, SAMPLES, 0, 1) == []


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.25])
def test_the_margin_is_kept(margin):
    proposals = in_own_timing(propose(crossing(margin=margin), 10.0, SAMPLES, 0, 2))
    assert proposals
    assert all(pairwise(position) >= 0.6 + margin for position in proposals)


def test_robots_that_touch_at_their_starts_come_apart():
    start = [[0.0, 0.0], [0.6, 0.0], [1.2, 0.0]]
    scenario = line_up(start, [[1.2, 3.0], [0.6, 3.0], [0.0, 3.0]], 9.0, Scene((-1.0, -0.3, 3.0, 4.0)))
    proposals = in_own_timing(propose(scenario, 9.0, SAMPLES, 0, 2))
    assert proposals
    assert all(pairwise(position) >= 0.6 - 1e-6 for position in proposals)


def test_a_robot_at_its_goal_makes_way_and_comes_back():
    occupied = np.ones((30, 40), dtype=bool)
    occupied[10:18, :] = False
    occupied[18:28, 16:24] = False
    scene = Scene(grid=Grid(occupied, 0.1, (0.0, 0.0)))
    scenario = line_up([[2.0, 1.4], [0.5, 1.4]], [[2.0, 1.4], [3.5, 1.4]], 14.0, scene)
    position = in_own_timing(propose(scenario, 14.0, SAMPLES, 0, 2))[0]
    assert pairwise(position) >= 0.6
    assert position[0, :, 1].max() > 1.9


def test_without_bounds_there_is_room_around_everything():
    scene = Scene(discs=torch.tensor([[2.0, 0.0, 1.0]], dtype=torch.float64))
    position = in_own_timing(propose(line_up([[0.0, 0.0]], [[4.0, 0.0]], 8.0, scene), 8.0, SAMPLES, 0, 2))[0]
    assert np.linalg.norm(position[0] - [2.0, 0.0], axis=-1).min() >= 1.3


def test_the_same_seed_gives_the_same_proposals():
    first, second = (propose(crossing(8), 10.0, SAMPLES, 3, 6) for _ in range(2))
    assert [p.order for p in first] == [p.order for p in second]
    assert all((a.position == b.position).all() for a, b in zip(first, second, strict=True))


def test_another_seed_gives_other_orders():
    first, second = (propose(crossing(8), 10.0, SAMPLES, seed, 8) for seed in (0, 2**62))
    assert any((a.position != b.position).any() for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_the_robots_is_solved(seed):
    order = torch.as_tensor(np.random.default_rng(seed).permutation(8))
    plain = crossing(8)
    scenario = line_up(plain.start[order].tolist(), plain.goal[order].tolist(), 10.0, plain.scene)
    proposals = in_own_timing(propose(scenario, 10.0, SAMPLES, 0, 2))
    assert proposals
    assert all(pairwise(position) >= 0.6 for position in proposals)
    np.testing.assert_allclose(proposals[0][:, -1], scenario.goal.numpy(), atol=1e-12)


def test_lone_paths_are_shortest_around_a_wall():
    scene = Scene((0.0, 0.0, 6.0, 6.0), discs=torch.tensor([[3.0, 3.0, 1.0]], dtype=torch.float64))
    position = lone_paths(line_up([[0.5, 3.0]], [[5.5, 3.0]], 10.0, scene), 10.0, 400)
    assert position is not None
    reach, away = 1.3, 2.5  # m: inflated radius, from its centre to either end
    shortest = 2.0 * (np.sqrt(away**2 - reach**2) + reach * np.arcsin(reach / away))
    length = np.linalg.norm(np.diff(position[0], axis=0), axis=-1).sum()
    assert shortest <= length <= 1.02 * shortest
    assert np.linalg.norm(position[0] - [3.0, 3.0], axis=-1).min() >= reach


def test_lone_paths_ignore_the_others_and_rest_at_both_ends():
    position = lone_paths(crossing(6), 10.0, 200)
    assert position is not None
    straight = np.linalg.norm(position[:, -1] - position[:, 0], axis=-1)
    length = np.linalg.norm(np.diff(position, axis=1), axis=-1).sum(1)
    np.testing.assert_allclose(length, straight, rtol=1e-3)
    speed = np.linalg.norm(np.diff(position, axis=1), axis=-1) * 199 / 10.0
    assert speed[:, [0, -1]].max() < 0.05
    assert speed.max() < 1.5


def test_many_sizes_share_few_grids_and_none_is_let_through_too_narrow_a_gap():
    radius = np.linspace(0.1, 0.32, 12)
    start = [[0.5, 0.5 + 0.8 * k] for k in range(12)]
    goal = [[5.5, 0.5 + 0.8 * k] for k in range(12)]
    scenario = line_up(start, goal, 9.0, Scene((0.0, 0.0, 6.0, 10.0)), radius=torch.as_tensor(radius))
    position = in_own_timing(propose(scenario, 9.0, SAMPLES, 0, 2))[0]
    for i in range(12):
        for j in range(i):
            assert np.linalg.norm(position[i] - position[j], axis=-1).min() >= radius[i] + radius[j] - 1e-6


def test_a_large_grid_is_searched_with_coarser_cells():
    occupied = np.zeros((400, 400), dtype=bool)
    occupied[50:350, 195:205] = True
    scene = Scene(grid=Grid(occupied, 0.1, (0.0, 0.0)))
    scenario = line_up([[10.0, 20.0]], [[30.0, 20.0]], 60.0, scene, radius=0.2)
    options = SearchOptions(nodes=3000, states=400_000)
    position = propose(scenario, 60.0, SAMPLES, 0, 1, options)[0].position
    crossing_at = position[0, np.abs(position[0, :, 0] - 20.0).argmin(), 1]
    assert crossing_at < 5.0 - 0.2 or crossing_at > 35.0 + 0.2
