"""The wire form of requests, to Scenario and PlanOptions, and of plans, from Plan; maps are in `api.map_wire`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field

from api.map_wire import FURTHEST, SMALLEST, STRICT, AnyMap, Coordinate, Size
from maps.errors import InvalidScenario
from maps.fleet import Fleet
from maps.scenario import MovingObstacle, Scenario
from planner.plan import PlanOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maps.scene import Scene
    from planner.plan import Source

Name = Annotated[str, Field(min_length=1, max_length=128)]


class Start(BaseModel):
    """Where and how a robot moves at t = 0."""

    model_config = STRICT

    x: Coordinate = Field(description="m")
    y: Coordinate = Field(description="m")
    vx: Coordinate = Field(default=0.0, description="m/s")
    vy: Coordinate = Field(default=0.0, description="m/s")
    ax: Coordinate = Field(default=0.0, description="m/s^2")
    ay: Coordinate = Field(default=0.0, description="m/s^2")


class Goal(BaseModel):
    """Where a robot arrives at rest at the horizon."""

    model_config = STRICT

    x: Coordinate = Field(description="m")
    y: Coordinate = Field(description="m")


class Limits(BaseModel):
    """Euclidean norms, held at every instant."""

    model_config = STRICT

    v_max: Size = Field(description="m/s")
    a_max: Size = Field(description="m/s^2")


class Robot(BaseModel):
    """One disc of the fleet."""

    model_config = STRICT

    id: Name
    start: Start | None = Field(default=None, description="may be left out only where a previous plan says it")
    goal: Goal
    radius: Size = Field(description="m")
    limits: Limits
    frozen: bool = Field(default=False, description="with a previous plan: keeps its curve, the others plan around it")


class MovingDisc(BaseModel):
    """A disc on a known, piecewise linear path; it stands at its first place before t[0] and at its last after the last."""

    model_config = STRICT

    id: Name
    radius: Size = Field(description="m")
    t: Annotated[list[Coordinate], Field(min_length=1, fail_fast=True)] = Field(description="s, increasing")
    x: Annotated[list[Coordinate], Field(min_length=1, fail_fast=True)] = Field(description="m")
    y: Annotated[list[Coordinate], Field(min_length=1, fail_fast=True)] = Field(description="m")


class Options(BaseModel):
    """How to plan."""

    model_config = STRICT

    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = Field(default=0, description="the same request and seed give the same plan")
    candidates: Annotated[int, Field(ge=1)] = Field(default=8, description="joint trajectories proposed at once")
    alternatives: Annotated[int, Field(ge=1)] = Field(default=1, description="different certified plans to return, best first")
    margin: Annotated[float, Field(ge=0, le=FURTHEST)] = Field(default=0.0, description="m, extra room kept from everything")
    deadline_ms: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="wall clock from receipt; the server's setting by default"
    )
    allow_partial: bool = Field(default=False, description="leave out robots that cannot be planned, with a reason")
    samples_dt: Annotated[float, Field(ge=SMALLEST)] | None = Field(
        default=None, description="s; also return samples of every curve at this step"
    )
    sources: Annotated[list[Literal["flow", "search", "straight"]], Field(min_length=1, max_length=3)] = ["flow", "search", "straight"]
    warm_start: bool = Field(default=True, description="false: the filter starts without its initialisation network")
    priority: Annotated[int, Field(ge=0, le=9)] = Field(default=5, description="0 (first) to 9, in the server's queue")


class PlanRequest(BaseModel):
    """A map, robots and how to plan them. Metres, radians, seconds; x right, y up."""

    model_config = STRICT

    map: AnyMap
    horizon_s: Annotated[float, Field(ge=SMALLEST)] | None = Field(
        default=None, description="every curve spans exactly [0, horizon_s]; left out: the shortest that can be certified"
    )
    robots: list[Robot]
    moving_obstacles: list[MovingDisc] = []
    previous_plan_id: str | None = Field(default=None, description="a plan of this server to go on from; its time 0 is this plan's")
    previous_plan: dict[str, Any] | None = Field(default=None, description="the same, brought along as the server answered it")
    commit_s: Annotated[float, Field(ge=0, le=FURTHEST)] | None = Field(
        default=None, description="s; with a previous plan: its curves are kept up to here; 0 by default"
    )
    options: Options = Options()


def to_scenario(request: PlanRequest, scene: Scene, earlier: Mapping[str, Start] | None = None) -> Scenario:
    """The scenario of a request in a scene that is built already.

    Args:
        request: as it came.
        scene: of its map.
        earlier: starts, by robot, of the plan that it goes on from; those in the request are not looked at then.

    Raises:
        InvalidInput: with a pointer into the request.
    """
    robots = request.robots
    starts = [(earlier or {}).get(robot.id) or _start(robot, k) for k, robot in enumerate(robots)]
    fleet = Fleet(
        tuple(r.id for r in robots),
        _column([r.radius for r in robots]),
        _column([r.limits.v_max for r in robots]),
        _column([r.limits.a_max for r in robots]),
    )
    return Scenario(
        scene,
        fleet,
        start=_column([(s.x, s.y) for s in starts]),
        goal=_column([(r.goal.x, r.goal.y) for r in robots]),
        start_velocity=_column([(s.vx, s.vy) for s in starts]),
        start_acceleration=_column([(s.ax, s.ay) for s in starts]),
        horizon=None if request.horizon_s is None else float(request.horizon_s),
        margin=float(request.options.margin),
        moving=_moving(request.moving_obstacles),
    )


def _column(values: list[Any]) -> torch.Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float64))


def _start(robot: Robot, k: int) -> Start:
    if robot.start is None:
        raise InvalidScenario(
            f"robot {robot.id!r} has no start, and no previous plan says it", pointer=f"/robots/{k}/start", code="MISSING"
        )
    return robot.start


def _moving(discs: list[MovingDisc]) -> tuple[MovingObstacle, ...]:
    seen: set[str] = set()
    out: list[MovingObstacle] = []
    for k, disc in enumerate(discs):
        where = f"/moving_obstacles/{k}"
        if disc.id in seen:
            raise InvalidScenario(
                f"two moving obstacles have the id {disc.id!r}", pointer=f"{where}/id", code="DUPLICATE_ID", value=disc.id
            )
        seen.add(disc.id)
        if not len(disc.t) == len(disc.x) == len(disc.y):
            raise InvalidScenario("t, x and y must have as many entries each", pointer=where, code="WRONG_LENGTH")
        try:
            out.append(MovingObstacle(disc.id, disc.radius, _column(disc.t), _column(list(zip(disc.x, disc.y, strict=True)))))
        except InvalidScenario as error:
            raise error.under(where) from None
    return tuple(out)


def to_options(options: Options, received: float, default_deadline_ms: float) -> PlanOptions:
    """The planner's options of a request.

    Args:
        options: as they came.
        received: when the request came, s on the clock of time.monotonic().
        default_deadline_ms: where the request names no deadline.
    """
    deadline_ms = default_deadline_ms if options.deadline_ms is None else options.deadline_ms
    sources: tuple[Source, ...] = tuple(dict.fromkeys(options.sources))
    return PlanOptions(
        seed=options.seed,
        candidates=options.candidates,
        alternatives=options.alternatives,
        deadline=received + deadline_ms * 1e-3,
        allow_partial=options.allow_partial,
        sources=sources,
        warm_start=options.warm_start,
    )
