"""Clamped B-splines in time: bases, derivatives, end conditions, Bezier pieces.

A curve over [0, horizon] is written in the dimensionless time u = t / horizon; the k-th derivative by t is the k-th
by u over horizon**k, so every matrix here depends on the number of control points alone and is made once.
Source: C. de Boor, A Practical Guide to Splines (1978): the recursion of the basis, and derivatives by differences.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

DEGREE = 5
END_POINTS = 3  # control points at each end that position, velocity and acceleration there determine


@dataclass(frozen=True)
class CurveBasis:
    """The matrices of all clamped uniform B-splines with `count` control points; make it with `curve_basis`."""

    degree: int
    count: int  # n, control points
    knots: np.ndarray  # (n + degree + 1,), in [0, 1]
    bezier: np.ndarray  # (pieces, degree + 1, n), control points of each polynomial piece from those of the curve
    ends: np.ndarray  # (n, 6), control points of the quintic with given position, d/du, d2/du2 at u = 0 and at u = 1
    gram: np.ndarray  # (4, n, n), integrals over u in [0, 1] of the products of the basis' k-th derivatives, k = 0..3

    @property
    def pieces(self) -> int:
        """Number of polynomial pieces."""
        return self.count - self.degree

    def matrix(self, u: np.ndarray, derivative: int = 0) -> np.ndarray:
        """Basis functions, or their derivative by u, at dimensionless times.

        Args:
            u: (T,) times in [0, 1].
            derivative: order, 0 to degree.

        Returns:
            (T, n) matrix that maps control points to values at `u`.
        """
        return _design(self.knots, self.count, self.degree, u, derivative)


def _design(knots: np.ndarray, count: int, degree: int, u: np.ndarray, derivative: int) -> np.ndarray:
    """As `CurveBasis.matrix`; the last piece holds at the very end as well."""
    inside = np.clip(np.asarray(u, dtype=np.float64), knots[degree], knots[count])[..., None]
    piece = np.clip(np.searchsorted(knots, inside, side="right") - 1, degree, count - 1)
    basis = np.where(np.arange(len(knots) - 1) == piece, 1.0, 0.0)
    for k in range(1, degree - derivative + 1):
        share = (inside - knots[:-k]) * _one_over(knots[k:] - knots[:-k])  # of basis i in the way from knot i to knot i + k
        basis = share[..., :-1] * basis[..., :-1] + (1.0 - share[..., 1:]) * basis[..., 1:]
    for k in range(degree - derivative + 1, degree + 1):
        weighted = basis * k * _one_over(knots[k:] - knots[:-k])
        basis = weighted[..., :-1] - weighted[..., 1:]
    return basis


def _one_over(width: np.ndarray) -> np.ndarray:
    """Reciprocals; none of no width, whose basis functions vanish."""
    return np.divide(1.0, width, out=np.zeros_like(width), where=width > 0.0)


@lru_cache(maxsize=64)
def curve_basis(count: int, degree: int = DEGREE) -> CurveBasis:
    """The basis with `count` control points of degree `degree`.

    Raises:
        ValueError: fewer control points than both ends need.
    """
    if count < max(degree + 1, 2 * END_POINTS):
        raise ValueError(f"a curve of degree {degree} needs at least {max(degree + 1, 2 * END_POINTS)} control points, got {count}")
    pieces = count - degree
    breaks = np.linspace(0.0, 1.0, pieces + 1)
    knots = np.concatenate([np.zeros(degree), breaks, np.ones(degree)])
    bezier = _bezier_extraction(knots, count, degree)
    return CurveBasis(degree, count, knots, bezier, _quintic_ends(bezier), _gram(knots, count, degree, breaks))


def _bezier_extraction(knots: np.ndarray, count: int, degree: int) -> np.ndarray:
    """Bezier control points of every piece, by interpolation at degree + 1 places of it (exact for polynomials)."""
    pieces = count - degree
    local = 0.5 - 0.5 * np.cos(np.pi * np.arange(degree + 1) / degree)
    width = 1.0 / pieces
    u = (np.arange(pieces)[:, None] + local) * width
    values = np.stack([_one_sided(knots, count, degree, u[k], k) for k in range(pieces)])
    return np.linalg.solve(bernstein(degree, local)[None], values)


def _one_sided(knots: np.ndarray, count: int, degree: int, u: np.ndarray, piece: int) -> np.ndarray:
    """Basis values of the polynomial that holds on `piece`, so that its right end is not read from the next one."""
    upper = np.nextafter(knots[degree + piece + 1], 0.0)
    return _design(knots, count, degree, np.minimum(u, upper), 0)


def bernstein(degree: int, local: np.ndarray) -> np.ndarray:
    """Bernstein polynomials of a degree, (T, degree + 1), at places (T,) in [0, 1]."""
    k = np.arange(degree + 1)
    return np.array([comb(degree, i) for i in k]) * local[:, None] ** k * (1.0 - local[:, None]) ** (degree - k)


def _quintic_ends(bezier: np.ndarray) -> np.ndarray:
    """Control points (n, 6) of the quintics that take given position, d/du and d2/du2 at both ends."""
    degree = bezier.shape[1] - 1
    pieces, count = bezier.shape[0], bezier.shape[2]
    u = np.linspace(0.0, 1.0, max(64, 4 * count))
    powers = np.arange(6)
    value = u[:, None] ** powers
    rows = np.zeros((6, 6))
    rows[0, 0] = rows[1, 1] = 1.0
    rows[2, 2] = 2.0
    rows[3] = 1.0
    rows[4] = powers
    rows[5] = powers * (powers - 1)
    curves = value @ np.linalg.inv(rows)
    piece = np.minimum((u * pieces).astype(int), pieces - 1)
    design = np.einsum("tk,tkn->tn", bernstein(degree, u * pieces - piece), bezier[piece])
    return np.linalg.lstsq(design, curves, rcond=None)[0]


def _gram(knots: np.ndarray, count: int, degree: int, breaks: np.ndarray) -> np.ndarray:
    """(4, n, n) exact integrals of products of derivatives, by Gauss-Legendre on every piece."""
    nodes, weights = np.polynomial.legendre.leggauss(degree + 1)
    width = np.diff(breaks)
    u = (breaks[:-1, None] + width[:, None] * (nodes + 1.0) / 2.0).ravel()
    w = (width[:, None] * weights / 2.0).ravel()
    out = []
    for k in range(4):
        b = _design(knots, count, degree, u, k)
        out.append(b.T @ (w[:, None] * b))
    return np.stack(out)


def end_control_points(
    basis: CurveBasis,
    position: Float[Tensor, "*batch 2"],
    velocity: Float[Tensor, "*batch 2"],
    acceleration: Float[Tensor, "*batch 2"],
    goal: Float[Tensor, "*batch 2"],
    horizon: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch n 2"]:
    """Control points of the quintic from a moving start to rest at a goal: the minimum-jerk motion.

    Args:
        basis: the curve's basis.
        position: starts, m.
        velocity: at the start, m/s.
        acceleration: at the start, m/s^2.
        goal: goals, m, reached at rest.
        horizon: durations, s.

    Returns:
        Control points, m. The first three and last three are those of every curve with these ends.
        Source: Flash and Hogan, J. Neuroscience 5 (1985): the minimiser of integrated squared jerk is a quintic.
    """
    span = horizon[..., None]
    rest = torch.zeros_like(goal)
    ends = torch.stack([position, velocity * span, acceleration * span * span, goal, rest, rest], dim=-2)
    control = torch.as_tensor(basis.ends, dtype=ends.dtype, device=ends.device) @ ends
    control[..., 0, :] = position
    control[..., -END_POINTS:, :] = goal[..., None, :]
    return control


@lru_cache(maxsize=64)
def _fit_matrix(count: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """(m, T) least-squares fit of the free control points to uniform samples, and the (T, n) basis there."""
    basis = curve_basis(count)
    design = basis.matrix(np.linspace(0.0, 1.0, samples))
    free = slice(END_POINTS, count - END_POINTS)
    normal, jerk = design[:, free].T @ design[:, free], basis.gram[3][free, free]
    ridge = 1e-7 * np.trace(normal) / np.trace(jerk) * jerk  # settles what too few samples leave open
    return np.linalg.solve(normal + ridge, design[:, free].T), design


def fit_control_points(position: Float[Tensor, "*batch T 2"], ends: Float[Tensor, "*batch n 2"]) -> Float[Tensor, "*batch n 2"]:
    """Curves near given places, with given ends.

    Args:
        position: places at uniform times over the whole horizon, m.
        ends: control points of any curve with the wanted ends, m; its first and last three are kept.

    Returns:
        Control points of the least-squares fit, m.
    """
    fit, design = _fit_matrix(ends.shape[-2], position.shape[-2])
    control = ends.clone()
    free = slice(END_POINTS, ends.shape[-2] - END_POINTS)
    control[..., free, :] = 0.0
    rest = position - torch.as_tensor(design, dtype=ends.dtype) @ control
    control[..., free, :] = torch.as_tensor(fit, dtype=ends.dtype) @ rest
    return control
