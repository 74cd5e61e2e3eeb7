"""What the learned initialisation sees of one problem, compiled: the same numbers as `models.condition` makes of batches.

Put together by tensor operations, they would take twice as long, longer than the network itself.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numba import njit

from maps.curve import curve_basis
from maps.scenario import Scenario
from models.condition import PAIR_FEATURES, ROBOT_FEATURES
from models.path_frame import KNOTS, SAMPLES, WINDOW, sample_times
from models.surroundings import ASIDE, room_beside

NEAREST_FEATURES = 4
KNOT_STEP = int(KNOTS.step)
KNOT_COUNT = len(range(SAMPLES)[KNOTS])


class View(NamedTuple):
    """The network's inputs, one scene."""

    robot: Float[np.ndarray, "1 N F"]
    room: Float[np.ndarray, "1 N Q A"]  # radii
    fleet: Float[np.ndarray, "1 1"]
    pair: Float[np.ndarray, "1 N N P"]
    nearest: Float[np.ndarray, "1 N N 4"]
    mask: np.ndarray  # (1, N) bool


def view(scenario: Scenario, control_points: Float[np.ndarray, "N n 2"]) -> tuple[View, Float[np.ndarray, "N T 2"]]:
    """What the network is told, and the headings along the proposal that its answer is turned by."""
    robots, horizon, fleet = len(scenario), float(scenario.horizon or 0.0), scenario.fleet
    radius, v_max, a_max = fleet.radius.numpy(), fleet.v_max.numpy(), fleet.a_max.numpy()
    out = View(
        np.empty((1, robots, ROBOT_FEATURES), np.float32),
        np.empty((1, robots, KNOT_COUNT, len(ASIDE)), np.float32),
        np.array([[np.log(horizon / np.sqrt(radius.mean() / a_max.mean())) - 4.0]], np.float32),
        np.empty((1, robots, robots, PAIR_FEATURES), np.float32),
        np.empty((1, robots, robots, NEAREST_FEATURES), np.float32),
        np.ones((1, robots), bool),
    )
    limits = radius, v_max, a_max, scenario.start_velocity.numpy()
    route = _sampling(control_points.shape[1]) @ control_points
    heading = _look(
        route, limits, (horizon, scenario.margin), scenario.scene.world, (out.robot[0], out.room[0], out.pair[0], out.nearest[0])
    )
    return out, heading


@lru_cache(maxsize=64)
def _sampling(count: int) -> Float[np.ndarray, "T n"]:
    """The curves' basis at the sample times."""
    return np.ascontiguousarray(curve_basis(count).matrix(sample_times()))


@njit(cache=True, nogil=True, error_model="numpy")
def _look(route, limits, terms, world, out):
    """Fills a view's arrays (robot, room, pair, nearest); returns the headings (N, T, 2)."""
    robot, room, pair, nearest = out
    horizon, margin = terms
    heading = _headings(route)
    _robots(route, heading, limits, horizon, margin, robot)
    knots, turned = route[:, ::KNOT_STEP].copy(), heading[:, ::KNOT_STEP].copy()
    room[:] = room_beside(knots, turned, limits[0], margin, world)
    _pairs(route, heading, limits[0], pair)
    _nearest(route.transpose(0, 2, 1).copy(), heading, limits[0], nearest)
    return heading


@njit(cache=True, nogil=True, error_model="numpy")
def _headings(route):
    """As `models.path_frame.headings`."""
    robots, samples = route.shape[0], route.shape[1]
    out = np.empty_like(route)
    for i in range(robots):
        way_x, way_y = route[i, samples - 1, 0] - route[i, 0, 0], route[i, samples - 1, 1] - route[i, 0, 1]
        far, reach = np.sqrt(way_x * way_x + way_y * way_y), 0.0
        for t in range(samples):
            late, soon = min(t + WINDOW, samples - 1), max(t - WINDOW, 0)
            dx, dy = route[i, late, 0] - route[i, soon, 0], route[i, late, 1] - route[i, soon, 1]
            out[i, t, 0], out[i, t, 1] = dx, dy
            reach += np.sqrt(dx * dx + dy * dy) / samples
        ahead_x, ahead_y = (way_x / far, way_y / far) if far > 1e-9 else (1.0, 0.0)
        for t in range(samples):
            dx, dy = out[i, t, 0] + 1e-3 * reach * ahead_x, out[i, t, 1] + 1e-3 * reach * ahead_y
            length = np.sqrt(dx * dx + dy * dy)
            out[i, t, 0], out[i, t, 1] = (dx / length, dy / length) if length > 1e-9 else (1.0, 0.0)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _robots(route, heading, limits, horizon, margin, out):
    """As `models.condition._robot_features`: the route's shape along its chord, its pace, and ratios of limits."""
    radius, v_max, a_max, velocity = limits
    robots, unit = route.shape[0], radius.mean()
    for i in range(robots):
        length, steps = 0.1 * radius[i], KNOT_COUNT - 1
        for q in range(steps):
            dx = route[i, (q + 1) * KNOT_STEP, 0] - route[i, q * KNOT_STEP, 0]
            dy = route[i, (q + 1) * KNOT_STEP, 1] - route[i, q * KNOT_STEP, 1]
            paced = np.sqrt(dx * dx + dy * dy)
            length += paced
            out[i, 2 * KNOT_COUNT + q] = paced * steps / (v_max[i] * horizon)
        wx, wy = route[i, SAMPLES - 1, 0] - route[i, 0, 0], route[i, SAMPLES - 1, 1] - route[i, 0, 1]
        far = np.sqrt(wx * wx + wy * wy)
        c, s = (wx / far, wy / far) if far > 1e-9 else (heading[i, 0, 0], heading[i, 0, 1])
        for q in range(KNOT_COUNT):
            dx, dy = route[i, q * KNOT_STEP, 0] - route[i, 0, 0], route[i, q * KNOT_STEP, 1] - route[i, 0, 1]
            out[i, 2 * q], out[i, 2 * q + 1] = (c * dx + s * dy) / length, (c * dy - s * dx) / length
        at = 2 * KNOT_COUNT + steps
        out[i, at] = np.log(length / radius[i]) / 2.0 - 1.5
        out[i, at + 1] = length / (v_max[i] * horizon)
        out[i, at + 2] = np.log(a_max[i] * horizon**2 / length) / 2.0 - 1.5
        out[i, at + 3] = far / length
        out[i, at + 4] = margin / radius[i]
        out[i, at + 5] = np.log(radius[i] / unit)
        out[i, at + 6] = (c * velocity[i, 0] + s * velocity[i, 1]) / v_max[i]
        out[i, at + 7] = (c * velocity[i, 1] - s * velocity[i, 0]) / v_max[i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _pairs(route, heading, radius, out):
    """As `models.condition.pair_features`, of the routes at their knots."""
    robots = route.shape[0]
    for i in range(robots):
        for j in range(robots):
            reach = radius[i] + radius[j]
            for q in range(KNOT_COUNT):
                t = q * KNOT_STEP
                dx, dy = (route[j, t, 0] - route[i, t, 0]) / reach, (route[j, t, 1] - route[i, t, 1]) / reach
                c, s = heading[i, t, 0], heading[i, t, 1]
                square = dx * dx + dy * dy
                fade = 1.0 / (1.0 + np.sqrt(square + 1e-12))
                out[i, j, q] = (c * dx + s * dy) * fade
                out[i, j, KNOT_COUNT + q] = (c * dy - s * dx) * fade
                out[i, j, 2 * KNOT_COUNT + q] = 1.0 / (1.0 + square)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _nearest(route, heading, radius, out):
    """As `safety_filter.warm_start.nearest_features`; route (N, 2, T)."""
    robots, samples = route.shape[0], route.shape[2]
    square = np.empty(samples)
    for i in range(robots):
        for j in range(i, robots):
            for t in range(samples):
                dx, dy = route[j, 0, t] - route[i, 0, t], route[j, 1, t] - route[i, 1, t]
                square[t] = dx * dx + dy * dy
            when = np.argmin(square)
            reach = radius[i] + radius[j]
            dx, dy = (route[j, 0, when] - route[i, 0, when]) / reach, (route[j, 1, when] - route[i, 1, when]) / reach
            distance = np.sqrt(dx * dx + dy * dy)
            for k in range(2):
                a, b, sign = (i, j, 1.0) if k == 0 else (j, i, -1.0)
                c, s = heading[a, when, 0], heading[a, when, 1]
                out[a, b, 0] = sign * (c * dx + s * dy) / (1.0 + distance)
                out[a, b, 1] = sign * (c * dy - s * dx) / (1.0 + distance)
                out[a, b, 2] = 1.0 / (1.0 + distance * distance)
                out[a, b, 3] = when / (samples - 1.0)
