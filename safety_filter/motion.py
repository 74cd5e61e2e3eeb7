"""A fleet's motion as the certificate judges it: Bezier pieces on common breaks, top speeds and accelerations, ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from maps.curve import curve_basis
from maps.errors import LimitExceeded
from maps.fleet import Fleet
from maps.world import World
from safety_filter.bezier import derivative, elevate, refine, uniform_pieces
from safety_filter.bezier_bounds import NORM, make_workspace
from safety_filter.curve_bounds import Need, Record, Setting, Timed, smallest_of_each
from safety_filter.timed_curve import TimedCurve

RATIO_TOLERANCE = 1e-6  # how far speeds and accelerations may be above 1, in units of their limits
MOST_PIECES = 4_000_000  # of all robots on common breaks
NOWHERE = World(
    np.zeros(4),
    np.zeros((0, 3)),
    np.zeros((0, 4)),
    np.zeros(1, dtype=np.int64),
    np.zeros((0, 4)),
    np.zeros((0, 0), dtype=np.int32),
    np.zeros((0, 0), dtype=np.int32),
    np.zeros((0, 0), dtype=np.int32),
    np.zeros((0, 0), dtype=np.int32),
    np.ones(3),
)  # no obstacles: what limits of speed and acceleration are searched in


@dataclass(frozen=True)
class Motion:
    """N curves over [0, horizon]."""

    positions: Timed  # pieces (P, N, order, 2), m
    speed: Record  # rows (N, 1), minus the speed over its limit
    acceleration: Record  # rows (N, 1), minus the acceleration over its limit
    end_velocity: Float[np.ndarray, "2 N 2"]  # m/s, at the start and at the end
    end_slack: Float[np.ndarray, "2 N"]  # m/s, what the end velocities may be off beyond the tolerance

    @property
    def horizon(self) -> float:
        """When the motion ends, s."""
        return float(self.positions.breaks[-1])


@lru_cache(maxsize=64)
def _extraction(count: int) -> np.ndarray:
    """(P, order, order) matrices from the control points p..p + order - 1 to the Bezier points of piece p."""
    basis = curve_basis(count)
    order = basis.degree + 1
    return np.ascontiguousarray(np.stack([basis.bezier[p, :, p : p + order] for p in range(basis.pieces)]))


def _dynamics(positions: Timed, v_max: np.ndarray, a_max: np.ndarray) -> tuple[Record, Record, np.ndarray]:
    """Speeds and accelerations over their limits, and the velocities (2, N, 2) at both ends."""
    nothing = Need(np.zeros(len(v_max)), -(1.0 + RATIO_TOLERANCE))
    setting = Setting(make_workspace(positions.pieces.shape[2]), NOWHERE)
    speed = derivative(positions.pieces, positions.breaks, 1.0 / v_max)
    acceleration = derivative(speed, positions.breaks, v_max / a_max)
    ends = np.stack([speed[0, :, 0], speed[-1, :, -1]]) * v_max[:, None]
    return (
        smallest_of_each(NORM, Timed(speed, positions.breaks), nothing, setting),
        smallest_of_each(NORM, Timed(acceleration, positions.breaks), nothing, setting),
        ends,
    )


def uniform_motion(control_points: Float[np.ndarray, "N n 2"], horizon: float, fleet: Fleet) -> Motion:
    """The motion of curves in the basis `maps.curve.curve_basis(n)`; control points in m, horizon in s."""
    extraction = _extraction(control_points.shape[1])
    positions = Timed(uniform_pieces(control_points, extraction), np.linspace(0.0, horizon, len(extraction) + 1))
    speed, acceleration, ends = _dynamics(positions, fleet.v_max.numpy(), fleet.a_max.numpy())
    return Motion(positions, speed, acceleration, ends, np.zeros((2, len(fleet))))


def _straight_dynamics(curve: TimedCurve, v_max: float, a_max: float) -> tuple[Record, Record, np.ndarray, np.ndarray]:
    """As `_dynamics` for straight lines between samples, and the slack (2, 1) of the end velocities.

    The velocity between two samples is taken as that at the middle of the two times; the acceleration is the
    difference of neighbouring velocities over the time between those middles. The velocity at an end may differ from
    that of the nearest half segment by what the robot can brake in it.
    """
    times, widths = curve.breaks, np.diff(curve.breaks)
    velocity = (curve.pieces[:, 0, -1] - curve.pieces[:, 0, 0]) / widths[:, None]
    speed = np.hypot(velocity[:, 0], velocity[:, 1]) / v_max
    change = np.diff(velocity, axis=0)
    bend = np.hypot(change[:, 0], change[:, 1]) / (0.5 * (widths[:-1] + widths[1:])) / a_max
    slack = 0.5 * a_max * np.array([[widths[0]], [widths[-1]]])
    ends = np.stack([velocity[:1], velocity[-1:]])
    return _largest(speed, times[:-1] - times[0]), _largest(bend, times[1:-1] - times[0]), ends, slack


def _largest(ratio: np.ndarray, time: np.ndarray) -> Record:
    if ratio.size == 0:
        return Record(np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)))
    k = int(np.argmax(ratio))
    value = np.array([[-ratio[k]]])
    return Record(value, value, np.array([[time[k]]]))


def _joined(records: Sequence[Record]) -> Record:
    return Record(*(np.concatenate([record[k] for record in records]) for k in range(3)))


def curves_motion(curves: Sequence[TimedCurve], fleet: Fleet) -> Motion:
    """The motion of any curves; time 0 is where the first of them starts.

    A robot stands still where its curve does not reach to the start or the end of the longest one.

    Args:
        curves: one for each robot of the fleet.
        fleet: the robots.

    Raises:
        LimitExceeded: too many distinct times in all.
    """
    zero = curves[0].span[0]
    breaks = np.unique(np.concatenate([curve.breaks - zero for curve in curves]))
    if len(breaks) * len(curves) > MOST_PIECES:
        raise LimitExceeded(
            "too many distinct times in all curves", code="TOO_MANY_TIMES", value=len(breaks) * len(curves), limit=MOST_PIECES
        )
    order = max(curve.degree for curve in curves) + 1
    pieces = np.empty((len(breaks) - 1, len(curves), order, 2))
    speeds, bends, ends, slacks = [], [], [], []
    for k, curve in enumerate(curves):
        pieces[:, k] = elevate(refine(curve.pieces, curve.breaks - zero, breaks), order)[:, 0]
        own_limits = fleet.v_max.numpy()[k : k + 1], fleet.a_max.numpy()[k : k + 1]
        if curve.degree == 1:
            speed, bend, end, slack = _straight_dynamics(curve, float(own_limits[0][0]), float(own_limits[1][0]))
        else:
            speed, bend, end = _dynamics(Timed(curve.pieces, curve.breaks - zero), *own_limits)
            slack = np.zeros((2, 1))
        for rows, row in ((speeds, speed), (bends, bend), (ends, end), (slacks, slack)):
            rows.append(row)
    return Motion(Timed(pieces, breaks), _joined(speeds), _joined(bends), np.concatenate(ends, axis=1), np.concatenate(slacks, axis=1))
