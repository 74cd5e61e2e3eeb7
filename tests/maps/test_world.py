import numpy as np
import pytest
import shapely
import torch

from maps.errors import InvalidScene
from maps.scene import Grid, Polygon, Scene
from maps.world import FAR, bounds_distance, nearest_obstacles, obstacle_distance, obstacle_distances

SQUARE = Polygon(np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]]), (np.array([[1.0, 1.0], [1.0, 3.0], [3.0, 3.0], [3.0, 1.0]]),))


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ((-1.0, 2.0), (1.0, -1.0, 0.0)),
        ((0.25, 2.0), (-0.25, -1.0, 0.0)),
        ((2.0, 1.5), (0.5, 0.0, 1.0)),
        ((-3.0, -4.0), (5.0, -0.6, -0.8)),
        ((50.0, 2.0), (9.0, 0.0, 0.0)),
    ],
)
def test_a_square_with_a_hole(place, expected):
    assert obstacle_distance(*place, Scene(polygons=(SQUARE,)).world, 9.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("place", "expected"),
    [((3.0, 4.0), (4.0, 0.6, 0.8)), ((0.5, 0.0), (-0.5, 1.0, 0.0)), ((0.0, 0.0), (-1.0, 1.0, 0.0)), ((99.0, 0.0), (9.0, 0.0, 0.0))],
)
def test_a_disc(place, expected):
    assert obstacle_distance(*place, Scene(discs=tensor([[0.0, 0.0, 1.0]])).world, 9.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ((0.25, 2.0), (1.0, 0.0, 1.0)),  # over the lower left cell
        ((1.25, 0.75), (-0.25, 0.0, 1.0)),  # in the middle cell of three in a row, a hair from above
        ((-0.3, -0.4), (0.5, -0.6, -0.8)),  # outside the grid, diagonally
        ((1.25, -7.0), (7.0, 0.0, -1.0)),
        ((99.0, 0.0), (9.0, 0.0, 0.0)),
    ],
)
def test_a_grid_is_the_union_of_its_squares(place, expected):
    cells = np.zeros((4, 6), dtype=bool)
    cells[0:2, 0:5] = True
    world = Scene(grid=Grid(cells, 0.5, (0.0, 0.0))).world
    found = obstacle_distance(*place, world, 9.0)
    assert found == pytest.approx(expected)


def test_a_full_grid_is_left_by_its_sides():
    world = Scene(grid=Grid(np.ones((4, 8), dtype=bool), 0.5, (1.0, 1.0))).world
    assert obstacle_distance(4.75, 2.0, world, 9.0) == pytest.approx((-0.25, 1.0, 0.0))
    assert obstacle_distance(3.0, 1.5, world, 9.0) == pytest.approx((-0.5, 0.0, -1.0))


@pytest.mark.parametrize("resolution", [0.125, 0.5])
def test_grids_of_any_shape_are_as_shapely_says(resolution):
    rng = np.random.default_rng(0)
    cells = rng.random((20, 17)) < 0.5
    world = Scene(grid=Grid(cells, resolution, (-1.0, 2.0))).world
    squares = [shapely.box(c, r, c + 1, r + 1) for r, c in np.argwhere(cells)]
    solid = shapely.affinity.translate(shapely.affinity.scale(shapely.union_all(squares), resolution, resolution, origin=(0, 0)), -1.0, 2.0)
    at = rng.uniform([-3, 0], [17 * resolution + 1, 20 * resolution + 4], (500, 2))
    points = shapely.points(at)
    expected = np.where(
        shapely.contains(solid, points), -shapely.distance(shapely.boundary(solid), points), shapely.distance(solid, points)
    )
    np.testing.assert_allclose(obstacle_distances(at, world, 5.0)[0], expected, atol=1e-12)


def test_many_places_are_the_same_as_one_by_one():
    rng = np.random.default_rng(1)
    scene = Scene(
        discs=tensor(rng.uniform(1, 9, (5, 3)) * [1, 1, 0.1]), polygons=(SQUARE,), grid=Grid(rng.random((8, 8)) < 0.3, 0.5, (4.0, 4.0))
    )
    at, reach = rng.uniform(-2, 12, (300, 2)), rng.uniform(0.1, 4.0, 300)
    distance, gradient_x, gradient_y = (np.empty(300) for _ in range(3))
    nearest_obstacles(at[:, 0].copy(), at[:, 1].copy(), reach, 300, scene.world, distance, gradient_x, gradient_y)
    expected = np.array([obstacle_distance(x, y, scene.world, r) for (x, y), r in zip(at, reach, strict=True)])
    np.testing.assert_allclose(np.stack([distance, gradient_x, gradient_y], 1), expected, atol=1e-12)


def test_bounds_are_measured_from_inside():
    world = Scene((0.0, 0.0, 10.0, 5.0)).world
    assert bounds_distance(3.0, 4.0, world) == 1.0
    assert bounds_distance(-2.0, 4.0, world) == -2.0
    assert bounds_distance(1e5, 1e5, Scene().world) > FAR / 2


def test_a_grid_sets_the_bounds_unless_others_are_given():
    grid = Grid(np.zeros((4, 8), dtype=bool), 0.5, (1.0, 2.0))
    assert Scene(grid=grid).bounds == (1.0, 2.0, 5.0, 4.0)
    assert Scene((0.0, 0.0, 1.0, 1.0), grid=grid).bounds == (0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize("bounds", [(0.0, 0.0, 0.0, 1.0), (0.0, 1.0, 1.0, 0.0)])
def test_empty_bounds_are_refused(bounds):
    with pytest.raises(InvalidScene) as error:
        Scene(bounds)
    assert error.value.pointer == "/bounds"


@pytest.mark.parametrize("disc", [[0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [float("nan"), 0.0, 1.0], [0.0, 0.0, float("inf")]])
def test_discs_without_a_size_are_refused(disc):
    with pytest.raises(InvalidScene) as error:
        Scene(discs=tensor([[0.0, 0.0, 1.0], disc]))
    assert error.value.pointer == "/obstacles/1"


def test_extent_holds_everything():
    assert Scene(discs=tensor([[0.0, 0.0, 1.0]]), polygons=(SQUARE,)).extent == (-1.0, -1.0, 4.0, 4.0)
    assert Scene().extent == (0.0, 0.0, 0.0, 0.0)
