"""Chunks of actions as flow trajectories: flow time is the time of execution, from the chunk's first waypoint to its last.

A conditional path starts near the first waypoint and is pulled to the chunk xi: a(t) = xi(t) + (a(0) - xi(0)) exp(-k t).
Source: Jiang et al., Streaming Flow Policy (2025).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.policies.flow_steps import Field, Solver, integrate


@dataclass(frozen=True)
class StreamingConfig:
    """The tube around a chunk."""

    k: float = 2.5  # rate of the pull to the chunk, per chunk; 0: none
    sigma0: float = 0.1  # spread of the start, in units of the action
    sigma1: float = 0.1  # spread of the end of the latent variant, at least sigma0 exp(-k)


def along_chunk(waypoint: Float[Tensor, "B H A"], t: Float[Tensor, "B 1"]) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B A"]]:
    """Position and velocity on the straight pieces between waypoints at times 0, 1 / (H - 1), ..., 1.

    Args:
        waypoint: at least two a chunk.
        t: times in [0, 1]; at a waypoint, the velocity is that of the piece that begins there.

    Returns:
        xi(t) and xi'(t).

    Raises:
        ValueError: fewer than two waypoints.
    """
    pieces = waypoint.shape[1] - 1
    if pieces < 1:
        raise ValueError(f"a chunk needs two waypoints or more, not {waypoint.shape[1]}")
    place = (t * pieces).clamp(0.0, pieces)
    piece = place.floor().clamp_max(pieces - 1)
    index = piece.long()[..., None].expand(-1, 1, waypoint.shape[-1])
    first, second = waypoint.gather(1, index)[:, 0], waypoint.gather(1, index + 1)[:, 0]
    return first + (place - piece) * (second - first), pieces * (second - first)


def conditional_velocity(
    action: Float[Tensor, "B A"], waypoint: Float[Tensor, "B H A"], t: Float[Tensor, "B 1"], k: float
) -> Float[Tensor, "B A"]:
    """xi'(t) - k (a - xi(t)): along the chunk, and back to it."""
    position, velocity = along_chunk(waypoint, t)
    return velocity - k * (action - position)


def streaming_target(
    waypoint: Float[Tensor, "B H A"], noise: Float[Tensor, "B A"], t: Float[Tensor, "B 1"], config: StreamingConfig
) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B A"]]:
    """A point of the tube at time t, N(xi(t), sigma0^2 exp(-2 k t)), and the velocity there that a field should learn."""
    position, velocity = along_chunk(waypoint, t)
    aside = config.sigma0 * torch.exp(-config.k * t) * noise
    return position + aside, velocity - config.k * aside


def latent_target(
    waypoint: Float[Tensor, "B H A"],
    noise: Float[Tensor, "B A"],
    latent: Float[Tensor, "B A"],
    t: Float[Tensor, "B 1"],
    config: StreamingConfig,
) -> tuple[Float[Tensor, "B 2*A"], Float[Tensor, "B 2*A"]]:
    """The same for pairs (action, latent), whose latent carries the choice that a known start cannot.

    a(t) = xi + (a(0) - xi(0)) exp(-k t) + sigma_r t z0 and z(t) = (1 - (1 - sigma1) t) z0 + t xi, with a start of spread sigma0 and
    sigma_r^2 = sigma1^2 - sigma0^2 exp(-2 k).

    Args:
        waypoint: chunks.
        noise: standard normal, of the start.
        latent: standard normal, z0.
        t: times in [0, 1].
        config: of the tube.

    Returns:
        Points (a, z) and their velocities, action first.

    Raises:
        ValueError: sigma1 is less than sigma0 exp(-k).
    """
    spread = config.sigma1**2 - config.sigma0**2 * math.exp(-2.0 * config.k)
    if spread < 0.0:
        raise ValueError(f"sigma1 is {config.sigma1}, less than sigma0 exp(-k) = {config.sigma0 * math.exp(-config.k)}")
    position, velocity = along_chunk(waypoint, t)
    drift = math.sqrt(spread) * latent
    point, slope = streaming_target(waypoint, noise, t, config)
    mixed = (1.0 - (1.0 - config.sigma1) * t) * latent + t * position
    turning = position + t * velocity - (1.0 - config.sigma1) * latent
    return torch.cat([point + t * drift, mixed], -1), torch.cat([slope + drift, turning], -1)


def stream(field: Field, start: Float[Tensor, "B A"], ticks: int, pieces: int, solver: Solver) -> Float[Tensor, "ticks B A"]:
    """Integrates a learned field tick by tick, so that each action can be sent as soon as it is known.

    Args:
        field: velocity over execution time.
        start: the last action executed (or the state where actions are states), with its latent where there is one.
        ticks: actions to make.
        pieces: ticks of a whole chunk, H - 1.
        solver: steps within one tick; steps times k should be well below 1 a chunk.

    Returns:
        The point after each tick.
    """
    points = []
    for tick in range(ticks):
        start = integrate(field, start, solver, tick / pieces, (tick + 1) / pieces)
        points.append(start)
    return torch.stack(points)
