import numpy as np
import pytest
import torch

from maps.errors import UnknownMap
from maps.feasibility import scene_warnings
from maps.fleet import Fleet
from maps.library import load_map, map_ids
from maps.library.generate import write
from maps.scenario import Scenario
from maps.world import obstacle_distance

CART = 0.35  # m, radius of a cart
ENDS = {
    "open_hall": ([1.0, 1.0], [19.0, 14.0]),
    "warehouse": ([1.0, 1.0], [18.0, 13.0]),
    "office": ([1.0, 3.0], [22.5, 15.0]),
    "depot": ([1.2, 1.2], [28.0, 2.0]),
    "crossing": ([6.0, 1.0], [11.0, 6.0]),
}


def test_every_map_has_an_id():
    assert map_ids() == tuple(sorted(ENDS))


@pytest.mark.parametrize("map_id", ["", "nowhere", "../library/depot", "depot.yaml"])
def test_other_ids_are_unknown(map_id):
    with pytest.raises(UnknownMap):
        load_map(map_id)


@pytest.mark.parametrize("map_id", sorted(ENDS))
def test_a_cart_can_go_from_end_to_end_and_nothing_is_odd(map_id):
    scene = load_map(map_id)
    assert scene is load_map(map_id)
    assert scene_warnings(scene) == ()
    start, goal = (torch.tensor([end], dtype=torch.float64) for end in ENDS[map_id])
    one, still = torch.ones(1, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    for radius, reachable in ((CART, True), (1.3, False)):
        problem = Scenario(scene, Fleet(("cart",), one * radius, one, one), start, goal, still, still)
        assert (problem.check() == (None,)) == reachable


def test_two_carts_pass_in_every_aisle_of_the_warehouse():
    world = load_map("warehouse").world
    top, bottom = world.polygon_box[:5, 3].max(), world.polygon_box[5:10, 1].min()
    assert bottom - top >= 4 * CART + 0.3
    assert obstacle_distance(4.0, (top + bottom) / 2, world, 5.0)[0] == pytest.approx((bottom - top) / 2)


def test_every_room_of_the_office_can_be_entered():
    scene = load_map("office")
    places = torch.tensor([[x, 3.0] for x in (2, 6, 10, 14, 18.5, 22)] + [[x, 10.5] for x in (2, 7, 11.5, 15.5, 21)], dtype=torch.float64)
    n = len(places)
    one, still = torch.ones(1, dtype=torch.float64).expand(n), torch.zeros(n, 2, dtype=torch.float64)
    fleet = Fleet(tuple(map(str, range(n))), one * CART, one, one)
    assert Scenario(scene, fleet, places, places.roll(1, 0), still, still).check() == (None,) * n


def test_the_files_are_what_the_generator_writes(tmp_path):
    write(tmp_path)
    from maps import library

    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 6
    folder = library._FOLDER
    assert all((folder / name).read_bytes() == (tmp_path / name).read_bytes() for name in names)
    assert sum((folder / name).stat().st_size for name in names) < 300_000


def test_the_depot_is_a_fine_occupancy_map():
    grid = load_map("depot").grid
    assert grid.occupied.shape == (300, 600)
    assert grid.resolution == 0.05
    assert 0.7 < 1 - np.mean(grid.occupied) < 0.95
