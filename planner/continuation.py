"""Planning on from an earlier plan: what is kept of it, the problem that is left, and both joined again.

Time 0 is the earlier plan's. Up to the commit time every robot stays on its earlier curve; from there on some get new
curves and the others, the frozen ones, keep theirs. The planner sees the rest as an ordinary scenario that begins at the
commit time, with frozen robots as moving obstacles, and never hears of the rest: whatever it answers, the certificate is
of the joined curves of all robots over the whole time.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float

from maps.errors import InvalidScenario
from maps.reason import Reason, ReasonCode
from maps.scenario import MovingObstacle, Scenario
from planner.curve_joining import SAME_TIME, joined, measure_curves, standing, state_at_end, state_at_start, uniform_curve, until
from planner.kept_reasons import OF_THE_JOINED_PLAN, OF_WHAT_IS_KEPT, reasons_of
from planner.plan import JointPlan, Plan, PlanOptions, PlanStatus, RobotPlan
from planner.task import without
from planner.tracks import Track, moving_obstacles
from safety_filter.timed_curve import TimedCurve
from safety_filter.verify import GAP_TOLERANCE, PLACE_TOLERANCE, Violation, certify_curves

SHORTEST_PIECE = 1e-3  # s; curves are cut no nearer than this behind a knot: shorter pieces lose digits of their accelerations
AT_REST = 1e-6  # m/s and m/s^2, up to which a robot stands

_FROZEN_CODES = {
    ReasonCode.START_OCCUPIED: ReasonCode.START_OVERLAP,
    ReasonCode.GOAL_OCCUPIED: ReasonCode.GOAL_OVERLAP,
    ReasonCode.CANNOT_STOP_IN_TIME: ReasonCode.CANNOT_STOP_IN_TIME,
}
_ENDS_ALL = (ReasonCode.DEADLINE_EXCEEDED, ReasonCode.CANCELLED)


@dataclass(frozen=True)
class Continuation:
    """A scenario whose robots are on their way already.

    Robots without an earlier curve are new: up to the commit time they stand at their starts.
    """

    scenario: Scenario  # the whole of it, from time 0; starts are those of the earlier curves
    curves: Mapping[str, TimedCurve]  # earlier curves by robot: clamped, degree 5, from time 0, at rest at their ends
    commit: float  # s, 0 or more
    frozen: frozenset[str] = frozenset()  # robots that keep their whole curves and stand at their ends

    def __post_init__(self) -> None:
        """Refuses a commit time that leaves nothing to plan, and frozen robots that cannot keep their curves.

        Raises:
            InvalidScenario: with a pointer into the request.
        """
        horizon = self.scenario.horizon
        if not self.commit >= 0.0 or (horizon is not None and self.commit > horizon - SHORTEST_PIECE):
            raise InvalidScenario(
                "the commit time must be at least 0 and lie before the horizon",
                pointer="/commit_s",
                code="OUT_OF_RANGE",
                value=self.commit,
                limit=horizon,
            )
        if not self.replanned:
            raise InvalidScenario("every robot is frozen, so there is nothing to plan", pointer="/robots", code="ALL_FROZEN")
        for k, name in enumerate(self.scenario.fleet.ids):
            if name in self.frozen:
                self._check_frozen(name, k)

    def _check_frozen(self, name: str, robot: int) -> None:
        where, horizon = f"/robots/{robot}", self.scenario.horizon
        if name not in self.curves:
            raise InvalidScenario(
                f"robot {name!r} cannot be frozen: the previous plan has no curve of it",
                pointer=f"{where}/frozen",
                code="NO_PREVIOUS_CURVE",
            )
        curve = self.curves[name]
        if horizon is not None and horizon < curve.span[1] - SAME_TIME:
            raise InvalidScenario(
                f"the horizon must not end before the curve of the frozen robot {name!r}",
                pointer="/horizon_s",
                code="OUT_OF_RANGE",
                value=horizon,
                limit=curve.span[1],
            )
        off = float(np.hypot(*(curve.control_points[-1] - self.scenario.goal[robot].numpy())))
        if not off <= PLACE_TOLERANCE:
            raise InvalidScenario(
                f"the goal of the frozen robot {name!r} must be where its curve ends",
                pointer=f"{where}/goal",
                code="GOAL_MISMATCH",
                value=off,
                limit=PLACE_TOLERANCE,
            )

    @cached_property
    def replanned(self) -> list[int]:
        """Robots of the scenario that get new curves."""
        return [k for k, name in enumerate(self.scenario.fleet.ids) if name not in self.frozen]

    @cached_property
    def _unchanged(self) -> list[int]:
        return [k for k, name in enumerate(self.scenario.fleet.ids) if name in self.frozen]

    @cached_property
    def kept_to(self) -> float:
        """Until when earlier curves are kept, s: the commit time, or a millisecond later where that is just behind a knot."""
        end = self.scenario.horizon or np.inf
        knots = np.unique(np.concatenate([np.zeros(1), *(curve.breaks for curve in self.curves.values())]))
        at = self.commit
        for knot in knots[(knots > at - SHORTEST_PIECE) & (knots < at + SHORTEST_PIECE)]:
            if abs(at - knot) <= SAME_TIME:
                at = float(knot)
            elif SAME_TIME < at - knot < SHORTEST_PIECE and knot + SHORTEST_PIECE < end - SHORTEST_PIECE:
                at = float(knot) + SHORTEST_PIECE
        return at

    @cached_property
    def kept(self) -> tuple[TimedCurve, ...]:
        """Every robot's curve up to there; there are none where nothing is kept."""
        return tuple(self._along(k, self.kept_to) for k in range(len(self.scenario))) if self.kept_to > 0.0 else ()

    def _along(self, robot: int, end: float) -> TimedCurve:
        """The earlier curve of a robot up to a time, or where it stands."""
        earlier = self.curves.get(self.scenario.fleet.ids[robot])
        return until(earlier, end) if earlier is not None else standing(self.scenario.start[robot].numpy(), 0.0, end)

    @cached_property
    def _states(self) -> Float[np.ndarray, "N 3 2"]:
        """Position, velocity and acceleration of every robot where it leaves what is kept."""
        if self.kept:
            return np.stack([np.stack(state_at_end(curve)) for curve in self.kept])
        whole = self.scenario
        given = np.stack([whole.start.numpy(), whole.start_velocity.numpy(), whole.start_acceleration.numpy()], axis=1)
        for k, name in enumerate(whole.fleet.ids):
            if name in self.curves:
                given[k] = np.stack(state_at_start(self.curves[name]))
        return given

    @cached_property
    def _tracks(self) -> tuple[MovingObstacle, ...]:
        fleet = self.scenario.fleet
        tracks = [Track(fleet.ids[k], float(fleet.radius[k]), self.curves[fleet.ids[k]]) for k in self._unchanged]
        return moving_obstacles(tracks, self.kept_to, float(fleet.radius.min()))

    @cached_property
    def subproblem(self) -> Scenario:
        """What is left to plan, as a scenario whose time 0 is the end of what is kept."""
        state = torch.from_numpy(self._states)
        whole = replace(
            self.scenario, start=state[:, 0], start_velocity=state[:, 1], start_acceleration=state[:, 2], moving=self._moving + self._tracks
        )
        ends = [self.curves[name].span[1] - self.kept_to for name in self.frozen]
        horizon = None if whole.horizon is None else whole.horizon - self.kept_to
        return replace(without(whole, [], self.replanned), horizon=horizon, least_horizon=max([0.0, *ends]))

    @property
    def _moving(self) -> tuple[MovingObstacle, ...]:
        return tuple(replace(obstacle, time=obstacle.time - self.kept_to) for obstacle in self.scenario.moving)

    @cached_property
    def broken(self) -> dict[int, Reason]:
        """Robots for whom what is kept breaks a rule of the scenario, which no plan can mend, with the reason.

        Raises:
            LimitExceeded: the earlier curves have too many distinct times.
        """
        violations = list(self._violations(range(len(self.scenario)), self.kept_to)) if self.kept else []
        if self.frozen:
            violations += self._violations(self._unchanged, max(self.curves[name].span[1] for name in self.frozen))
        rules = [violation for violation in violations if violation.code in OF_WHAT_IS_KEPT]
        return reasons_of(rules, self.scenario, OF_WHAT_IS_KEPT, "the kept part of the earlier curve")

    def _violations(self, robots: Sequence[int], end: float) -> tuple[Violation, ...]:
        """What the earlier curves of some robots break up to a time; that they do not rest there is none of it."""
        curves = [self._along(k, end) for k in robots]
        asked = replace(without(self.scenario, [], list(robots)), horizon=end)
        return certify_curves(curves, asked).violations

    def check(self) -> tuple[Reason | None, ...]:
        """For each robot the reason why no plan can exist that begins with what is kept, or None."""
        left = self.subproblem.check()
        reasons = {k: self._from_time_0(reason) for k, reason in zip(self.replanned, left, strict=True) if reason is not None} | self.broken
        return tuple(reasons.get(k) for k in range(len(self.scenario)))

    def refusal(self, options: PlanOptions) -> Plan | None:
        """The failed plan of a continuation whose kept part breaks a rule already; None: it may be planned."""
        return self._failed(self.broken, Plan(PlanStatus.FAILED, None, options.seed, ())) if self.broken else None

    def _failed(self, reasons: Mapping[int, Reason], plan: Plan) -> Plan:
        """The failed plan of all robots that comes of a plan of those to be planned."""
        ends = next((reason for reason in reasons.values() if reason.code in _ENDS_ALL), None)
        robots = tuple(RobotPlan(name, None, reason=reasons.get(k, ends)) for k, name in enumerate(self.scenario.fleet.ids))
        return replace(
            plan,
            status=PlanStatus.FAILED,
            horizon=self.scenario.horizon,
            robots=robots,
            certificate=None,
            metrics=None,
            alternatives=(),
        )

    def _from_time_0(self, reason: Reason) -> Reason:
        """A reason of the subproblem as one of the whole: its clock starts earlier, and some of its obstacles are robots."""
        if reason.code in _ENDS_ALL:
            return reason
        message = f"from {self.kept_to:.6g} s on: {reason.message}"
        if reason.code is ReasonCode.HORIZON_TOO_SHORT and reason.value is not None and reason.limit is not None:
            return replace(reason, message=message, value=reason.value + self.kept_to, limit=reason.limit + self.kept_to)
        track = next((track for track in self._tracks if track.id == reason.other), None)
        if track is None or reason.code not in _FROZEN_CODES or reason.value is None or reason.limit is None:
            return replace(reason, message=message)
        limit = reason.limit - (track.radius - float(self.scenario.fleet.radius[self.scenario.fleet.ids.index(track.id)]))
        proven = reason.value < limit - GAP_TOLERANCE  # and not only because the disc on straight lines is a little larger
        code = _FROZEN_CODES[reason.code] if proven else ReasonCode.CONFLICT_UNRESOLVED
        return replace(reason, code=code, message=message, limit=limit)

    def join(self, plan: Plan) -> Plan:
        """The plan of all robots over the whole time.

        Args:
            plan: of the subproblem.

        Returns:
            The plan with the kept curves before its own and those of frozen robots beside them, certified as a whole. A plan
            that leaves robots out holds only if they stand at the end of what is kept.
        """
        began = time.perf_counter()
        reasons = {k: r.reason for k, r in zip(self.replanned, plan.robots, strict=True) if r.reason is not None}
        reasons = {k: self._from_time_0(reason) for k, reason in reasons.items()}
        left = [k for k, robot in zip(self.replanned, plan.robots, strict=True) if robot.control_points is None]
        if plan.status is PlanStatus.FAILED or not all(self.stands(k) for k in left):
            return self._failed(reasons, plan)
        horizon = self.scenario.horizon if self.scenario.horizon is not None else self.kept_to + float(plan.horizon or 0.0)
        whole = [self._joint(robots, horizon, reasons) for robots in (plan.robots, *(other.robots for other in plan.alternatives))]
        good = [joint for joint in whole if joint.certificate.safe]
        took = time.perf_counter() - began
        timings = replace(plan.timings, verify=plan.timings.verify + took, total=plan.timings.total + took)
        if not good:
            unsafe = reasons_of(whole[0].certificate.violations, self.scenario, OF_THE_JOINED_PLAN, "the joined curve")
            lost = Reason(ReasonCode.NO_PLAN_FOUND, "the joined curves could not be certified")
            return self._failed(unsafe or dict.fromkeys(self.replanned, lost), replace(plan, timings=timings))
        best, *others = good
        return replace(
            plan,
            horizon=horizon,
            robots=best.robots,
            certificate=best.certificate,
            metrics=best.metrics,
            alternatives=tuple(others),
            timings=timings,
        )

    def _joint(self, planned: Sequence[RobotPlan], horizon: float, reasons: Mapping[int, Reason]) -> JointPlan:
        new = dict(zip(self.replanned, planned, strict=True))
        curves = [self._curve(k, new.get(k), horizon) for k in range(len(self.scenario))]
        goal = self.scenario.goal.clone()
        robots = []
        for k, (name, curve) in enumerate(zip(self.scenario.fleet.ids, curves, strict=True)):
            if k in new and new[k].control_points is None:
                goal[k] = torch.from_numpy(curve.control_points[-1])
                robots.append(RobotPlan(name, None, reason=reasons.get(k)))
            else:
                source = new[k].source if k in new else None
                robots.append(RobotPlan(name, curve.control_points, source, knots=curve.knots))
        asked = replace(self.scenario, goal=goal, horizon=horizon)
        certificate = certify_curves(curves, asked)
        drawn = [k for k, robot in enumerate(robots) if robot.control_points is not None]
        metrics = measure_curves([curves[k] for k in drawn], without(asked, [], drawn))
        return JointPlan(tuple(robots), certificate, metrics)

    def stands(self, robot: int) -> bool:
        """Whether a robot is at rest where what is kept ends, so that it can stay there without a plan."""
        return bool((np.abs(self._states[robot, 1:]) <= AT_REST).all())

    def left_out(self, robot: int, horizon: float) -> TimedCurve:
        """What a robot without a plan does, if it `stands`: its kept curve, at whose end it stays."""
        return until(self.kept[robot], horizon) if self.kept else standing(self._states[robot, 0], 0.0, horizon)

    def _curve(self, robot: int, planned: RobotPlan | None, horizon: float) -> TimedCurve:
        """A robot's curve over the whole time: frozen, left out where it stands, or kept and then planned."""
        if planned is None:
            return until(self.curves[self.scenario.fleet.ids[robot]], horizon)
        if planned.control_points is None:
            return self.left_out(robot, horizon)
        curve = uniform_curve(planned.control_points, self.kept_to, horizon)
        return joined(self.kept[robot], curve) if self.kept else curve
