"""The wire form of a fleet at one moment, and of what its robots should do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from api.judge import JudgedCurve
from api.map_wire import STRICT, AnyMap, Coordinate, Place, Size
from api.wire import Goal, Limits, Name, Start

if TYPE_CHECKING:
    from planner.acting import Acted
    from planner.fleet_policy import FleetPolicy

_ANSWER = ConfigDict(extra="forbid")
_Time = Annotated[float, Field(ge=0.0, le=1e6)]


class AgentRobot(BaseModel):
    """A robot on its way along a plan."""

    model_config = STRICT

    id: Name
    state: Start = Field(description="now; ax and ay are the acceleration of the tick before")
    goal: Goal | None = Field(default=None, description="the end of its curve by default")
    radius: Size = Field(description="m")
    limits: Limits
    curve: JudgedCurve | None = Field(default=None, description="its plan; may be left out where `plan_id` names one that has it")
    t_s: _Time = Field(description="s on the clock of its curve: how far along its plan it is")
    late_s: _Time = Field(default=0.0, description="s that it is behind its plan")


class OtherDisc(BaseModel):
    """Somebody who is not moved by the answer: a person, a cart, a robot of another fleet."""

    model_config = STRICT

    x: Coordinate = Field(description="m")
    y: Coordinate = Field(description="m")
    vx: Coordinate = Field(default=0.0, description="m/s")
    vy: Coordinate = Field(default=0.0, description="m/s")
    radius: Size = Field(description="m")


class ActOptions(BaseModel):
    """How to act."""

    model_config = STRICT

    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = Field(default=0, description="of the noise that actions come from")
    filter: bool = Field(default=True, description="false: what the policy says, cut to a_max; nobody looks whether it is safe")
    tick_s: Annotated[float, Field(ge=0.01, le=1.0)] = Field(default=0.1, description="s that an acceleration will be held")


class FleetRequest(BaseModel):
    """A fleet at one moment. Its robots are each other's neighbours."""

    model_config = STRICT

    map: AnyMap
    robots: Annotated[list[AgentRobot], Field(min_length=1)]
    others: list[OtherDisc] = []
    plan_id: str | None = Field(default=None, description="a plan of this server, for robots without a curve, by their ids")
    options: ActOptions = ActOptions()


class ActRequest(FleetRequest):
    """A fleet at one moment, and which policy shall move it."""

    agent: Name = Field(description="a released policy")


class AgentModel(BaseModel):
    """Weights."""

    model_config = _ANSWER

    name: str
    version: str
    sha256: str


class Agent(BaseModel):
    """A released policy."""

    model_config = _ANSWER

    id: str
    model: AgentModel
    observation: int = Field(description="numbers that it sees of a robot")
    chunk: int = Field(description="actions that it chooses in one look")
    streams: bool = Field(description="whether it serves /v1/agents/stream")
    trained: dict[str, Any]
    card: str = Field(description="Markdown: data, training, figures, limits")


class AgentsAnswer(BaseModel):
    """The released policies."""

    model_config = _ANSWER

    agents: list[Agent]


class RobotAction(BaseModel):
    """What one robot should do for a tick."""

    model_config = _ANSWER

    id: str
    acceleration: Place = Field(description="m/s^2, map frame: to be done")
    wanted: Place = Field(description="m/s^2: what the policy chose")
    changed: bool = Field(description="by the filter")
    safe: bool = Field(description="keeps clear of everything while the others brake and strangers go straight on or stop")


class ActAnswer(BaseModel):
    """Accelerations for a tick."""

    model_config = _ANSWER

    agent: str
    model: AgentModel
    tick_s: float
    robots: list[RobotAction]


class StreamedAction(BaseModel):
    """One message of a stream."""

    model_config = _ANSWER

    look: int = Field(description="which state it was chosen for: 0 for the first that was sent")
    tick: int = Field(description="after that state")
    last: bool = Field(description="nothing more comes before another state is sent")
    robots: list[RobotAction]


def agent_document(policy: FleetPolicy, streams: bool) -> dict[str, Any]:
    """A policy as `GET /v1/agents` lists it."""
    return {
        "id": policy.agent,
        "model": model_document(policy),
        "observation": policy.policy.sizes.observation,
        "chunk": policy.chunk,
        "streams": streams,
        "trained": dict(policy.trained),
        "card": policy.card,
    }


def model_document(policy: FleetPolicy) -> dict[str, str]:
    """Which weights a policy has."""
    identity = policy.identity
    return {"name": identity.name, "version": identity.version, "sha256": identity.sha256}


def actions_document(ids: tuple[str, ...], acted: Acted) -> list[dict[str, Any]]:
    """What robots should do, in their order."""
    parts = (acted.acceleration.tolist(), acted.wanted.tolist(), acted.changed.tolist(), acted.safe.tolist())
    rows = zip(ids, *parts, strict=True)
    return [{"id": i, "acceleration": a, "wanted": w, "changed": c, "safe": s} for i, a, w, c, s in rows]
