"""Seeded random scenes and scenarios for training, tests and measurements.

All randomness comes from the generator that is handed in; the same generator state gives the same scenario. Every scenario
passes `Scenario.check()`: no robot is proven to be without a plan.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float

from maps.errors import InvalidScenario
from maps.feasibility import least_time
from maps.fleet import Fleet
from maps.library import load_map
from maps.scenario import Scenario
from maps.scene import Grid, Polygon, Scene
from maps.world import bounds_distance, obstacle_distances

Family = Literal["open", "discs", "boxes", "polygons", "rooms", "racks", "grid"]
FAMILIES: tuple[Family, ...] = get_args(Family)
SCENES = 40  # scenes tried for a scenario
DRAWS = 4_000  # places tried for the starts or goals of a fleet
ROUNDS = 20  # times that robots which cannot be planned are placed anew
CUT_OUT = 200  # cells, side of a piece of an occupancy map
WALL = 0.15  # m, thickness


@dataclass(frozen=True)
class SamplingConfig:
    """What random scenarios look like; each pair is the range of a uniform draw."""

    size: float = 10.0  # m, side of the square
    radius: tuple[float, float] = (0.15, 0.35)  # m
    v_max: tuple[float, float] = (0.8, 1.5)  # m/s
    a_max: tuple[float, float] = (0.8, 2.0)  # m/s^2
    spare: float = 0.1  # m, room that starts and goals keep beyond what they need
    slack: tuple[float, float] = (1.6, 3.0)  # horizon over the longest least time of a robot
    pause: float = 2.0  # s, added to the horizon
    moving: float = 0.0  # share of robots that start in motion


def sample_scenario(
    rng: np.random.Generator, robots: int, family: Family | None = None, config: SamplingConfig | None = None, margin: float = 0.0
) -> Scenario:
    """A random scenario that passes its check.

    Args:
        rng: where all randomness comes from.
        robots: size of the fleet.
        family: kind of scene; None: drawn.
        config: what it looks like.
        margin: m, extra room kept from everything.

    Raises:
        InvalidScenario: no room for that many robots in any scene tried.
    """
    config = config or SamplingConfig()
    for _ in range(SCENES):
        scene = sample_scene(rng, family or FAMILIES[int(rng.integers(len(FAMILIES)))], config.size)
        fleet = sample_fleet(rng, robots, config)
        scenario = _placed(rng, scene, fleet, (config, margin))
        if scenario is not None:
            return scenario
    raise InvalidScenario(f"no room for {robots} robots in {SCENES} scenes", value=robots)


def sample_fleet(rng: np.random.Generator, robots: int, config: SamplingConfig | None = None) -> Fleet:
    """Robots r0, r1, ... of different sizes and limits."""
    config = config or SamplingConfig()
    radius, v_max, a_max = (torch.from_numpy(rng.uniform(*span, robots)) for span in (config.radius, config.v_max, config.a_max))
    return Fleet(tuple(f"r{k}" for k in range(robots)), radius, v_max, a_max)


def sample_scene(rng: np.random.Generator, family: Family, size: float = 10.0) -> Scene:
    """A random scene.

    Args:
        rng: where all randomness comes from.
        family: `open` nothing, `discs` pillars, `boxes` turned boxes, `polygons` non-convex outlines, `rooms` walls with
            doors, `racks` rows of shelves, `grid` a piece of the depot's occupancy map, turned and mirrored.
        size: m, side of the square from (0, 0); a grid has the size of its cells.
    """
    return _MAKERS[family](rng, size)


def _open(_: np.random.Generator, size: float) -> Scene:
    return Scene((0.0, 0.0, size, size))


def _discs(rng: np.random.Generator, size: float) -> Scene:
    count = rng.integers(4, 17)
    discs = np.concatenate([rng.uniform(0.08 * size, 0.92 * size, (count, 2)), rng.uniform(0.03, 0.06, (count, 1)) * size], 1)
    return Scene((0.0, 0.0, size, size), torch.from_numpy(discs))


def _boxes(rng: np.random.Generator, size: float) -> Scene:
    polygons = []
    for _ in range(rng.integers(3, 11)):
        half = rng.uniform(0.02, 0.08, 2) * size
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
        polygons.append(Polygon(_turned(corners, rng.uniform(0, np.pi)) + rng.uniform(0.1 * size, 0.9 * size, 2)))
    return Scene((0.0, 0.0, size, size), polygons=tuple(polygons))


def _polygons(rng: np.random.Generator, size: float) -> Scene:
    polygons = []
    for _ in range(rng.integers(2, 7)):
        count = rng.integers(5, 12)
        angle = 2 * np.pi * (np.arange(count) + rng.uniform(0, 0.8, count)) / count
        radius = rng.uniform(0.03, 0.13, count) * size
        polygons.append(Polygon(np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1) + rng.uniform(0.15 * size, 0.85 * size, 2)))
    return Scene((0.0, 0.0, size, size), polygons=tuple(polygons))


def _rooms(rng: np.random.Generator, size: float) -> Scene:
    columns, rows = rng.integers(2, 4, 2)
    walls = _partitions(rng, size, (int(columns), int(rows)))
    walls += [box[:, ::-1] for box in _partitions(rng, size, (int(rows), int(columns)))]
    return Scene((0.0, 0.0, size, size), polygons=tuple(Polygon(np.ascontiguousarray(box)) for box in walls))


def _partitions(rng: np.random.Generator, size: float, cut: tuple[int, int]) -> list[np.ndarray]:
    """Upright walls between columns of rooms, each with a door in every row of rooms."""
    columns, rows = cut
    walls = []
    for x in size * np.arange(1, columns) / columns:
        for row in range(rows):
            low, high = size * row / rows, size * (row + 1) / rows
            door = rng.uniform(0.1, 0.16) * size
            at = rng.uniform(low + 0.05 * size, high - 0.05 * size - door)
            walls += [_box(x - WALL / 2, low, x + WALL / 2, at), _box(x - WALL / 2, at + door, x + WALL / 2, high)]
    return walls


def _racks(rng: np.random.Generator, size: float) -> Scene:
    depth, aisle, cross = rng.uniform(0.06, 0.09) * size, rng.uniform(0.13, 0.2) * size, rng.uniform(0.15, 0.2) * size
    length = (size - 3 * cross) / 2
    y, racks = aisle, []
    while y + depth + aisle <= size:
        racks += [_box(x, y, x + length, y + depth) for x in (cross, 2 * cross + length) if rng.random() < 0.9]
        y += depth + aisle
    return Scene((0.0, 0.0, size, size), polygons=tuple(map(Polygon, racks)))


def _cut_out(rng: np.random.Generator, _: float) -> Scene:
    depot = load_map("depot").grid
    if depot is None:
        raise InvalidScenario("the depot has no occupancy map")
    row, column = (int(rng.integers(0, side - CUT_OUT + 1)) for side in depot.occupied.shape)
    piece = np.rot90(depot.occupied[row : row + CUT_OUT, column : column + CUT_OUT], int(rng.integers(4)))
    piece = piece[:, ::-1] if rng.random() < 0.5 else piece
    return Scene(grid=Grid(np.ascontiguousarray(piece), depot.resolution, (0.0, 0.0)))


_MAKERS: dict[Family, Callable[[np.random.Generator, float], Scene]] = {
    "open": _open,
    "discs": _discs,
    "boxes": _boxes,
    "polygons": _polygons,
    "rooms": _rooms,
    "racks": _racks,
    "grid": _cut_out,
}


def _box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _turned(points: np.ndarray, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, s], [-s, c]])


def _placed(rng: np.random.Generator, scene: Scene, fleet: Fleet, how: tuple[SamplingConfig, float]) -> Scenario | None:
    """Starts and goals for a fleet in a scene; None where there is no room."""
    config, margin = how
    needed = fleet.radius.numpy() + margin
    start, goal = _places(rng, scene, needed, config.spare), _places(rng, scene, needed, config.spare)
    for _ in range(ROUNDS):
        if start is None or goal is None:
            return None
        velocity = _velocities(rng, scene, start, (fleet, config, margin))
        least = least_time(goal - start, velocity, fleet.v_max.numpy(), fleet.a_max.numpy()).max()
        horizon = float(least * rng.uniform(*config.slack) + config.pause)
        ends = (torch.from_numpy(start.copy()), torch.from_numpy(goal.copy()), torch.from_numpy(velocity))
        scenario = Scenario(scene, fleet, *ends, torch.zeros_like(ends[0]), horizon, margin)
        wrong = np.array([reason is not None for reason in scenario.check()])
        if not wrong.any():
            return scenario
        start = _places(rng, scene, needed, config.spare, np.where(wrong[:, None], np.nan, start))
        goal = _places(rng, scene, needed, config.spare, np.where(wrong[:, None], np.nan, goal))
    return None


def _places(
    rng: np.random.Generator, scene: Scene, needed: np.ndarray, spare: float, kept: Float[np.ndarray, "N 2"] | None = None
) -> Float[np.ndarray, "N 2"] | None:
    """A free place for every robot, apart from each other; those of `kept` that are not NaN stay."""
    place = np.full((len(needed), 2), np.nan) if kept is None else kept.copy()
    low, high = np.array(scene.extent).reshape(2, 2)
    drawn = rng.uniform(low, high, (DRAWS, 2))
    clearance = _clearance(scene, drawn, float(needed.max()) + spare + 1.0)
    waiting = [int(k) for k in np.argsort(-needed) if np.isnan(place[k, 0])]
    for candidate, room in zip(drawn, clearance, strict=True):
        if not waiting:
            break
        robot = waiting[0]
        away = np.hypot(*(place - candidate).T) - needed - needed[robot]
        if room >= needed[robot] + spare and not (away < spare).any():
            place[robot] = candidate
            waiting.pop(0)
    return None if waiting else place


def _clearance(scene: Scene, places: np.ndarray, reach: float) -> np.ndarray:
    """Distances to obstacles and bounds, m."""
    walls = np.array([bounds_distance(x, y, scene.world) for x, y in places])
    return np.minimum(obstacle_distances(places, scene.world, reach)[0], walls)


def _velocities(rng: np.random.Generator, scene: Scene, start: np.ndarray, how: tuple[Fleet, SamplingConfig, float]) -> np.ndarray:
    """Velocities of moving starts, slow enough to stop within half of the room that is there, other robots counted."""
    fleet, config, margin = how
    needed = fleet.radius.numpy() + margin
    between = np.hypot(*(start[:, None] - start).transpose(2, 0, 1)) - needed[:, None] - needed
    np.fill_diagonal(between, np.inf)
    room = np.minimum(_clearance(scene, start, 10.0) - needed, between.min(1) / 2)
    fastest = np.minimum(0.9 * fleet.v_max.numpy(), np.sqrt(fleet.a_max.numpy() * room))
    speed = np.where(rng.random(len(start)) < config.moving, rng.uniform(0, fastest), 0.0)
    angle = rng.uniform(0, 2 * np.pi, len(start))
    return speed[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
