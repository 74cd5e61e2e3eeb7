"""A certified plan made cheaper: smoothed by its own cost, filtered again, kept if better and certified."""

from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maps.curve import DEGREE, END_POINTS, curve_basis
from maps.scenario import Scenario
from planner.choose import Candidate, best, different, speed_quadrature
from planner.task import Task
from planner.waves import Steps, Wave
from safety_filter.banded import add_bands, add_gram, add_transpose, apply_rows, factorise, solve_lanes
from safety_filter.problem import FilterConfig


@dataclass(frozen=True)
class PolishConfig:
    """How far and how often a plan is smoothed."""

    passes: int = 1
    enough: float = 1.08  # cost below which a plan is left as it is: what is gained there is not worth the time
    many: int = 40  # robots, beyond which
    enough_of_many: float = 1.15  # is that cost
    pull: float = 0.3  # weight of staying near the plan in the first pass, cost per mean square radius
    tighten: float = 2.0  # factor of the pull from pass to pass
    repair: FilterConfig = FilterConfig(penalty=30.0, wall_penalty=100.0, jerk_weight=1.0, aim=0.003)  # noqa: RUF009 - frozen


def polish(task: Task, config: PolishConfig) -> Steps:
    """Smooths and repairs the plans that a task will return, while that pays and time is left."""
    enough = config.enough if len(task.scenario) <= config.many else config.enough_of_many
    for candidate in returned(task):
        pull = config.pull
        for _ in range(config.passes):
            if candidate.metrics.cost <= enough or task.over():
                break
            rounds, known = task.rounds, len(task.found)
            yield Wave(candidate.source, "filter", partial(_smoother, candidate=candidate, pull=pull), config.repair)
            task.rounds = rounds
            candidate = _cheaper(task, candidate, known)
            pull *= config.tighten


def _smoother(task: Task, candidate: Candidate, pull: float) -> Float[Tensor, "1 N n 2"]:
    return torch.from_numpy(smoothed(candidate.control_points, task.scenario, task.horizon, pull))[None]


def _cheaper(task: Task, candidate: Candidate, known: int) -> Candidate:
    """What a repair led to, if it is cheaper: with the rounds of the plan that it grew from, which it joins; else that plan."""
    cheaper = [replace(c, rounds=candidate.rounds) for c in task.found[known:] if c.metrics.cost < candidate.metrics.cost]
    task.found[known:] = cheaper
    return cheaper[0] if cheaper else candidate


def returned(task: Task) -> list[Candidate]:
    """The plans that a task's answer is made of, best first."""
    most = task.options.alternatives
    return different(task.found, most, task.scenario.scene) if most > 1 else [best(task.found)]


def smoothed(control_points: Float[np.ndarray, "N n 2"], scenario: Scenario, horizon: float, pull: float) -> Float[np.ndarray, "N n 2"]:
    """A step of each robot towards less cost, without regard to anything in the way.

    Minimises a quadratic that lies on the cost from above: lengths enter as mean squared speeds over the present ones
    (iteratively reweighted least squares), plus `pull` times the mean squared distance to the plan in radii.
    """
    robots, count = control_points.shape[:2]
    rows, first, weights = _speed_rows(count)
    column = control_points.transpose(1, 2, 0).reshape(count, 2 * robots).copy()
    way = column - column[0]  # far from the origin, places would drown accelerations
    straight = float(np.linalg.norm(scenario.goal.numpy() - scenario.start.numpy(), axis=1).sum())
    bend = 1.0 / (horizon**4 * robots * float(((scenario.fleet.a_max / 2) ** 2).mean()))
    near = pull / (robots * scenario.fleet.radius.numpy() ** 2)
    velocity, step = np.empty((len(rows), 2 * robots)), np.zeros_like(column)
    apply_rows(rows, first, way, velocity)
    speed = np.hypot(velocity[:, :robots], velocity[:, robots:])
    slow = 0.05 * speed.mean(axis=0) + 1e-9
    weight = weights[:, None] / np.maximum(speed, slow) / max(straight, 1e-6)
    everywhere = np.ones(len(rows), dtype=bool)
    add_transpose(rows, first, velocity * np.tile(weight, 2), everywhere, 1.0, step)
    add_bands(_gram_bands(count, 2), way, bend, step)
    matrix = bend * _gram_bands(count, 2)[:, 5::-1, None] + _gram_bands(count, 0)[:, 5::-1, None] * near
    add_gram(rows, first, weight, everywhere, 1.0, matrix)
    factorise(matrix, END_POINTS, count - END_POINTS)
    solve_lanes(matrix, step, END_POINTS, count - END_POINTS)
    free = slice(END_POINTS, count - END_POINTS)
    column[free] -= step[free]
    return np.ascontiguousarray(column.reshape(count, 2, robots).transpose(2, 0, 1))


@lru_cache(maxsize=64)
def _speed_rows(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The six first derivatives that are not zero at each Gauss point (Q, 6), the first's index (Q,), and weights (Q,)."""
    rows, weights = speed_quadrature(count)
    first = np.repeat(np.arange(count - DEGREE), len(rows) // (count - DEGREE))
    return np.take_along_axis(rows, first[:, None] + np.arange(DEGREE + 1), axis=1), first, weights


@lru_cache(maxsize=64)
def _gram_bands(count: int, order: int) -> Float[np.ndarray, "n 11"]:
    """Bands of the integrals of squared derivatives by dimensionless time; entry [k, 5 + d] in column k + d."""
    gram, bands = curve_basis(count).gram[order], np.zeros((count, 2 * DEGREE + 1))
    for d in range(-DEGREE, DEGREE + 1):
        k = np.arange(max(0, -d), min(count, count - d))
        bands[k, DEGREE + d] = gram[k, k + d]
    return bands
