"""A certified plan made cheaper: filtered again from itself, kept if better."""

from dataclasses import replace

import torch

from planner.choose import best
from planner.task import Task
from planner.waves import Wave, filter_proposals
from safety_filter.problem import FilterConfig
from safety_filter.solver import SafetyFilter

ENOUGH = 1.02  # cost below which a plan is not polished
PASSES = 2


def polish(tasks: list[Task], safety_filter: SafetyFilter, config: FilterConfig) -> None:
    """Runs each task's best plan through the filter again, from a softer penalty, while that pays.

    Tasks whose deadline is near, or that must not be improved, are left as they are.
    """
    for _ in range(PASSES):
        tasks = [task for task in tasks if best(task.found).metrics.cost > ENOUGH and not task.over()]
        improved = []
        for task in tasks:
            chosen = best(task.found)
            rounds = task.rounds
            wave = Wave(chosen.source, "filter", lambda _: torch.zeros(0), config)
            filter_proposals([task], [torch.as_tensor(chosen.control_points)[None]], wave, safety_filter)
            task.rounds = rounds
            task.found = [replace(c, rounds=chosen.rounds) if c.rounds != chosen.rounds and c is task.found[-1] else c for c in task.found]
            if best(task.found) is not chosen:
                improved.append(task)
        tasks = improved
