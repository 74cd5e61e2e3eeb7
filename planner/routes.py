"""Each robot's own way through the map, other robots ignored: what the generator starts from and describes the map along."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maps.curve import fit_control_points
from maps.fleet import Fleet
from maps.scenario import Scenario, ScenarioBatch
from planner.search import lone_paths
from planner.search_grid import segment_clear

WALL_ROOM = 0.05  # radii, room that a straight line must leave to count as free


def routes(scenario: Scenario, horizon: float, count: int, seed: int | None = None) -> Float[Tensor, "N n 2"]:
    """Control points of each robot's way: the minimum-jerk line where walls leave it free, else the shortest way around them.

    Args:
        scenario: the problem.
        horizon: s.
        count: n, control points of a curve.
        seed: None: other robots are ignored; else all ways are found around the walls, in a random order of that seed, and
            each gives way to those before it.

    Returns:
        Curves with the ends that every plan has, m. Where the lattice holds no way in time for some robot, all lines are straight.
    """
    lines = ScenarioBatch.stack([replace(scenario, horizon=horizon)]).minimum_jerk(count)[0]
    blocked = _blocked(scenario) if seed is None else np.ones(len(scenario), dtype=bool)
    if not blocked.any():
        return lines
    rows = torch.from_numpy(np.flatnonzero(blocked))
    path = lone_paths(_only(scenario, rows), horizon, 4 * count, seed)
    if path is not None:
        lines[rows] = fit_control_points(torch.as_tensor(path), lines[rows])
    return lines


def _blocked(scenario: Scenario) -> np.ndarray:
    """(N,) whether something stands in a robot's straight line."""
    start, goal, world = scenario.start.numpy(), scenario.goal.numpy(), scenario.scene.world
    need = scenario.fleet.radius.numpy() * (1.0 + WALL_ROOM) + scenario.margin
    return np.array([not segment_clear(a[0], a[1], b[0], b[1], world, c) for a, b, c in zip(start, goal, need, strict=True)])


def _only(scenario: Scenario, rows: Tensor) -> Scenario:
    """The same problem for some of the robots, nothing moving in it."""
    fleet = scenario.fleet
    kept = Fleet(tuple(fleet.ids[int(k)] for k in rows), fleet.radius[rows], fleet.v_max[rows], fleet.a_max[rows])
    ends = {name: getattr(scenario, name)[rows] for name in ("start", "goal", "start_velocity", "start_acceleration")}
    return replace(scenario, fleet=kept, moving=(), **ends)
