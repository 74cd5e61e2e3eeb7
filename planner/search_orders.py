"""The fleet's plan: robots in a priority order, then repairs of what is left in conflict, compiled.

A step during which two robots are closer than they need has a cost, so that a path is always found. Robots left in conflict
are planned again, the cost growing, until none is left: prioritised planning with the repair of Li, Chen, Harabor, Stuckey,
Koenig, MAPF-LNS2 (AAAI 2022).
"""

import numpy as np
from numba import njit

from maps.world import FAR
from planner.search_problem import mark, path_conflicts
from planner.space_time import plan_one


@njit(cache=True, nogil=True)
def plan_fleet(order, seed, query):
    """Plans all robots in a priority order and repairs conflicts.

    A repair takes one robot in conflict and up to `tuning.group` others off the plan, those in conflict with it first, then
    those that pass near it, and plans them again in a random order. What comes out worse is undone.

    Args:
        order: (N,) robots, first to plan first.
        seed: of the repairs.
        query: the task; memory.path holds the moving obstacles, the robots' paths are written there.

    Returns:
        (N,) steps times others that each robot is still in conflict with; -1 where one has no path in time.
    """
    path, need = query.memory.path, query.fleet.need
    _clear_paths(order, query)
    weight = query.tuning.weight * query.lattice.pitch.max()
    left = np.zeros(order.size, dtype=np.int64)
    for i in order:
        if not plan_one(i, weight, query):
            left[i] = -1
            return left
        mark(i, 1, query)
    draw = seed
    for _ in range(query.tuning.repairs + 1):
        for i in range(order.size):
            left[i] = path_conflicts(i, path, need)
        troubled = np.flatnonzero(left)
        if troubled.size == 0:
            break
        draw = _next_draw(draw)
        group = _neighbours(troubled[(draw >> 12) % troubled.size], draw, query)
        draw = _shuffle(group, draw)
        _plan_again(group, weight, query)
    return left


@njit(cache=True, nogil=True)
def _next_draw(draw):
    """The next number of a linear congruential sequence (ANSI C's); its upper bits are the better ones."""
    return (draw * 1103515245 + 12345) & 0x7FFFFFFF


@njit(cache=True, nogil=True)
def _shuffle(group, draw):
    """Shuffles in place and returns the last number drawn."""
    for k in range(group.size - 1, 0, -1):
        draw = _next_draw(draw)
        other = (draw >> 12) % (k + 1)
        group[k], group[other] = group[other], group[k]
    return draw


@njit(cache=True, nogil=True)
def _neighbours(i, draw, query):
    """Robot i and up to `tuning.group` others: those in conflict with it, then those that come nearest, with some chance."""
    path, need = query.memory.path, query.fleet.need
    count = query.fleet.kind.size
    score = np.empty(count)
    for j in range(count):
        nearest = FAR
        for t in range(path.shape[0]):
            dx, dy = path[t, 0, i] - path[t, 0, j], path[t, 1, i] - path[t, 1, j]
            nearest = min(nearest, dx * dx + dy * dy)
        draw = _next_draw(draw)
        ratio = np.sqrt(nearest) / max(need[i, j], 1e-9)
        score[j] = ratio if ratio < 1.0 else ratio * (0.25 + (draw >> 12) / 524288.0)
    score[i] = -1.0
    return np.argsort(score)[: min(query.tuning.group + 1, count)]


@njit(cache=True, nogil=True)
def _plan_again(group, weight, query):
    """Plans a group of robots anew, one after another; all keep their old paths if that leaves more conflicts."""
    path, need = query.memory.path, query.fleet.need
    before, after = 0, 0
    kept = np.empty((group.size, path.shape[0], 2))
    for k in range(group.size):
        kept[k] = path[:, :, group[k]]
        before += path_conflicts(group[k], path, need)
    for i in group:
        mark(i, -1, query)
        path[:, :, i] = FAR
    for i in group:
        if not plan_one(i, weight, query):
            path[:, :, i] = FAR
            after = before + 1
        else:
            mark(i, 1, query)
    if after == 0:
        for i in group:
            after += path_conflicts(i, path, need)
    if after > before:
        for k in range(group.size):
            if path[0, 0, group[k]] < FAR:
                mark(group[k], -1, query)
            path[:, :, group[k]] = kept[k]
            mark(group[k], 1, query)


@njit(cache=True, nogil=True)
def _clear_paths(order, query):
    """Takes all robots off the plan; moving obstacles are reserved on first use."""
    memory = query.memory
    if memory.cursor[3] == 0:
        memory.cursor[3] = 1
        for j in range(order.size, memory.path.shape[2]):
            mark(j, 1, query)
    for i in order:
        if memory.path[0, 0, i] < FAR:
            mark(i, -1, query)
        memory.path[:, :, i] = FAR
