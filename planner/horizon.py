"""The shortest horizon that can be certified, where the caller gives none."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from planner.task import Task
from planner.waves import Steps

STEP = 1.25  # factor between horizons tried until one is certified
CLOSE = 1.04  # factor within which the shortest is then found
TRIES = 16  # horizons tried upwards before giving up


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


def shortest_horizon(task: Task, solve: Callable[[], Steps]) -> Steps:
    """Gives a task the shortest horizon that was certified, and what was found for it.

    Horizons grow by a factor until one is certified; the factor is then halved, in logarithm, towards the longest that
    failed. A task for which none is certified keeps no horizon and what is known of its last try. Where the scenario
    allows no horizon below one that is longer than what its robots need, that one is tried first.

    Args:
        task: without a horizon.
        solve: makes the steps towards any plan for the horizon that the task has by then.
    """
    low, least = lower_bound(task), task.scenario.least_horizon
    if least >= low:
        low = least
        task.scenario = replace(task.scenario, horizon=least)
        yield from solve()
    for _ in range(TRIES):
        if task.found or task.late:
            break
        task.scenario = replace(task.scenario, horizon=STEP * low)
        yield from solve()
        if not task.found:
            low = task.horizon
    while task.found and task.horizon > CLOSE * low and not task.over():
        kept = task.scenario, task.found
        task.scenario, task.found = replace(task.scenario, horizon=float(np.sqrt(low * task.horizon))), []
        yield from solve()
        if not task.found:
            low = task.horizon
            task.scenario, task.found = kept
