"""Judges plans, whoever made them: the wire form of curves and samples to the certificate and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.caps import check_plan
from api.map_wire import STRICT, Coordinate, Place
from api.plan_wire import certificate_document, violation_document
from api.problems import Problem, of_invalid_input, of_validation, under
from api.wire import Name
from maps.errors import InvalidInput, InvalidScenario
from planner.task import without
from safety_filter.verify import Certificate, TimedCurve, Violation, certify_curves

if TYPE_CHECKING:
    from api.intake import Intake, Order
    from api.settings import Settings
    from maps.scenario import Scenario

_LENIENT = ConfigDict(extra="ignore", strict=True, frozen=True)  # a whole plan may be handed over, its other keys do not matter
_Series = Annotated[list[Coordinate], Field(min_length=2, fail_fast=True)]


class JudgedCurve(BaseModel):
    """A B-spline over time."""

    model_config = STRICT

    degree: Annotated[int, Field(ge=1, le=9)]
    knots_s: Annotated[list[Coordinate], Field(min_length=4, fail_fast=True)] = Field(description="s")
    control_points: Annotated[list[Place], Field(min_length=2, fail_fast=True)] = Field(description="m")


class JudgedSamples(BaseModel):
    """Places at increasing times, straight lines between them."""

    model_config = _LENIENT

    t: _Series = Field(description="s")
    x: _Series = Field(description="m")
    y: _Series = Field(description="m")


class JudgedRobot(BaseModel):
    """One robot's motion: a curve, or samples where there is none."""

    model_config = _LENIENT

    id: Name
    curve: JudgedCurve | None = None
    samples: JudgedSamples | None = None


class JudgedPlan(BaseModel):
    """A plan from any tool; a plan of this server fits as it is."""

    model_config = _LENIENT

    robots: list[JudgedRobot]


@dataclass(frozen=True)
class Verdict:
    """What came of judging a plan."""

    certificate: Certificate
    violations: tuple[Violation, ...]

    def document(self) -> dict[str, Any]:
        """The wire form."""
        return {"certificate": certificate_document(self.certificate), "violations": [violation_document(v) for v in self.violations]}


def read_check(document: Any, intake: Intake, received: float) -> tuple[Order, JudgedPlan]:
    """The request and the plan in the parsed body of a check.

    Raises:
        Problem: 422, with pointers into the body.
    """
    try:
        if not isinstance(document, dict):
            raise InvalidScenario("must be an object with a request and a plan", code="WRONG_TYPE")
        for key in ("request", "plan"):
            if key not in document:
                raise InvalidScenario(f"{key} is missing", pointer=f"/{key}", code="MISSING")
        unknown = next((key for key in document if key not in ("request", "plan")), None)
        if unknown is not None:
            raise InvalidScenario("only a request and a plan are expected", code="UNKNOWN_KEY", value=unknown[:80])
    except InvalidInput as error:
        raise of_invalid_input(error) from None
    try:
        order = intake.order_of(document["request"], received)
    except Problem as problem:
        raise under(problem, "/request") from None
    try:
        return order, read_plan(document["plan"], intake.settings)
    except Problem as problem:
        raise under(problem, "/plan") from None


def read_plan(document: Any, settings: Settings) -> JudgedPlan:
    """The plan in a parsed document.

    Raises:
        Problem: 422, with pointers into the document.
    """
    try:
        check_plan(document, settings)
        return JudgedPlan.model_validate(document)
    except ValidationError as error:
        raise of_validation(error) from None
    except InvalidInput as error:
        raise of_invalid_input(error) from None


def judge(order: Order, plan: JudgedPlan) -> Verdict:
    """Judges a plan against its request.

    A robot without a motion stands at its start, or where the kept part of an earlier plan ends, and counts as a violation
    unless the request allows a partial plan and it can stand there.

    Raises:
        InvalidInput: with a pointer into the plan: robots that the request does not name, curves that are none.
    """
    scenario = order.scenario
    curves = _curves(plan, scenario)
    kept = [k for k, name in enumerate(scenario.fleet.ids) if name in curves]
    parked = [k for k in range(len(scenario)) if k not in kept]
    if not kept:
        raise InvalidScenario("the plan has no curve and no samples", pointer="/robots", code="NO_CURVES")
    certificate, may_stand = _certified(order, curves, parked)
    if not parked or (order.options.allow_partial and may_stand):
        return Verdict(certificate, tuple(certificate.violations))
    missing = tuple(Violation("MISSING_CURVE", (scenario.fleet.ids[k],), None, 0.0, 1.0) for k in parked)
    return Verdict(replace(certificate, safe=False), (*missing, *certificate.violations))


def _certified(order: Order, curves: dict[str, TimedCurve], parked: list[int]) -> tuple[Certificate, bool]:
    """The certificate of the motions with the parked robots standing, and whether all of these can stand there."""
    scenario, going_on = order.scenario, order.continuation
    names = scenario.fleet.ids
    if going_on is None or not parked:
        moving = [k for k in range(len(scenario)) if k not in parked]
        return certify_curves([curves[names[k]] for k in moving], without(scenario, parked, moving) if parked else scenario), True
    end, goal = max(curve.span[1] for curve in curves.values()), scenario.goal.clone()
    whole = curves | {names[k]: going_on.left_out(k, end) for k in parked}
    for k in parked:
        goal[k] = torch.from_numpy(whole[names[k]].control_points[-1])
    certificate = certify_curves([whole[name] for name in names], replace(scenario, goal=goal))
    return certificate, all(going_on.stands(k) for k in parked)


def _curves(plan: JudgedPlan, scenario: Scenario) -> dict[str, TimedCurve]:
    curves: dict[str, TimedCurve] = {}
    seen: set[str] = set()
    for k, robot in enumerate(plan.robots):
        where = f"/robots/{k}"
        if robot.id in seen:
            raise InvalidScenario(
                f"two robots of the plan have the id {robot.id!r}", pointer=f"{where}/id", code="DUPLICATE_ID", value=robot.id
            )
        if robot.id not in scenario.fleet.ids:
            raise InvalidScenario(f"the request has no robot {robot.id!r}", pointer=f"{where}/id", code="UNKNOWN_ROBOT", value=robot.id)
        seen.add(robot.id)
        if robot.curve is not None:
            curves[robot.id] = _curve(robot.curve, f"{where}/curve")
        elif robot.samples is not None:
            curves[robot.id] = _sampled(robot.samples, f"{where}/samples")
    return curves


def _curve(curve: JudgedCurve, where: str) -> TimedCurve:
    try:
        return TimedCurve(curve.degree, np.array(curve.knots_s, dtype=np.float64), np.array(curve.control_points, dtype=np.float64))
    except InvalidInput as error:
        raise error.under(where) from None


def _sampled(samples: JudgedSamples, where: str) -> TimedCurve:
    t, x, y = (np.array(values, dtype=np.float64) for values in (samples.t, samples.x, samples.y))
    if not len(t) == len(x) == len(y):
        raise InvalidScenario("t, x and y must have as many entries each", pointer=where, code="WRONG_LENGTH")
    try:
        return TimedCurve.from_samples(t, x, y)
    except InvalidInput as error:
        raise error.under(where) from None
