"""A certified plan made cheaper: smoothed by its own cost, filtered again, kept if better and certified."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from maps.curve import END_POINTS
from maps.scenario import Scenario
from planner.choose import Candidate, best, different, speed_quadrature, squared_derivatives
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
    """Smooths and repairs the plans that each task will return, while that pays and time is left."""
    for task in tasks:
        for candidate in returned(task):
            _polish(task, candidate, safety_filter, config)


def returned(task: Task) -> list[Candidate]:
    """The plans that a task's answer is made of, best first."""
    most = task.options.alternatives
    return different(task.found, most, task.scenario.scene) if most > 1 else [best(task.found)]


def _polish(task: Task, candidate: Candidate, safety_filter: SafetyFilter, config: PolishConfig) -> None:
    pull = config.pull
    for _ in range(config.passes):
        if candidate.metrics.cost <= config.enough or task.over():
            return
        better = _again(task, candidate, smoothed(candidate.control_points, task.scenario, task.horizon, pull), safety_filter, config)
        if better.metrics.cost > candidate.metrics.cost - config.gain:
            pull *= config.tighten
        candidate = better


def _again(
    task: Task, candidate: Candidate, control_points: Float[np.ndarray, "N n 2"], safety_filter: SafetyFilter, config: PolishConfig
) -> Candidate:
    """Filters a changed plan; if it is certified and cheaper it joins the task's plans, with the rounds of the plan it grew from."""
    rounds, known = task.rounds, len(task.found)
    wave = Wave(candidate.source, "filter", lambda _: torch.zeros(0, 0, 0, 2), config.repair)
    filter_proposals([task], [torch.from_numpy(control_points)[None]], wave, safety_filter)
    task.rounds = rounds
    cheaper = [replace(c, rounds=candidate.rounds) for c in task.found[known:] if c.metrics.cost < candidate.metrics.cost]
    task.found[known:] = cheaper
    return cheaper[0] if cheaper else candidate


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
