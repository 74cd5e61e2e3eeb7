"""Search proposals: free of conflicts by an independent dense check, complete where a way exists, and repeatable."""

import numpy as np
import pytest
import torch

from maps.fleet import Fleet
from maps.scenario import Scenario
from maps.scene import Polygon, Scene
from planner.search import lone_paths, propose

SAMPLES = 160


def box(x0, y0, x1, y1):
    return Polygon(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64))


def scenario_of(scene, start, goal, radius=0.2, v_max=1.0, horizon=10.0, **changes):
    start, goal = torch.tensor(start, dtype=torch.float64), torch.tensor(goal, dtype=torch.float64)
    count = start.shape[0]
    sizes = torch.as_tensor(radius, dtype=torch.float64).expand(count).clone()
    speeds = torch.as_tensor(v_max, dtype=torch.float64).expand(count).clone()
    fleet = Fleet(tuple(f"r{k}" for k in range(count)), sizes, speeds, torch.full((count,), 2.0, dtype=torch.float64))
    rest = torch.zeros(count, 2, dtype=torch.float64)
    return Scenario(scene, fleet, start, goal, rest, rest, horizon, **changes)


def box_distance(place, polygon):
    """Distance to the outside of an axis-aligned box, 0 within."""
    low, high = polygon.outer.min(0), polygon.outer.max(0)
    return np.linalg.norm(np.maximum(np.maximum(low - place, place - high), 0.0), axis=-1)


def gaps(scenario, position):
    """Least free space: between robots, to obstacles and bounds, to moving obstacles; m, by plain formulas."""
    radius, scene = scenario.fleet.radius.numpy(), scenario.scene
    count, samples = position.shape[:2]
    worst = [np.inf]
    for i in range(count):
        worst += [np.linalg.norm(position[i] - position[j], axis=-1).min() - radius[i] - radius[j] for j in range(i)]
        for x, y, r in scene.discs.tolist():
            worst.append(np.linalg.norm(position[i] - [x, y], axis=-1).min() - r - radius[i])
        worst += [box_distance(position[i], polygon).min() - radius[i] for polygon in scene.polygons]
        if scene.bounds is not None:
            worst.append(min((position[i] - scene.bounds[:2]).min(), (np.array(scene.bounds[2:]) - position[i]).min()) - radius[i])
        for moving in scenario.moving:
            there = moving.at(torch.linspace(0.0, scenario.horizon, samples, dtype=torch.float64)).numpy()
            worst.append(np.linalg.norm(position[i] - there, axis=-1).min() - moving.radius - radius[i])
    return min(worst)


def check(scenario, proposals):
    """Ends are exact and speeds sane for all; those in the search's own timing keep apart."""
    assert proposals
    step = scenario.horizon / (SAMPLES - 1)
    for proposal in proposals:
        position = proposal.position
        assert position.shape == (len(scenario), SAMPLES, 2)
        np.testing.assert_allclose(position[:, 0], scenario.start.numpy(), atol=1e-12)
        np.testing.assert_allclose(position[:, -1], scenario.goal.numpy(), atol=1e-12)
        speed = np.linalg.norm(np.diff(position, axis=1), axis=-1) / step
        assert (speed <= 1.3 * scenario.fleet.v_max.numpy()[:, None]).all()
        if not proposal.retimed:
            assert gaps(scenario, position) >= scenario.margin - 1e-6


def cluttered(seed, count, radius=0.2):
    """Discs in a square hall, robots scattered among them."""
    rng = np.random.default_rng(seed)
    discs, start, goal = [], [], []
    while len(discs) < 8:
        discs.append([*rng.uniform(-3.0, 3.0, 2), rng.uniform(0.2, 0.5)])

    def place(taken):
        while True:
            p = rng.uniform(-3.7, 3.7, 2)
            free = all(np.hypot(*(p - d[:2])) > d[2] + 1.3 * radius for d in np.array(discs))
            if free and all(np.hypot(*(p - q)) > 3.0 * radius for q in taken):
                return p.tolist()

    for _ in range(count):
        start.append(place(start))
        goal.append(place(goal))
    scene = Scene((-4.0, -4.0, 4.0, 4.0), torch.tensor(discs, dtype=torch.float64))
    return scenario_of(scene, start, goal, radius, v_max=1.5, horizon=12.0)


@pytest.mark.parametrize("seed", range(6))
def test_robots_among_discs_keep_apart(seed):
    scenario = cluttered(seed, 12)
    check(scenario, propose(scenario, 12.0, SAMPLES, seed, 4))


def test_both_timings_come_back_the_conflict_free_one_first():
    scenario = cluttered(1, 10)
    proposals = propose(scenario, 12.0, SAMPLES, 0, 2)
    assert [p.retimed for p in proposals] == [False, True]
    assert gaps(scenario, proposals[0].position) >= 0.0


def test_as_many_as_asked_from_different_orders():
    proposals = propose(cluttered(2, 10), 12.0, SAMPLES, 0, 6)
    assert len(proposals) == 6
    assert len({p.order for p in proposals}) == 3


def test_a_gap_narrower_than_a_cell_is_passed():
    scene = Scene((0.0, 0.0, 4.0, 4.0), polygons=(box(1.9, 0.0, 2.1, 1.337), box(1.9, 1.337 + 0.425, 2.1, 4.0)))
    scenario = scenario_of(scene, [[1.0, 3.0], [0.5, 1.0]], [[3.0, 3.0], [3.5, 1.0]])
    proposals = propose(scenario, 10.0, SAMPLES, 0, 2)
    check(scenario, proposals)
    for path in proposals[0].position:
        crossing = path[np.abs(path[:, 0] - 2.0).argmin()]
        assert 1.337 + 0.2 <= crossing[1] <= 1.337 + 0.225


@pytest.mark.parametrize("shift", np.linspace(0.0, 0.24, 7))
def test_a_door_is_found_wherever_it_lies_between_the_cells(shift):
    low = 1.0 + shift
    scene = Scene((0.0, 0.0, 4.0, 3.0), polygons=(box(1.98, 0.0, 2.02, low), box(1.98, low + 0.43, 2.02, 3.0)))
    scenario = scenario_of(scene, [[1.0, 2.5]], [[3.0, 2.5]])
    check(scenario, propose(scenario, 10.0, SAMPLES, 0, 1))


def test_two_robots_swap_in_a_corridor_with_a_niche():
    walls = (box(0.0, 0.5, 2.6, 1.5), box(3.4, 0.5, 6.0, 1.5))
    scene = Scene((0.0, 0.0, 6.0, 1.5), polygons=walls)
    scenario = scenario_of(scene, [[0.5, 0.25], [5.5, 0.25]], [[5.5, 0.25], [0.5, 0.25]], horizon=16.0)
    proposals = propose(scenario, 16.0, SAMPLES, 0, 2)
    check(scenario, proposals)
    assert proposals[0].position[:, :, 1].max() > 0.6  # one of them stepped aside


def test_no_room_to_swap_is_no_proposal():
    scene = Scene((0.0, 0.0, 6.0, 0.5))
    scenario = scenario_of(scene, [[0.5, 0.25], [5.5, 0.25]], [[5.5, 0.25], [0.5, 0.25]], horizon=16.0)
    assert propose(scenario, 16.0, SAMPLES, 0, 2) == []


def test_a_goal_behind_a_wall_is_no_proposal():
    scene = Scene((0.0, 0.0, 4.0, 4.0), polygons=(box(1.9, 0.0, 2.1, 4.0),))
    scenario = scenario_of(scene, [[1.0, 2.0]], [[3.0, 2.0]])
    assert propose(scenario, 10.0, SAMPLES, 0, 2) == []
    assert lone_paths(scenario, 10.0, SAMPLES) is None


def test_too_little_time_is_no_proposal():
    scenario = scenario_of(Scene((0.0, 0.0, 9.0, 2.0)), [[0.5, 1.0]], [[8.5, 1.0]], horizon=5.0)
    assert propose(scenario, 5.0, SAMPLES, 0, 2) == []


def test_each_robot_takes_the_gap_that_it_fits_through():
    scene = Scene((0.0, 0.0, 6.0, 6.0), polygons=(box(2.9, 0.0, 3.1, 0.8), box(2.9, 1.4, 3.1, 4.0), box(2.9, 5.4, 3.1, 6.0)))
    scenario = scenario_of(scene, [[1.5, 1.1], [1.5, 2.6]], [[4.5, 1.1], [4.5, 2.6]], radius=[0.2, 0.5], horizon=14.0)
    proposals = propose(scenario, 14.0, SAMPLES, 0, 2)
    check(scenario, proposals)
    path = proposals[0].position
    at_wall = np.abs(path[:, :, 0] - 3.0).argmin(1)
    assert path[0, at_wall[0], 1] < 1.4
    assert path[1, at_wall[1], 1] > 4.0


def test_slow_robots_get_their_time():
    scenario = scenario_of(Scene((0.0, 0.0, 6.0, 3.0)), [[0.5, 1.5], [5.5, 1.5]], [[5.5, 1.5], [2.5, 1.5]], v_max=[1.0, 0.4], horizon=11.0)
    check(scenario, propose(scenario, 11.0, SAMPLES, 0, 2))
