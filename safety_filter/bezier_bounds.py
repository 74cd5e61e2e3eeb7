"""Smallest values over whole Bezier curves by branch and bound, compiled.

A node is a part of a curve with a lower bound of what is to be minimised, from its control points, and an upper bound,
from a point on the curve. The node is halved (de Casteljau) until its lower bound is at or above the ceiling, within the
tolerance of the smallest value found, or the work allowed is spent; a lower bound always stays one. What is minimised:

    APPROACH  distance of a relative curve from the origin, less an offset (two radii)
    NORM      minus the length of a vector curve (speed or acceleration in units of its limit)
    SIDE      distance from the sides of the bounds, less an offset (a radius)
    WALL      signed distance from the standing obstacles, less an offset (a radius)
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from maps.world import bounds_distance
from safety_filter.wall_bounds import wall_bounds

APPROACH, NORM, SIDE, WALL = 0, 1, 2, 3
START, WIDTH, LOWER = 0, 1, 2  # columns of Workspace.nodes

NOTHING = 1e8  # m, gaps from here on mean that there is nothing to keep away from
FINE = 2e-7  # m or 1, tolerance of smallest values near the limit
COARSE = 5e-6  # m or 1, the same where the limit is further away
AWAY = 1.0  # m or 1, from the limit; of what is beyond, 1 % may be missed
BROKEN_SHARE = 0.01  # tolerance over distance from the limit, below it or far above
KEPT_SHARE = 1e-3  # the same above it
NARROWEST = 1e-12  # share of a piece that is not halved again
NODES = 20_000  # halvings allowed for one piece
ALL_NODES = 1_000_000  # halvings allowed for one workspace
DEPTH = 48  # more than halvings from 1 to NARROWEST


class Workspace(NamedTuple):
    """Memory of the branch and bound; one for each thread."""

    points: np.ndarray  # (DEPTH, order, 2) control points of open nodes
    nodes: np.ndarray  # (DEPTH, 3) of each: where it starts and how long it is, as shares of its piece, and its lower bound
    left: np.ndarray  # (1,) int64 halvings still allowed


class Aim(NamedTuple):
    """What is minimised and how exactly."""

    kind: int  # APPROACH, NORM, SIDE or WALL
    order: int  # control points of a node
    offset: float  # taken off the value
    ceiling: float  # values from here on do not matter
    limit: float  # values below it break a rule


@njit(cache=True, nogil=True)
def make_workspace(order):
    """Memory for pieces with at most `order` control points."""
    left = np.full(1, ALL_NODES, dtype=np.int64)
    return Workspace(np.empty((DEPTH, order, 2)), np.empty((DEPTH, 3)), left)


@njit(cache=True, nogil=True)
def tolerance(value, limit):
    """How exactly a smallest value has to be known."""
    away = value - limit
    if away < 0.0:
        return max(FINE, -BROKEN_SHARE * away)
    return min(max(FINE, KEPT_SHARE * away), COARSE) + BROKEN_SHARE * max(away - AWAY, 0.0)


@njit(cache=True, nogil=True)
def approach_bounds(points, slot, order):
    """Bounds of the smallest distance from the origin; the separating direction is that of the chord's nearest point."""
    last = order - 1
    ax, ay, bx, by = points[slot, 0, 0], points[slot, 0, 1], points[slot, last, 0], points[slot, last, 1]
    dx, dy = bx - ax, by - ay
    length2 = dx * dx + dy * dy
    share = min(max(-(ax * dx + ay * dy) / length2, 0.0), 1.0) if length2 > 0.0 else 0.0
    px, py = ax + share * dx, ay + share * dy
    near = np.sqrt(px * px + py * py)
    lower = 0.0
    if near > 0.0:
        least = np.inf
        for k in range(order):
            least = min(least, px * points[slot, k, 0] + py * points[slot, k, 1])
        lower = max(least / near, 0.0)
    first2, last2 = ax * ax + ay * ay, bx * bx + by * by
    if first2 <= last2:
        return lower, np.sqrt(first2), 0.0
    return lower, np.sqrt(last2), 1.0


@njit(cache=True, nogil=True)
def _norm_bounds(points, slot, order):
    last = order - 1
    most = 0.0
    for k in range(order):
        most = max(most, points[slot, k, 0] * points[slot, k, 0] + points[slot, k, 1] * points[slot, k, 1])
    first2 = points[slot, 0, 0] * points[slot, 0, 0] + points[slot, 0, 1] * points[slot, 0, 1]
    last2 = points[slot, last, 0] * points[slot, last, 0] + points[slot, last, 1] * points[slot, last, 1]
    if first2 >= last2:
        return -np.sqrt(most), -np.sqrt(first2), 0.0
    return -np.sqrt(most), -np.sqrt(last2), 1.0


@njit(cache=True, nogil=True)
def _side_bounds(points, slot, order, world):
    last = order - 1
    lower = np.inf
    for k in range(order):
        lower = min(lower, bounds_distance(points[slot, k, 0], points[slot, k, 1], world))
    first, final = (
        bounds_distance(points[slot, 0, 0], points[slot, 0, 1], world),
        bounds_distance(points[slot, last, 0], points[slot, last, 1], world),
    )
    if first <= final:
        return lower, first, 0.0
    return lower, final, 1.0


@njit(cache=True, nogil=True)
def _node_bounds(points, slot, aim, world, enough):
    """Lower bound, attained value and where in the node; bounds beyond `enough` need not be sharp."""
    if aim.kind == APPROACH:
        lower, upper, share = approach_bounds(points, slot, aim.order)
    elif aim.kind == NORM:
        lower, upper, share = _norm_bounds(points, slot, aim.order)
    elif aim.kind == SIDE:
        lower, upper, share = _side_bounds(points, slot, aim.order, world)
    else:
        lower, upper = wall_bounds(points[slot], aim.order, world, enough + aim.offset)
        share = 0.5
    return lower - aim.offset, upper - aim.offset, share


@njit(cache=True, nogil=True)
def _halve(points, slot, order):
    """Leaves the first half of a node in its slot and puts the second half in the next."""
    after = slot + 1
    for k in range(order):
        points[after, k, 0], points[after, k, 1] = points[slot, k, 0], points[slot, k, 1]
    for r in range(1, order):
        for k in range(order - r):
            points[after, k, 0] = 0.5 * (points[after, k, 0] + points[after, k + 1, 0])
            points[after, k, 1] = 0.5 * (points[after, k, 1] + points[after, k + 1, 1])
        points[slot, r, 0], points[slot, r, 1] = points[after, 0, 0], points[after, 0, 1]


@njit(cache=True, nogil=True)
def _swap(points, nodes, slot, order):
    for k in range(order):
        for c in range(2):
            points[slot, k, c], points[slot + 1, k, c] = points[slot + 1, k, c], points[slot, k, c]
    for c in range(3):
        nodes[slot, c], nodes[slot + 1, c] = nodes[slot + 1, c], nodes[slot, c]


@njit(cache=True, nogil=True)
def least(work, aim, world):
    """Smallest value over the piece in slot 0 of the workspace: lower bound, attained value, where (share of the piece)."""
    points, nodes = work.points, work.nodes
    nodes[0, START], nodes[0, WIDTH] = 0.0, 1.0
    nodes[0, LOWER], upper, at = _node_bounds(points, 0, aim, world, aim.ceiling)
    lowest, top, spent, allowed = np.inf, 1, 0, min(NODES, work.left[0])
    while top > 0:
        top -= 1
        lower, width = nodes[top, LOWER], nodes[top, WIDTH]
        undecided = lower < aim.ceiling and lower < upper - tolerance(upper, aim.limit)
        if not undecided or spent >= allowed or width < NARROWEST:
            lowest = lowest if lower >= lowest else lower
            continue
        spent += 1
        _halve(points, top, aim.order)
        nodes[top + 1, START] = nodes[top, START] + 0.5 * width
        for slot in range(top, top + 2):
            sharper, value, share = _node_bounds(points, slot, aim, world, min(aim.ceiling, upper))
            nodes[slot, LOWER], nodes[slot, WIDTH] = max(sharper, lower), 0.5 * width
            if value < upper:
                upper, at = value, nodes[slot, START] + share * 0.5 * width
        if nodes[top, LOWER] < nodes[top + 1, LOWER]:
            _swap(points, nodes, top, aim.order)
        top += 2
    work.left[0] -= spent
    return lowest, upper, at
