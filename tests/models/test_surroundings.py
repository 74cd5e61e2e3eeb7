"""The free room beside routes, against drawings whose distances are plain."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from maps.fleet import Fleet
from maps.scenario import Scenario
from maps.scene import Grid, Polygon, Scene
from models.path_frame import sample_times
from models.surroundings import ASIDE, LEAST, MOST, free_room

RADIUS, MARGIN = 0.5, 0.1
MIDDLE = 8  # the knot at half time
U = torch.from_numpy(sample_times())[:, None]
WALL = Polygon(np.array([[-20.0, 2.0], [20.0, 2.0], [20.0, 9.0], [-20.0, 9.0]]))


def straight(scene: Scene, ends: list[list[list[float]]], radii: list[float] | None = None) -> tuple[Scenario, Tensor]:
    """Robots on straight routes at an even pace, from and to the given places."""
    place = torch.tensor(ends, dtype=torch.float64)
    robots = len(ends)
    ones, rest = torch.ones(robots, dtype=torch.float64), torch.zeros(robots, 2, dtype=torch.float64)
    radius = RADIUS * ones if radii is None else torch.tensor(radii, dtype=torch.float64)
    fleet = Fleet(tuple(f"r{k}" for k in range(robots)), radius, ones, ones)
    route = place[:, None, 0] * (1.0 - U) + place[:, None, 1] * U
    return Scenario(scene, fleet, place[:, 0], place[:, 1], rest, rest, 20.0, MARGIN), route


def discs(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def expected(distance: list[float]) -> Tensor:
    room = (torch.tensor(distance, dtype=torch.float64) - RADIUS - MARGIN) / RADIUS
    return room.clamp(LEAST, MOST)


SIDES = [-2.0, -1.0, 0.0, 1.0, 2.0]  # m, y of the places beside an eastward route along y = 0, right to left
SCENES = {
    "disc": (Scene(discs=discs([0.0, 3.0, 1.0])), [2.0 - y for y in SIDES]),
    "wall": (Scene(polygons=(WALL,)), [2.0 - y for y in SIDES]),
    "wall on the route": (
        Scene(polygons=(Polygon(np.array([[-20.0, -0.5], [20.0, -0.5], [20.0, 0.5], [-20.0, 0.5]])),)),
        [1.5, 0.5, -0.5, 0.5, 1.5],
    ),
    "block of a grid": (Scene((-99.0, -99.0, 99.0, 99.0), grid=Grid(np.ones((2, 40), bool), 1.0, (-20.0, 1.5))), [1.5 - y for y in SIDES]),
    "bounds": (Scene((-99.0, -2.5, 99.0, 99.0)), [y + 2.5 for y in SIDES]),
    "the nearest of all": (Scene((-99.0, -2.5, 99.0, 99.0), discs([0.0, 3.0, 1.0])), [min(2.0 - y, y + 2.5) for y in SIDES]),
    "nothing": (Scene(), [99.0] * 5),
}


@pytest.mark.parametrize("name", SCENES)
def test_room_on_both_sides_right_to_left(name: str):
    scene, distance = SCENES[name]
    ways = [[[-8.0, 0.0], [8.0, 0.0]], [[8.0, 0.0], [-8.0, 0.0]]]
    room = free_room(*straight(scene, ways))
    assert room.shape == (2, 17, 5)
    assert torch.allclose(room[0, MIDDLE], expected(distance), atol=1e-9)
    assert torch.allclose(room[1, MIDDLE], expected(distance).flip(0), atol=1e-9)  # westward, left is south


def test_room_changes_along_the_way():
    room = free_room(*straight(Scene(discs=discs([0.0, 0.0, 1.0])), [[[-8.0, 0.0], [8.0, 0.0]]]))
    steps = np.arange(-8.0, 9.0)
    assert torch.allclose(room[0, :, 2], expected((np.abs(steps) - 1.0).tolist()), atol=1e-9)
    assert torch.allclose(room[0, :, 4], expected((np.hypot(steps, 2.0) - 1.0).tolist()), atol=1e-9)


def test_deep_inside_and_far_away_are_not_told_apart():
    scene = Scene(discs=discs([0.0, 0.0, 50.0]))
    room = free_room(*straight(scene, [[[-1.0, 0.0], [1.0, 0.0]], [[0.0, 90.0], [5.0, 90.0]]]))
    assert (room[0] == LEAST).all()
    assert (room[1] == MOST).all()


def test_each_robot_counts_in_its_own_radii():
    # far away for the small robot is near for the large one, and no reach is cut short
    radii = [0.05, 1.0]
    room = free_room(*straight(Scene(polygons=(WALL,)), [[[-8.0, 0.0], [8.0, 0.0]], [[-8.0, -5.0], [8.0, -5.0]]], radii))
    for k, (y, r) in enumerate(zip((0.0, -5.0), radii, strict=True)):
        known = ((2.0 - (y + ASIDE * r) - r - MARGIN) / r).clip(LEAST, MOST)
        assert room[k, MIDDLE].numpy() == pytest.approx(known)
    assert bool((room[1, MIDDLE] < MOST).any())


def scattered(seed: int) -> tuple[Scenario, Tensor]:
    rng = np.random.default_rng(seed)
    scene = Scene(discs=torch.from_numpy(rng.uniform([0, 0, 0.2], [9, 9, 0.8], (12, 3))), polygons=_boxes(rng))
    scenario, route = straight(scene, rng.uniform(0, 9, (4, 2, 2)).tolist(), rng.uniform(0.2, 0.5, 4).tolist())
    return scenario, route + 0.5 * torch.sin(math.pi * U) * torch.from_numpy(rng.normal(size=(4, 1, 2)))


def _boxes(rng: np.random.Generator) -> tuple[Polygon, ...]:
    corners = np.array([[0.0, 0.0], [1.0, 0.2], [0.8, 0.9], [0.1, 1.0]])
    return tuple(Polygon(corners + rng.uniform(0, 9, 2)) for _ in range(5))


def test_order_and_number_of_obstacles_do_not_matter():
    scenario, route = scattered(1)
    scene = scenario.scene
    shuffled = replace(scene, discs=scene.discs.flip(0), polygons=scene.polygons[::-1])
    crowd = torch.cat([scene.discs[:5], discs([500.0, 500.0, 3.0], [-700.0, 0.0, 9.0]), scene.discs[5:]])
    crowded = replace(scene, discs=crowd, polygons=(Polygon(WALL.outer + 300.0), *scene.polygons))
    room = free_room(scenario, route)
    assert float(room.std()) > 1.0
    for other in (shuffled, crowded):
        assert torch.equal(free_room(replace(scenario, scene=other), route), room)


@pytest.mark.parametrize(("angle", "scale", "shift"), [(0.0, 1.0, (1e4, -3e3)), (0.7, 1.0, (0.0, 0.0)), (-2.2, 0.01, (5.0, 6.0))])
def test_room_stays_as_the_world_turns_moves_and_grows(angle: float, scale: float, shift: tuple[float, float]):
    scenario, route = scattered(2)
    matrix = scale * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    moved = lambda place: place @ matrix + np.array(shift)  # noqa: E731
    scene, fleet = scenario.scene, scenario.fleet
    centres = torch.from_numpy(moved(scene.discs[:, :2].numpy()))
    turned = Scene(
        discs=torch.cat([centres, scale * scene.discs[:, 2:]], 1), polygons=tuple(Polygon(moved(p.outer)) for p in scene.polygons)
    )
    same = replace(scenario, scene=turned, fleet=replace(fleet, radius=scale * fleet.radius), margin=scale * scenario.margin)
    assert torch.allclose(free_room(same, torch.from_numpy(moved(route.numpy()))), free_room(scenario, route), atol=1e-7)
