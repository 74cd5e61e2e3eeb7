"""How far each sample is from satisfying each constraint, compiled for one problem on one core.

Same mathematics as `safety_filter.projection`, which runs in torch over whole batches and is what this is tested
against. What is different is only what is left out: places and pairs that cannot have come near since they were last
looked at are passed over (their distance can shrink no faster than they move), which changes no result.

All of a fleet's values lie side by side, x of all robots, then y: A = 2 N columns.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from maps.world import nearest_obstacles

BLOCK = 10  # samples of one pair that are passed over or looked at together
GUARD = 0.005  # m, pairs nearer than this beyond what they need are looked at in every round
END_SAMPLES = 8  # samples at either end at which the needed room is that of the end itself, if smaller
INTERIOR = 0.02  # share of a segment from its ends, within which a closest approach counts as the sample's own
LOOK = 1.0  # m beyond what is needed, how far walls are looked for


class Limits(NamedTuple):
    """What the robots need, the room aimed at included. The three entries: at the start, between, at the goal."""

    pair: np.ndarray  # (3, N, N) m, centre distances
    wall: np.ndarray  # (3, N) m, distances to walls
    speed: np.ndarray  # (N,) m/s
    acceleration: np.ndarray  # (N,) m/s^2
    mover_place: np.ndarray  # (Q, T, 2) m, centres of moving obstacles
    mover: np.ndarray  # (Q, T, N) m, centre distances needed from the segment that starts at each sample


class Iterate(NamedTuple):
    """Where a problem stands; changed in place."""

    control: np.ndarray  # (n, A) m
    proposal: np.ndarray  # (n, A) m, what the projection cost pulls to
    multiplier: np.ndarray  # (n, A)
    taut: np.ndarray  # (n, 6, N) lower bands of each robot's length as a quadratic, set anew in every stage
    pair_budget: np.ndarray  # (pairs, blocks) m, movement left until a pair's block must be looked at
    moved: np.ndarray  # (N, blocks) m, movement so far
    wall_budget: np.ndarray  # (T, N) m, movement left until a sample must be looked at
    wall_place: np.ndarray  # (T, A) m, where it was looked at
    previous: np.ndarray  # (T, A) m, samples of the round before
    progress: np.ndarray  # (5,) rounds done, penalty, worst gap violation (m), worst relative excess of speed, of acceleration


class Looks(NamedTuple):
    """Places whose distance to walls is asked for."""

    time: np.ndarray  # (P,) int64, sample, or the first of a segment
    robot: np.ndarray  # (P,) int64
    share: np.ndarray  # (P,) how far into the segment, 0 at samples
    x: np.ndarray  # (P,) m
    y: np.ndarray  # (P,) m
    reach: np.ndarray  # (P,) m, how far to look
    distance: np.ndarray  # (P,) m
    gradient_x: np.ndarray  # (P,)
    gradient_y: np.ndarray  # (P,)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _phase(t, samples):
    """Which of the three needs holds at sample t."""
    if t < END_SAMPLES:
        return 0
    return 2 if t >= samples - END_SAMPLES else 1


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _nearest_on_segment(ax, ay, bx, by):
    """Share s of the segment a-b at which it is nearest to the origin."""
    dx, dy = bx - ax, by - ay
    return min(max(-(ax * dx + ay * dy) / (dx * dx + dy * dy + 1e-18), 0.0), 1.0)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _block_minimum(place, bend, i, j, t0, t1, step):
    """Smallest distance of robots i and j between samples t0 and t1."""
    robots = place.shape[0] // 2
    least = 1e30
    for t in range(t0, t1):
        ax, ay = place[i, t] - place[j, t], place[robots + i, t] - place[robots + j, t]
        bx, by = place[i, t + 1] - place[j, t + 1], place[robots + i, t + 1] - place[robots + j, t + 1]
        s = _nearest_on_segment(ax, ay, bx, by)
        sag = 0.5 * s * (1.0 - s) * step * step
        qx = ax + s * (bx - ax) - sag * (bend[i, t] - bend[j, t])
        qy = ay + s * (by - ay) - sag * (bend[robots + i, t] - bend[robots + j, t])
        least = min(least, qx * qx + qy * qy)
    return np.sqrt(least)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _push_apart(force, weight, t, i, j, fx, fy, share):
    """Adds a share of the correction (fx, fy) to robot i, and its opposite to robot j, at sample t."""
    robots = weight.shape[1]
    force[t, i] += share * fx
    force[t, robots + i] += share * fy
    force[t, j] -= share * fx
    force[t, robots + j] -= share * fy
    weight[t, i] += share
    weight[t, j] += share


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _pair_block(place, bend, i, j, t0, t1, need, step, force, weight, touched):
    """Corrections of one pair at samples t0 to t1 and at the closest approaches between them.

    Between samples the relative motion is taken as the chord less the sagitta of its acceleration:
    x(t + s h) = (1 - s) x_t + s x_{t+1} - s (1 - s) h^2 / 2 * acceleration, up to third order in h.
    """
    robots, samples = place.shape[0] // 2, place.shape[1]
    worst = -1e30
    for t in range(t0, t1 + 1 if t1 == samples - 1 else t1):
        ax, ay = place[i, t] - place[j, t], place[robots + i, t] - place[robots + j, t]
        least = need[_phase(t, samples), i, j]
        d = np.sqrt(ax * ax + ay * ay)
        if d < least:
            worst = max(worst, least - d)
            f = (least - d) / max(d, 1e-9)
            fx, fy = (f * ax, f * ay) if d > 1e-9 else (least, 0.0)
            _push_apart(force, weight, t, i, j, fx, fy, 1.0)
            touched[t] = True
        if t == samples - 1:
            break
        bx, by = place[i, t + 1] - place[j, t + 1], place[robots + i, t + 1] - place[robots + j, t + 1]
        s = _nearest_on_segment(ax, ay, bx, by)
        if s <= INTERIOR or s >= 1.0 - INTERIOR:
            continue
        sag = 0.5 * s * (1.0 - s) * step * step
        qx = ax + s * (bx - ax) - sag * (bend[i, t] - bend[j, t])
        qy = ay + s * (by - ay) - sag * (bend[robots + i, t] - bend[robots + j, t])
        d = np.sqrt(qx * qx + qy * qy)
        if d < least:
            worst = max(worst, least - d)
            f = (least - d) / max(d, 1e-9)
            fx, fy = (f * qx, f * qy) if d > 1e-9 else (least, 0.0)
            _push_apart(force, weight, t, i, j, fx, fy, 1.0 - s)
            _push_apart(force, weight, t + 1, i, j, fx, fy, s)
            touched[t] = touched[t + 1] = True
    return worst


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def pair_corrections(place, bend, limits, step, budget, moved, force, weight, touched):
    """Corrections of all pairs that may be near; returns the worst violation, m."""
    robots, samples = place.shape[0] // 2, place.shape[1]
    worst, pair = -1e30, -1
    for i in range(robots - 1):
        for j in range(i + 1, robots):
            pair += 1
            reach = limits.pair[1, i, j] + GUARD
            for b in range(budget.shape[1]):
                if moved[i, b] + moved[j, b] < budget[pair, b]:
                    continue
                t0, t1 = b * BLOCK, min(samples - 1, (b + 1) * BLOCK)
                least = _block_minimum(place, bend, i, j, t0, t1, step)
                if least > reach:
                    budget[pair, b] = moved[i, b] + moved[j, b] + least - reach
                else:
                    worst = max(worst, _pair_block(place, bend, i, j, t0, t1, limits.pair, step, force, weight, touched))
    return worst


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def mover_corrections(position, acceleration, limits, step, force, weight, touched):
    """Corrections away from moving obstacles, at samples and at closest approaches between them."""
    samples, robots = position.shape[0], position.shape[1] // 2
    worst = -1e30
    for q in range(limits.mover_place.shape[0]):
        for t in range(samples):
            mx, my = limits.mover_place[q, t, 0], limits.mover_place[q, t, 1]
            for i in range(robots):
                least = limits.mover[q, t, i]
                ax, ay = position[t, i] - mx, position[t, robots + i] - my
                if abs(ax) > least + LOOK or abs(ay) > least + LOOK:
                    continue
                s = 0.0
                qx, qy = ax, ay
                if t < samples - 1:
                    bx, by = (
                        position[t + 1, i] - limits.mover_place[q, t + 1, 0],
                        position[t + 1, robots + i] - limits.mover_place[q, t + 1, 1],
                    )
                    s = _nearest_on_segment(ax, ay, bx, by)
                    if s >= 1.0 - INTERIOR:
                        continue
                    sag = 0.5 * s * (1.0 - s) * step * step
                    qx = ax + s * (bx - ax) - sag * acceleration[t, i]
                    qy = ay + s * (by - ay) - sag * acceleration[t, robots + i]
                d = np.sqrt(qx * qx + qy * qy)
                if d >= least:
                    continue
                worst = max(worst, least - d)
                f = (least - d) / max(d, 1e-9)
                fx, fy = (f * qx, f * qy) if d > 1e-9 else (least, 0.0)
                force[t, i] += (1.0 - s) * fx
                force[t, robots + i] += (1.0 - s) * fy
                weight[t, i] += 1.0 - s
                touched[t] = True
                if s > 0.0:
                    force[t + 1, i] += s * fx
                    force[t + 1, robots + i] += s * fy
                    weight[t + 1, i] += s
                    touched[t + 1] = True
    return worst


@njit(cache=True, nogil=True, error_model="numpy")
def _room_for(many):
    return Looks(
        np.empty(many, np.int64),
        np.empty(many, np.int64),
        np.empty(many),
        np.empty(many),
        np.empty(many),
        np.empty(many),
        np.empty(many),
        np.empty(many),
        np.empty(many),
    )


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _samples_near_walls(position, need, budget, seen, looks):
    """Lists the samples that may have come near an obstacle since they were last looked at; returns how many."""
    samples, robots = position.shape[0], position.shape[1] // 2
    count = 0
    for t in range(samples):
        phase = _phase(t, samples)
        for i in range(robots):
            x, y, left = position[t, i], position[t, robots + i], max(budget[t, i], 0.0)
            mx, my = x - seen[t, i], y - seen[t, robots + i]
            looks.time[count], looks.robot[count], looks.share[count] = t, i, 0.0
            looks.x[count], looks.y[count], looks.reach[count] = x, y, need[phase, i] + LOOK
            count += mx * mx + my * my >= left * left
    return count


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _remember(position, looks, count, budget, seen):
    """Notes how far each sample may move before it, or a chord beside it, can touch what was found."""
    samples, robots = position.shape[0], position.shape[1] // 2
    for k in range(count):
        t, i, x, y = looks.time[k], looks.robot[k], looks.x[k], looks.y[k]
        before, after = max(t - 1, 0), min(t + 1, samples - 1)
        ax, ay = position[before, i] - x, position[before, robots + i] - y
        bx, by = position[after, i] - x, position[after, robots + i] - y
        least = looks.reach[k] - LOOK
        guard = max(ax * ax + ay * ay, bx * bx + by * by) / (2.0 * least)
        budget[t, i], seen[t, i], seen[t, robots + i] = looks.distance[k] - least - guard, x, y


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _passings(position, bend, step, looks, count, between):
    """Lists where robots pass an obstacle between two samples that were both looked at; returns how many.

    The place is where the distance along the chord is least, by a secant of its slopes at both samples: exact where the
    squared distance is quadratic, as beside a disc or a corner. Its reach is the distance at the nearer sample, if that
    is less than what is looked for anyway.
    """
    robots = position.shape[1] // 2
    last = np.full(robots, -1)
    found = 0
    for k in range(count):
        t, i = looks.time[k], looks.robot[k]
        p = last[i]
        last[i] = k
        if p < 0 or looks.time[p] != t - 1:
            continue
        dx, dy = looks.x[k] - looks.x[p], looks.y[k] - looks.y[p]
        before = looks.gradient_x[p] * dx + looks.gradient_y[p] * dy
        after = looks.gradient_x[k] * dx + looks.gradient_y[k] * dy
        if not (before < 0.0 and after > 0.0):
            continue
        s = before / (before - after)
        sag = 0.5 * s * (1.0 - s) * step * step
        between.time[found], between.robot[found], between.share[found] = t - 1, i, s
        between.x[found] = looks.x[p] + s * dx - sag * bend[t - 1, i]
        between.y[found] = looks.y[p] + s * dy - sag * bend[t - 1, robots + i]
        nearer = min(looks.distance[p], looks.distance[k])
        between.reach[found] = min(looks.reach[k] - LOOK, nearer)
        found += nearer > 0.0
    return found


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _push_out(looks, count, need, samples, stiff, force, weight, touched):
    """Corrections of places nearer to a wall than needed; returns the worst violation, m."""
    robots = weight.shape[1]
    worst = -1e30
    for k in range(count):
        t, i, s = looks.time[k], looks.robot[k], looks.share[k]
        lack = need[_phase(t if s == 0.0 else t + 1, samples), i] - looks.distance[k]
        if lack <= 0.0 or (s > 0.0 and looks.distance[k] >= looks.reach[k]):
            continue
        worst = max(worst, lack)
        for after in range(2 if s > 0.0 else 1):
            part = stiff * (s if after == 1 else 1.0 - s)
            force[t + after, i] += part * lack * looks.gradient_x[k]
            force[t + after, robots + i] += part * lack * looks.gradient_y[k]
            weight[t + after, i] += part
            touched[t + after] = True
    return worst


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _push_inside(position, bounds, need, stiff, force, weight, touched):
    """Corrections of samples outside the bounds; returns the worst violation, m."""
    samples, robots = position.shape[0], position.shape[1] // 2
    worst = -1e30
    for t in range(samples):
        phase = _phase(t, samples)
        for i in range(robots):
            x, y, least = position[t, i], position[t, robots + i], need[phase, i]
            fx = max(bounds[0] + least - x, 0.0) - max(x - bounds[2] + least, 0.0)
            fy = max(bounds[1] + least - y, 0.0) - max(y - bounds[3] + least, 0.0)
            if fx != 0.0 or fy != 0.0:
                worst = max(worst, abs(fx), abs(fy))
                force[t, i] += stiff * fx
                force[t, robots + i] += stiff * fy
                weight[t, i] += stiff
                touched[t] = True
    return worst


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def wall_corrections(position, bend, world, need, step, stiff, iterate, force, weight, touched):
    """Corrections out of obstacles and into the bounds, at samples and between them; returns the worst violation, m.

    Args:
        position, bend: (T, A) samples, m, and accelerations, m/s^2.
        world: the scene's arrays.
        need: (3, N) distances needed.
        step: s between samples.
        stiff: penalty of walls over that of pairs.
        iterate: its wall budgets are used and changed.
        force, weight, touched: added to.
    """
    samples, robots = position.shape[0], position.shape[1] // 2
    outside = _push_inside(position, world.bounds, need, stiff, force, weight, touched)
    looks = _room_for(samples * robots + 1)
    count = _samples_near_walls(position, need, iterate.wall_budget, iterate.wall_place, looks)
    if count == 0:
        return outside
    nearest_obstacles(looks.x, looks.y, looks.reach, count, world, looks.distance, looks.gradient_x, looks.gradient_y)
    _remember(position, looks, count, iterate.wall_budget, iterate.wall_place)
    worst = max(outside, _push_out(looks, count, need, samples, stiff, force, weight, touched))
    between = _room_for(count + 1)
    found = _passings(position, bend, step, looks, count, between)
    nearest_obstacles(between.x, between.y, between.reach, found, world, between.distance, between.gradient_x, between.gradient_y)
    return max(worst, _push_out(between, found, need, samples, stiff, force, weight, touched))


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def norm_corrections(value, most, force, weight, touched):
    """Corrections of vectors longer than allowed; returns the worst relative excess."""
    samples, robots = value.shape[0], value.shape[1] // 2
    worst = -1.0
    for t in range(samples):
        for i in range(robots):
            square = value[t, i] * value[t, i] + value[t, robots + i] * value[t, robots + i]
            if square <= most[i] * most[i]:
                continue
            excess = np.sqrt(square) / most[i]
            f = 1.0 / excess - 1.0
            force[t, i] = f * value[t, i]
            force[t, robots + i] = f * value[t, robots + i]
            weight[t, i] = 1.0
            touched[t] = True
            worst = max(worst, excess - 1.0)
    return worst


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def count_movement(position, previous, moved):
    """Adds to each robot's movement the largest step of its samples, block by block."""
    samples, robots = position.shape[0], position.shape[1] // 2
    for b in range(moved.shape[1]):
        for i in range(robots):
            most = 0.0
            for t in range(b * BLOCK, min(samples, (b + 1) * BLOCK + 1)):
                dx, dy = position[t, i] - previous[t, i], position[t, robots + i] - previous[t, robots + i]
                most = max(most, dx * dx + dy * dy)
            moved[i, b] += np.sqrt(most)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def transpose(value, out):
    """Copies value (T, A) to out (A, T)."""
    for t0 in range(0, value.shape[0], 8):
        for a in range(value.shape[1]):
            for t in range(t0, min(value.shape[0], t0 + 8)):
                out[a, t] = value[t, a]
