"""Pictures of plans that are read back from their wire form."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from api.intake import Intake
from api.maps_store import MapsStore
from api.parsing import parse_json
from api.settings import Settings
from maps.curve import DEGREE
from maps.errors import InvalidInput
from maps.reason import Reason, ReasonCode
from planner.plan import Plan, PlanStatus, RobotPlan
from planner.render import render_file
from safety_filter.verify import Certificate, TimedCurve, certify_curves

if TYPE_CHECKING:
    from pathlib import Path

    from maps.scenario import Scenario


def render_lines(request: bytes, plan: bytes, path: Path) -> None:
    """Draws the plan of a request into a file whose ending names the format.

    Raises:
        Problem: the request or the plan is no JSON, or the request does not fit its schema.
        InvalidInput: the plan is none of this server's, or not of this request.
    """
    settings = Settings()
    scenario = Intake(settings, MapsStore(settings)).order(request, time.monotonic()).scenario
    render_file(scenario, read_back(parse_json(plan), scenario), path)


def read_back(document: Any, scenario: Scenario) -> Plan:
    """The plan in a wire document: its curves, judged anew where every robot has one.

    Raises:
        InvalidInput: it is no plan of this scenario.
    """
    try:
        curves = {r["id"]: r.get("curve") or None for r in document["robots"]}
        robots = tuple(_robot(name, curves[name]) for name in scenario.fleet.ids)
        horizon = document.get("horizon_s") or scenario.horizon
        certificate = _judged(robots, horizon, scenario)
        return Plan(PlanStatus(document["status"]), horizon, int(document.get("seed") or 0), robots, certificate)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InvalidInput("the plan cannot be drawn: it is not a plan of this request", code="PLAN_MISMATCH") from None


def _judged(robots: tuple[RobotPlan, ...], horizon: float | None, scenario: Scenario) -> Certificate | None:
    curves = [_timed(robot) for robot in robots if robot.control_points is not None]
    if horizon is None or len(curves) < len(robots):
        return None
    return certify_curves(curves, scenario)


def _timed(robot: RobotPlan) -> TimedCurve:
    return TimedCurve(DEGREE, np.asarray(robot.knots), np.asarray(robot.control_points))


def _robot(name: str, curve: Any) -> RobotPlan:
    if curve is None:
        return RobotPlan(name, None, reason=Reason(ReasonCode.NO_PLAN_FOUND, "no curve"))
    points, knots = (np.array(curve[key], dtype=np.float64) for key in ("control_points", "knots_s"))
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < DEGREE + 1 or curve["degree"] != DEGREE or knots.ndim != 1:
        raise ValueError("no quintic curve")
    return RobotPlan(name, points, knots=knots)
