"""Joint trajectories to start from: straight minimum-jerk lines and perturbed ones."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maps.curve import END_POINTS, curve_basis
from maps.scenario import Scenario, ScenarioBatch
from safety_filter.problem import time_scale

PIECE = 1.66  # time scales of the fleet that one polynomial piece lasts
FEWEST, MOST = 24, 96  # control points of a curve
HAIR = 0.02  # radii, sideways, midway
GOLDEN = 0.5 * (5.0**0.5 - 1.0)  # its multiples spread evenly over the unit interval
BEND = 0.25  # standard deviation of the last perturbation's first mode, in shares of the straight distance; the first bend less


def control_count(scenario: Scenario, horizon: float) -> int:
    """Control points that a horizon needs, so that robots can wait and turn within a few of their time scales."""
    pieces = int(np.ceil(horizon / (PIECE * time_scale(scenario))))
    return int(np.clip(pieces + curve_basis(FEWEST).degree, FEWEST, MOST))


def straight_lines(batch: ScenarioBatch, count: int) -> Float[Tensor, "S 1 N n 2"]:
    """Minimum-jerk lines from every start to every goal, each bent aside by a hair, no two alike.

    Two robots that meet head-on would else push each other straight back, and never step aside.
    """
    lines = batch.minimum_jerk(count).numpy()
    way = batch.goal.numpy() - batch.start.numpy()
    length = np.maximum(np.sqrt(way[..., 0] ** 2 + way[..., 1] ** 2), 1e-9)
    spread = 2.0 * (GOLDEN * np.arange(1, lines.shape[1] + 1) % 1.0) - 1.0
    size = HAIR * spread * batch.radius.numpy() / length
    aside = np.stack([size * way[..., 1], -size * way[..., 0]], axis=-1)
    return torch.from_numpy(lines + aside[:, :, None] * _arch(count)[:, None])[:, None]


@lru_cache(maxsize=64)
def _arch(count: int) -> Float[np.ndarray, " n"]:
    """Half a sine over the control points, 0 at those that the ends determine."""
    shape = np.sin(np.linspace(0.0, np.pi, count))
    shape[:END_POINTS] = shape[-END_POINTS:] = 0.0
    return shape


def perturbed_lines(batch: ScenarioBatch, count: int, many: int, seeds: list[int]) -> Float[Tensor, "S M N n 2"]:
    """Minimum-jerk lines bent by a few smooth modes, sideways more than along.

    Args:
        batch: the scenarios.
        count: control points of a curve.
        many: M, how many for each scenario.
        seeds: one for each scenario; the bends of a scenario depend on its seed and size alone.
    """
    lines = straight_lines(batch, count).repeat(1, many, 1, 1, 1)
    phase = np.linspace(0.0, 1.0, count)
    modes = torch.as_tensor(np.stack([np.sin((k + 1) * np.pi * phase) / (k + 1) for k in range(3)]))
    for s, seed in enumerate(seeds):
        robots = batch.sizes[s]
        rng = np.random.default_rng([seed, robots])
        size = torch.as_tensor(rng.normal(size=(many, robots, 3, 2)))
        line = batch.goal[s, :robots] - batch.start[s, :robots]
        length = line.norm(dim=-1, keepdim=True).clamp_min(4 * batch.radius[s, :robots, None])
        along = line / line.norm(dim=-1, keepdim=True).clamp_min(1e-9)
        side = torch.stack([-along[:, 1], along[:, 0]], dim=-1)
        bend = torch.einsum("mrk,ri->mrki", size[..., 0], side) + 0.3 * torch.einsum("mrk,ri->mrki", size[..., 1], along)
        most = BEND * torch.arange(1, many + 1, dtype=lines.dtype)[:, None, None, None] / many
        shape = torch.einsum("mrki,kn->mrni", most * bend * length[:, None, :], modes)
        lines[s, :, :robots, END_POINTS:-END_POINTS] += shape[..., END_POINTS:-END_POINTS, :]
    return lines
