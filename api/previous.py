"""Going on from a previous plan: from the wire form of that plan to what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import orjson

from api.judge import read_plan
from api.problems import Problem, of_invalid_input, under
from api.wire import Start
from maps.curve import DEGREE
from maps.errors import InvalidInput, InvalidScenario, LimitExceeded
from planner.continuation import Continuation
from planner.curve_joining import CLAMP, state_at_start
from safety_filter.timed_curve import TimedCurve
from safety_filter.verify import PLACE_TOLERANCE, VELOCITY_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.judge import JudgedCurve
    from api.settings import Settings
    from api.wire import PlanRequest
    from maps.scenario import Scenario

SHORTEST_WIDTH = 1e-6  # s between two knots that are not one


class PlanLookup(Protocol):
    """Where plans that were sent are found again."""

    def find_plan(self, plan_id: str) -> bytes | None:
        """The answer as it was sent, JSON; None where it is unknown or has expired."""
        ...


@dataclass(frozen=True)
class Previous:
    """A plan to go on from."""

    where: str  # JSON pointer to what names it in the request
    curves: Mapping[str, TimedCurve]  # of the robots that have one

    @property
    def starts(self) -> dict[str, Start]:
        """How its robots start, as the wire has it."""
        out = {}
        for name, curve in self.curves.items():
            (x, y), (vx, vy), (ax, ay) = (row.tolist() for row in state_at_start(curve))
            out[name] = Start.model_construct(x=x, y=y, vx=vx, vy=vy, ax=ax, ay=ay)
        return out


def read_previous(request: PlanRequest, settings: Settings, plans: PlanLookup | None) -> Previous | None:
    """The previous plan that a request names or brings, if any.

    Raises:
        Problem: 422, it cannot be read, with pointers into the request.
        InvalidInput: the request names none but needs one, names two, or names one that is not known.
    """
    if request.previous_plan_id is not None and request.previous_plan is not None:
        raise InvalidScenario("name a previous plan or bring it, not both", pointer="/previous_plan", code="TWO_PREVIOUS_PLANS")
    if request.previous_plan is not None:
        return Previous("/previous_plan", _brought(request.previous_plan, settings))
    if request.previous_plan_id is None:
        _refuse_without(request)
        return None
    stored = plans.find_plan(request.previous_plan_id) if plans is not None else None
    if stored is None:
        raise InvalidScenario(
            "the previous plan is unknown or has expired",
            pointer="/previous_plan_id",
            code="UNKNOWN_PLAN",
            value=request.previous_plan_id[:80],
        )
    return Previous("/previous_plan_id", _stored(stored, settings))


def _refuse_without(request: PlanRequest) -> None:
    frozen = next((k for k, robot in enumerate(request.robots) if robot.frozen), None)
    if frozen is not None:
        raise InvalidScenario("a frozen robot needs a previous plan", pointer=f"/robots/{frozen}/frozen", code="NEEDS_PREVIOUS_PLAN")
    if request.commit_s is not None:
        raise InvalidScenario("commit_s needs a previous plan", pointer="/commit_s", code="NEEDS_PREVIOUS_PLAN", value=request.commit_s)


def _brought(document: dict[str, Any], settings: Settings) -> dict[str, TimedCurve]:
    try:
        return _read(document, settings)
    except Problem as problem:
        raise under(problem, "/previous_plan") from None


def _stored(document: bytes, settings: Settings) -> dict[str, TimedCurve]:
    """As `_brought`; a caller who names a plan has no use for places inside it."""
    try:
        return _read(orjson.loads(document), settings)
    except Problem as problem:
        faults = [replace(fault, pointer="/previous_plan_id") for fault in problem.faults[:1]]
        raise Problem(problem.status, problem.code, problem.detail, faults) from None


def _read(document: dict[str, Any], settings: Settings) -> dict[str, TimedCurve]:
    """The curves of a plan document by robot.

    Raises:
        Problem: 422, with pointers into the document.
    """
    plan = read_plan(document, settings)
    try:
        curves: dict[str, TimedCurve] = {}
        for k, robot in enumerate(plan.robots):
            if robot.id in curves:
                raise InvalidScenario(
                    f"two robots have the id {robot.id!r}", pointer=f"/robots/{k}/id", code="DUPLICATE_ID", value=robot.id
                )
            if robot.curve is not None:
                curves[robot.id] = _curve(robot.curve, f"/robots/{k}/curve", settings.max_horizon_s)
        if not curves:
            raise InvalidScenario("the previous plan has no curves to go on from", pointer="/robots", code="NO_CURVES")
    except InvalidInput as error:
        raise of_invalid_input(error) from None
    return curves


def _curve(wire: JudgedCurve, where: str, longest: float) -> TimedCurve:
    """A curve such as this server sends: quintic, clamped, from time 0, without jumps, at rest at its end."""
    if wire.degree != DEGREE:
        raise InvalidScenario(
            "only quintic curves can be gone on from", pointer=f"{where}/degree", code="BAD_CURVE", value=wire.degree, limit=DEGREE
        )
    try:
        curve = TimedCurve(wire.degree, np.array(wire.knots_s), np.array(wire.control_points))
    except InvalidInput as error:
        raise error.under(where) from None
    first, last = curve.knots[:CLAMP], curve.knots[-CLAMP:]
    if not ((first == 0.0).all() and (last == last[0]).all()):
        raise InvalidScenario(f"the first {CLAMP} knots must be 0 and the last {CLAMP} equal", pointer=f"{where}/knots_s", code="BAD_CURVE")
    if last[0] > longest:
        message = f"a curve may last {longest:g} s at most"
        raise LimitExceeded(message, pointer=f"{where}/knots_s", value=float(last[0]), limit=longest)
    shortest = float(np.diff(curve.breaks).min())
    if shortest < SHORTEST_WIDTH:
        raise InvalidScenario(
            "knots lie too near each other", pointer=f"{where}/knots_s", code="BAD_CURVE", value=shortest, limit=SHORTEST_WIDTH
        )
    jump = curve.jump()
    if jump is not None:
        raise InvalidScenario("the curve jumps", pointer=f"{where}/control_points", code="DISCONTINUOUS", value=jump[1], limit=jump[2])
    if not (curve.control_points[-3:] == curve.control_points[-1]).all():
        raise InvalidScenario(
            "the curve must end at rest: its last three control points are one", pointer=f"{where}/control_points", code="NOT_AT_REST"
        )
    return curve


def continuation(request: PlanRequest, previous: Previous, scenario: Scenario) -> Continuation:
    """How a request goes on from a plan.

    Args:
        request: as it came.
        previous: the plan.
        scenario: of the request; robots without a start have that of the plan.

    Raises:
        InvalidInput: with a pointer into the request.
    """
    commit = float(request.commit_s or 0.0)
    end = max(curve.span[1] for curve in previous.curves.values())
    if commit > end:
        raise InvalidScenario(
            "commit_s lies behind the end of the previous plan", pointer="/commit_s", code="OUT_OF_RANGE", value=commit, limit=end
        )
    for k, robot in enumerate(request.robots):
        if robot.start is not None:
            _check_start(robot.start, previous.starts.get(robot.id), commit, f"/robots/{k}/start")
    curves = {name: previous.curves[name] for name in scenario.fleet.ids if name in previous.curves}
    return Continuation(scenario, curves, commit, frozenset(robot.id for robot in request.robots if robot.frozen))


def _check_start(given: Start, earlier: Start | None, commit: float, where: str) -> None:
    """A robot of the plan starts as it did there; a new one stands at its start up to commit_s."""
    if earlier is None:
        moving = next((key for key in ("vx", "vy", "ax", "ay") if getattr(given, key) != 0.0), None)
        if moving is not None and commit > 0.0:
            raise InvalidScenario(
                "a robot that the previous plan does not have stands at its start up to commit_s",
                pointer=f"{where}/{moving}",
                code="NEW_ROBOT_MOVES",
                value=getattr(given, moving),
                limit=0.0,
            )
        return
    for keys, allowed in ((("x", "y"), PLACE_TOLERANCE), (("vx", "vy"), VELOCITY_TOLERANCE)):
        off = float(np.hypot(*(getattr(given, key) - getattr(earlier, key) for key in keys)))
        if not off <= allowed:
            raise InvalidScenario(
                "the start is not that of the previous plan, whose time 0 it is; it may be left out",
                pointer=where,
                code="START_MISMATCH",
                value=off,
                limit=allowed,
            )


def left_behind(request: PlanRequest, previous: Previous) -> tuple[str, ...]:
    """A warning where the previous plan has robots that the request has not."""
    gone = sorted(previous.curves.keys() - {robot.id for robot in request.robots})
    if not gone:
        return ()
    names = ", ".join(repr(name) for name in gone[:3]) + (", ..." if len(gone) > 3 else "")
    return (f"{len(gone)} of the previous plan's robots are not in this request and nobody keeps clear of them: {names}",)
