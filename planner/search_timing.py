"""From grid paths to timed proposals: straightening in space-time, even use of the horizon, and ease at the ends, compiled."""

import numpy as np
from numba import njit

from maps.world import FAR
from planner.search_grid import BLOCKED, COLUMN_STEP, LINKS, ROW_STEP, segment_clear
from planner.search_problem import conflicts

DIAGONAL = 0.5**0.5  # components of a diagonal move's direction


@njit(cache=True, nogil=True)
def straighten(path, order, clearance, top, need, longest, world):
    """Replaces pieces of the paths by straight ones at constant speed where those are clear, long pieces first.

    A straight piece keeps its ends in place and time, so waiting is spread over the way as well.

    Args:
        path: (steps + 1, 2, J) paths, changed in place, m.
        order: (N,) robots, first to be straightened first.
        clearance: (N,) distance to walls and bounds to keep, m.
        top: (N,) longest way in a step, m.
        need: (J, J) centre distances to keep, m.
        longest: steps of the longest piece; short pieces keep a way on its side of what is larger than they are.
        world: the scene's arrays.
    """
    steps = path.shape[0] - 1
    for i in order:
        span = min(steps, longest)
        while span >= max(4, steps // 24):
            a = 0
            while a < steps:
                _straighten_piece(i, a, min(a + span, steps), path, clearance[i], top[i], need, world)
                a += max(span // 2, 1)
            span = span * 2 // 3


@njit(cache=True, nogil=True)
def _straighten_piece(i, a, b, path, clearance, top, need, world):
    """One piece of one path, from step a to step b; left alone where the straight one is not clear."""
    ax, ay, bx, by = path[a, 0, i], path[a, 1, i], path[b, 0, i], path[b, 1, i]
    count = b - a
    stray = 0.0
    for k in range(1, count):
        share = k / count
        stray = max(stray, abs(path[a + k, 0, i] - ax - share * (bx - ax)), abs(path[a + k, 1, i] - ay - share * (by - ay)))
    if stray < 0.02 * clearance or np.hypot(bx - ax, by - ay) > top * count:
        return
    if not segment_clear(ax, ay, bx, by, world, clearance):
        return
    dx, dy = (bx - ax) / count, (by - ay) / count
    for k in range(count):
        if conflicts(i, ax + k * dx, ay + k * dy, ax + (k + 1) * dx, ay + (k + 1) * dy, a + k, path, need) > 0:
            return
    for k in range(1, count):
        path[a + k, 0, i], path[a + k, 1, i] = ax + k * dx, ay + k * dy


@njit(cache=True, nogil=True)
def way(path, i):
    """(steps + 1,) length gone by robot i at every step, m."""
    gone = np.zeros(path.shape[0])
    for t in range(1, path.shape[0]):
        gone[t] = gone[t - 1] + np.hypot(path[t, 0, i] - path[t - 1, 0, i], path[t, 1, i] - path[t - 1, 1, i])
    return gone


@njit(cache=True, nogil=True)
def _retimed(i, path, share, out):
    """Writes robot i's path with its time law moved by `share` towards even use of the time into out (steps + 1, 2)."""
    steps = path.shape[0] - 1
    gone = way(path, i)
    t = 0
    for k in range(steps + 1):
        wanted = (1.0 - share) * gone[k] + share * gone[steps] * k / steps
        while t < steps - 1 and gone[t + 1] < wanted:
            t += 1
        piece = gone[t + 1] - gone[t]
        part = min((wanted - gone[t]) / piece, 1.0) if piece > 0.0 else 0.0
        for axis in range(2):
            out[k, axis] = path[t, axis, i] + part * (path[t + 1, axis, i] - path[t, axis, i])


@njit(cache=True, nogil=True)
def retime(path, count, share):
    """Paths with their time laws moved by `share` towards even use of the whole time; the routes stay.

    Args:
        path: (steps + 1, 2, J) paths, m.
        count: N, robots; the rest are moving obstacles and stay.
        share: 0 (as they are) to 1 (constant speed).

    Returns:
        (steps + 1, 2, J) paths; they may conflict.
    """
    out = path.copy()
    for i in range(count):
        _retimed(i, path, share, out[:, :, i])
    return out


@njit(cache=True, nogil=True)
def even_out(path, order, need):
    """Moves the robots' time laws, one after another, as far towards even use of the time as stays free of conflicts.

    Args:
        path: (steps + 1, 2, J) paths, changed in place, m.
        order: (N,) robots, first to move first.
        need: (J, J) centre distances to keep, m.
    """
    steps = path.shape[0] - 1
    own = np.empty((steps + 1, 2))
    for i in order:
        for share in (1.0, 0.75, 0.5, 0.25):
            _retimed(i, path, share, own)
            clear = True
            for t in range(steps):
                if conflicts(i, own[t, 0], own[t, 1], own[t + 1, 0], own[t + 1, 1], t, path, need) > 0:
                    clear = False
                    break
            if clear:
                path[:, :, i] = own
                break


@njit(cache=True, nogil=True)
def stretch(path):
    """Slows everyone down alike, so that the last robot arrives at the end: (steps + 1, 2, N) paths, as far apart as before."""
    steps = path.shape[0] - 1
    end = steps
    while end > 1 and np.abs(path[end - 1] - path[steps]).max() < 1e-9:
        end -= 1
    out = path.copy()
    for k in range(1, steps):
        at = k * end / steps
        t = min(int(at), steps - 1)
        out[k] = path[t] + (at - t) * (path[t + 1] - path[t])
    return out


@njit(cache=True, nogil=True)
def overlap(path, count, need):
    """How far robots come closer than they need, summed over steps and pairs, m."""
    total = 0.0
    for t in range(path.shape[0]):
        for i in range(count):
            for j in range(i + 1, path.shape[2]):
                x, y = path[t, 0, i] - path[t, 0, j], path[t, 1, i] - path[t, 1, j]
                d2 = x * x + y * y
                if d2 < need[i, j] * need[i, j]:
                    total += need[i, j] - np.sqrt(d2)
    return total


@njit(cache=True, nogil=True)
def sample_paths(path, count, lead, horizon, samples):
    """The paths at uniform times over [0, horizon]; step 0 is at `lead`, the last at horizon - lead.

    Returns:
        (N, samples, 2) places, m.
    """
    steps = path.shape[0] - 1
    out = np.empty((count, samples, 2))
    for k in range(samples):
        time = horizon * k / (samples - 1)
        at = min(max((time - lead) / (horizon - 2.0 * lead), 0.0), 1.0) * steps
        t = min(int(at), steps - 1)
        for i in range(count):
            for axis in range(2):
                out[i, k, axis] = path[t, axis, i] + (at - t) * (path[t + 1, axis, i] - path[t, axis, i])
    return out


@njit(cache=True, nogil=True)
def lone_routes(fleet, lattice, steps):
    """Every robot's way down its own distances, at even speed, others ignored: (steps + 1, 2, N), m."""
    count = fleet.start.shape[0]
    out = np.empty((steps + 1, 2, count))
    flow = np.zeros((lattice.columns * lattice.rows, 2))
    for i in range(count):
        even_way(descend(i, fleet.field[i], flow, 0.0, fleet, lattice), out[:, :, i])
    return out


@njit(cache=True, nogil=True)
def even_way(corner, out):
    """Writes places (steps + 1, 2) at even speed along corners (C, 2)."""
    gone = np.zeros(corner.shape[0])
    for k in range(1, corner.shape[0]):
        gone[k] = gone[k - 1] + np.hypot(corner[k, 0] - corner[k - 1, 0], corner[k, 1] - corner[k - 1, 1])
    for axis in range(2):
        out[:, axis] = np.interp(np.linspace(0.0, gone[-1], out.shape[0]), gone, corner[:, axis])


@njit(cache=True, nogil=True)
def descend(i, field, flow, toll, fleet, lattice):
    """Corners (C, 2) of robot i's shortest way over the lattice, from start to goal.

    Args:
        i: the robot.
        field: (M,) its distances to the goal, in prices.
        flow: (M, 2) traffic that was priced; zeros where prices are lengths.
        toll: price of a metre straight against the traffic.
        fleet: the robots.
        lattice: the lattice.
    """
    place, move = lattice.place[fleet.kind[i]], lattice.move[fleet.kind[i]]
    node, best = -1, FAR
    for k in range(LINKS):
        other = fleet.start_links.node[i, k]
        if other >= 0 and field[other] + fleet.start_links.length[i, k] < best:
            node, best = other, field[other] + fleet.start_links.length[i, k]
    corner = [fleet.start[i], place[node]]
    while True:
        following, best = -1, np.float64(field[node]) * (1.0 + 1e-6)
        for direction in range(8):
            if move[node, direction] < BLOCKED:
                other = node + ROW_STEP[direction] * lattice.columns + COLUMN_STEP[direction]
                price = move[node, direction] * against(direction, flow[other], toll)
                if field[other] + price < best + 1e-4 and field[other] < field[node]:
                    following, best = other, np.float64(field[other] + price)
        if following < 0:
            break
        node = following
        corner.append(place[node])
    corner.append(fleet.goal[i])
    out = np.empty((len(corner), 2))
    for k in range(len(corner)):
        out[k] = corner[k]
    return out


@njit(cache=True, nogil=True)
def against(direction, flow, toll):
    """Price of a metre of a move into a node with traffic, in metres."""
    unit = DIAGONAL if COLUMN_STEP[direction] * ROW_STEP[direction] != 0 else 1.0
    met = -unit * (COLUMN_STEP[direction] * flow[0] + ROW_STEP[direction] * flow[1])
    return 1.0 + toll * min(max(met, 0.0), 1.0)


def eased(path: np.ndarray, ramp: np.ndarray, samples: int) -> np.ndarray:
    """Places (N, samples, 2) on paths (steps + 1, 2, N) of even speed, gone with smooth speed; ramp (N,) as in `ease`."""
    even = np.linspace(0.0, 1.0, path.shape[0])
    out = np.empty((path.shape[2], samples, 2))
    for i in range(path.shape[2]):
        share = ease(samples, float(ramp[i]))
        for axis in range(2):
            out[i, :, axis] = np.interp(share, even, path[:, axis, i])
    return out


def ease(count: int, ramp: float) -> np.ndarray:
    """Share of the way gone at `count` uniform times: speed rises smoothly over `ramp` of the time, is constant, and falls.

    The ramp's speed is the smooth step 3 u^2 - 2 u^3, so acceleration is zero at its ends.
    """
    u = np.linspace(0.0, 1.0, count)
    up = np.minimum(np.minimum(u, 1.0 - u) / ramp, 1.0)
    risen = ramp * (up**3 - 0.5 * up**4)
    half = risen + np.maximum(np.minimum(u, 1.0 - u) - ramp, 0.0)
    total = 1.0 - ramp
    return np.where(u <= 0.5, half, total - half) / total
