"""The frame that moves along a robot's route: the units in which the generator sees the world.

Places are written as forward and leftward offsets from the route at the same time, in robot radii. Turning, moving or
scaling the world leaves them as they are, so nothing has to be learned twice.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

SAMPLES = 97  # T, uniform times over the horizon at which routes and paths are looked at
WINDOW = 4  # samples to either side over which a heading is taken
KNOTS = slice(0, SAMPLES, 6)  # the 17 samples at which the surroundings are described


def sample_times() -> np.ndarray:
    """The dimensionless times of all samples."""
    return np.linspace(0.0, 1.0, SAMPLES)


def headings(route: Float[Tensor, "*batch T 2"]) -> Float[Tensor, "*batch T 2"]:
    """Unit vectors along routes, smoothed over a few samples.

    Where a route stands still or turns back on itself within the window, the heading is that of its whole way; a route
    that ends where it starts and never moves has heading (1, 0).
    """
    later = torch.cat([route[..., WINDOW:, :], route[..., -1:, :].expand(*route.shape[:-2], WINDOW, 2)], dim=-2)
    sooner = torch.cat([route[..., :1, :].expand(*route.shape[:-2], WINDOW, 2), route[..., :-WINDOW, :]], dim=-2)
    step = later - sooner
    way = route[..., -1:, :] - route[..., :1, :]
    reach = step.norm(dim=-1, keepdim=True).mean(dim=-2, keepdim=True)
    east = torch.zeros_like(way)
    east[..., 0] = 1.0
    # a small pull towards the whole way decides what the step leaves open
    pulled = step + 1e-3 * reach * torch.where(
        way.norm(dim=-1, keepdim=True) > 1e-9, way / way.norm(dim=-1, keepdim=True).clamp_min(1e-9), east
    )
    length = pulled.norm(dim=-1, keepdim=True)
    return torch.where(length > 1e-9, pulled / length.clamp_min(1e-9), east.expand_as(pulled))


def rotate_into(vector: Float[Tensor, "*batch 2"], heading: Float[Tensor, "*#batch 2"]) -> Float[Tensor, "*batch 2"]:
    """Forward and leftward components of vectors of the map frame."""
    x, y = vector.unbind(-1)
    c, s = heading.unbind(-1)
    return torch.stack([c * x + s * y, c * y - s * x], dim=-1)


def rotate_out_of(vector: Float[Tensor, "*batch 2"], heading: Float[Tensor, "*#batch 2"]) -> Float[Tensor, "*batch 2"]:
    """Vectors of the map frame from forward and leftward components."""
    forward, left = vector.unbind(-1)
    c, s = heading.unbind(-1)
    return torch.stack([c * forward - s * left, s * forward + c * left], dim=-1)
