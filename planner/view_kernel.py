"""What robots are told, number by number, compiled: a fleet of any size costs microseconds a robot, and no tensor is made on the way."""

import math

import numpy as np
from numba import njit

NEIGHBORS = 6  # nearest ones that are told
FEATURES = 9  # of a neighbour
RING = 8  # directions in which walls are felt
FEEL = 4.0  # radii from the middle, where they are felt
FAR = 1e3  # s, until somebody is met who does not come nearer


@njit(cache=True, nogil=True)
def tell(state, reference, goal, bodies, discs, fields, out):
    """Fills in what every robot is told.

    Args:
        state: position, velocity, last acceleration (S, N, 2), late and rate (S, N).
        reference: of plans, now and at the times ahead (S, N, 1 + A, 6).
        goal: (S, N, 2).
        bodies: radius, v_max, a_max (S, N).
        discs: position, velocity (S, K, 2), radius (S, K) of those that are not of the fleet.
        fields: value, origin, cell, corners, closed of `DistanceFields`.
        out: observation (S, N, O), axis and nominal acceleration (S, N, 2).
    """
    observation, axes, nominal = out
    for s in range(observation.shape[0]):
        for n in range(observation.shape[1]):
            row = observation[s, n]
            _nominal(state, reference, bodies, s, n, nominal[s, n])
            _axis(state, reference, goal, bodies, s, n, axes[s, n])
            k = _itself(state, reference, goal, bodies, nominal, s, n, axes[s, n], row)
            k = _walls(state[0][s, n], axes[s, n], bodies[0][s, n], fields, s, row, k)
            _neighbors(state, bodies, discs, s, n, axes[s, n], row, k)


@njit(cache=True, nogil=True)
def _nominal(state, reference, bodies, s, n, out):
    """What follows the plan: its acceleration, and a critically damped pull to where it should be, cut to the limit."""
    position, velocity, _, _, rates = state
    _, v_max, a_max = bodies
    rate, pace = rates[s, n], 2.0 * a_max[s, n] / v_max[s, n]
    now = reference[s, n, 0]
    for c in range(2):
        pull = pace * pace * (now[c] - position[s, n, c]) + 2.0 * pace * (rate * now[2 + c] - velocity[s, n, c])
        out[c] = rate * rate * now[4 + c] + pull
    cut = min(1.0, a_max[s, n] / max(math.hypot(out[0], out[1]), 1e-9))
    out[0], out[1] = cut * out[0], cut * out[1]


@njit(cache=True, nogil=True)
def _axis(state, reference, goal, bodies, s, n, out):
    """Along the plan; where that stands, to where it leads, or to the goal."""
    place, now, soon = state[0][s, n], reference[s, n, 0], reference[s, n, 1]
    x, y = now[2], now[3]
    if math.hypot(x, y) <= 0.05 * bodies[1][s, n]:
        x, y = soon[0] - place[0], soon[1] - place[1]
        if math.hypot(x, y) <= 0.25 * bodies[0][s, n]:
            x, y = goal[s, n, 0] - place[0], goal[s, n, 1] - place[1]
    length = math.hypot(x, y)
    out[0], out[1] = (x / length, y / length) if length > 1e-6 else (1.0, 0.0)


@njit(cache=True, nogil=True)
def _itself(state, reference, goal, bodies, nominal, s, n, axis, row):
    """Its own motion, its plan and its goal; the column after them."""
    position, velocity, last, late, rate = state
    radius, v_max, a_max = bodies[0][s, n], bodies[1][s, n], bodies[2][s, n]
    place, now = position[s, n], reference[s, n, 0]
    k = _put(row, 0, axis, velocity[s, n, 0], velocity[s, n, 1], v_max, np.inf)
    k = _put(row, k, axis, last[s, n, 0], last[s, n, 1], a_max, np.inf)
    k = _put(row, k, axis, now[0] - place[0], now[1] - place[1], 4.0 * radius, 1.0)
    k = _put(row, k, axis, now[2], now[3], v_max, np.inf)
    k = _put(row, k, axis, nominal[s, n, 0], nominal[s, n, 1], a_max, np.inf)
    for a in range(1, reference.shape[2]):
        ahead = reference[s, n, a]
        k = _put(row, k, axis, ahead[0] - place[0], ahead[1] - place[1], v_max * v_max / a_max, 3.0)
    x, y = goal[s, n, 0] - place[0], goal[s, n, 1] - place[1]
    far = math.hypot(x, y)
    row[k] = min(far / (20.0 * radius), 1.0)
    k = _put(row, k + 1, axis, x, y, max(far, radius), np.inf)
    row[k], row[k + 1] = min(max(late[s, n] / 5.0, 0.0), 1.0), rate[s, n]
    return k + 2


@njit(cache=True, nogil=True)
def _walls(place, axis, radius, fields, s, row, k):
    """Room to walls where the robot is, and on a ring around it."""
    row[k] = _clamped((_distance(place[0], place[1], fields, s) - radius) / (FEEL * radius), -1.0, 1.0)
    for ray in range(RING):
        angle = 2.0 * math.pi * ray / RING
        along, across = FEEL * radius * math.cos(angle), FEEL * radius * math.sin(angle)
        x = place[0] + axis[0] * along - axis[1] * across
        y = place[1] + axis[1] * along + axis[0] * across
        row[k + 1 + ray] = _clamped((_distance(x, y, fields, s) - radius) / (FEEL * radius), -1.0, 1.0)
    return k + 1 + RING


@njit(cache=True, nogil=True)
def _distance(x, y, fields, s):
    """As `DistanceFields.at`, m."""
    value, origin, cell, corners, closed = fields
    column, line = (x - origin[s, 0]) / cell[s], (y - origin[s, 1]) / cell[s]
    u = min(max(column, 0.0), corners[s, 0] - 1.001)
    v = min(max(line, 0.0), corners[s, 1] - 1.001)
    i, j = min(int(u), int(corners[s, 0]) - 2), min(int(v), int(corners[s, 1]) - 2)
    u_share, v_share = u - i, v - j
    low = value[s, j, i] + u_share * (value[s, j, i + 1] - value[s, j, i])
    high = value[s, j + 1, i] + u_share * (value[s, j + 1, i + 1] - value[s, j + 1, i])
    outside = math.hypot(column - u, line - v) * cell[s] * closed[s]
    return low + v_share * (high - low) - outside


@njit(cache=True, nogil=True)
def _neighbors(state, bodies, discs, s, n, axis, row, k):
    """Those that will be met first, nearest first; zeros where there are fewer."""
    position, velocity, radius = state[0], state[1], bodies[0]
    count, others = position.shape[1], discs[2].shape[1]
    v_max = bodies[1][s, n]
    stopping = v_max / bodies[2][s, n]
    chosen, urgency = np.full(NEIGHBORS, -1, np.int64), np.full(NEIGHBORS, np.inf)
    for j in range(count + others):
        robot = j < count
        size = radius[s, j] if robot else discs[2][s, j - count]
        if j == n or size <= 0.0:
            continue
        place, speed = (position[s, j], velocity[s, j]) if robot else (discs[0][s, j - count], discs[1][s, j - count])
        room, meeting = _meeting(position[s, n], velocity[s, n], place, speed, radius[s, n] + size)
        worth = min(meeting, 4.0 * stopping) * v_max + room
        at = NEIGHBORS
        while at > 0 and worth < urgency[at - 1]:
            at -= 1
        for later in range(NEIGHBORS - 1, at, -1):
            chosen[later], urgency[later] = chosen[later - 1], urgency[later - 1]
        if at < NEIGHBORS:
            chosen[at], urgency[at] = j, worth
    own = radius[s, n]
    for m in range(NEIGHBORS):
        j = chosen[m]
        if j < 0:
            row[k : k + FEATURES] = 0.0
            k += FEATURES
            continue
        robot = j < count
        size = radius[s, j] if robot else discs[2][s, j - count]
        place, speed = (position[s, j], velocity[s, j]) if robot else (discs[0][s, j - count], discs[1][s, j - count])
        room, meeting = _meeting(position[s, n], velocity[s, n], place, speed, own + size)
        k = _put(row, k, axis, place[0] - position[s, n, 0], place[1] - position[s, n, 1], 8.0 * own, 3.0)
        k = _put(row, k, axis, speed[0] - velocity[s, n, 0], speed[1] - velocity[s, n, 1], v_max, 3.0)
        row[k], row[k + 1] = size / own, _clamped(room / (4.0 * own), -1.0, 2.0)
        row[k + 2], row[k + 3], row[k + 4] = math.exp(-meeting / stopping), 1.0 if robot else 0.0, 1.0
        k += 5


@njit(cache=True, nogil=True)
def _meeting(place, velocity, other, speed, sizes):
    """Room between two, m, and the time until they meet if both go on, s."""
    x, y = other[0] - place[0], other[1] - place[1]
    apart = max(math.hypot(x, y), 1e-6)
    room = apart - sizes
    closing = -(x * (speed[0] - velocity[0]) + y * (speed[1] - velocity[1])) / apart
    return room, (max(room, 0.0) / closing if closing > 1e-3 else FAR)


@njit(cache=True, nogil=True)
def _put(row, k, axis, x, y, scale, most):
    """A vector in the frame of the axis, in units of a scale, cut at `most`; the column after it."""
    row[k] = _clamped((axis[0] * x + axis[1] * y) / scale, -most, most)
    row[k + 1] = _clamped((axis[0] * y - axis[1] * x) / scale, -most, most)
    return k + 2


@njit(cache=True, nogil=True)
def _clamped(value, least, most):
    return min(max(value, least), most)
