"""Seeded random scenarios for training, tests and measurements.

All randomness comes from the generator that is handed in; the same generator state gives the same scenario. Every scenario
passes `Scenario.check()`: no robot is proven to be without a plan.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from maps.errors import InvalidScenario
from maps.feasibility import least_time
from maps.fleet import Fleet
from maps.sampling_places import PLACEMENTS, Ground, Placement, place_fleet, scatter
from maps.sampling_scenes import FAMILIES, Family, sample_scene
from maps.sampling_site import Site
from maps.sampling_ways import Ways, clearance
from maps.scenario import Scenario
from maps.scene import Grid, Polygon, Scene

__all__ = [
    "FAMILIES",
    "PLACEMENTS",
    "TRAINING",
    "Family",
    "Placement",
    "SamplingConfig",
    "Site",
    "sample_fleet",
    "sample_scenario",
    "sample_scene",
]

SCENES = 40  # scenes tried for a scenario
ROUNDS = 20  # times that robots which cannot be planned are placed anew

Range = tuple[float, float]  # of a uniform draw


@dataclass(frozen=True)
class SamplingConfig:
    """What random scenarios look like.

    Sizes and limits are drawn uniformly for each robot. With `size_in_radii` they are drawn log-uniformly for each fleet
    instead, and its robots are alike or have a share of them.
    """

    size: float = 10.0  # m, side of the square
    size_in_radii: Range | None = None  # longer side over the radius of the largest robot, log-uniform; None: `size` counts
    aspect: Range = (1.0, 1.0)  # shorter side over the longer one
    area: float = 0.0  # floor that each robot has at least, squares of the largest radius; only with `size_in_radii`
    radius: Range = (0.15, 0.35)  # m
    v_max: Range = (0.8, 1.5)  # m/s
    a_max: Range = (0.8, 2.0)  # m/s^2
    alike: float = 0.5  # share of fleets whose robots have the same size, and of those with the same limits
    least: float = 0.4  # of the largest radius or limit of a mixed fleet that every robot has
    spare: float = 0.1  # m, room that starts and goals keep beyond what they need
    spare_in_radii: float = 0.0  # the same in largest radii, added
    slack: Range = (1.6, 3.0)  # horizon over the longest least time of a robot
    pause: float = 2.0  # s, added to the horizon
    pause_in_steps: Range = (0.0, 0.0)  # times in which the slowest robot goes its own width, added to the horizon
    around: bool = False  # whether least times count the way around walls, and places must hang together
    moving: float = 0.0  # share of robots that start in motion
    moving_fleets: float = 1.0  # share of the fleets in which any do
    offset: float = 0.0  # sides by which a scene may lie off the origin
    placements: tuple[tuple[Placement, float], ...] = (("scattered", 1.0),)  # weight of each
    grids: tuple[Grid, ...] = ()  # occupancy maps to cut pieces from, beside the built-in ones


TRAINING = SamplingConfig(
    size_in_radii=(20.0, 100.0),
    aspect=(0.4, 1.0),
    area=24.0,
    radius=(0.05, 0.5),
    v_max=(0.2, 3.0),
    a_max=(0.2, 5.0),
    spare=0.0,
    spare_in_radii=0.1,
    slack=(1.35, 3.0),
    pause=0.0,
    pause_in_steps=(0.5, 2.0),
    around=True,
    moving=0.6,
    moving_fleets=0.35,
    offset=2.0,
    placements=(("scattered", 0.35), ("swap", 0.2), ("opposed", 0.15), ("streams", 0.15), ("exchange", 0.15)),
)


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
        drawn = family or FAMILIES[int(rng.integers(len(FAMILIES)))]
        site = _sample_site(rng, robots, (config, margin))
        scene = _shifted(
            sample_scene(rng, drawn, site), rng.uniform(-config.offset, config.offset, 2) * site.size if config.offset else None
        )
        fleet = sample_fleet(rng, robots, config, site.robot - margin if config.size_in_radii else None)
        scenario = _placed(rng, scene, fleet, (config, margin))
        if scenario is not None:
            return scenario
    raise InvalidScenario(f"no room for {robots} robots in {SCENES} scenes", value=robots)


def sample_fleet(rng: np.random.Generator, robots: int, config: SamplingConfig | None = None, largest: float | None = None) -> Fleet:
    """Robots r0, r1, ...

    Args:
        rng: where all randomness comes from.
        robots: how many.
        config: their sizes and limits.
        largest: m, radius of the largest robot of a fleet drawn as one; None: each robot is drawn for itself.
    """
    config = config or SamplingConfig()
    spans = (config.radius, config.v_max, config.a_max)
    if largest is None:
        values = [rng.uniform(*span, robots) for span in spans]
    else:
        size, limits = rng.random(2) < config.alike
        tops = [largest, *(_log_uniform(rng, span) for span in spans[1:])]
        values = [top * _shares(rng, robots, 1.0 if same else config.least) for top, same in zip(tops, (size, limits, limits), strict=True)]
    radius, v_max, a_max = map(torch.from_numpy, values)
    return Fleet(tuple(f"r{k}" for k in range(robots)), radius, v_max, a_max)


def _shares(rng: np.random.Generator, robots: int, least: float) -> Float[np.ndarray, " N"]:
    """Random shares of which the largest is 1."""
    shares = rng.uniform(least, 1.0, robots)
    return shares / shares.max()


def _log_uniform(rng: np.random.Generator, span: Range) -> float:
    return float(np.exp(rng.uniform(*np.log(span))))


def _sample_site(rng: np.random.Generator, robots: int, how: tuple[SamplingConfig, float]) -> Site:
    config, margin = how
    if config.size_in_radii is None:
        return Site(config.size, config.size, config.radius[1] + margin, config.grids)
    robot = _log_uniform(rng, config.radius) + margin
    aspect = rng.uniform(*config.aspect)
    low, high = config.size_in_radii
    longer = max(_log_uniform(rng, (low, high)), np.sqrt(config.area * robots / aspect)) * robot
    shorter = max(aspect * longer, min(longer, 0.6 * low * robot))
    width, height = (longer, shorter) if rng.random() < 0.5 else (shorter, longer)
    return Site(width, height, robot, config.grids, rescaled=True)


def _shifted(scene: Scene, by: Float[np.ndarray, " 2"] | None) -> Scene:
    if by is None:
        return scene
    x, y = float(by[0]), float(by[1])
    if scene.grid is not None:
        return Scene(grid=replace(scene.grid, origin=(scene.grid.origin[0] + x, scene.grid.origin[1] + y)))
    x0, y0, x1, y1 = scene.extent
    polygons = tuple(Polygon(polygon.outer + by) for polygon in scene.polygons)
    return Scene((x0 + x, y0 + y, x1 + x, y1 + y), scene.discs + torch.tensor([x, y, 0.0], dtype=torch.float64), polygons)


def _placed(rng: np.random.Generator, scene: Scene, fleet: Fleet, how: tuple[SamplingConfig, float]) -> Scenario | None:
    """Starts and goals for a fleet in a scene; None where there is no room."""
    config, margin = how
    needed = fleet.radius.numpy() + margin
    spare = config.spare + config.spare_in_radii * float(fleet.radius.max())
    ground = Ground(scene, needed, spare, Ways.of(scene, float(needed.max())) if config.around else None)
    placement = _choice(rng, config.placements)
    places = place_fleet(rng, ground, placement)
    for _ in range(ROUNDS):
        if places is None:
            return None
        scenario = _timed(rng, fleet, (ground, config, margin), places)
        wrong = np.array([reason is not None for reason in scenario.check()])
        if not wrong.any():
            return scenario
        places = _again(rng, ground, placement, places, wrong)
    return None


def _again(
    rng: np.random.Generator, ground: Ground, placement: Placement, places: tuple[np.ndarray, np.ndarray], wrong: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """The same with those robots that are wrong, or for arranged fleets all of them, placed anew."""
    if placement != "scattered":
        return place_fleet(rng, ground, placement)
    start, goal = (scatter(rng, ground, np.where(wrong[:, None], np.nan, place)) for place in places)
    return None if start is None or goal is None else (start, goal)


def _choice(rng: np.random.Generator, placements: Sequence[tuple[Placement, float]]) -> Placement:
    if len(placements) == 1:
        return placements[0][0]
    weight = np.array([weight for _, weight in placements])
    return placements[int(rng.choice(len(weight), p=weight / weight.sum()))][0]


def _timed(
    rng: np.random.Generator, fleet: Fleet, how: tuple[Ground, SamplingConfig, float], places: tuple[np.ndarray, np.ndarray]
) -> Scenario:
    """The scenario with velocities and a horizon."""
    (ground, config, margin), (start, goal) = how, places
    velocity = _velocities(rng, fleet, (ground, config), start)
    v_max, a_max = fleet.v_max.numpy(), fleet.a_max.numpy()
    way = goal - start
    if ground.ways is not None:
        straight, length = np.hypot(*way.T), ground.ways.length(start, goal)
        way = way * np.where(np.isfinite(length), length / np.maximum(straight, 1e-9), 1.0)[:, None]
    horizon = float(least_time(way, velocity, v_max, a_max).max() * rng.uniform(*config.slack) + config.pause)
    if config.pause_in_steps[1] > 0:
        width = np.stack([2.0 * ground.needed, np.zeros(len(fleet))], 1)
        horizon += float(least_time(width, np.zeros_like(start), v_max, a_max).max() * rng.uniform(*config.pause_in_steps))
    ends = (torch.from_numpy(start.copy()), torch.from_numpy(goal.copy()), torch.from_numpy(velocity))
    return Scenario(ground.scene, fleet, *ends, torch.zeros_like(ends[0]), horizon, margin)


def _velocities(rng: np.random.Generator, fleet: Fleet, how: tuple[Ground, SamplingConfig], start: np.ndarray) -> np.ndarray:
    """Velocities of moving starts, slow enough to stop within half of the room that is there, other robots counted."""
    ground, config = how
    needed = ground.needed
    between = np.hypot(*(start[:, None] - start).transpose(2, 0, 1)) - needed[:, None] - needed
    np.fill_diagonal(between, np.inf)
    room = np.minimum(clearance(start, ground.scene, 10.0) - needed, between.min(1) / 2)
    fastest = np.minimum(0.9 * fleet.v_max.numpy(), np.sqrt(fleet.a_max.numpy() * room))
    share = config.moving if config.moving_fleets >= 1.0 or rng.random() < config.moving_fleets else 0.0
    speed = np.where(rng.random(len(start)) < share, rng.uniform(0, fastest), 0.0)
    angle = rng.uniform(0, 2 * np.pi, len(start))
    return speed[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
