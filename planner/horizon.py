"""The shortest horizon that can be certified, where the caller gives none."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from planner.task import Task

STEP = 1.25  # factor between horizons tried until one is certified
CLOSE = 1.04  # factor within which the shortest is then found
TRIES = 16  # horizons tried upwards before giving up

Solve = Callable[[list[Task]], None]


def lower_bound(task: Task) -> float:
    """A time below which no robot that starts at rest can go straight to its goal, s; at least one sampling step.

    Each robot alone, full acceleration, top speed, full braking.
    """
    fleet = task.scenario.fleet
    distance = np.linalg.norm(task.scenario.goal.numpy() - task.scenario.start.numpy(), axis=1)
    v, a = fleet.v_max.numpy(), fleet.a_max.numpy()
    ramp = v * v / a
    time = np.where(distance < ramp, 2.0 * np.sqrt(distance / a), distance / v + v / a)
    return max(float(time.max()), 0.5)


def shortest_horizon(tasks: list[Task], solve: Solve) -> None:
    """Gives each task the shortest horizon that was certified, and what was found for it.

    Horizons grow by a factor until one is certified; the factor is then halved, in logarithm, towards the longest that
    failed. A task for which none is certified keeps no horizon and what is known of its last try. Where the scenario
    allows no horizon below one that is longer than what its robots need, that one is tried first.
    """
    low = {id(task): max(lower_bound(task), task.scenario.least_horizon) for task in tasks}
    high: dict[int, float] = {}
    climbing = _floored(tasks, low, high, solve)
    for _ in range(TRIES):
        if not climbing:
            break
        for task in climbing:
            _try(task, STEP * low[id(task)])
        solve(climbing)
        for task in climbing:
            (high if task.found else low)[id(task)] = task.horizon
        climbing = [task for task in climbing if not task.found and not task.late]
    _halve([task for task in tasks if task.found], low, high, solve)


def _floored(tasks: list[Task], low: dict[int, float], high: dict[int, float], solve: Solve) -> list[Task]:
    """Tries the least horizons allowed; the tasks for which none is certified yet."""
    floored = [task for task in tasks if 0.0 < task.scenario.least_horizon == low[id(task)]]
    for task in floored:
        _try(task, low[id(task)])
    solve(floored)
    high.update((id(task), task.horizon) for task in floored if task.found)
    return [task for task in tasks if not task.found and not task.late]


def _try(task: Task, horizon: float) -> None:
    task.scenario = replace(task.scenario, horizon=horizon)


def _halve(tasks: list[Task], low: dict[int, float], high: dict[int, float], solve: Solve) -> None:
    while tasks := [task for task in tasks if high[id(task)] > CLOSE * low[id(task)] and not task.over()]:
        kept = {}
        for task in tasks:
            kept[id(task)] = (task.scenario, task.found)
            _try(task, float(np.sqrt(low[id(task)] * high[id(task)])))
            task.found = []
        solve(tasks)
        for task in tasks:
            if task.found:
                high[id(task)] = task.horizon
            else:
                low[id(task)] = task.horizon
                task.scenario, task.found = kept[id(task)]
