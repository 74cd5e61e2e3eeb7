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


def _straight_dynamics(positions: Timed, v_max: np.ndarray, a_max: np.ndarray) -> tuple[Record, Record, np.ndarray, np.ndarray]:
    """As `_dynamics` for straight lines between samples, and the slack (2, N) of the end velocities.

    The velocity between two samples is taken as that at the middle of the two times; the acceleration is the
    difference of neighbouring velocities over the time between those middles. The velocity at an end may differ from
    that of the nearest half segment by what the robot can brake in it.
    """
    times, widths = positions.breaks, np.diff(positions.breaks)
    velocity = (positions.pieces[:, :, -1] - positions.pieces[:, :, 0]) / widths[:, None, None]
    speed = np.hypot(velocity[..., 0], velocity[..., 1]) / v_max
    change = np.diff(velocity, axis=0)
    bend = np.hypot(change[..., 0], change[..., 1]) / (0.5 * (widths[:-1] + widths[1:]))[:, None] / a_max
    slack = 0.5 * a_max * np.array([[widths[0]], [widths[-1]]])
    ends = np.stack([velocity[0], velocity[-1]])
    return _largest(speed, times[:-1]), _largest(bend, times[1:-1]), ends, slack


def _largest(ratio: np.ndarray, time: np.ndarray) -> Record:
    """The largest of each column (N,), as a record of minus that, and when."""
    robots = ratio.shape[1]
    if len(ratio) == 0:
        return Record(np.zeros((robots, 1)), np.zeros((robots, 1)), np.zeros((robots, 1)))
    k = ratio.argmax(0)
    value = -ratio[k, np.arange(robots)][:, None]
    return Record(value, value, time[k][:, None])


def _empty_record(robots: int) -> Record:
    return Record(*(np.empty((robots, 1)) for _ in range(3)))


def _alike(curves: Sequence[TimedCurve], zero: float) -> list[list[int]]:
    """The curves by degree and breaks: those of a list are worked on together."""
    groups: dict[tuple[int, bytes], list[int]] = {}
    for k, curve in enumerate(curves):
        groups.setdefault((curve.degree, (curve.breaks - zero).tobytes()), []).append(k)
    return list(groups.values())


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
    order, robots = max(curve.degree for curve in curves) + 1, len(curves)
    pieces = np.empty((len(breaks) - 1, robots, order, 2))
    speed, bend, ends, slack = _empty_record(robots), _empty_record(robots), np.empty((2, robots, 2)), np.zeros((2, robots))
    for alike in _alike(curves, zero):
        own = Timed(np.concatenate([curves[k].pieces for k in alike], axis=1), curves[alike[0]].breaks - zero)
        pieces[:, alike] = elevate(refine(own.pieces, own.breaks, breaks), order)
        limits = fleet.v_max.numpy()[alike], fleet.a_max.numpy()[alike]
        if curves[alike[0]].degree == 1:
            own_speed, own_bend, ends[:, alike], slack[:, alike] = _straight_dynamics(own, *limits)
        else:
            own_speed, own_bend, ends[:, alike] = _dynamics(own, *limits)
        for record, found in ((speed, own_speed), (bend, own_bend)):
            for column, values in zip(record, found, strict=True):
                column[alike] = values
    return Motion(Timed(pieces, breaks), speed, bend, ends, slack)
