"""The rounds of the alternating minimisation, compiled for one problem on one core.

Same mathematics as `safety_filter.rounds`, which runs in torch over whole batches and is what this is tested against.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from maps.curve import END_POINTS
from safety_filter.banded import add_bands, add_gram, add_lanes, add_transpose, apply_rows, factorise, solve_lanes, solve_modes
from safety_filter.corrections import (
    count_movement,
    mover_corrections,
    norm_corrections,
    pair_corrections,
    transpose,
    wall_corrections,
)

SLOW = 0.05  # share of a robot's mean speed; slower samples count as that fast where lengths are made quadratic


class Tables(NamedTuple):
    """Sampling matrices in time units of one horizon, and the smoothness cost."""

    value: np.ndarray  # (T, 6) basis values
    velocity: np.ndarray  # (T, 6) first derivatives, 1/s
    acceleration: np.ndarray  # (T, 6) second derivatives, 1/s^2
    first: np.ndarray  # (T,) int64, index of the first of the six control points
    smoothness: np.ndarray  # (n, 11) bands of the smoothness matrix
    gram: np.ndarray  # (n, 11) bands of P^T P
    step: float  # s between samples


class Schedule(NamedTuple):
    """How the penalty grows and what each constraint weighs."""

    growth: float  # factor of the penalty from stage to stage
    stage_rounds: int  # rounds of a stage
    most_penalty: float
    wall_penalty: float  # penalty of walls and bounds while that of the pairs is lower
    speed_weight: float  # s^2
    acceleration_weight: float  # s^4
    length_weight: float  # m s, of a sample's speed; its quadratic weighs the squared velocity by this over the speed
    length_penalty: float  # penalty from which on lengths count in full
    proposal_weight: float  # weight of the distance to the proposal
    multiplier_keep: float  # share of the multipliers that survives a round
    proximal: float  # weight of standing still, on every sample
    pair_weight: float  # of a pair on each of its two robots; 2 bounds its block for any move
    two_mode: bool  # linear system: mean and deviation of the fleet, instead of each robot's active constraints
    gap_tolerance: float  # m, below the room aimed at
    speed_tolerance: float  # relative
    acceleration_tolerance: float  # relative


class Samples(NamedTuple):
    """Working arrays of one problem."""

    position: np.ndarray  # (T, A) m
    velocity: np.ndarray  # (T, A) m/s
    acceleration: np.ndarray  # (T, A) m/s^2
    place: np.ndarray  # (A, T) positions, robot by robot
    bend: np.ndarray  # (A, T) accelerations, robot by robot


class Corrections(NamedTuple):
    """What every sample of one kind of value lacks, and how many constraints say so."""

    force: np.ndarray  # (T, A)
    weight: np.ndarray  # (T, N)
    touched: np.ndarray  # (T,) bool


@njit(cache=True, nogil=True, error_model="numpy")
def _corrections(samples, robots):
    return Corrections(np.zeros((samples, 2 * robots)), np.zeros((samples, robots)), np.zeros(samples, np.bool_))


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _clear(corrections):
    corrections.force[:] = 0.0
    corrections.weight[:] = 0.0
    corrections.touched[:] = False


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _sample(tables, iterate, samples):
    control = iterate.control
    apply_rows(tables.value, tables.first, control, samples.position)
    apply_rows(tables.velocity, tables.first, control, samples.velocity)
    apply_rows(tables.acceleration, tables.first, control, samples.acceleration)
    count_movement(samples.position, iterate.previous, iterate.moved)
    iterate.previous[:] = samples.position
    transpose(samples.position, samples.place)
    transpose(samples.acceleration, samples.bend)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _project(tables, limits, world, stiff, samples, iterate, gap, speed, acceleration):
    """Fills the three kinds of corrections; returns the worst violations (m, relative, relative)."""
    _clear(gap)
    _clear(speed)
    _clear(acceleration)
    step, s = tables.step, samples
    budget, moved = iterate.pair_budget, iterate.moved
    walls = wall_corrections(s.position, s.acceleration, world, limits.wall, step, stiff, iterate, gap.force, gap.weight, gap.touched)
    # walls count once; a pair, whose block ties two robots, counts on each of them with pair_weight
    pairs_weight = np.zeros_like(gap.weight)
    pairs = pair_corrections(s.place, s.bend, limits, step, budget, moved, gap.force, pairs_weight, gap.touched)
    movers = mover_corrections(s.position, s.acceleration, limits, step, gap.force, gap.weight, gap.touched)
    fast = norm_corrections(s.velocity, limits.speed, speed.force, speed.weight, speed.touched)
    hard = norm_corrections(s.acceleration, limits.acceleration, acceleration.force, acceleration.weight, acceleration.touched)
    return max(walls, pairs, movers), fast, hard, pairs_weight


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _tighten(tables, schedule, share, velocity, taut):
    """Makes lengths quadratic about the present speeds (iteratively reweighted least squares); see `safety_filter.rounds.tighten`."""
    samples, robots = velocity.shape[0], velocity.shape[1] // 2
    weight, mean = np.empty((samples, robots)), np.zeros(robots)
    for t in range(samples):
        for i in range(robots):
            weight[t, i] = np.sqrt(velocity[t, i] ** 2 + velocity[t, robots + i] ** 2)
            mean[i] += weight[t, i] / samples
    for t in range(samples):
        for i in range(robots):
            weight[t, i] = 1.0 / max(weight[t, i], SLOW * mean[i] + 1e-9)
    taut[:] = 0.0
    add_gram(tables.velocity, tables.first, weight, np.ones(samples, np.bool_), share * schedule.length_weight, taut)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _normal_matrix(tables, schedule, penalty, taut, pairs_weight, gap, speed, acceleration, matrix):
    """The bands of W + K + penalty * A^T A; see `safety_filter.rounds.normal_matrix`."""
    count, _, lanes = matrix.shape
    samples = tables.value.shape[0]
    everywhere = schedule.proposal_weight + (0.0 if schedule.two_mode else penalty * schedule.proximal)
    for k in range(count):
        for d in range(6):
            entry = tables.smoothness[k, 5 - d] + everywhere * tables.gram[k, 5 - d] if k >= d else 0.0
            if schedule.length_weight > 0.0:
                for i in range(lanes):
                    matrix[k, d, i] = entry + taut[k, d, i]
            else:
                for i in range(lanes):
                    matrix[k, d, i] = entry
    if schedule.two_mode:
        robots = gap.weight.shape[1]
        ones, both, all_samples = np.ones((samples, 2)), np.ones((samples, 2)), np.ones(samples, np.bool_)
        both[:, 1] += robots
        add_gram(tables.value, tables.first, both, all_samples, penalty, matrix)
        add_gram(tables.velocity, tables.first, ones, all_samples, penalty * schedule.speed_weight, matrix)
        add_gram(tables.acceleration, tables.first, ones, all_samples, penalty * schedule.acceleration_weight, matrix)
        return
    active = schedule.pair_weight * pairs_weight + gap.weight
    add_gram(tables.value, tables.first, active, gap.touched, penalty, matrix)
    add_gram(tables.velocity, tables.first, speed.weight, speed.touched, penalty * schedule.speed_weight, matrix)
    add_gram(tables.acceleration, tables.first, acceleration.weight, acceleration.touched, penalty * schedule.acceleration_weight, matrix)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _proposal_pull(tables, control, proposal, weight, right):
    """Adds weight * P^T P (proposal - control) to the right-hand side."""
    difference = np.empty((tables.value.shape[0], control.shape[1]))
    apply_rows(tables.value, tables.first, proposal - control, difference)
    add_transpose(tables.value, tables.first, difference, np.ones(difference.shape[0], np.bool_), weight, right)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _update(tables, schedule, iterate, penalty, pairs_weight, gap, speed, acceleration, right, matrix):
    """One multiplier update and one linear solve; changes the control points."""
    control, multiplier = iterate.control, iterate.multiplier
    count, low, high = control.shape[0], END_POINTS, control.shape[0] - END_POINTS
    right[:] = 0.0
    add_transpose(tables.value, tables.first, gap.force, gap.touched, penalty, right)
    add_transpose(tables.velocity, tables.first, speed.force, speed.touched, penalty * schedule.speed_weight, right)
    add_transpose(
        tables.acceleration, tables.first, acceleration.force, acceleration.touched, penalty * schedule.acceleration_weight, right
    )
    for k in range(count):
        for a in range(control.shape[1]):
            if penalty >= schedule.wall_penalty:  # until then violations are large by intent, and would be remembered
                multiplier[k, a] = schedule.multiplier_keep * multiplier[k, a] + right[k, a]
            right[k, a] += multiplier[k, a]
    add_bands(tables.smoothness, control, -1.0, right)
    if schedule.length_weight > 0.0:
        add_lanes(iterate.taut, control, -1.0, right)
    if schedule.proposal_weight > 0.0:
        _proposal_pull(tables, control, iterate.proposal, schedule.proposal_weight, right)
    _normal_matrix(tables, schedule, penalty, iterate.taut, pairs_weight, gap, speed, acceleration, matrix)
    factorise(matrix, low, high)
    if schedule.two_mode:
        solve_modes(matrix, right, low, high)
    else:
        solve_lanes(matrix, right, low, high)
    for k in range(low, high):
        for a in range(control.shape[1]):
            control[k, a] += right[k, a]


@njit(cache=True, nogil=True)
def _empty_samples(samples, columns):
    """Room for the values of (columns // 2) robots."""
    by_time, by_lane = (samples, columns), (columns, samples)
    return Samples(np.empty(by_time), np.empty(by_time), np.empty(by_time), np.empty(by_lane), np.empty(by_lane))


@njit(cache=True, nogil=True)
def _within(schedule, progress):
    """Whether the violations last seen are within the tolerances."""
    limits = progress[3] <= schedule.speed_tolerance and progress[4] <= schedule.acceleration_tolerance
    return progress[2] <= schedule.gap_tolerance and limits


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def passes(tables, limits, world, schedule, iterate):
    """Whether an iterate that has not been looked at yet passes; looks, and changes nothing else, see `advance`."""
    samples, columns = tables.value.shape[0], iterate.control.shape[1]
    values, stiff, progress = _empty_samples(samples, columns), max(1.0, schedule.wall_penalty / iterate.progress[1]), iterate.progress
    gap, speed, bend = _corrections(samples, columns // 2), _corrections(samples, columns // 2), _corrections(samples, columns // 2)
    _sample(tables, iterate, values)
    progress[2], progress[3], progress[4], _ = _project(tables, limits, world, stiff, values, iterate, gap, speed, bend)
    return _within(schedule, progress)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def advance(tables, limits, world, schedule, iterate, rounds):
    """Runs a problem on for some rounds, or until its iterate passes the tolerances.

    Args:
        tables: Tables.
        limits: Limits.
        world: the scene's arrays.
        schedule: Schedule.
        iterate: Iterate, changed in place.
        rounds: most rounds of this call.

    Returns:
        Whether the iterate passed. The first iterate is looked at before anything is changed.
    """
    count, columns = iterate.control.shape
    robots, samples = columns // 2, tables.value.shape[0]
    values = _empty_samples(samples, columns)
    gap, speed, acceleration = _corrections(samples, robots), _corrections(samples, robots), _corrections(samples, robots)
    right, matrix = np.empty((count, columns)), np.empty((count, 6, 2 if schedule.two_mode else robots))
    progress = iterate.progress
    for _ in range(rounds):
        _sample(tables, iterate, values)
        stiff = max(1.0, schedule.wall_penalty / progress[1])
        progress[2], progress[3], progress[4], pairs_weight = _project(
            tables, limits, world, stiff, values, iterate, gap, speed, acceleration
        )
        if _within(schedule, progress):
            return True
        if progress[0] > 0 and progress[0] % schedule.stage_rounds == 0:
            progress[1] = min(progress[1] * schedule.growth, schedule.most_penalty)
        if schedule.length_weight > 0.0 and progress[0] % schedule.stage_rounds == 0:
            _tighten(tables, schedule, min(1.0, progress[1] / schedule.length_penalty), values.velocity, iterate.taut)
        _update(tables, schedule, iterate, progress[1], pairs_weight, gap, speed, acceleration, right, matrix)
        progress[0] += 1
    return False
