"""Lone ways: minimum-jerk lines where they are free, ways around walls where not, the right ends always."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from maps.fleet import Fleet
from maps.sampling import Family, sample_scenario
from maps.scenario import MovingObstacle, Scenario, ScenarioBatch
from maps.scene import Grid, Polygon, Scene
from maps.trajectory import TrajectoryBatch
from planner.proposals import control_count
from planner.routes import routes

HORIZON = 30.0
ROOM = (0.0, 0.0, 10.0, 10.0)
WALL = Polygon(np.array([[4.5, 0.0], [5.5, 0.0], [5.5, 8.0], [4.5, 8.0]]))
CELL = Polygon(np.array([[6.0, 1.0], [9.9, 1.0], [9.9, 4.9], [6.0, 4.9]]), (np.array([[7.0, 2.0], [8.9, 2.0], [8.9, 3.9], [7.0, 3.9]]),))
ENDS = [[[1.0, 2.0], [9.0, 2.0]], [[1.0, 9.0], [9.0, 9.2]]]


def scenario_of(scene: Scene, ends: list[list[list[float]]], radius: float = 0.3) -> Scenario:
    place = torch.tensor(ends, dtype=torch.float64)
    ones, rest = torch.ones(len(ends), dtype=torch.float64), torch.zeros(len(ends), 2, dtype=torch.float64)
    fleet = Fleet(tuple(f"r{k}" for k in range(len(ends))), radius * ones, 1.5 * ones, 2.0 * ones)
    return Scenario(scene, fleet, place[:, 0], place[:, 1], rest, rest, HORIZON, 0.02)


def lines(scenario: Scenario, count: int) -> Tensor:
    return ScenarioBatch.stack([scenario]).minimum_jerk(count)[0]


def way(scenario: Scenario) -> tuple[Tensor, Tensor]:
    """Control points, and places at many times."""
    count = control_count(scenario, HORIZON)
    found = routes(scenario, HORIZON, count)
    assert found.shape == (len(scenario), count, 2)
    return found, TrajectoryBatch(found, torch.tensor(HORIZON).double()).position(np.linspace(0.0, 1.0, 400))


def test_in_the_open_every_way_is_the_minimum_jerk_line():
    scenario = scenario_of(Scene(ROOM), ENDS)
    moving = replace(scenario, start_velocity=torch.tensor([[0.3, 0.2], [0.0, -0.1]]).double())
    for asked in (scenario, moving):
        found, _ = way(asked)
        assert torch.equal(found, lines(asked, found.shape[1]))


@pytest.mark.parametrize("kind", ["polygon", "grid", "discs"])
def test_who_is_blocked_goes_around_and_the_others_straight(kind: str):
    occupied = np.zeros((20, 20), bool)
    occupied[:16, 9:11] = True
    pillars = torch.tensor([[5.0, y, 0.5] for y in np.arange(0.5, 8.0, 1.0)], dtype=torch.float64)
    scene = {
        "polygon": Scene(ROOM, polygons=(WALL,)),
        "grid": Scene(ROOM, grid=Grid(occupied, 0.5, (0.0, 0.0))),
        "discs": Scene(ROOM, pillars),
    }
    scenario = scenario_of(scene[kind], ENDS)
    scenario = replace(scenario, start_velocity=torch.tensor([[0.0, 0.2], [0.1, 0.0]]).double())
    found, place = way(scenario)
    straight = lines(scenario, found.shape[1])
    assert torch.equal(found[1], straight[1])
    assert torch.equal(found[0, [0, 1, 2, -3, -2, -1]], straight[0, [0, 1, 2, -3, -2, -1]])
    assert float(scenario.scene.signed_distance(straight[0]).min()) < 0.0
    assert float(scenario.scene.signed_distance(place[0]).min()) > 0.2  # m, of a radius of 0.3 m
    length = float(place[0].diff(dim=0).norm(dim=-1).sum())
    around = 2.0 * np.hypot(4.0 - 0.5, 6.3) + 1.0
    assert 0.95 * around < length < 1.15 * around


def test_other_robots_and_moving_obstacles_are_not_there():
    scene = Scene(ROOM, polygons=(WALL,))
    scenario = scenario_of(scene, [ENDS[0], ENDS[0][::-1], ENDS[1]])
    cart = MovingObstacle("cart", 0.5, torch.zeros(1).double(), torch.tensor([[5.0, 9.0]]).double())
    together, _ = way(scenario)
    assert torch.equal(way(replace(scenario, moving=(cart,)))[0], together)
    for k, ends in enumerate((ENDS[0], ENDS[0][::-1], ENDS[1])):
        assert torch.allclose(way(scenario_of(scene, [ends]))[0][0], together[k], atol=1e-9)


def test_without_any_way_all_lines_are_straight():
    scenario = scenario_of(Scene(ROOM, polygons=(WALL, CELL)), [[[1.0, 2.0], [7.9, 2.9]], ENDS[0]])
    found, _ = way(scenario)
    assert torch.equal(found, lines(scenario, found.shape[1]))


@pytest.mark.parametrize("family", ["rooms", "grid", "mazes"])
def test_ways_keep_their_ends_and_mostly_out_of_walls(family: Family):
    for seed in range(3):
        scenario = sample_scenario(np.random.default_rng([seed, 77]), 4, family)
        horizon = float(scenario.horizon or 0.0)
        count = control_count(scenario, horizon)
        found, straight = routes(scenario, horizon, count), lines(scenario, count)
        assert torch.equal(found[:, [0, 1, 2, -3, -2, -1]], straight[:, [0, 1, 2, -3, -2, -1]])
        place = TrajectoryBatch(found, torch.tensor(horizon).double()).position(np.linspace(0.0, 1.0, 300))
        assert float((scenario.scene.signed_distance(place) > 0.0).double().mean()) > 0.97


def _meeting() -> Scenario:
    """Two robots head-on in an aisle too narrow for both; a second aisle is little longer."""
    rack = Polygon(np.array([[2.0, 4.0], [8.0, 4.0], [8.0, 5.4], [2.0, 5.4]]))
    sides = [Polygon(np.array([[2.0, low], [8.0, low], [8.0, high], [2.0, high]])) for low, high in ((0.0, 3.1), (6.3, 10.0))]
    scene = Scene(ROOM, polygons=(rack, *sides))
    return scenario_of(scene, [[[0.8, 3.55], [9.2, 3.55]], [[9.2, 3.6], [0.8, 3.6]]])


@pytest.mark.parametrize("seed", range(3))
def test_ways_that_give_way_take_another_aisle_where_the_shortest_meet(seed: int):
    scenario = _meeting()
    count = control_count(scenario, HORIZON)
    horizon = torch.tensor(HORIZON).double()

    def middles(ways: Tensor) -> Tensor:
        place = TrajectoryBatch(ways, horizon).position(np.linspace(0.0, 1.0, 400))
        middle = (place[..., 0] - 5.0).abs().argmin(-1)
        return place[torch.arange(2), middle, 1]

    own = middles(routes(scenario, HORIZON, count))
    giving = middles(routes(scenario, HORIZON, count, seed))
    assert (own < 4.0).all()  # both in the aisle below the rack
    assert sorted((giving > 5.4).tolist()) == [False, True]
    assert torch.equal(routes(scenario, HORIZON, count, seed), routes(scenario, HORIZON, count, seed))


def test_ways_that_give_way_never_take_longer_than_there_is_time():
    scenario = _meeting()
    hurried = 8.4 / 1.5 / 0.78  # s; the detour does not fit
    count = control_count(scenario, hurried)
    place = TrajectoryBatch(routes(scenario, hurried, count, 0), torch.tensor(hurried).double()).position(np.linspace(0.0, 1.0, 400))
    length = place.diff(dim=1).norm(dim=-1).sum(1)
    assert (length < 8.6).all()
    assert torch.allclose(place[:, -1], scenario.goal)
