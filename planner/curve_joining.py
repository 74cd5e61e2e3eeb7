"""Quintic curves cut in time, held at their ends and joined to others with two continuous derivatives.

Control points are values of a curve's polar form at five neighbouring knots, so cutting a curve, or joining two that
agree in position, velocity and acceleration where they meet, changes few control points and leaves the others the
very numbers that they were.
Source: L. Ramshaw, Blossoms are polar forms, Computer Aided Geometric Design 6 (1989).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from maps.curve import DEGREE, bernstein, curve_basis
from maps.scenario import Scenario
from planner.choose import GAUSS
from planner.plan import Metrics
from safety_filter.timed_curve import TimedCurve

CLAMP = DEGREE + 1  # how often a clamped curve's first and last knot occur
SAME_TIME = 1e-9  # s, below which two times are one

State = tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"], Float[np.ndarray, "2"]]


def standing(place: Float[np.ndarray, "2"], begin: float, end: float) -> TimedCurve:
    """A robot that stands at a place, m, from `begin` to `end`, s."""
    return TimedCurve(DEGREE, np.repeat([begin, end], CLAMP), np.tile(place, (CLAMP, 1)))


def uniform_curve(control_points: Float[np.ndarray, "n 2"], begin: float, end: float) -> TimedCurve:
    """The clamped uniform curve with given control points, m, over [begin, end], s."""
    unit = curve_basis(len(control_points)).knots
    knots = begin + (end - begin) * unit
    knots[-CLAMP:] = end  # the sum may miss it by a rounding
    return TimedCurve(DEGREE, knots, control_points)


def until(curve: TimedCurve, time: float) -> TimedCurve:
    """The part of a clamped curve up to a time; beyond its end the robot stands there.

    Args:
        curve: degree 5; it ends at rest if `time` lies beyond its end.
        time: s, after its start.

    Returns:
        The clamped curve over [start, time]; control points that do not reach `time` are the same numbers.
    """
    end = curve.span[1]
    if abs(time - end) <= SAME_TIME:
        return curve
    return join(curve, standing(curve.control_points[-1], end, time)) if time > end else _cut(curve, time)


def _cut(curve: TimedCurve, time: float) -> TimedCurve:
    """De Boor's scheme at `time` in the piece that ends there or holds it; its left edge are the new control points."""
    knots = curve.knots
    j = int(np.searchsorted(knots, time, side="left")) - 1
    work = curve.control_points[j - DEGREE : j + 1].copy()
    edge = [curve.control_points[: j - DEGREE + 1]]
    for r in range(1, DEGREE + 1):
        for k in range(DEGREE, r - 1, -1):
            left, right = knots[j - DEGREE + k], knots[j + 1 + k - r]
            share = (time - left) / (right - left)
            work[k] = (1.0 - share) * work[k - 1] + share * work[k]
        edge.append(work[r : r + 1].copy())
    return TimedCurve(DEGREE, np.concatenate([knots[: j + 1], np.full(CLAMP, time)]), np.concatenate(edge))


def state_at_start(curve: TimedCurve) -> State:
    """Position, velocity and acceleration of a clamped curve at its start; m, m/s, m/s^2."""
    p, t = curve.control_points, curve.knots
    velocity = DEGREE * (p[1] - p[0]) / (t[6] - t[5])
    following = DEGREE * (p[2] - p[1]) / (t[7] - t[5])
    return p[0], velocity, (DEGREE - 1) * (following - velocity) / (t[6] - t[5])


def state_at_end(curve: TimedCurve) -> State:
    """Position, velocity and acceleration of a clamped curve at its end; m, m/s, m/s^2."""
    p, t = curve.control_points, curve.knots
    velocity = DEGREE * (p[-1] - p[-2]) / (t[-6] - t[-7])
    before = DEGREE * (p[-2] - p[-3]) / (t[-6] - t[-8])
    return p[-1], velocity, (DEGREE - 1) * (velocity - before) / (t[-6] - t[-7])


def joined(left: TimedCurve, right: TimedCurve) -> TimedCurve:
    """A curve and what follows it, whose start is first made to be exactly the end of the former.

    Args:
        left: clamped, degree 5.
        right: clamped, degree 5, from where `left` ends; its first three control points are replaced.

    Returns:
        One clamped curve; where the two meet, position, velocity and acceleration are continuous.
    """
    position, velocity, acceleration = state_at_end(left)
    t, control = right.knots, right.control_points.copy()
    control[0] = position
    control[1] = position + velocity * (t[6] - t[5]) / DEGREE
    control[2] = control[1] + (velocity + acceleration * (t[6] - t[5]) / (DEGREE - 1)) * (t[7] - t[5]) / DEGREE
    return join(left, TimedCurve(DEGREE, t, control))


def join(left: TimedCurve, right: TimedCurve) -> TimedCurve:
    """One curve of two clamped ones that agree in position, velocity and acceleration where they meet.

    The time where they meet becomes a knot of multiplicity three, so that any control points at all give a curve with
    two continuous derivatives there. Of the polar form's values around it, those with three of that knot are either
    side's, and the one between them, f(a, c, c, c, b), follows from f(c, c, c, c, b) and f(c, c, c, b, b'), for the form
    is affine in each argument.
    """
    a, c, b = left.knots[-7], left.knots[-1], right.knots[6:8]
    near, far = right.control_points[1:3]
    middle = near + (a - c) / (b[1] - c) * (far - near)
    knots = np.concatenate([left.knots[:-CLAMP], [c, c, c], right.knots[CLAMP:]])
    return TimedCurve(DEGREE, knots, np.concatenate([left.control_points[:-2], middle[None], right.control_points[2:]]))


def measure_curves(curves: Sequence[TimedCurve], scenario: Scenario) -> Metrics:
    """Length, smoothness and cost, as `planner.choose.measure` has them, of quintic curves with knots of their own.

    Args:
        curves: one for each robot, all over the same span.
        scenario: starts, goals and limits.
    """
    begin, end = curves[0].span
    length, acceleration, jerk = np.sum([_integrals(curve) for curve in curves], axis=0)
    straight = float(np.linalg.norm(scenario.goal.numpy() - scenario.start.numpy(), axis=1).sum())
    share = 1.0 / (len(curves) * (end - begin))
    ratio = float(length) / max(straight, 1e-6)
    cost = ratio + 0.5 * share * float(acceleration) / float(((scenario.fleet.a_max / 2) ** 2).mean())
    return Metrics(float(length), ratio, share * float(acceleration), share * float(jerk), cost)


def _integrals(curve: TimedCurve) -> Float[np.ndarray, "3"]:
    """Integrals over time of the speed, and of squared acceleration and jerk; by Gauss-Legendre on every piece."""
    nodes, weights = GAUSS
    local = 0.5 * (nodes + 1.0)
    width = np.diff(curve.breaks)
    control, out = curve.pieces[:, 0], []
    for order in range(1, 4):
        control = (CLAMP - order) * np.diff(control, axis=1) / width[:, None, None]
        size = np.linalg.norm(np.einsum("qk,pkc->pqc", bernstein(DEGREE - order, local), control), axis=2)
        out.append(float(0.5 * width @ ((size if order == 1 else size**2) @ weights)))
    return np.array(out)
