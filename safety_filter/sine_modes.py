"""Smooth changes of control points, or multipliers, as coefficients that know neither frame nor scale nor fleet."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maps.curve import END_POINTS, curve_basis
from models.condition import Surveyed
from models.path_frame import SAMPLES, headings, rotate_into, rotate_out_of

USUAL = 24  # control points at which the coefficients of an orthonormal mode are what they are


@lru_cache(maxsize=64)
def sine_modes(count: int, modes: int) -> Float[np.ndarray, "n K"]:
    """Orthonormal sines over the free ones of `count` control points, by rising frequency; zero at the fixed ones.

    There are no more than the free control points; further columns are zero.
    """
    free = count - 2 * END_POINTS
    place, wave = np.arange(1, free + 1), np.arange(1, min(modes, free) + 1)
    out = np.zeros((count, modes))
    out[END_POINTS:-END_POINTS, : len(wave)] = np.sin(np.pi * place[:, None] * wave / (free + 1)) * np.sqrt(2.0 / (free + 1))
    return out


@lru_cache(maxsize=64)
def abscissae(count: int) -> np.ndarray:
    """The sample of the routes nearest to where each control point acts (Greville abscissae)."""
    basis = curve_basis(count)
    knots = basis.knots
    return np.round(np.stack([knots[k + 1 : k + 1 + basis.degree].mean() for k in range(count)]) * (SAMPLES - 1)).astype(np.int64)


def _frame(surveyed: Surveyed, count: int) -> Float[Tensor, "S N n 2"]:
    return headings(surveyed.route)[:, :, torch.from_numpy(abscissae(count)).to(surveyed.route.device)]


def to_control(coefficients: Float[Tensor, "S N K 2"], surveyed: Surveyed, count: int) -> Float[Tensor, "S N n 2"]:
    """Sums of modes as values at the control points, in the map frame, m; zero for robots that are padding."""
    modes = torch.from_numpy(sine_modes(count, coefficients.shape[2])).to(coefficients)
    size = (surveyed.radius * surveyed.mask).to(coefficients)[..., None, None]
    return size_of_modes(count) * size * rotate_out_of(modes @ coefficients, _frame(surveyed, count).to(coefficients))


def to_modes(values: Float[Tensor, "S N n 2"], surveyed: Surveyed, modes: int) -> Float[Tensor, "S N K 2"]:
    """The inverse of `to_control` where there are as many modes as free control points, else the nearest sums of modes."""
    count = values.shape[2]
    size = torch.where(surveyed.mask, surveyed.radius, 1.0).to(values)[..., None, None]
    turned = rotate_into(values / size, _frame(surveyed, count).to(values)) / size_of_modes(count)
    return torch.from_numpy(sine_modes(count, modes)).to(values).T @ turned


def size_of_modes(count: int) -> float:
    """Keeps the height of a mode when control points grow in number: orthonormal ones would shrink."""
    return (count / USUAL) ** 0.5
