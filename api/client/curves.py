"""The curves of a plan as arrays: control points and knots, and places, velocities and accelerations over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Curve:
    """A B-spline over time."""

    degree: int
    knots: NDArray[np.float64]  # s, (n + degree + 1,), not decreasing
    control_points: NDArray[np.float64]  # m, (n, 2)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """The curve in its wire form."""
        knots, control = (np.array(document[key], dtype=np.float64) for key in ("knots_s", "control_points"))
        return cls(int(document["degree"]), knots, control.reshape(-1, 2))

    @property
    def span(self) -> tuple[float, float]:
        """From when to when the robot moves, s."""
        return float(self.knots[self.degree]), float(self.knots[-self.degree - 1])

    def at(self, t: ArrayLike, derivative: int = 0) -> NDArray[np.float64]:
        """Place or a derivative at given times; before its span the robot stands at its start, after it at its goal.

        Args:
            t: s, (T,).
            derivative: 0 place, m; 1 velocity, m/s; 2 acceleration, m/s^2.

        Returns:
            (T, 2).
        """
        from scipy.interpolate import BSpline

        times = np.asarray(t, dtype=np.float64)
        first, last = self.span
        value = BSpline(self.knots, self.control_points, self.degree)(np.clip(times, first, last), nu=derivative)
        if derivative:
            value[(times < first) | (times > last)] = 0.0
        return value


@dataclass(frozen=True)
class CurveArrays:
    """The curves of all planned robots, which have their knots in common."""

    ids: tuple[str, ...]  # N robots
    degree: int
    knots: NDArray[np.float64]  # s, (n + degree + 1,)
    control_points: NDArray[np.float64]  # m, (N, n, 2)

    @classmethod
    def of(cls, curves: Sequence[tuple[str, Curve]]) -> Self:
        """The arrays of named curves.

        Raises:
            ValueError: their knots differ, or there is none.
        """
        if not curves:
            raise ValueError("no robot of this plan has a curve")
        first = curves[0][1]
        for name, curve in curves:
            if curve.degree != first.degree or not np.array_equal(curve.knots, first.knots):
                raise ValueError(f"the knots of robot {name!r} differ from those of {curves[0][0]!r}: take the curves one by one")
        return cls(tuple(name for name, _ in curves), first.degree, first.knots, np.stack([curve.control_points for _, curve in curves]))


@dataclass(frozen=True)
class Motion:
    """All planned robots at common times."""

    ids: tuple[str, ...]  # N robots
    t: NDArray[np.float64]  # s, (T,)
    position: NDArray[np.float64]  # m, (N, T, 2)
    velocity: NDArray[np.float64]  # m/s, (N, T, 2)
    acceleration: NDArray[np.float64]  # m/s^2, (N, T, 2)


def sampled(curves: Sequence[tuple[str, Curve]], dt: float) -> Motion:
    """Curves at the multiples of a step, and at the end of the longest.

    Args:
        curves: with their robots' ids.
        dt: s.

    Raises:
        ValueError: the step is not positive.
    """
    if not dt > 0.0:
        raise ValueError(f"the step is {dt} s; it must be more than 0")
    end = max((curve.span[1] for _, curve in curves), default=0.0)
    t = np.append(np.arange(0.0, end * (1.0 - 1e-9), dt), end)
    values = [np.stack([c.at(t, k) for _, c in curves]) if curves else np.zeros((0, len(t), 2)) for k in range(3)]
    return Motion(tuple(name for name, _ in curves), t, values[0], values[1], values[2])
