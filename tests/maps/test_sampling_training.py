"""Scenarios drawn from the broad ranges that a generator is trained on."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from maps.distance import robot_gap
from maps.feasibility import least_time
from maps.sampling import FAMILIES, PLACEMENTS, TRAINING, SamplingConfig, sample_scenario
from maps.sampling_places import Ground, place_fleet
from maps.sampling_ways import Ways, clearance
from maps.scenario import Scenario
from maps.scene import Grid, Polygon, Scene

SPREAD = TRAINING.size_in_radii or (0.0, 0.0)


def drawn(count: int, robots: int = 6, config: SamplingConfig = TRAINING) -> list[Scenario]:
    return [sample_scenario(np.random.default_rng(seed), robots, FAMILIES[seed % len(FAMILIES)], config) for seed in range(count)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("robots", [1, 7, 24])
def test_scenarios_pass_their_check(family, robots):
    for seed in range(5):
        scenario = sample_scenario(np.random.default_rng(seed), robots, family, TRAINING, margin=0.01)
        assert scenario.check() == (None,) * robots
        places = torch.cat([scenario.start, scenario.goal]).numpy()
        needed = np.tile(scenario.fleet.radius.numpy(), 2) + 0.01 + 0.1 * float(scenario.fleet.radius.max())
        assert (clearance(places, scenario.scene, 5.0) >= needed - 1e-9).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_scenario(family):
    a, b, c = (sample_scenario(np.random.default_rng(seed), 6, family, TRAINING) for seed in (3, 3, 4))
    for name in ("start", "goal", "start_velocity"):
        assert getattr(a, name).equal(getattr(b, name))
    assert a.horizon == b.horizon
    assert all(np.array_equal(p, q) for p, q in zip(a.scene.world, b.scene.world, strict=True))
    assert all(getattr(a.fleet, name).equal(getattr(b.fleet, name)) for name in ("radius", "v_max", "a_max"))
    assert not a.start.equal(c.start)


def test_sizes_and_limits_keep_to_their_ranges_and_fill_them():
    largest, across, fast, strong = [], [], [], []
    for scenario in drawn(240, 2):
        radius, (x0, y0, x1, y1) = float(scenario.fleet.radius.max()), scenario.scene.extent
        largest.append(radius)
        across.append(max(x1 - x0, y1 - y0) / radius)
        fast.append(float(scenario.fleet.v_max.max()))
        strong.append(float(scenario.fleet.a_max.max()))
        for values in (scenario.fleet.radius, scenario.fleet.v_max, scenario.fleet.a_max):
            assert float(values.min() / values.max()) >= TRAINING.least - 1e-12
    for values, (low, high) in ((largest, TRAINING.radius), (across, SPREAD), (fast, TRAINING.v_max), (strong, TRAINING.a_max)):
        assert min(values) >= low * (1 - 1e-9)
        assert max(values) <= high * (1 + 1e-9)
        assert min(values) < 1.2 * low
        assert max(values) > 0.8 * high


def test_about_half_of_the_fleets_are_of_one_size_and_half_of_one_kind():
    scenarios = drawn(120, 3)
    for name in ("radius", "v_max", "a_max"):
        alike = sum(len(getattr(s.fleet, name).unique()) == 1 for s in scenarios)
        assert 40 <= alike <= 80
    mixed = [s for s in scenarios if len(s.fleet.radius.unique()) > 1]
    assert any(len(s.fleet.v_max.unique()) == 1 for s in mixed)


def test_scenes_lie_off_the_origin_and_are_square_or_not():
    extents = np.array([s.scene.extent for s in drawn(60, 2)])
    corner, size = extents[:, :2], extents[:, 2:] - extents[:, :2]
    assert (np.abs(corner) <= TRAINING.offset * size.max(1, keepdims=True) / TRAINING.aspect[0]).all()
    assert (corner < -0.5 * size).any()
    assert (corner > 0.5 * size).any()
    shape = size.min(1) / size.max(1)
    assert shape.min() < 0.55
    assert shape.max() > 0.95


def test_shifted_scenes_keep_their_shape():
    for family in FAMILIES:
        a, b = (sample_scenario(np.random.default_rng(1), 3, family, replace(TRAINING, offset=size)) for size in (0.0, 1e-9))
        assert a.scene.extent[:2] == (0.0, 0.0)
        width = [np.subtract(s.scene.extent[2:], s.scene.extent[:2]) for s in (a, b)]
        np.testing.assert_allclose(width[0], width[1], atol=1e-6)
        assert len(a.scene.polygons) == len(b.scene.polygons)
        assert len(a.scene.discs) == len(b.scene.discs)


def test_some_fleets_are_in_motion_and_most_at_rest():
    moving = [bool((s.start_velocity != 0).any()) for s in drawn(120, 4)]
    assert 20 <= sum(moving) <= 65


def test_horizons_reach_from_tight_to_generous():
    share = []
    for s in drawn(120, 4):
        straight = least_time((s.goal - s.start).numpy(), s.start_velocity.numpy(), s.fleet.v_max.numpy(), s.fleet.a_max.numpy())
        share.append((s.horizon or 0.0) / straight.max())
    assert min(share) >= TRAINING.slack[0]
    assert min(share) < 1.8
    assert max(share) > 3.0


def test_the_configuration_can_be_written_down():
    assert json.loads(json.dumps(asdict(TRAINING)))["radius"] == list(TRAINING.radius)


def test_given_maps_are_cut_too():
    marked = np.zeros((120, 90), dtype=bool)
    marked[::30, ::30] = True
    config = replace(TRAINING, grids=(Grid(marked, 1.0, (0.0, 0.0)),))
    grids = [sample_scenario(np.random.default_rng(seed), 2, "grid", config).scene.grid for seed in range(20)]
    counts = [int(grid.occupied.sum()) for grid in grids if grid is not None]
    assert len(counts) == 20
    assert any(count <= 12 for count in counts)
    assert any(count > 12 for count in counts)


def test_mazes_come_as_walls_and_as_cells():
    scenes = [sample_scenario(np.random.default_rng(seed), 2, "mazes", TRAINING).scene for seed in range(20)]
    assert any(scene.grid is not None for scene in scenes)
    assert any(scene.polygons for scene in scenes)


@pytest.mark.parametrize("family", ["rooms", "mazes", "corridors", "crossings", "dense", "lattice"])
def test_every_free_place_can_be_reached(family):
    """These families promise passages for the widest robot between all of their parts."""
    config = replace(TRAINING, size_in_radii=(30.0, 60.0))
    for seed in range(12):
        scenario = sample_scenario(np.random.default_rng(seed), 2, family, config)
        ways = Ways.of(scenario.scene, float(scenario.fleet.radius.max()))
        area = np.bincount(ways.part.ravel())[1:]
        assert area.max() >= 0.97 * area.sum()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_placed_robots_stand_apart(placement):
    needed = np.linspace(0.1, 0.5, 9)
    ground = Ground(Scene((0.0, 0.0, 12.0, 8.0), torch.tensor([[6.0, 4.0, 1.0]], dtype=torch.float64)), needed, 0.05)
    places = place_fleet(np.random.default_rng(0), ground, placement)
    assert places is not None
    for place in places:
        gap = robot_gap(torch.from_numpy(place)[:, None], torch.from_numpy(needed))
        assert float(gap.min()) >= 0.05 - 1e-9
        assert (clearance(place, ground.scene, 2.0) >= needed + 0.05 - 1e-9).all()


def arranged(placement: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    ground = Ground(Scene((3.0, -2.0, 23.0, 8.0)), np.full(8, 0.2), 0.02)
    places = place_fleet(np.random.default_rng(seed), ground, placement)  # pyright: ignore[reportArgumentType]
    assert places is not None
    return places


def test_swapping_robots_share_the_middles_of_their_ways():
    for seed in range(5):
        start, goal = arranged("swap", seed)
        middle, way = (start + goal) / 2, np.hypot(*(goal - start).T)
        assert np.hypot(*(middle - middle.mean(0)).T).max() < 0.15 * way.mean()
        assert way.min() > 0.8 * way.max()


def test_exchanging_robots_take_the_places_of_others():
    for seed in range(5):
        start, goal = arranged("exchange", seed)
        apart = np.hypot(*(goal[:, None] - start).transpose(2, 0, 1))
        owner = apart.argmin(1)
        assert (apart.min(1) == 0).all()
        assert sorted(owner) == list(range(8))
        assert (owner != np.arange(8)).all()


def test_opposed_robots_come_from_both_sides_and_streams_from_as_few_as_they_have():
    for seed in range(12):
        for placement, ways in (("opposed", {2}), ("streams", {1, 2})):
            start, goal = arranged(placement, seed)
            way = (goal - start) / (20.0, 10.0)
            axis = np.abs(way).argmax(1)
            along = np.sign(way[np.arange(8), axis])
            kinds = set(zip(axis.tolist(), along.tolist(), strict=True))
            assert len(kinds) in ways
            assert placement == "streams" or len(set(axis.tolist())) == 1
            assert (np.abs(way).max(1) > 0.45).all()


def test_a_way_around_a_wall_is_as_long_as_it_is():
    wall = Polygon(np.array([[4.8, 0.0], [5.2, 0.0], [5.2, 8.0], [4.8, 8.0]]))
    ways = Ways.of(Scene((0.0, 0.0, 10.0, 10.0), polygons=(wall,)), 0.3)
    start, goal = np.array([[2.0, 1.0], [2.0, 9.0], [2.0, 1.0]]), np.array([[8.0, 1.0], [8.0, 9.0], [2.0, 7.0]])
    around = 2 * np.hypot(4.5 - 2.0, 8.0 - 1.0) + 1.0  # past both upper corners at 0.3 m, about
    length = ways.length(start, goal)
    assert around * 0.93 < length[0] < around * 1.08
    np.testing.assert_allclose(length[1:], [6.0, 6.0])


def test_no_way_leads_into_a_closed_room():
    room = np.array([[4.0, 4.0], [8.0, 4.0], [8.0, 8.0], [4.0, 8.0]])
    ways = Ways.of(Scene((0.0, 0.0, 12.0, 12.0), polygons=(Polygon(room, (room * 0.5 + 3.0,)),)), 0.2)
    inside, outside = np.array([[6.0, 6.0]]), np.array([[1.0, 1.0]])
    assert np.isinf(ways.length(outside, inside)).all()
    assert ways.reached(outside).all()
    assert not ways.reached(inside).any()
