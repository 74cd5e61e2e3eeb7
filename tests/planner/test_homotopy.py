"""On which sides plans pass: known answers around each kind of obstacle, and swept angles against unwrapped ones."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import shapely
import torch

from maps.curve import curve_basis
from maps.scene import Grid, Polygon, Scene
from planner.homotopy import MOST_BLOBS, Signature, obstacle_points, sample_rows, signature


def blob() -> Grid:
    """A ring that is open to the left, its centre of mass free, and a tail that hangs on it by a corner; about (2, 0)."""
    occupied = np.zeros((40, 40), dtype=bool)
    occupied[14:26, 14:26] = True
    occupied[17:23, 10:22] = False
    occupied[[12, 13], [12, 13]] = True
    return Grid(occupied, 0.1, (0.0, -2.0))


SQUARE = np.array([[1.5, -0.5], [2.5, -0.5], [2.5, 0.5], [1.5, 0.5]])
HORSESHOE = np.array([[1.4, -0.6], [2.6, -0.6], [2.6, 0.6], [1.4, 0.6], [1.4, 0.4], [2.4, 0.4], [2.4, -0.4], [1.4, -0.4]])
FRAME = Polygon(SQUARE, ([2.0, 0.0] + 0.8 * (SQUARE - [2.0, 0.0]),))  # its middle is free
SCENES = {
    "disc": Scene(discs=torch.tensor([[2.0, 0.0, 0.5]], dtype=torch.float64)),
    "polygon": Scene(polygons=(Polygon(SQUARE),)),
    "horseshoe": Scene(polygons=(Polygon(HORSESHOE),)),
    "frame": Scene(polygons=(FRAME,)),
    "grid": Scene(grid=blob()),
    "all": Scene(discs=torch.tensor([[2.0, 0.0, 0.5]], dtype=torch.float64), polygons=(Polygon(SQUARE),), grid=blob()),
}


def arc(height: float, shear: float = 0.0) -> np.ndarray:
    """One robot from (0, 0) to (4, 0) in a bow."""
    u = np.linspace(0.0, 1.0, 24)
    return np.stack([4 * u + shear * np.sin(2 * np.pi * u), height * np.sin(np.pi * u)], -1)[None]


def rounds(times: float) -> np.ndarray:
    """One robot that goes around (2, 0) so many times, counterclockwise from (0, 0)."""
    angle = np.pi + 2 * np.pi * times * np.linspace(0.0, 1.0, 60)
    return np.stack([2 + 2 * np.cos(angle), 2 * np.sin(angle)], -1)[None]


@pytest.mark.parametrize("name", SCENES)
def test_mirrored_plans_differ_and_bent_ones_do_not(name):
    left, higher, right = (signature(plan, SCENES[name]) for plan in (arc(1.5), arc(1.9, 0.3), arc(-1.5)))
    assert left.differs(right)
    assert right.differs(left)
    assert higher.differs(right)
    assert not left.differs(higher)
    assert np.allclose(left.obstacles - right.obstacles, -2 * np.pi)
    assert np.allclose(left.obstacles, higher.obstacles)


@pytest.mark.parametrize("name", SCENES)
def test_once_more_around_differs(name):
    half, more = signature(rounds(0.5), SCENES[name]), signature(rounds(1.5), SCENES[name])
    assert half.differs(more)
    assert np.allclose(more.obstacles - half.obstacles, 2 * np.pi)


def test_nothing_in_the_way_leaves_no_sides():
    alone = signature(arc(1.0), Scene(bounds=(-5.0, -5.0, 5.0, 5.0)))
    assert (alone.pairs.shape, alone.obstacles.shape) == ((0,), (1, 0))
    assert not alone.differs(signature(arc(-1.0), Scene()))


def test_two_robots_swap_sides():
    swap = lambda height: np.concatenate([arc(height), [4.0, 0.0] - arc(height)])  # noqa: E731
    left, higher, right = (signature(swap(h), Scene()) for h in (0.5, 0.9, -0.5))
    assert left.pairs == pytest.approx(-right.pairs)
    assert abs(left.pairs[0]) == pytest.approx(np.pi)
    assert left.differs(right)
    assert not left.differs(higher)


def test_one_robot_of_many_on_the_other_side_is_enough():
    others = [arc(1.5) + np.array([0.0, 3.0 + k]) for k in range(6)]
    one, other = (np.concatenate([*others, arc(height)]) for height in (1.5, -1.5))
    ways = [signature(plan, SCENES["disc"]) for plan in (one, other)]
    assert ways[0].differs(ways[1])
    assert not signature(one, Scene()).differs(signature(other, Scene()))


@pytest.mark.parametrize("robots", [1, 2, 70])  # the last in several chunks
def test_angles_agree_with_unwrapped_ones(robots):
    rng = np.random.default_rng(robots)
    plan = rng.normal(size=(robots, 16, 2)).cumsum(axis=1)
    scene = Scene(discs=torch.as_tensor(np.c_[rng.normal(size=(9, 2)) * 3, np.ones(9)]))
    found = signature(plan, scene)
    position = sample_rows(16) @ plan
    first, second = np.triu_indices(robots, 1)
    assert np.allclose(found.pairs, unwrapped(position[second] - position[first]))
    assert np.allclose(found.obstacles, unwrapped(position[:, None] - scene.discs[:, None, :2].numpy()))


def unwrapped(between: np.ndarray) -> np.ndarray:
    angle = np.unwrap(np.arctan2(between[..., 1], between[..., 0]), axis=-1)
    return angle[..., -1] - angle[..., 0]


def test_ends_that_jitter_across_the_cut_change_nothing():
    # the bearing from the disc begins on the negative x axis, where angles jump by a whole turn
    above, below = (signature(rounds(0.75) + np.array([0.0, shift]), SCENES["disc"]) for shift in (1e-9, -1e-9))
    assert not above.differs(below)
    assert np.allclose(above.obstacles, 1.5 * np.pi, atol=1e-6)


def test_sampled_rows_hold_both_ends():
    rows = sample_rows(20)
    assert np.allclose(rows[[0, -1]], np.eye(20)[[0, -1]])
    assert np.allclose(rows, curve_basis(20).matrix(np.linspace(0.0, 1.0, len(rows))))


def test_points_lie_inside_their_obstacles():
    points = obstacle_points(SCENES["all"])
    assert points[0] == pytest.approx([2.0, 0.0])
    assert len(points) == 3  # the grid's tail hangs on its ring
    for name in ("polygon", "horseshoe", "frame", "grid", "all"):
        place = torch.as_tensor(obstacle_points(SCENES[name]))
        assert (SCENES[name].signed_distance(place) < 0).all()
    solid = shapely.Polygon(FRAME.outer, FRAME.holes)
    assert not solid.contains(solid.centroid)
    assert solid.contains(shapely.Point(obstacle_points(SCENES["frame"])[0]))


def test_the_largest_parts_of_a_grid_are_kept():
    occupied = np.zeros((60, 60), dtype=bool)
    occupied[::2, ::2] = True  # 900 lone cells
    occupied[41:44, 41:44] = True  # joins some of them
    occupied[9, 20:25] = True
    grid = Grid(occupied, 0.5, (-3.0, 7.0))
    points = obstacle_points(Scene(grid=grid))
    row, column = np.round((points - [-3.0, 7.0]) / 0.5 - 0.5).astype(int).T[::-1]
    assert len({(r, c) for r, c in zip(row, column, strict=True)}) == MOST_BLOBS
    assert occupied[row, column].all()
    assert 40 <= row[0] <= 44
    assert 40 <= column[0] <= 44
    assert 8 <= row[1] <= 10
    assert 20 <= column[1] <= 24


def test_points_are_made_once_and_hold_no_scene_alive():
    scene = Scene(grid=blob())
    kept = obstacle_points(scene)
    assert obstacle_points(scene) is kept
    assert len(obstacle_points(replace(scene, discs=SCENES["disc"].discs))) == 1 + len(kept)
    alive = [weakref.ref(scene), weakref.ref(scene.grid)]
    del scene
    gc.collect()
    assert [owner() for owner in alive] == [None, None]


def test_signatures_differ_by_either_part():
    none, turn = np.zeros(1), np.full(1, 2 * np.pi)
    same = Signature(none, none[None])
    assert not same.differs(Signature(none + 0.1, none[None] - 0.1))
    assert same.differs(Signature(turn, none[None]))
    assert same.differs(Signature(none, -turn[None]))
