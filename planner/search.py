"""Topology where straight lines fail: timed joint paths found by search on a grid, as proposals to the safety filter."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float

from maps.scenario import Scenario
from maps.world import FAR
from planner import search_timing as timing
from planner.search_grid import Lattice, Links, all_goal_distances, build_lattice, link_places
from planner.search_orders import plan_fleet
from planner.search_problem import Fleet, Memory, Query, Tuning, make_memory
from planner.traffic import traffic_routes


@dataclass(frozen=True)
class Setting:
    """One grid and the room that paths on it keep."""

    cell: float  # width of a cell, smallest clearance radii
    pair_slack: float  # extra distance of two robots, share of their radii
    wall_slack: float  # extra distance to walls, share of the radius


@dataclass(frozen=True)
class SearchOptions:
    """How long and how finely to search."""

    orders: int = 8  # most priority orders a setting
    settings: tuple[Setting, ...] = (Setting(1.25, 0.1, 0.05), Setting(0.85, 0.2, 0.03), Setting(1.0, 0.02, 0.01))
    tuning: Tuning = Tuning(weight=20.0, wait=0.1, repairs=6, group=3)  # noqa: RUF009 - a named tuple of constants
    top_speed: float = 0.95  # share of the speed limit that the grid uses
    cell_steps: float = 2.0  # time steps of a move to the next column at the fastest robot's top speed
    retime: float = 0.7  # how far the second timing goes towards even use of the horizon, 0 to 1
    nodes: int = 120_000  # most nodes of a grid
    states: int = 60_000_000  # most nodes times time steps


@dataclass(frozen=True)
class Proposal:
    """A timed joint path."""

    position: Float[np.ndarray, "N T 2"]  # m, at uniform times over [0, horizon]
    retimed: bool  # moved towards even use of the horizon, robots may then overlap; False: free of conflicts
    order: int  # count of the priority order that found it, over all settings


@dataclass(frozen=True)
class _Task:
    """A scenario in numpy, with what every setting shares."""

    scenario: Scenario
    start: np.ndarray  # (N, 2) m
    goal: np.ndarray  # (N, 2) m
    radius: np.ndarray  # (J,) robots, then moving obstacles, m
    v_max: np.ndarray  # (N,) m/s
    horizon: float  # s
    lead: float  # s, standing time before the first step and after the last, for speeding up and braking


@dataclass(frozen=True)
class _Search:
    """One setting of a task, ready to be searched."""

    task: _Task
    lattice: Lattice
    fleet: Fleet
    steps: int
    top: np.ndarray  # (N,) longest way in a step, m
    clearance: np.ndarray  # (N,) distance to walls, m


def propose(scenario: Scenario, horizon: float, samples: int, seed: int, most: int, options: SearchOptions | None = None) -> list[Proposal]:
    """Timed joint paths that no two robots conflict on, found by prioritised space-time search.

    Args:
        scenario: the problem.
        horizon: s, all robots arrive by then.
        samples: uniform times over [0, horizon] to give the paths at, at least 2.
        seed: of the random priority orders.
        most: proposals wanted, in both timings together.
        options: how long and how finely to search.

    Returns:
        At most `most` proposals, those that overlap least first, the shorter before the longer; none if nothing was found.
    """
    options = options or SearchOptions()
    task = _task(scenario, horizon)
    found: list[tuple[float, float, Proposal]] = []
    for order, search, path in _solutions(task, seed, options):
        found += _timings(search, path, samples, order, options.retime)
        if len(found) >= most:
            break
    found.sort(key=lambda entry: entry[:2])
    return [proposal for _, _, proposal in found[:most]]


def lone_paths(
    scenario: Scenario, horizon: float, samples: int, seed: int | None = None, options: SearchOptions | None = None
) -> Float[np.ndarray, "N T 2"] | None:
    """Each robot's own way among the walls, with smooth speed over the whole horizon; where robots meet, they overlap.

    Args:
        scenario: the problem.
        horizon: s.
        samples: uniform times over [0, horizon].
        seed: None: the shortest ways, other robots ignored; else ways that give way to each other's traffic, chosen in a
            random order of that seed.
        options: the first setting's grid is used.

    Returns:
        Places at the times, m; None if the grid holds no way in time for some robot.
    """
    options = options or SearchOptions()
    task = _task(scenario, horizon)
    search = _prepare(task, options.settings[0], options)
    if search is None:
        return None
    steps = max(search.steps, 48)
    path = _ways(search, steps, seed)
    everyone, free = np.arange(path.shape[2]), np.zeros((path.shape[2], path.shape[2]))
    longest = steps if seed is None else max(steps // 8, 4)
    for _ in range(3):
        timing.straighten(path, everyone, search.clearance, np.full(path.shape[2], FAR), free, longest, scenario.scene.world)
    path = timing.retime(path, path.shape[2], 1.0)
    ramp = np.array([1.0 - timing.way(path, i)[-1] / (0.9 * horizon * task.v_max[i]) for i in range(path.shape[2])])
    return timing.eased(path, np.clip(ramp, 0.1, 0.5), samples)


def _ways(search: _Search, steps: int, seed: int | None) -> np.ndarray:
    """Ways at even speed, (steps + 1, 2, N), m."""
    if seed is None:
        return timing.lone_routes(search.fleet, search.lattice, steps)
    count = search.task.start.shape[0]
    order = np.random.default_rng(seed).permutation(count)
    limit = 0.8 * search.task.v_max * search.task.horizon
    return traffic_routes(order, limit, 3.0 * search.task.radius[:count], search.fleet, search.lattice, steps)


def _task(scenario: Scenario, horizon: float) -> _Task:
    fleet = scenario.fleet
    v_max, a_max = fleet.v_max.numpy(), fleet.a_max.numpy()
    radius = np.concatenate([fleet.radius.numpy(), [m.radius for m in scenario.moving]])
    lead = min(0.5 * float((v_max / a_max).min()), 0.04 * horizon)
    return _Task(scenario, scenario.start.numpy().copy(), scenario.goal.numpy().copy(), radius, v_max, horizon, lead)


def _solutions(task: _Task, seed: int, options: SearchOptions) -> Iterator[tuple[int, _Search, np.ndarray]]:
    """Paths without conflict, straightened, (steps + 1, 2, J), each with the count of its order and its search.

    The settings take turns, two orders each.
    """
    runs = [_orders(task, setting, [seed & 0xFFFFFFFF, seed >> 32, k], options) for k, setting in enumerate(options.settings)]
    tried = 0
    for _ in range((options.orders + 1) // 2):
        for run in runs:
            for search, path in islice(run, 2):
                if path is not None:
                    yield tried, search, path
                tried += 1


def _orders(task: _Task, setting: Setting, seed: list[int], options: SearchOptions) -> Iterator[tuple[_Search, np.ndarray | None]]:
    """Tries one priority order after another: the longest way first, then those that failed moved to the front, or at random."""
    search = _prepare(task, setting, options)
    if search is None:
        return
    memory, random = _memory(search), np.random.default_rng(seed)
    query = Query(search.fleet, search.lattice, memory, options.tuning)
    order = np.argsort(-search.fleet.lone, kind="stable")
    for k in range(options.orders):
        left = plan_fleet(order, int(random.integers(1 << 30)), query)
        yield search, None if left.any() else _smoothed(search, memory.path, order)
        failed = left[order] != 0
        order = np.concatenate([order[failed], order[~failed]]) if failed.any() and k % 4 != 3 else random.permutation(order.size)


def _smoothed(search: _Search, path: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Paths from the grid, slowed down to the whole horizon, straightened and evened out; still without conflict."""
    path = path.copy() if search.task.scenario.moving else timing.stretch(path)
    for _ in range(2):
        timing.straighten(path, order, search.clearance, search.top, search.fleet.need, search.steps, search.task.scenario.scene.world)
        timing.even_out(path, order, search.fleet.need)
    return path


def _timings(search: _Search, path: np.ndarray, samples: int, order: int, share: float) -> list[tuple[float, float, Proposal]]:
    """Overlap, length and proposal of a joint path, in its own time and moved towards even use of the horizon."""
    task, count = search.task, search.task.start.shape[0]
    length = sum(timing.way(path, i)[-1] for i in range(count))
    out = []
    for retimed in (False, True):
        timed = timing.retime(path, count, share) if retimed else path
        position = timing.sample_paths(timed, count, task.lead, task.horizon, samples)
        out.append((timing.overlap(timed, count, search.fleet.need), length, Proposal(position, retimed, order)))
    return out


def _prepare(task: _Task, setting: Setting, options: SearchOptions) -> _Search | None:
    """Lattice, distances and paces of a setting; None if it holds no way in time for some robot."""
    count = task.start.shape[0]
    world, margin = task.scenario.scene.world, task.scenario.margin
    classes, kind = _clearance_classes(task.radius[:count])
    clearance = classes * (1.0 + setting.wall_slack) + margin
    extent = _extent(task, float(clearance.min()) + 1e-9)
    area = max((extent[2] - extent[0]) * (extent[3] - extent[1]), 0.0)
    cell = max(setting.cell * float(classes.min()), np.sqrt(area / options.nodes))
    lattice = build_lattice(world, extent, clearance, cell)
    least = task.radius[:count] + margin
    links = [Links(*link_places(places, kind, least, lattice, world)) for places in (task.start, task.goal)]
    span = task.horizon - 2.0 * task.lead
    fastest = options.top_speed * float(task.v_max.max())
    steps = int(span * fastest * options.cell_steps / cell)
    steps = max(min(steps, options.states // (lattice.rows * lattice.columns + 3)), 8)
    top = options.top_speed * task.v_max * span / steps
    field, lone = all_goal_distances(links[1], links[0], kind, lattice, 1.2 * steps * top)
    quickest = 1.0 / top
    if bool((lone * quickest * 0.85 > steps).any()):
        return None
    rate = np.minimum(quickest, 0.97 * steps / np.maximum(lone, 1e-9))
    fleet = Fleet(task.start, task.goal, kind, _needs(task, setting), rate, field, lone, links[0], links[1])
    return _Search(task, lattice, fleet, steps, top / options.top_speed, clearance[kind])


def _clearance_classes(radius: np.ndarray, most: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Radii to make lattices for, at most `most`, and every robot's class; none is smaller than its robots."""
    classes = np.unique(radius)
    if classes.size > most:
        classes = np.unique(np.quantile(classes, np.linspace(0.0, 1.0, most + 1)[1:], method="higher"))
    return classes, np.searchsorted(classes, radius)


def _extent(task: _Task, inset: float) -> tuple[float, float, float, float]:
    """Box of the centres: inside the bounds, or around everything where there are none, with room to go around it."""
    scene = task.scenario.scene
    if scene.bounds is not None:
        low, high = np.array(scene.bounds[:2]) + inset, np.array(scene.bounds[2:]) - inset
        return (*np.minimum(low, high), *np.maximum(low, high))
    places = [task.start, task.goal, *(m.position.numpy() for m in task.scenario.moving)]
    if scene.discs.shape[0] or scene.polygons:
        places.append(np.array(scene.extent).reshape(2, 2))
    everything = np.concatenate(places)
    low, high = everything.min(0), everything.max(0)
    pad = 0.25 * float((high - low).max()) + 6.0 * float(task.radius.max())
    return (*(low - pad), *(high + pad))


def _needs(task: _Task, setting: Setting) -> np.ndarray:
    """Centre distances (J, J) that every two keep: less where they start or end closer."""
    count = task.start.shape[0]
    radius = task.radius[:, None] + task.radius[None]
    need = radius * (1.0 + setting.pair_slack) + task.scenario.margin
    moving = _moving(task, np.array([0.0, task.horizon]))
    for places in (np.concatenate([task.start, moving[0]]), np.concatenate([task.goal, moving[1]])):
        need = np.minimum(need, np.linalg.norm(places[:, None] - places[None], axis=-1) - 1e-9)
    need[count:, count:] = 0.0
    np.fill_diagonal(need, 0.0)
    return need


def _moving(task: _Task, time: np.ndarray) -> np.ndarray:
    """(T, J - N, 2) places of the moving obstacles at given times, m."""
    moving = task.scenario.moving
    if not moving:
        return np.zeros((time.size, 0, 2))
    return np.stack([m.at(torch.from_numpy(time)).numpy() for m in moving], axis=1)


def _memory(search: _Search) -> Memory:
    task = search.task
    memory = make_memory(search.lattice, search.steps, task.radius.size)
    times = np.linspace(task.lead, task.horizon - task.lead, search.steps + 1)
    memory.path[:, :, task.start.shape[0] :] = _moving(task, times).transpose(0, 2, 1)
    return memory
