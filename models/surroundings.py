"""The map as a robot meets it: signed distances at places beside its route.

Discs, polygons and occupancy grids answer the same question, so one encoding serves them all, any number of them, in any order.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maps.scenario import Scenario
from maps.world import obstacle_distances
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
    position = route[:, KNOTS].numpy()
    heading = headings(route)[:, KNOTS].numpy()
    left = np.stack([-heading[..., 1], heading[..., 0]], axis=-1)
    radius = scenario.fleet.radius.numpy()[:, None, None]
    place = position[:, :, None] + (ASIDE * radius)[..., None] * left[:, :, None]
    points = np.ascontiguousarray(place.reshape(-1, 2))
    world = scenario.scene.world
    far = (MOST + 1.0) * float(radius.max()) + scenario.margin
    bounds = np.minimum(points - world.bounds[:2], world.bounds[2:] - points).min(axis=1)
    distance = np.minimum(obstacle_distances(points, world, far)[0], bounds).reshape(place.shape[:-1])
    return torch.from_numpy(np.clip((distance - radius - scenario.margin) / radius, LEAST, MOST))
