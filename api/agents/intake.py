"""From a request to a fleet at one moment; maps and stored plans are prepared once and remembered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import orjson
import torch
from pydantic import BaseModel, ValidationError

from api.agents.wire import ActRequest, FleetRequest
from api.caps import check_fleet
from api.judge import read_plan
from api.map_wire import scene_bytes
from api.problems import Fault, Problem, of_invalid_input, of_unknown_map, of_validation
from api.shelf import Shelf
from maps.errors import InvalidInput, InvalidScenario, UnknownMap
from planner.acting import Ground, Instant
from planner.curve_tracks import CurveTracks
from planner.fleet_view import Discs, FleetBodies, FleetState
from safety_filter.timed_curve import TimedCurve

if TYPE_CHECKING:
    from api.agents.wire import AgentRobot
    from api.intake import Intake
    from api.judge import JudgedCurve
    from maps.scene import Scene

Kind = TypeVar("Kind", bound=BaseModel)


@dataclass(frozen=True)
class FleetOrder:
    """A fleet that is to act."""

    request: FleetRequest
    ids: tuple[str, ...]
    instant: Instant


class AgentIntake:
    """Reads requests of agents."""

    def __init__(self, intake: Intake) -> None:
        """With the maps, caps and stored plans of planning requests."""
        self._intake = intake
        self._grounds: Shelf[Ground] = Shelf(intake.settings.scene_cache_bytes)
        self._plans: Shelf[dict[str, TimedCurve]] = Shelf(intake.settings.recent_plans_bytes)

    def act(self, document: Any) -> tuple[ActRequest, FleetOrder]:
        """A request to act once; Problem where it cannot be read."""
        request = self._read(document, ActRequest)
        return request, self._order(request, document)

    def fleet(self, document: Any) -> FleetOrder:
        """A state of a stream; Problem where it cannot be read."""
        return self._order(self._read(document, FleetRequest), document)

    def _read(self, document: Any, kind: type[Kind]) -> Kind:
        try:
            check_fleet(document, self._intake.settings)
            return kind.model_validate(document)
        except ValidationError as error:
            raise of_validation(error) from None
        except InvalidInput as error:
            raise of_invalid_input(error) from None

    def _order(self, request: FleetRequest, document: dict[str, Any]) -> FleetOrder:
        try:
            robots = request.robots
            ids = tuple(robot.id for robot in robots)
            if len(set(ids)) != len(ids):
                again = next(k for k, name in enumerate(ids) if name in ids[:k])
                raise InvalidScenario("two robots have the same id", pointer=f"/robots/{again}/id", code="DUPLICATE_ID", value=ids[again])
            scene, _ = self._intake.scene(request.map, document)
            curves = self._curves(request)
            return FleetOrder(request, ids, _instant(request, self._ground(scene, min(r.radius for r in robots)), curves))
        except InvalidInput as error:
            raise of_invalid_input(error) from None
        except UnknownMap as error:
            raise of_unknown_map(error, "/map/id") from None

    def _ground(self, scene: Scene, radius: float) -> Ground:
        key = id(scene), radius  # what is kept holds its scene, so no other one gets its id meanwhile
        ground = self._grounds.find(key)
        if ground is None:
            ground = Ground.of_scene(scene, radius)
            self._grounds.keep(key, ground, scene_bytes(scene) + ground.fields.value.nbytes)
        return ground

    def _curves(self, request: FleetRequest) -> list[TimedCurve]:
        stored = self._stored(request.plan_id) if request.plan_id is not None else {}
        return [_curve(robot, k, stored) for k, robot in enumerate(request.robots)]

    def _stored(self, plan_id: str) -> dict[str, TimedCurve]:
        curves = self._plans.find(plan_id)
        if curves is None:
            body = self._intake.plans.find_plan(plan_id) if self._intake.plans is not None else None
            if body is None:
                raise InvalidInput("no plan has this id, or it has expired", pointer="/plan_id", code="UNKNOWN_PLAN", value=plan_id[:80])
            plan = read_plan(orjson.loads(body), self._intake.settings)
            curves = {robot.id: _timed(robot.curve) for robot in plan.robots if robot.curve is not None}
            self._plans.keep(plan_id, curves, len(body))
        return curves


def _timed(curve: JudgedCurve) -> TimedCurve:
    return TimedCurve(curve.degree, np.array(curve.knots_s), np.array(curve.control_points))


def _curve(robot: AgentRobot, k: int, stored: dict[str, TimedCurve]) -> TimedCurve:
    if robot.curve is None:
        if robot.id not in stored:
            said = f"robot {robot.id[:80]!r} has no curve, here or in a stored plan"
            raise InvalidScenario(said, pointer=f"/robots/{k}/curve", code="MISSING")
        return stored[robot.id]
    try:
        return _timed(robot.curve)
    except InvalidInput as error:
        raise error.under(f"/robots/{k}/curve") from None


def _instant(request: FleetRequest, ground: Ground, curves: list[TimedCurve]) -> Instant:
    robots, states = request.robots, [robot.state for robot in request.robots]
    ends = [(r.goal.x, r.goal.y) if r.goal is not None else tuple(c.control_points[-1]) for r, c in zip(robots, curves, strict=True)]
    bodies = FleetBodies(_row([r.radius for r in robots]), _row([r.limits.v_max for r in robots]), _row([r.limits.a_max for r in robots]))
    state = FleetState(
        _row([(s.x, s.y) for s in states]),
        _row([(s.vx, s.vy) for s in states]),
        _row([(s.ax, s.ay) for s in states]),
        _row([r.t_s for r in robots]),
        _row([r.late_s for r in robots]),
        torch.ones(1, len(robots), dtype=torch.float64),
    )
    others = request.others
    seen = Discs(
        _row([(o.x, o.y) for o in others]).view(1, -1, 2),
        _row([(o.vx, o.vy) for o in others]).view(1, -1, 2),
        _row([o.radius for o in others]),
    )
    return Instant(ground, bodies, state, CurveTracks.of_curves(curves), _row(ends), seen)


def _row(values: list[Any]) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def unknown_agent(name: str, known: tuple[str, ...]) -> Problem:
    """What a request for a policy that there is not is told."""
    said = ", ".join(known) or "none"
    fault = Fault("/agent", "UNKNOWN_AGENT", f"is none of the released policies: {said}", name[:80])
    return Problem(422, "UNKNOWN_AGENT", f"no released policy is called {name[:80]!r}; there are: {said}", [fault])
