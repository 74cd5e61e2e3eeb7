import math

import numpy as np
import pytest
import shapely
import torch
from torch.autograd import gradcheck

from maps.distance import disc_distance, polygon_distance, robot_gap, safe_norm
from maps.scene import Grid, Polygon, Scene
from maps.scene_batch import SceneBatch
from maps.world import obstacle_distances

REACH = 3.0  # m
U_SHAPE = np.array([[0, 0], [4, 0], [4, 3], [3, 3], [3, 1], [1, 1], [1, 3], [0, 3]], dtype=np.float64)
FRAME = np.array([[5, 5], [9, 4.5], [9.5, 9], [5, 8.5]])
FRAME_HOLE = np.array([[6, 6], [8, 6], [8, 8], [6, 7.5]])


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def turned(ring: np.ndarray, angle: float) -> np.ndarray:
    return ring @ np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def make_scene(kind: str, seed: int = 0) -> Scene:
    rng = np.random.default_rng(seed)
    discs = tensor(np.concatenate([rng.uniform(0, 10, (7, 2)), rng.uniform(0.2, 1.2, (7, 1))], 1))
    polygons = (
        Polygon(turned(U_SHAPE, 0.2 * seed)),
        Polygon(FRAME[::-1].copy(), (FRAME_HOLE,)),
        Polygon(turned(U_SHAPE, 0.9) + np.array([6.0, 1.0])),
    )
    grid = Grid(rng.random((24, 31)) < 0.35, 0.25, (1.5, -2.0))
    return Scene(
        (-1.0, -3.0, 11.0, 10.0),
        discs if kind in ("discs", "all") else torch.zeros(0, 3, dtype=torch.float64),
        polygons if kind in ("polygons", "all") else (),
        grid if kind in ("grid", "all") else None,
    )


def oracle(scene: Scene) -> list[shapely.Geometry]:
    """The obstacles, each by itself; a grid is one."""
    solid = [shapely.Point(x, y).buffer(r, quad_segs=512) for x, y, r in scene.discs.tolist()]
    solid += [shapely.Polygon(p.outer, p.holes) for p in scene.polygons]
    if scene.grid is not None:
        g = scene.grid
        x, y = g.origin
        cells = [(x + c * g.resolution, y + r * g.resolution) for r, c in np.argwhere(g.occupied)]
        solid.append(shapely.union_all([shapely.box(a, b, a + g.resolution, b + g.resolution) for a, b in cells]))
    return solid


def places(count: int, seed: int = 1) -> torch.Tensor:
    return tensor(np.random.default_rng(seed).uniform([-3, -5], [13, 12], (count, 2)))


@pytest.mark.parametrize(("kind", "tolerance"), [("discs", 2e-5), ("polygons", 1e-9), ("grid", 1e-9)])
def test_distances_are_those_of_shapely(kind, tolerance):
    scene, at = make_scene(kind), places(400)
    points = shapely.points(at.numpy())
    solid = oracle(scene)
    signed = [
        np.where(shapely.contains(s, points), -shapely.distance(shapely.boundary(s), points), shapely.distance(s, points)) for s in solid
    ]
    expected = np.clip(np.min(signed, axis=0), -REACH, REACH)
    np.testing.assert_allclose(scene.signed_distance(at, REACH).numpy(), expected, atol=tolerance)
    np.testing.assert_allclose(obstacle_distances(at.numpy(), scene.world, REACH)[0], expected, atol=tolerance)


@pytest.mark.parametrize("reach", [0.3, 3.0, 50.0])
@pytest.mark.parametrize("kind", ["discs", "polygons", "grid", "all"])
def test_tensors_and_compiled_code_agree_with_gradients(kind, reach):
    scene, at = make_scene(kind, 3), places(3000, 2).requires_grad_()
    distance = scene.signed_distance(at, reach)
    (gradient,) = torch.autograd.grad(distance.sum(), at)
    expected, expected_gradient = obstacle_distances(at.detach().numpy(), scene.world, reach)
    np.testing.assert_allclose(distance.detach().numpy(), expected, atol=1e-9)
    np.testing.assert_allclose(gradient.numpy(), expected_gradient, atol=1e-9)
    length = gradient.norm(dim=-1)
    assert (((length - 1).abs() < 1e-9) | (length == 0)).all()
    assert (distance.abs()[length == 0] >= reach).all()
    assert (length[distance >= reach] == 0).all()


def test_gradients_are_those_of_finite_differences():
    scene, at, step = make_scene("all", 5), places(500, 4), 1e-6
    _, gradient = obstacle_distances(at.numpy(), scene.world, REACH)
    shifts = [tensor([step, 0.0]), tensor([0.0, step])]
    slope = torch.stack([(scene.signed_distance(at + s, REACH) - scene.signed_distance(at - s, REACH)) / (2 * step) for s in shifts], -1)
    agree = (slope - torch.from_numpy(gradient)).norm(dim=-1) < 1e-4
    assert agree.float().mean() > 0.995  # all but places on a ridge between two obstacles


def test_gradients_by_discs_and_vertices_are_those_of_finite_differences():
    at, scene = places(12, 6), make_scene("all", 5)
    ring = tensor(U_SHAPE).requires_grad_()
    assert gradcheck(lambda v: polygon_distance(at, torch.cat([v, v.roll(-1, 0)], 1)), ring, atol=1e-6)
    assert gradcheck(lambda d: disc_distance(at, d), scene.discs.clone().requires_grad_(), atol=1e-6)
    moved = Scene(scene.bounds, scene.discs.clone().requires_grad_(), scene.polygons, scene.grid)
    (gradient,) = torch.autograd.grad(moved.signed_distance(at, REACH).sum(), moved.discs)
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


def test_nothing_is_nan_where_distance_is_zero():
    scene = Scene(discs=tensor([[0.0, 0.0, 1.0]]), polygons=(Polygon(U_SHAPE + 5),), grid=Grid(np.eye(4, dtype=bool), 0.5, (-5.0, -5.0)))
    corners = tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 5.0], [7.0, 5.0], [5.0, 6.5], [-5.0, -5.0], [-4.5, -4.5], [-4.75, -4.5], [-3.0, -3.0]])
    at = corners.requires_grad_()
    distance = scene.signed_distance(at, REACH)
    (gradient,) = torch.autograd.grad(distance.sum(), at)
    assert gradient.isfinite().all()
    np.testing.assert_allclose(distance.detach(), [-1.0] + [0.0] * 8, atol=1e-12)
    assert obstacle_distances(corners.detach().numpy(), scene.world, REACH)[0].tolist() == pytest.approx(distance.tolist())
    np.testing.assert_allclose(gradient[:5].numpy(), [[1, 0], [1, 0], gradient[2].tolist(), [0, -1], [-1, 0]])
    zero = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(safe_norm(zero).sum(), zero)
    assert gradient.tolist() == [[1.0, 0.0]] * 3


def test_a_batch_is_its_scenes_one_by_one():
    shared = make_scene("grid", 9).grid
    scenes = [make_scene(kind, seed) for seed, kind in enumerate(["all", "discs", "polygons", "grid", "all"])]
    scenes += [Scene(), Scene(discs=make_scene("discs", 7).discs[:2], grid=shared)]
    at = torch.stack([places(60, k).reshape(6, 10, 2) for k in range(len(scenes))]).requires_grad_()
    batch = SceneBatch.stack(scenes)
    together = batch.signed_distance(at, REACH)
    alone = torch.stack([scene.signed_distance(at[k], REACH) for k, scene in enumerate(scenes)])
    assert together.shape == (7, 6, 10)
    assert torch.equal(together, alone)
    (a,), (b,) = torch.autograd.grad(together.sum(), at), torch.autograd.grad(alone.sum(), at)
    assert torch.equal(a, b)
    assert (together[5] == REACH).all()


def test_equal_grids_are_stored_once():
    scene = make_scene("grid")
    batch = SceneBatch.stack([scene, make_scene("grid", 1), scene])
    assert batch.grids.left.shape[0] == 2
    assert batch.grid_index.tolist() == [0, 1, 0]


def test_bounds_distance_is_that_to_the_nearest_side():
    batch = SceneBatch.stack([make_scene("discs"), Scene()])
    found = batch.bounds_distance(tensor([[[0.0, 0.0], [12.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]]))
    assert found[0].tolist() == [1.0, -1.0]
    assert (found[1] > 1e8).all()


def test_robot_gap_is_centre_distance_less_radii():
    position = tensor([[[0.0, 0.0], [1.0, 0.0]], [[3.0, 4.0], [1.0, 2.0]]])
    gap = robot_gap(position, tensor([1.0, 0.5]))
    assert gap[0, 1].tolist() == [3.5, 0.5]
    assert gap[1, 0].tolist() == [3.5, 0.5]
    assert gap.diagonal().isinf().all()


def test_robot_gap_has_gradients_where_two_robots_meet():
    position = torch.zeros(2, 1, 2, dtype=torch.float64, requires_grad=True)
    gap = robot_gap(position, tensor([1.0, 1.0]))
    assert gap.amin() == -2.0
    (gradient,) = torch.autograd.grad(gap[0, 1].sum(), position)
    assert gradient[:, 0].tolist() == [[1.0, 0.0], [-1.0, 0.0]]
