import numpy as np
import pytest
import shapely

from maps.errors import InvalidScenario
from maps.sampling import FAMILIES, SamplingConfig, sample_scenario, sample_scene
from maps.world import obstacle_distance


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("robots", [1, 8, 16])
def test_scenarios_pass_their_check(family, robots):
    for seed in range(4):
        scenario = sample_scenario(np.random.default_rng(seed), robots, family, SamplingConfig(moving=0.5), margin=0.02)
        assert len(scenario) == robots
        assert scenario.check() == (None,) * robots
        for x, y in [*scenario.start.tolist(), *scenario.goal.tolist()]:
            assert obstacle_distance(x, y, scenario.scene.world, 5.0)[0] >= scenario.fleet.radius.min() + 0.12 - 1e-9


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_scenario(family):
    a, b, c = (sample_scenario(np.random.default_rng(seed), 6, family) for seed in (7, 7, 8))
    assert a.start.equal(b.start)
    assert a.horizon == b.horizon
    assert all(np.array_equal(p, q) for p, q in zip(a.scene.world, b.scene.world, strict=True))
    assert not a.start.equal(c.start)


def test_a_family_is_drawn_where_none_is_named():
    rng = np.random.default_rng(0)
    scenes = [sample_scenario(rng, 2).scene for _ in range(30)]
    assert any(scene.grid is not None for scene in scenes)
    assert any(len(scene.discs) for scene in scenes)
    assert any(scene.polygons for scene in scenes)


@pytest.mark.parametrize("family", ["boxes", "polygons", "rooms", "racks"])
def test_polygons_are_simple(family):
    for seed in range(20):
        scene = sample_scene(np.random.default_rng(seed), family)
        assert all(shapely.Polygon(polygon.outer).is_valid for polygon in scene.polygons)


def test_fleets_differ_in_size_and_limits():
    fleet = sample_scenario(np.random.default_rng(0), 8, "open").fleet
    for values in (fleet.radius, fleet.v_max, fleet.a_max):
        assert len(values.unique()) == 8


def test_moving_starts_move_and_others_do_not():
    rng = np.random.default_rng(1)
    assert (sample_scenario(rng, 8, "discs").start_velocity == 0).all()
    moving = sample_scenario(rng, 8, "discs", SamplingConfig(moving=1.0))
    assert (moving.start_velocity.norm(dim=-1) > 0).all()
    assert (moving.start_velocity.norm(dim=-1) <= moving.fleet.v_max).all()


def test_a_fleet_that_finds_no_room_is_refused():
    with pytest.raises(InvalidScenario, match="no room"):
        sample_scenario(np.random.default_rng(0), 60, "open", SamplingConfig(size=2.0))
