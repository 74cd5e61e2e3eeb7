"""How far each sample is from satisfying each constraint, compiled for one problem on one core.

Same mathematics as `safety_filter.projection`, which runs in torch over whole batches and is what this is tested
against. What is different is only what is left out: places and pairs that cannot have come near since they were last
looked at are passed over (their distance can shrink no faster than they move), which changes no result.

All of a fleet's values lie side by side, x of all robots, then y: A = 2 N columns.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from maps.world import obstacle_distance

BLOCK = 10  # samples of one pair that are passed over or looked at together
GUARD = 0.005  # m, pairs nearer than this (and their sagitta) beyond what they need are looked at in every round
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
    pair_budget: np.ndarray  # (pairs, blocks) m, movement left until a pair's block must be looked at
    moved: np.ndarray  # (N, blocks) m, movement so far
    wall_budget: np.ndarray  # (2 T, N) m, movement left until a place must be looked at
    wall_place: np.ndarray  # (2 T, A) m, where it was looked at
    previous: np.ndarray  # (T, A) m, samples of the round before
    progress: np.ndarray  # (5,) rounds done, penalty, worst gap violation (m), worst relative excess of speed, of acceleration


@njit(cache=True, nogil=True, fastmath=True)
def _phase(t, samples):
    """Which of the three needs holds at sample t."""
    if t < END_SAMPLES:
        return 0
    return 2 if t >= samples - END_SAMPLES else 1


@njit(cache=True, nogil=True, fastmath=True)
def _nearest_on_segment(ax, ay, bx, by):
    """Share s of the segment a-b at which it is nearest to the origin."""
    dx, dy = bx - ax, by - ay
    return min(max(-(ax * dx + ay * dy) / (dx * dx + dy * dy + 1e-18), 0.0), 1.0)


@njit(cache=True, nogil=True, fastmath=True)
def _block_minimum(place, i, j, t0, t1):
    """Smallest distance of robots i and j on the chords of samples t0 to t1."""
    robots = place.shape[0] // 2
    least = 1e30
    for t in range(t0, t1):
        ax, ay = place[i, t] - place[j, t], place[robots + i, t] - place[robots + j, t]
        bx, by = place[i, t + 1] - place[j, t + 1], place[robots + i, t + 1] - place[robots + j, t + 1]
        s = _nearest_on_segment(ax, ay, bx, by)
        qx, qy = ax + s * (bx - ax), ay + s * (by - ay)
        least = min(least, qx * qx + qy * qy)
    return np.sqrt(least)


@njit(cache=True, nogil=True, fastmath=True)
def _push_apart(force, weight, t, i, j, fx, fy, share):
    """Adds a share of the correction (fx, fy) to robot i, and its opposite to robot j, at sample t."""
    robots = weight.shape[1]
    force[t, i] += share * fx
    force[t, robots + i] += share * fy
    force[t, j] -= share * fx
    force[t, robots + j] -= share * fy
    weight[t, i] += share
    weight[t, j] += share


@njit(cache=True, nogil=True, fastmath=True)
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


@njit(cache=True, nogil=True, fastmath=True)
def pair_corrections(place, bend, limits, step, budget, moved, force, weight, touched):
    """Corrections of all pairs that may be near; returns the worst violation, m."""
    robots, samples = place.shape[0] // 2, place.shape[1]
    worst, pair = -1e30, -1
    for i in range(robots - 1):
        for j in range(i + 1, robots):
            pair += 1
            reach = limits.pair[1, i, j] + GUARD + 0.125 * step * step * (limits.acceleration[i] + limits.acceleration[j])
            for b in range(budget.shape[1]):
                if moved[i, b] + moved[j, b] < budget[pair, b]:
                    continue
                t0, t1 = b * BLOCK, min(samples - 1, (b + 1) * BLOCK)
                least = _block_minimum(place, i, j, t0, t1)
                if least > reach:
                    budget[pair, b] = moved[i, b] + moved[j, b] + least - reach
                else:
                    worst = max(worst, _pair_block(place, bend, i, j, t0, t1, limits.pair, step, force, weight, touched))
    return worst


@njit(cache=True, nogil=True, fastmath=True)
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
                    bx, by = position[t + 1, i] - limits.mover_place[q, t + 1, 0], position[t + 1, robots + i] - limits.mover_place[q, t + 1, 1]
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


@njit(cache=True, nogil=True, fastmath=True)
def _outside(value, low, high):
    """Correction that brings a value between low and high."""
    return low - value if value < low else (high - value if value > high else 0.0)


@njit(cache=True, nogil=True, fastmath=True)
def wall_corrections(position, velocity, world, need, step, iterate, force, weight, touched):
    """Corrections out of obstacles and into the bounds, at samples and midway between them; returns the worst violation, m."""
    samples, robots = position.shape[0], position.shape[1] // 2
    budget, seen, bounds = iterate.wall_budget, iterate.wall_place, world.bounds
    worst = -1e30
    for h in range(2 * samples - 1):
        t, between = h // 2, h % 2 == 1
        phase = _phase(t, samples)
        for i in range(robots):
            x, y = position[t, i], position[t, robots + i]
            if between:  # cubic Hermite midpoint
                x = 0.5 * (x + position[t + 1, i]) + 0.125 * step * (velocity[t, i] - velocity[t + 1, i])
                y = 0.5 * (y + position[t + 1, robots + i]) + 0.125 * step * (velocity[t, robots + i] - velocity[t + 1, robots + i])
            least = need[phase, i]
            fx, fy = _outside(x, bounds[0] + least, bounds[2] - least), _outside(y, bounds[1] + least, bounds[3] - least)
            hit = fx != 0.0 or fy != 0.0
            if hit:
                worst = max(worst, max(abs(fx), abs(fy)))
            mx, my, left = x - seen[h, i], y - seen[h, robots + i], budget[h, i]
            if left <= 0.0 or mx * mx + my * my >= left * left:
                d, gx, gy = obstacle_distance(x, y, world, least + LOOK)
                budget[h, i], seen[h, i], seen[h, robots + i] = d - least, x, y
                if d < least:
                    worst = max(worst, least - d)
                    fx, fy = fx + (least - d) * gx, fy + (least - d) * gy
                    hit = True
            if not hit:
                continue
            share = 0.5 if between else 1.0
            for k in range(2 if between else 1):
                force[t + k, i] += share * fx
                force[t + k, robots + i] += share * fy
                weight[t + k, i] += share
                touched[t + k] = True
    return worst


@njit(cache=True, nogil=True, fastmath=True)
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


@njit(cache=True, nogil=True, fastmath=True)
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


@njit(cache=True, nogil=True, fastmath=True)
def transpose(value, out):
    """Copies value (T, A) to out (A, T)."""
    for t0 in range(0, value.shape[0], 8):
        for a in range(value.shape[1]):
            for t in range(t0, min(value.shape[0], t0 + 8)):
                out[a, t] = value[t, a]
