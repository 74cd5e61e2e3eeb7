"""Joint trajectories as control points and a basis."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maps.curve import CurveBasis, curve_basis


@dataclass(frozen=True)
class TrajectoryBatch:
    """Curves of N robots, any number of them stacked.

    Every curve is a clamped uniform B-spline of degree 5 over [0, horizon].
    """

    control_points: Float[Tensor, "*batch N n 2"]  # m, map frame
    horizon: Float[Tensor, "*#batch"]  # s

    @property
    def basis(self) -> CurveBasis:
        """The basis that the control points belong to."""
        return curve_basis(self.control_points.shape[-2])

    @property
    def knots(self) -> Float[Tensor, "*some k"]:
        """Knots, s."""
        unit = torch.as_tensor(self.basis.knots, dtype=self.horizon.dtype, device=self.horizon.device)
        return self.horizon[..., None] * unit

    def sample(self, u: np.ndarray, derivative: int = 0) -> Float[Tensor, "*batch N T 2"]:
        """Values or time derivatives of the curves.

        Args:
            u: (T,) dimensionless times in [0, 1]; t = u * horizon.
            derivative: 0 position (m), 1 velocity (m/s), 2 acceleration (m/s^2), 3 jerk (m/s^3).

        Returns:
            Values at those times.
        """
        matrix = torch.as_tensor(
            self.basis.matrix(np.asarray(u, dtype=np.float64), derivative),
            dtype=self.control_points.dtype,
            device=self.control_points.device,
        )
        return matrix @ self.control_points / self.horizon[..., None, None, None] ** derivative

    def position(self, u: np.ndarray) -> Float[Tensor, "*batch N T 2"]:
        """Positions, m, at dimensionless times u."""
        return self.sample(u, 0)

    def velocity(self, u: np.ndarray) -> Float[Tensor, "*batch N T 2"]:
        """Velocities, m/s, at dimensionless times u."""
        return self.sample(u, 1)

    def acceleration(self, u: np.ndarray) -> Float[Tensor, "*batch N T 2"]:
        """Accelerations, m/s^2, at dimensionless times u."""
        return self.sample(u, 2)

    def jerk(self, u: np.ndarray) -> Float[Tensor, "*batch N T 2"]:
        """Jerks, m/s^3, at dimensionless times u."""
        return self.sample(u, 3)
