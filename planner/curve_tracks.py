"""Curves of any degree and knots, all robots of a fleet at once, at the instants that are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import njit
from torch import Tensor

from planner.fleet_tracks import Reference
from safety_filter.timed_curve import MOST_DEGREE, TimedCurve


@dataclass(frozen=True)
class CurveTracks:
    """Curves of N robots, padded to one size; before it begins and after it ends a robot stands."""

    knots: Float[np.ndarray, "N K"]  # s
    control_points: Float[np.ndarray, "N P 2"]  # m
    degree: Int[np.ndarray, " N"]
    count: Int[np.ndarray, " N"]  # control points

    @property
    def haste(self) -> Float[Tensor, "1 N"]:
        """The pace of the plans, 1: how fast clocks go is up to whoever holds them."""
        return torch.ones(1, len(self.degree))

    @classmethod
    def of_curves(cls, curves: Sequence[TimedCurve]) -> "CurveTracks":
        """Of one fleet."""
        most, longest = (max(len(part) for part in parts) for parts in zip(*((c.control_points, c.knots) for c in curves), strict=True))
        control, knots = np.zeros((len(curves), most, 2)), np.zeros((len(curves), longest))
        for k, curve in enumerate(curves):
            control[k, : len(curve.control_points)], knots[k, : len(curve.knots)] = curve.control_points, curve.knots
        return cls(knots, control, np.array([c.degree for c in curves]), np.array([len(c.control_points) for c in curves]))

    def at(self, time: Float[Tensor, "1 N *more"]) -> Reference:
        """Where robots are.

        Args:
            time: s, on the clock of each robot's curve.
        """
        flat = time.reshape(time.shape[1], -1).double().numpy()
        out = _evaluate(self.knots, self.control_points, self.degree, self.count, flat)
        parts = torch.from_numpy(out).reshape(*time.shape, 6)
        return Reference(parts[..., :2], parts[..., 2:4], parts[..., 4:])


@njit(cache=True, nogil=True)
def _evaluate(knots, control, degree, count, time):
    """Position, velocity and acceleration, (N, T, 6); source: C. de Boor, A Practical Guide to Splines (1978)."""
    out = np.zeros((control.shape[0], time.shape[1], 6))
    local = np.empty((3, MOST_DEGREE + 1, 2))
    for i in range(control.shape[0]):
        p, n = degree[i], count[i]
        first, last = knots[i, p], knots[i, n]
        for q in range(time.shape[1]):
            t = min(max(time[i, q], first), last)
            span = p
            while span < n - 1 and knots[i, span + 1] <= t:
                span += 1
            while span > p and knots[i, span + 1] <= knots[i, span]:  # an end that is met more often than it needs to be
                span -= 1
            for j in range(p + 1):
                local[0, j] = control[i, span - p + j]
            for order in range(min(2, p)):  # control points of the derivatives
                of = p - order
                for j in range(of):
                    width = knots[i, span + 1 + j] - knots[i, span + 1 + j - of]
                    for axis in range(2):
                        change = local[order, j + 1, axis] - local[order, j, axis]
                        local[order + 1, j, axis] = of * change / width if width > 0.0 else 0.0
            moves = first <= time[i, q] < last
            for order in range(min(2, p) + 1 if moves else 1):
                of = p - order
                for level in range(1, of + 1):
                    for j in range(of, level - 1, -1):
                        left = knots[i, span - of + j]
                        share = (t - left) / (knots[i, span + 1 + j - level] - left)
                        for axis in range(2):
                            local[order, j, axis] = local[order, j - 1, axis] + share * (local[order, j, axis] - local[order, j - 1, axis])
                out[i, q, 2 * order], out[i, q, 2 * order + 1] = local[order, of, 0], local[order, of, 1]
    return out
