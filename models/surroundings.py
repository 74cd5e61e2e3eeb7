"""The map as a robot meets it: signed distances at places beside its route.

Discs, polygons and occupancy grids answer the same question, so one encoding serves them all, any number of them, in any order.
"""

import numpy as np
import torch
from jaxtyping import Float
from numba import njit
from torch import Tensor

from maps.scenario import Scenario
from maps.world import bounds_distance, nearest_obstacles
from models.path_frame import KNOTS, headings

ASIDE = np.array([-4.0, -2.0, 0.0, 2.0, 4.0])  # radii to the left of the route
LEAST, MOST = -3.0, 6.0  # radii, range of the free room that is told apart


def free_room(scenario: Scenario, route: Float[Tensor, "N T 2"]) -> Float[Tensor, "N K A"]:
    """Room between a robot and the nearest obstacle or bound, were it beside its route.

    Args:
        scenario: the scene, the robots' radii and the margin.
        route: places at the `SAMPLES` uniform times, m.

    Returns:
        Signed distances less radius and margin, in radii, clipped to what matters; for each of the K knots of the route
        the A offsets aside, right to left.
    """
    knots = np.ascontiguousarray(route[:, KNOTS].numpy())
    heading = np.ascontiguousarray(headings(route)[:, KNOTS].numpy())
    radius, world = scenario.fleet.radius.numpy(), scenario.scene.world
    return torch.from_numpy(room_beside(knots, heading, radius, scenario.margin, world))


@njit(cache=True, nogil=True, error_model="numpy")
def room_beside(knots, heading, radius, margin, world):
    """`free_room` at the knots (N, K, 2) of routes with these headings -> (N, K, A)."""
    robots, places, offsets = knots.shape[0], knots.shape[1], ASIDE.shape[0]
    count = places * offsets
    x, y, reach = np.empty(count), np.empty(count), np.empty(count)
    distance, gradient_x, gradient_y = np.empty(count), np.empty(count), np.empty(count)
    out = np.empty((robots, places, offsets))
    for i in range(robots):
        reach[:] = (MOST + 1.0) * radius[i] + margin
        for q in range(places):
            for a in range(offsets):
                x[q * offsets + a] = knots[i, q, 0] - ASIDE[a] * radius[i] * heading[i, q, 1]
                y[q * offsets + a] = knots[i, q, 1] + ASIDE[a] * radius[i] * heading[i, q, 0]
        nearest_obstacles(x, y, reach, count, world, distance, gradient_x, gradient_y)
        for q in range(places):
            for a in range(offsets):
                k = q * offsets + a
                free = min(distance[k], bounds_distance(x[k], y[k], world)) - radius[i] - margin
                out[i, q, a] = min(max(free / radius[i], LEAST), MOST)
    return out
