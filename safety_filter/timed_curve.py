"""Curves as any tool writes them: clamped B-splines with their own degree and knots, or samples."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from maps.errors import InvalidInput
from safety_filter.bezier import spline_pieces

MOST_DEGREE = 24
POSITION_JUMP = 1e-6  # m, what two pieces may differ by where they meet
VELOCITY_JUMP = 1e-3  # m/s, the same for velocities


@dataclass(frozen=True)
class TimedCurve:
    """One robot's motion as a B-spline over time.

    A curve of degree 1 is a list of samples with straight lines between them; see `safety_filter.verify` for how its
    speed and acceleration are judged.
    """

    degree: int  # at least 1
    knots: Float[np.ndarray, " k"]  # s, n + degree + 1 of them, not decreasing; the curve lives on [knots[degree], knots[n]]
    control_points: Float[np.ndarray, "n 2"]  # m

    def __post_init__(self) -> None:
        """Refuses numbers of knots that do not fit, decreasing knots and an empty span; keeps float64 copies."""
        knots = np.array(self.knots, dtype=np.float64)
        count = len(self.control_points)
        if not 1 <= self.degree <= MOST_DEGREE:
            raise InvalidInput(
                "a curve's degree is out of range", pointer="/degree", code="BAD_CURVE", value=self.degree, limit=MOST_DEGREE
            )
        if count <= self.degree:
            raise InvalidInput(
                "a curve needs more control points than its degree",
                pointer="/control_points",
                code="BAD_CURVE",
                value=count,
                limit=self.degree + 1,
            )
        if len(knots) != count + self.degree + 1:
            raise InvalidInput(
                "a curve needs n + degree + 1 knots", pointer="/knots_s", code="BAD_CURVE", value=len(knots), limit=count + self.degree + 1
            )
        if bool((knots[1:] < knots[:-1]).any()) or knots[self.degree] == knots[count]:
            raise InvalidInput("knots must not decrease and must span some time", pointer="/knots_s", code="TIMES_NOT_INCREASING")
        object.__setattr__(self, "knots", knots)
        object.__setattr__(self, "control_points", np.array(self.control_points, dtype=np.float64, order="C"))

    @classmethod
    def from_samples(cls, t: Float[np.ndarray, " T"], x: Float[np.ndarray, " T"], y: Float[np.ndarray, " T"]) -> "TimedCurve":
        """Straight lines between samples.

        Args:
            t: times, s, strictly increasing, at least two.
            x: places, m.
            y: places, m.

        Raises:
            InvalidInput: fewer than two samples, or times that do not increase.
        """
        if len(t) < 2 or bool((t[1:] <= t[:-1]).any()):
            raise InvalidInput(
                "samples need at least two times, strictly increasing", pointer="/t", code="TIMES_NOT_INCREASING", value=len(t), limit=2
            )
        return cls(1, np.concatenate([t[:1], t, t[-1:]]), np.stack([x, y], axis=1))

    @property
    def span(self) -> tuple[float, float]:
        """Where the curve starts and ends, s."""
        return float(self.knots[self.degree]), float(self.knots[len(self.control_points)])

    @cached_property
    def breaks(self) -> Float[np.ndarray, " p"]:
        """The distinct knots within the span, s."""
        return np.unique(self.knots[self.degree : len(self.control_points) + 1])

    @cached_property
    def pieces(self) -> Float[np.ndarray, "pieces 1 order 2"]:
        """Bezier control points between the breaks, m."""
        return spline_pieces(self.control_points, self.knots, self.degree, self.breaks)

    def jump(self) -> tuple[float, float, float] | None:
        """The first jump of the position, else of the velocity: time (s), size (m or m/s) and what is allowed; None if there is none.

        Velocities of curves of degree 1 jump at every sample and are not looked at.
        """
        pieces, widths = self.pieces[:, 0], np.diff(self.breaks)[:, None]
        steps = [(pieces[:-1, -1] - pieces[1:, 0], POSITION_JUMP)]
        if self.degree > 1:
            leaving = self.degree * (pieces[:, -1] - pieces[:, -2]) / widths
            entering = self.degree * (pieces[:, 1] - pieces[:, 0]) / widths
            steps.append((leaving[:-1] - entering[1:], VELOCITY_JUMP))
        for step, allowed in steps:
            size = np.hypot(step[:, 0], step[:, 1])
            bad = np.flatnonzero(~(size <= allowed))
            if bad.size:
                return float(self.breaks[bad[0] + 1]), float(size[bad[0]]), allowed
        return None
