"""One scenario and one proposal as the filter's numbers: sampling matrices, needs, smoothness, the time scale.

All of it is plain numpy in float64; `safety_filter.kernel` reads it as it is, `safety_filter.rounds` as tensors.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numba import njit

from maps.curve import curve_basis
from maps.scenario import Scenario
from maps.world import obstacle_distance
from safety_filter.banded import BANDS
from safety_filter.corrections import BLOCK, Iterate, Limits
from safety_filter.kernel import Schedule, Tables

SAMPLES_PER_PIECE = 5  # of each polynomial piece of the curves


@dataclass(frozen=True)
class FilterConfig:
    """Weights and schedule of the safety filter.

    Times enter through the scale tau = sqrt(radius / a_max) of the fleet, in which a robot moves by half its radius
    from rest: the same numbers then serve a desk robot and a truck. Lengths need no scale, every term is quadratic.
    """

    jerk_weight: float = 10.0  # tau^6, of the mean squared jerk
    bend_weight: float = 10.0  # tau^4, of the mean squared acceleration
    length_weight: float = 0.5  # of lengths, as a share of what they weigh beside accelerations in a plan's cost; not with two_mode
    length_penalty: float = 2.0  # penalty from which on lengths weigh that much; below it in proportion: sides are chosen first
    proposal_weight: float = 0.0  # of the mean squared distance to the proposal
    speed_weight: float = 1.0  # tau^2, of what speeds lack against positions
    acceleration_weight: float = 2.5  # tau^4, of what accelerations lack against positions
    penalty: float = 0.02  # at the start
    wall_penalty: float = 0.0  # of walls and bounds while that of the pairs is lower: keeps a proposal on its side of them
    growth: float = 1.4  # factor of the penalty from stage to stage
    stage_rounds: int = 3  # rounds of a stage
    most_penalty: float = 1e5  # where the growth ends
    multiplier_keep: float = 0.97  # share of the multipliers that survives a round; below 1 they forget constraints no longer met
    proximal: float = 0.3  # weight of standing still, in units of one active constraint on every sample
    pair_weight: float = 0.7  # of a pair on each of its two robots; 2 bounds its block for any move, less lets robots give way sooner
    two_mode: bool = False  # the linear system of the fleet's mean and deviations, in place of each robot's active constraints
    rounds: int = 320  # most, for one start
    hopeless: float = float("inf")  # mean radii, worst violation after the first four stages from which on a run is given up
    aim: float = 0.01  # room aimed at beyond what is needed, in radii
    most_aim: float = 0.002  # m
    slack: float = 0.995  # share of the speed limits that is aimed at
    bend_slack: float = 0.985  # share of the acceleration limits that is aimed at


def time_scale(scenario: Scenario) -> float:
    """Tau = sqrt(radius / a_max) of a fleet's means, s."""
    return float(scenario.fleet.radius.numpy().mean() / scenario.fleet.a_max.numpy().mean()) ** 0.5


@lru_cache(maxsize=64)
def _unit_tables(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Basis values and derivatives (3, T, 6) by dimensionless time, their first indices (T,), and bands (5, n, 11).

    The bands are those of the Gram matrices of derivatives 0 to 3, as integrals, and of the sampled values.
    """
    basis = curve_basis(count)
    samples = SAMPLES_PER_PIECE * basis.pieces + 1
    u = np.linspace(0.0, 1.0, samples)
    first = np.clip(np.searchsorted(basis.knots, u, side="right") - 6, 0, count - 6).astype(np.int64)
    columns = first[:, None] + np.arange(6)
    rows = np.stack([np.take_along_axis(basis.matrix(u, k), columns, axis=1) for k in range(3)])
    value = basis.matrix(u)
    grams, bands = np.concatenate([basis.gram, (value.T @ value)[None]]), np.zeros((5, count, 11))
    for d in range(-5, 6):
        k = np.arange(max(0, -d), min(count, count - d))
        bands[:, k, 5 + d] = grams[:, k, k + d]
    return rows, first, bands


def make_tables(count: int, horizon: float, tau: float, config: FilterConfig) -> Tables:
    """Sampling matrices and smoothness bands of curves with `count` control points over `horizon` seconds."""
    rows, first, bands = _unit_tables(count)
    samples = rows.shape[1]
    # T means over the horizon: what a sum over samples is in the limit, so that weights compare with position residuals
    smoothness = samples * (config.jerk_weight * (tau / horizon) ** 6 * bands[3] + config.bend_weight * (tau / horizon) ** 4 * bands[2])
    return Tables(rows[0], rows[1] / horizon, rows[2] / horizon**2, first, smoothness, bands[4], horizon / (samples - 1))


def length_weight(scenario: Scenario, config: FilterConfig) -> float:
    """What a sample's speed weighs, m s.

    A plan's cost is length over straight + 0.5 mean squared acceleration / mean of (a_max / 2)^2. The filter weighs squared
    accelerations, summed over samples, by 0.5 bend_weight tau^4; that scales the cost, and here its other term. Fleets slower
    than a radius in tau get no more than they would at that pace, else lengths would pull them through walls.
    """
    if config.two_mode:
        return 0.0
    tau, fleet = time_scale(scenario), scenario.fleet
    bend = config.bend_weight * tau**4 * float(np.square(0.5 * fleet.a_max.numpy()).mean())
    way = scenario.goal.numpy() - scenario.start.numpy()
    pace = float(np.hypot(way[:, 0], way[:, 1]).mean()) / float(scenario.horizon or 1.0)
    leisurely = float(fleet.radius.numpy().mean()) / tau
    return config.length_weight * bend * pace / max(pace, leisurely) ** 2


def make_schedule(scenario: Scenario, aim: float, config: FilterConfig) -> Schedule:
    """The schedule in seconds; the tolerances accept half of the room aimed at."""
    tau = time_scale(scenario)
    return Schedule(
        config.growth,
        config.stage_rounds,
        config.most_penalty,
        config.wall_penalty,
        config.speed_weight * tau**2,
        config.acceleration_weight * tau**4,
        length_weight(scenario, config),
        config.length_penalty,
        config.proposal_weight,
        config.multiplier_keep,
        config.proximal,
        config.pair_weight,
        config.two_mode,
        0.5 * aim,
        0.8 * (1.0 - config.slack),
        0.8 * (1.0 - config.bend_slack),
    )


def room_aimed_at(scenario: Scenario, config: FilterConfig) -> float:
    """Extra room for what lies between samples, m."""
    return min(config.most_aim, config.aim * float(scenario.fleet.radius.min()))


def make_limits(scenario: Scenario, samples: int, aim: float, config: FilterConfig) -> Limits:
    """What the robots need, with `aim` of extra room; near the ends no more than the ends themselves have.

    A pair that starts with less room than aimed at would else never pass, though nothing is wrong.
    """
    fleet, margin = scenario.fleet, scenario.margin
    radius = fleet.radius.numpy()
    pairs, walls = _needs(scenario.start.numpy(), scenario.goal.numpy(), radius, (margin, aim), scenario.scene.world)
    place, need = mover_needs(scenario, samples, walls[1])
    speed, bend = fleet.v_max.numpy() * config.slack, fleet.a_max.numpy() * config.bend_slack
    return Limits(pairs, walls, speed, bend, place, need)


@njit(cache=True, nogil=True)
def _needs(start, goal, radius, rooms, world):
    """Distances that pairs (3, N, N) and robots and walls (3, N) need at the start, between, and at the goal, m."""
    margin, aim = rooms
    robots = len(radius)
    pairs, walls = np.empty((3, robots, robots)), np.empty((3, robots))
    reach, b = 10.0 * radius.max() + margin, world.bounds
    for i in range(robots):
        wall = radius[i] + margin
        walls[1, i] = wall + aim
        for j in range(robots):
            pairs[1, i, j] = radius[i] + radius[j] + margin + aim
        for k in (0, 2):
            place = start if k == 0 else goal
            x, y = place[i, 0], place[i, 1]
            room = min(obstacle_distance(x, y, world, reach)[0], x - b[0], b[2] - x, y - b[1], b[3] - y)
            walls[k, i] = min(max(room - 0.5 * aim, wall), wall + aim)
            for j in range(robots):
                pair = radius[i] + radius[j] + margin
                between = np.hypot(place[j, 0] - x, place[j, 1] - y)
                pairs[k, i, j] = min(max(between - 0.5 * aim, pair), pair + aim)
    return pairs, walls


def mover_needs(scenario: Scenario, samples: int, room: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (Q, T, 2) of moving obstacles at the samples, and distances (Q, T, N) needed from the segment after each.

    Between samples a mover is taken to go straight; where it turns there, it is made larger by what it strays.
    """
    robots = len(scenario)
    count = len(scenario.moving)
    place, need = np.zeros((count, samples, 2)), np.zeros((count, samples, robots))
    if count == 0:
        return place, need
    horizon = float(scenario.horizon or 0.0)
    time = np.linspace(0.0, horizon, samples)
    for q, mover in enumerate(scenario.moving):
        place[q] = mover.at(torch.as_tensor(time)).numpy()
        stray = np.zeros(samples)
        kinks = mover.time.numpy()
        inside = (kinks > time[0]) & (kinks < time[-1])
        segment = np.clip(np.searchsorted(time, kinks[inside], side="right") - 1, 0, samples - 2)
        share = (kinks[inside] - time[segment]) / (time[segment + 1] - time[segment])
        chord = place[q][segment] * (1 - share[:, None]) + place[q][segment + 1] * share[:, None]
        np.maximum.at(stray, segment, np.linalg.norm(mover.position.numpy()[inside] - chord, axis=1))
        need[q] = room + mover.radius + stray[:, None]
    return place, need


def columns(values: np.ndarray) -> np.ndarray:
    """Values (N, n, 2) as (n, 2 N), x of all robots, then y."""
    robots, count, _ = values.shape
    return np.ascontiguousarray(values.transpose(1, 2, 0).reshape(count, 2 * robots))


def rows(values: np.ndarray) -> np.ndarray:
    """The inverse of `columns`."""
    count, robots = len(values), values.shape[1] // 2
    return np.ascontiguousarray(values.reshape(count, 2, robots).transpose(2, 0, 1))


def make_iterate(control_points: np.ndarray, tables: Tables, penalty: float) -> Iterate:
    """A fresh iterate from a proposal (N, n, 2)."""
    robots, count, _ = control_points.shape
    samples = tables.value.shape[0]
    control = columns(control_points)
    blocks = -(-(samples - 1) // BLOCK)
    progress = np.zeros(5)
    progress[1] = penalty
    return Iterate(
        control,
        control.copy(),
        np.zeros_like(control),
        np.zeros((count, BANDS, robots)),
        np.zeros((robots * (robots - 1) // 2, blocks)),
        np.zeros((robots, blocks)),
        np.zeros((samples, robots)),
        np.zeros((samples, 2 * robots)),
        np.zeros((samples, 2 * robots)),
        progress,
    )
