"""Principal modes of the offsets from the routes: the coordinates in which the flow runs.

An offset over time is a sum of a few smooth modes that vanish, with their first two derivatives, at both ends; so whatever the
network says, starts and goals are met.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from maps.curve import END_POINTS, curve_basis
from models.path_frame import KNOTS, SAMPLES, sample_times

BASIS = 24  # control points of the splines that offsets are made of


class Normalizer(nn.Module):
    """Offsets from routes, in radii, as coefficients of principal modes, and their spread in the training data."""

    modes: Tensor  # (K, T), mean square over the samples 1 each, orthogonal
    scale: Tensor  # (K, 2) standard deviation of the coefficients, forward and left, radii

    def __init__(self, modes: Float[Tensor, "K T"], scale: Float[Tensor, "K 2"]) -> None:
        """Modes at the sample times and the spread of their coefficients."""
        super().__init__()
        self.register_buffer("modes", modes)
        self.register_buffer("scale", scale)

    @classmethod
    def fit(cls, offset: Float[Tensor, "P T 2"], count: int) -> "Normalizer":
        """The `count` modes that lose least of the given offsets.

        Args:
            offset: of many paths, at the sample times, radii.
            count: K, at most BASIS - 6.
        """
        shapes, coefficients = _splines(), None
        flat = offset.double().transpose(1, 2).reshape(-1, SAMPLES).numpy()
        orthonormal = np.linalg.qr(shapes)[0]
        coefficients = flat @ orthonormal
        _, vectors = np.linalg.eigh(coefficients.T @ coefficients)
        modes = (orthonormal @ vectors[:, ::-1][:, :count]).T * np.sqrt(SAMPLES)
        spread = torch.from_numpy(flat @ modes.T / SAMPLES).reshape(-1, 2, count).square().mean(0).sqrt().T
        return cls(torch.from_numpy(np.ascontiguousarray(modes)).float(), spread.clamp_min(1e-3).float().contiguous())

    @classmethod
    def blank(cls, count: int) -> "Normalizer":
        """Room for the modes of a checkpoint."""
        return cls(torch.zeros(count, SAMPLES), torch.ones(count, 2))

    def encode(self, offset: Float[Tensor, "*batch T 2"]) -> Float[Tensor, "*batch K 2"]:
        """Coefficients, radii, of the nearest sums of modes."""
        return self.modes @ offset / SAMPLES

    def decode(self, coefficients: Float[Tensor, "*batch K 2"]) -> Float[Tensor, "*batch T 2"]:
        """Offsets at all sample times, radii."""
        return self.modes.T @ coefficients

    def decode_at_knots(self, coefficients: Float[Tensor, "*batch K 2"]) -> Float[Tensor, "*batch Q 2"]:
        """Offsets at the knots of the routes, radii."""
        return self.modes[:, KNOTS].T @ coefficients


def _splines() -> np.ndarray:
    """(T, BASIS - 6) splines that vanish with two derivatives at both ends."""
    return curve_basis(BASIS).matrix(sample_times())[:, END_POINTS:-END_POINTS]
