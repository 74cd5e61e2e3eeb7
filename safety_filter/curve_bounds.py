"""Smallest gaps and largest speeds of whole fleets, compiled: a broad look at all pieces, then branch and bound on few.

The broad look finds attained values and bounds from balls and control points. Only pieces that might go below the
smallest attained value, or below the limit, are handed to `safety_filter.bezier_bounds`.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from maps.world import World, obstacle_distance
from safety_filter.bezier_bounds import APPROACH, NORM, NOTHING, SIDE, Aim, Workspace, approach_bounds, least
from safety_filter.wall_bounds import SLACK


class Timed(NamedTuple):
    """Curves as Bezier pieces over common times."""

    pieces: np.ndarray  # (P, N, order, 2) control points
    breaks: np.ndarray  # (P + 1,) s


class Need(NamedTuple):
    """What is taken off the values, and below what they break a rule."""

    offset: np.ndarray  # (N,), or (N, M) for gaps between curves
    limit: float


class Setting(NamedTuple):
    """Where the search runs."""

    work: Workspace
    world: World  # the scene's arrays


class Record(NamedTuple):
    """Smallest values, one for each row."""

    lower: np.ndarray  # never above the true smallest value below the ceiling; +inf where not looked at
    upper: np.ndarray  # attained values; +inf where none was looked at
    time: np.ndarray  # s, where `upper` is attained


@njit(cache=True, nogil=True)
def _empty_record(rows, columns):
    return Record(np.full((rows, columns), np.inf), np.full((rows, columns), np.inf), np.zeros((rows, columns)))


@njit(cache=True, nogil=True)
def _note(record, row, upper, time):
    """Takes down an attained value where it is the row's smallest so far."""
    if upper < record.upper[row]:
        record.upper[row], record.time[row] = upper, time


@njit(cache=True, nogil=True)
def _balls(pieces):
    """Balls (x, y, radius) around all pieces, (3, P, N); their centres lie on the curves."""
    count, robots, order = pieces.shape[0], pieces.shape[1], pieces.shape[2]
    out = np.empty((3, count, robots))
    for p in range(count):
        for i in range(robots):
            x, y, weight = 0.0, 0.0, 0.5 ** (order - 1)
            for k in range(order):  # the middle of the curve, by Bernstein's polynomials
                x += weight * pieces[p, i, k, 0]
                y += weight * pieces[p, i, k, 1]
                weight *= (order - 1 - k) / (k + 1)
            rho2 = 0.0
            for k in range(order):
                dx, dy = pieces[p, i, k, 0] - x, pieces[p, i, k, 1] - y
                rho2 = max(rho2, dx * dx + dy * dy)
            out[0, p, i], out[1, p, i], out[2, p, i] = x, y, np.sqrt(rho2)
    return out


@njit(cache=True, nogil=True)
def _survey_norms(timed, record):
    """Bounds (P, N) for whole pieces, and the smallest value at the breaks; values at the breaks go to the record.

    Arrays are read entry by entry: views of them, and handing on worlds, cost more here than the arithmetic.
    """
    pieces, last = timed.pieces, timed.pieces.shape[2] - 1
    bound, best = np.empty(pieces.shape[:2]), 0.0
    for p in range(pieces.shape[0]):
        for i in range(pieces.shape[1]):
            most = 0.0
            for k in range(last + 1):
                x, y = pieces[p, i, k, 0], pieces[p, i, k, 1]
                value = -np.sqrt(x * x + y * y)
                most = most if value >= most else value
                if (k == 0 or k == last) and value < record.upper[i, 0]:
                    record.upper[i, 0], record.time[i, 0] = value, timed.breaks[p + (1 if k > 0 else 0)]
            bound[p, i] = most
            best = min(best, record.upper[i, 0])
    return bound, best


@njit(cache=True, nogil=True)
def _survey_sides(timed, offset, world, record):
    """As `_survey_norms`, for the distance from the sides of the bounds."""
    pieces, last = timed.pieces, timed.pieces.shape[2] - 1
    left, bottom, right, top = world.bounds
    bound, best = np.empty(pieces.shape[:2]), NOTHING
    for p in range(pieces.shape[0]):
        for i in range(pieces.shape[1]):
            least = np.inf
            for k in range(last + 1):
                x, y = pieces[p, i, k, 0], pieces[p, i, k, 1]
                value = min(min(x - left, right - x), min(y - bottom, top - y)) - offset[i]
                least = min(least, value)
                if (k == 0 or k == last) and value < record.upper[i, 0]:
                    record.upper[i, 0], record.time[i, 0] = value, timed.breaks[p + (1 if k > 0 else 0)]
            bound[p, i] = least
            best = min(best, record.upper[i, 0])
    return bound, best


@njit(cache=True, nogil=True)
def _survey_walls(timed, need, world, record):
    """As `_survey_norms`, for the distance from obstacles, by balls around the pieces; values are those at their middles."""
    balls, offset = _balls(timed.pieces), need.offset
    bound, best = np.empty(timed.pieces.shape[:2]), NOTHING
    for p in range(timed.pieces.shape[0]):
        for i in range(timed.pieces.shape[1]):
            x, y, rho = balls[0, p, i], balls[1, p, i], balls[2, p, i]
            reach = max(best, need.limit) + offset[i] + rho + SLACK
            distance, _, _ = obstacle_distance(x, y, world, reach)
            bound[p, i] = distance - rho - offset[i]
            if distance < reach and distance - offset[i] < record.upper[i, 0]:
                record.upper[i, 0], record.time[i, 0] = distance - offset[i], 0.5 * (timed.breaks[p] + timed.breaks[p + 1])
                best = min(best, record.upper[i, 0])
    return bound, best


@njit(cache=True, nogil=True)
def smallest_of_each(kind, timed, need, setting):
    """Smallest value of each robot's curve.

    Only the smallest of all, and those below the limit, are found to the tolerance; of the others there are bounds.

    Args:
        kind: NORM, SIDE or WALL.
        timed: the curves.
        need: offsets (N,) and limit.
        setting: memory and world.

    Returns:
        Record with rows (N, 1).
    """
    work, limit = setting.work, need.limit
    count, robots, order = timed.pieces.shape[0], timed.pieces.shape[1], timed.pieces.shape[2]
    record = _empty_record(robots, 1)
    if kind == NORM:
        bound, best = _survey_norms(timed, record)
    elif kind == SIDE:
        bound, best = _survey_sides(timed, need.offset, setting.world, record)
    else:
        bound, best = _survey_walls(timed, need, setting.world, record)
    for p in range(count):
        for i in range(robots):
            if bound[p, i] >= max(best, limit):
                continue
            if not np.isfinite(bound[p, i]):  # derivatives beyond all numbers, never within a limit
                record.lower[i, 0] = -np.inf
                continue
            work.points[0, :order] = timed.pieces[p, i]
            lower, upper, at = least(work, Aim(kind, order, need.offset[i], max(best, limit), limit), setting.world)
            record.lower[i, 0] = min(record.lower[i, 0], lower)
            _note(record, (i, 0), upper, timed.breaks[p] + at * (timed.breaks[p + 1] - timed.breaks[p]))
            best = min(best, record.upper[i, 0])
    return record


@njit(cache=True, nogil=True)
def _survey_gaps(timed, others, radius, ordered, record):
    """Smallest gap at the breaks, from which the search of `smallest_between` starts; noted in the record."""
    count, last = timed.pieces.shape[0], timed.pieces.shape[2] - 1
    best = NOTHING
    for p in range(count + 1):
        row, k = (p, 0) if p < count else (p - 1, last)
        for i in range(radius.shape[0]):
            x, y = timed.pieces[row, i, k, 0], timed.pieces[row, i, k, 1]
            for j in range(i + 1 if ordered else 0, radius.shape[1]):
                reach = max(best + radius[i, j], 0.0)
                dx, dy = x - others[row, j, k, 0], y - others[row, j, k, 1]
                d2 = dx * dx + dy * dy
                if d2 < reach * reach:
                    best = np.sqrt(d2) - radius[i, j]
                    record.upper[i, j], record.time[i, j] = best, timed.breaks[p]
    return best


@njit(cache=True, nogil=True)
def smallest_between(timed, others, need, ordered, setting):
    """Smallest gap between each curve and each of the others.

    Args:
        timed: the curves, N of them.
        others: (P, M, order, 2) control points over the same times, m.
        need: sums of radii (N, M), m, and limit, m.
        ordered: each curve is held against later ones only (of a fleet against itself).
        setting: memory and world.

    Returns:
        Record with rows (N, M); sharp as in `smallest_of_each`.
    """
    radius, limit, order = need.offset, need.limit, timed.pieces.shape[2]
    pieces, points = timed.pieces, setting.work.points
    record = _empty_record(radius.shape[0], radius.shape[1])
    best = _survey_gaps(timed, others, radius, ordered, record)
    own, other = _balls(pieces), _balls(others)
    for p in range(pieces.shape[0]):
        for i in range(radius.shape[0]):
            x, y, rho = own[0, p, i], own[1, p, i], own[2, p, i]
            for j in range(i + 1 if ordered else 0, radius.shape[1]):
                ceiling = max(best, limit)
                reach = ceiling + radius[i, j] + rho + other[2, p, j]
                dx, dy = x - other[0, p, j], y - other[1, p, j]
                if dx * dx + dy * dy >= reach * reach:
                    continue
                for k in range(order):
                    points[0, k, 0] = pieces[p, i, k, 0] - others[p, j, k, 0]
                    points[0, k, 1] = pieces[p, i, k, 1] - others[p, j, k, 1]
                lower, _, _ = approach_bounds(points, 0, order)
                if lower - radius[i, j] >= ceiling:
                    continue
                lower, upper, at = least(setting.work, Aim(APPROACH, order, radius[i, j], ceiling, limit), setting.world)
                record.lower[i, j] = min(record.lower[i, j], lower)
                _note(record, (i, j), upper, timed.breaks[p] + at * (timed.breaks[p + 1] - timed.breaks[p]))
                best = min(best, upper)
    return record
