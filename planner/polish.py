"""A certified plan made cheaper: smoothed by its own cost, filtered again, kept if better and certified."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from maps.curve import END_POINTS
from maps.scenario import Scenario
from planner.choose import best, speed_quadrature, squared_derivatives
from planner.task import Task
from planner.waves import Wave, filter_proposals
from safety_filter.problem import FilterConfig
from safety_filter.solver import SafetyFilter


@dataclass(frozen=True)
class PolishConfig:
    """How far and how often a plan is smoothed."""

    passes: int = 1
    enough: float = 1.06  # cost below which a plan is left as it is
    pull: float = 0.1  # weight of staying near the plan, cost per mean square radius
    tighten: float = 6.0  # factor of the pull after a pass that gained nothing
    gain: float = 1e-3  # decrease of the cost that makes another pass worth while
    repair: FilterConfig = FilterConfig(penalty=8.0, wall_penalty=30.0)  # noqa: RUF009 - frozen


def polish(tasks: Sequence[Task], safety_filter: SafetyFilter, config: PolishConfig) -> None:
    """Smooths and repairs each task's best plan, while that pays and time is left."""
    pulls = {id(task): config.pull for task in tasks}
    for _ in range(config.passes):
        tasks = [task for task in tasks if best(task.found).metrics.cost > config.enough and not task.over()]
        for task in tasks:
            before = best(task.found)
            _again(task, smoothed(before.control_points, task.scenario, task.horizon, pulls[id(task)]), safety_filter, config)
            if best(task.found).metrics.cost > before.metrics.cost - config.gain:
                pulls[id(task)] *= config.tighten


def _again(task: Task, control_points: Float[np.ndarray, "N n 2"], safety_filter: SafetyFilter, config: PolishConfig) -> None:
    """Filters a changed plan; what is certified joins the task's plans, with the rounds of the plan it grew from."""
    before, rounds, known = best(task.found), task.rounds, len(task.found)
    wave = Wave(before.source, "filter", lambda _: torch.zeros(0, 0, 0, 2), config.repair)
    filter_proposals([task], [torch.from_numpy(control_points)[None]], wave, safety_filter)
    task.rounds = rounds
    task.found[known:] = [replace(candidate, rounds=before.rounds) for candidate in task.found[known:]]


def smoothed(control_points: Float[np.ndarray, "N n 2"], scenario: Scenario, horizon: float, pull: float) -> Float[np.ndarray, "N n 2"]:
    """A step of each robot towards less cost, without regard to anything in the way.

    Minimises a quadratic that lies on the cost from above: lengths enter as mean squared speeds over the present ones
    (iteratively reweighted least squares), plus `pull` times the mean squared distance to the plan in radii.
    """
    count = control_points.shape[1]
    rows, weights = speed_quadrature(count)
    straight = float(np.linalg.norm(scenario.goal.numpy() - scenario.start.numpy(), axis=1).sum())
    speed = np.linalg.norm(rows @ control_points, axis=-1)
    slow = 0.05 * speed.mean(axis=1, keepdims=True) + 1e-9
    scaled = (weights / np.maximum(speed, slow) / max(straight, 1e-6))[:, None, :]
    length = (rows.T * scaled) @ rows
    bend = squared_derivatives(count, 2) / (horizon**4 * len(control_points) * float(((scenario.fleet.a_max / 2) ** 2).mean()))
    near = pull / (len(control_points) * scenario.fleet.radius.numpy()[:, None, None] ** 2) * squared_derivatives(count, 0)
    free = slice(END_POINTS, count - END_POINTS)
    pushed = (length + bend) @ control_points
    out = control_points.copy()
    out[:, free] -= np.linalg.solve((length + bend + near)[:, free, free], pushed[:, free])
    return out
