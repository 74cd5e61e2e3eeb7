"""The certificate of a joint trajectory in continuous time; it shares nothing with the solver that made the trajectory.

Every figure is a bound over the whole of every curve, found by branch and bound on Bezier pieces
(`safety_filter.curve_bounds`): gaps are lower bounds and ratios upper bounds, close to the true values near their
limits. What cannot be decided within the work allowed, or is not a finite number, is not certified.

Curves of degree 1 are samples with straight lines between them. Gaps and speeds are those of the straight lines;
their acceleration is the difference of neighbouring slopes over the time between the middles of the two segments, and
the velocity at an end may be off by what the robot can brake in half a segment.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from maps.errors import InvalidInput
from maps.scenario import Scenario
from safety_filter.bezier import elevate, refine
from safety_filter.bezier_bounds import NOTHING, SIDE, WALL, make_workspace
from safety_filter.curve_bounds import Need, Record, Setting, Timed, smallest_between, smallest_of_each
from safety_filter.motion import RATIO_TOLERANCE, Motion, curves_motion, uniform_motion
from safety_filter.timed_curve import TimedCurve

__all__ = ["Certificate", "TimedCurve", "Violation", "certify", "certify_curves"]

GAP_TOLERANCE = 1e-6  # m, how far gaps may be below the margin
PLACE_TOLERANCE = 1e-4  # m, at starts and goals
VELOCITY_TOLERANCE = 1e-3  # m/s, at starts and goals
TIME_TOLERANCE = 1e-6  # s between curves, and relative to the horizon asked for
LARGEST = 1e7  # m, s; beyond it distances are not known well enough


@dataclass(frozen=True)
class Violation:
    """One rule that a motion breaks.

    Codes: ROBOT_COLLISION, OBSTACLE_COLLISION, MOVING_OBSTACLE_COLLISION, OUT_OF_BOUNDS (value and limit: gap, m);
    SPEED_LIMIT (m/s); ACCELERATION_LIMIT (m/s^2); START_MISMATCH, GOAL_MISMATCH (m); START_VELOCITY_MISMATCH,
    NOT_AT_REST (m/s); HORIZON_MISMATCH (s); NOT_FINITE (how many numbers); DISCONTINUOUS (m or m/s).
    """

    code: str
    robots: tuple[str, ...]
    time: float | None  # s, where it is worst, if there is such a place
    value: float
    limit: float


@dataclass(frozen=True)
class Certificate:
    """What is proven about a motion at every instant of it.

    Gaps are centre distances less radii, the margin not taken off; bounds and moving obstacles count as obstacles.
    Gaps are lower bounds and ratios upper bounds, within 1e-6 of the truth near their limits and within 1 % far from them.
    """

    safe: bool
    continuous: bool  # the figures hold at every instant: false for curves that jump or are not finite
    min_robot_gap: float | None  # m; None: a single robot
    closest_pair: tuple[str, str] | None
    closest_at: float | None  # s
    min_obstacle_gap: float | None  # m; None: nothing to keep away from
    max_speed_ratio: float  # over v_max
    max_acceleration_ratio: float  # over a_max
    violations: tuple[Violation, ...] = ()


@dataclass(frozen=True)
class _Gaps:
    """Smallest gaps; records with rows (N, ...), m."""

    robots: Record
    walls: Record
    sides: Record
    movers: Record | None


def certify(control_points: Float[np.ndarray, "N n 2"], horizon: float, scenario: Scenario) -> Certificate:
    """Judges clamped uniform quintic B-splines over [0, horizon].

    Args:
        control_points: float64, m, one curve for each robot of the scenario in its order.
        horizon: s.
        scenario: what was asked; its horizon, where given, must be met.

    Returns:
        The certificate; safe only if everything asked is proven.

    Raises:
        InvalidInput: the number of curves is not the number of robots.
    """
    control_points = np.ascontiguousarray(control_points, dtype=np.float64)
    _check_count(len(control_points), scenario)
    if not (_usable(control_points) and _scenario_usable(scenario) and math.isfinite(horizon)):
        lost = () if math.isfinite(horizon) else (Violation("NOT_FINITE", (), None, 1.0, 0.0),)
        return _refused((*_unusable(list(control_points), scenario), *lost))
    if not 0.0 < horizon <= LARGEST:
        return _refused((Violation("HORIZON_MISMATCH", (), None, horizon, scenario.horizon or LARGEST),))
    motion = uniform_motion(control_points, horizon, scenario.fleet)
    return _judge(motion, scenario, _horizon_violations(horizon, scenario))


def certify_curves(curves: Sequence[TimedCurve], scenario: Scenario) -> Certificate:
    """Judges any tool's curves; time 0 is where the first curve starts.

    Args:
        curves: one for each robot of the scenario in its order, over the same span.
        scenario: what was asked; its horizon, where given, must be met.

    Returns:
        The certificate; safe only if everything asked is proven.

    Raises:
        InvalidInput: the number of curves is not the number of robots.
        LimitExceeded: too many distinct times in all.
    """
    _check_count(len(curves), scenario)
    rows = [np.concatenate([curve.knots, curve.control_points.ravel()]) for curve in curves]
    unusable = _unusable(rows, scenario)
    if unusable:
        return _refused(unusable)
    zero, end = curves[0].span
    found = _horizon_violations(end - zero, scenario)
    for name, curve in zip(scenario.fleet.ids, curves, strict=True):
        off = max(abs(curve.span[0] - zero), abs(curve.span[1] - end))
        if not off <= TIME_TOLERANCE:
            found.append(Violation("HORIZON_MISMATCH", (name,), None, curve.span[1] - curve.span[0], end - zero))
        jump = curve.jump()
        if jump is not None:
            found.append(Violation("DISCONTINUOUS", (name,), jump[0] - zero, jump[1], jump[2]))
    return _judge(curves_motion(curves, scenario.fleet), scenario, found)


def _check_count(count: int, scenario: Scenario) -> None:
    if count != len(scenario):
        raise InvalidInput("as many curves as robots are needed", code="ROBOT_COUNT", value=count, limit=len(scenario))


def _usable(values: np.ndarray) -> bool:
    return bool(np.abs(values).max(initial=0.0) <= LARGEST)


def _scenario_usable(scenario: Scenario) -> bool:
    """Whether all numbers of the scenario can be reckoned with."""
    world = scenario.scene.world
    tensors = (
        scenario.start,
        scenario.goal,
        scenario.start_velocity,
        *(m.time for m in scenario.moving),
        *(m.position for m in scenario.moving),
    )
    single = (scenario.margin, scenario.horizon or 0.0, *(m.radius for m in scenario.moving))
    return (
        all(_usable(t.numpy()) for t in tensors)
        and all(_usable(a) for a in (world.discs, world.edges, world.grid_frame))
        and all(math.isfinite(value) and abs(value) <= LARGEST for value in single)
        and bool(np.isfinite(world.bounds).all())
    )


def _unusable(rows: list[np.ndarray], scenario: Scenario) -> tuple[Violation, ...]:
    """NOT_FINITE for every robot whose row of numbers cannot be reckoned with, and for the scenario if so; the value counts them."""
    counts = [int((~(np.abs(row) <= LARGEST)).sum()) for row in rows]
    found = [Violation("NOT_FINITE", (scenario.fleet.ids[k],), None, float(n), 0.0) for k, n in enumerate(counts) if n]
    return (*found, *(() if _scenario_usable(scenario) else (Violation("NOT_FINITE", (), None, 1.0, 0.0),)))


def _refused(violations: tuple[Violation, ...]) -> Certificate:
    """The certificate of a motion of which nothing can be said."""
    return Certificate(False, False, None, None, None, None, math.inf, math.inf, violations)


def _horizon_violations(horizon: float, scenario: Scenario) -> list[Violation]:
    asked = scenario.horizon
    if asked is None or abs(horizon - asked) <= TIME_TOLERANCE * asked:
        return []
    return [Violation("HORIZON_MISMATCH", (), None, horizon, asked)]


def _mover_gaps(positions: Timed, scenario: Scenario, limit: float, setting: Setting) -> Record | None:
    """Gaps to moving obstacles; the kinks of their paths become breaks, so that both sides are polynomial in between."""
    moving = scenario.moving
    if not moving:
        return None
    kinks = np.concatenate([obstacle.time.numpy() for obstacle in moving])
    inside = kinks[(kinks > positions.breaks[0]) & (kinks < positions.breaks[-1])]
    breaks = np.unique(np.concatenate([positions.breaks, inside]))
    places = np.empty((len(breaks), len(moving), 2))
    for k, obstacle in enumerate(moving):
        for c in range(2):
            places[:, k, c] = np.interp(breaks, obstacle.time.numpy(), obstacle.position[:, c].numpy())
    others = elevate(np.ascontiguousarray(np.stack([places[:-1], places[1:]], axis=2)), positions.pieces.shape[2])
    radius = scenario.fleet.radius.numpy()[:, None] + np.array([obstacle.radius for obstacle in moving])
    timed = Timed(refine(positions.pieces, positions.breaks, breaks), breaks)
    return smallest_between(timed, others, Need(radius, limit), False, setting)


def _gaps(positions: Timed, scenario: Scenario) -> _Gaps:
    radius, limit = scenario.fleet.radius.numpy(), scenario.margin - GAP_TOLERANCE
    order, world = positions.pieces.shape[2], scenario.scene.world

    def setting() -> Setting:  # the work allowed is counted for each kind of gap, so that none starves the others
        return Setting(make_workspace(order), world)

    return _Gaps(
        smallest_between(positions, positions.pieces, Need(radius[:, None] + radius, limit), True, setting()),
        smallest_of_each(WALL, positions, Need(radius, limit), setting()),
        smallest_of_each(SIDE, positions, Need(radius, limit), setting()),
        _mover_gaps(positions, scenario, limit, setting()),
    )


def _smallest(record: Record) -> float:
    """Lower bound of a record's smallest value; what was not looked at is above the attained values."""
    return min(float(record.lower.min()), float(record.upper.min()))


def _judge(motion: Motion, scenario: Scenario, found: list[Violation]) -> Certificate:
    gaps = _gaps(motion.positions, scenario)
    found = [*_collisions(gaps, scenario), *_excesses(motion, scenario), *_end_faults(motion, scenario), *found]
    obstacle_gap = min(_smallest(r) for r in (gaps.walls, gaps.sides, gaps.movers) if r is not None)
    robots = gaps.robots
    i, j = divmod(int(robots.upper.argmin()), len(scenario))
    alone = len(scenario) < 2
    return Certificate(
        safe=not found,
        continuous=all(violation.code != "DISCONTINUOUS" for violation in found),
        min_robot_gap=None if alone else _smallest(robots),
        closest_pair=None if alone else (scenario.fleet.ids[i], scenario.fleet.ids[j]),
        closest_at=None if alone else float(robots.time[i, j]),
        min_obstacle_gap=obstacle_gap if obstacle_gap < NOTHING else None,
        max_speed_ratio=-_smallest(motion.speed),
        max_acceleration_ratio=-_smallest(motion.acceleration),
        violations=tuple(found),
    )


def _broken(record: Record, limit: float) -> list[tuple[int, int, float, float]]:
    """Row, column, smallest value and time of every entry that is not proven to reach the limit."""
    value = np.minimum(record.lower, record.upper)
    bad = ~(value >= limit)
    if not bad.any():
        return []
    return [(int(i), int(j), float(value[i, j]), float(record.time[i, j])) for i, j in np.argwhere(bad)]


def _collisions(gaps: _Gaps, scenario: Scenario) -> list[Violation]:
    limit, margin, ids = scenario.margin - GAP_TOLERANCE, scenario.margin, scenario.fleet.ids
    found = [Violation("ROBOT_COLLISION", (ids[i], ids[j]), time, gap, margin) for i, j, gap, time in _broken(gaps.robots, limit)]
    for code, record in (("OBSTACLE_COLLISION", gaps.walls), ("OUT_OF_BOUNDS", gaps.sides), ("MOVING_OBSTACLE_COLLISION", gaps.movers)):
        if record is not None:
            found += [Violation(code, (ids[i],), time, gap, margin) for i, _, gap, time in _broken(record, limit)]
    return found


def _excesses(motion: Motion, scenario: Scenario) -> list[Violation]:
    """Robots that break their limits of speed or acceleration."""
    found, fleet = [], scenario.fleet
    for code, record, limits in (("SPEED_LIMIT", motion.speed, fleet.v_max), ("ACCELERATION_LIMIT", motion.acceleration, fleet.a_max)):
        for i, _, value, time in _broken(record, -(1.0 + RATIO_TOLERANCE)):
            found.append(Violation(code, (fleet.ids[i],), time, -value * float(limits[i]), float(limits[i])))
    return found


def _end_faults(motion: Motion, scenario: Scenario) -> list[Violation]:
    """Robots whose ends are not those asked for."""
    pieces, end = motion.positions.pieces, motion.horizon
    velocity, slack = motion.end_velocity, motion.end_slack
    rows = (
        ("START_MISMATCH", 0.0, pieces[0, :, 0] - scenario.start.numpy(), 0.0, PLACE_TOLERANCE),
        ("GOAL_MISMATCH", end, pieces[-1, :, -1] - scenario.goal.numpy(), 0.0, PLACE_TOLERANCE),
        ("START_VELOCITY_MISMATCH", 0.0, velocity[0] - scenario.start_velocity.numpy(), slack[0], VELOCITY_TOLERANCE),
        ("NOT_AT_REST", end, velocity[1], slack[1], VELOCITY_TOLERANCE),
    )
    found = []
    for code, time, off, allowed, tolerance in rows:
        size = np.hypot(off[:, 0], off[:, 1])
        bad = np.flatnonzero(~(size <= tolerance + allowed))
        found += [Violation(code, (scenario.fleet.ids[i],), time, float(size[i]), tolerance) for i in bad]
    return found
