"""Fleets on their way: their state at one moment, what robots should do, and who chooses it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from api.client.requests import Map, Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class RobotState:
    """A robot on its way along a plan."""

    id: str
    position: Place  # m
    radius: float  # m
    v_max: float  # m/s
    a_max: float  # m/s^2
    t_s: float  # s on the clock of its plan: how far along it is; stop that clock while it is held up
    velocity: Place = (0.0, 0.0)  # m/s
    acceleration: Place = (0.0, 0.0)  # m/s^2, of the tick before
    late_s: float = 0.0  # s that it is behind its plan
    goal: Place | None = None  # m; None: the end of its plan
    curve: Mapping[str, Any] | None = None  # its plan, such as RobotResult.raw["curve"]; None: that of the fleet's plan_id

    def to_dict(self) -> dict[str, Any]:
        """The wire form."""
        (x, y), (vx, vy), (ax, ay) = self.position, self.velocity, self.acceleration
        document: dict[str, Any] = {
            "id": self.id,
            "state": {"x": x, "y": y, "vx": vx, "vy": vy, "ax": ax, "ay": ay},
            "radius": self.radius,
            "limits": {"v_max": self.v_max, "a_max": self.a_max},
            "t_s": self.t_s,
            "late_s": self.late_s,
        }
        goal = {} if self.goal is None else {"goal": {"x": self.goal[0], "y": self.goal[1]}}
        return document | goal | ({} if self.curve is None else {"curve": dict(self.curve)})


@dataclass(frozen=True)
class Stranger:
    """Somebody whom the fleet does not move: a person, a cart, a robot of another fleet."""

    position: Place  # m
    radius: float  # m
    velocity: Place = (0.0, 0.0)  # m/s

    def to_dict(self) -> dict[str, Any]:
        """The wire form."""
        return {"x": self.position[0], "y": self.position[1], "vx": self.velocity[0], "vy": self.velocity[1], "radius": self.radius}


@dataclass(frozen=True)
class FleetState:
    """A fleet at one moment; its robots are each other's neighbours."""

    map: str | Map | Mapping[str, Any]  # an id, or the map itself
    robots: Sequence[RobotState]
    strangers: Sequence[Stranger] = ()
    plan_id: str | None = None  # a plan that the server remembers, for robots without a curve
    tick_s: float = 0.1  # s that an acceleration will be held
    seed: int = 0  # of the noise that actions come from
    filter: bool = True  # False: what the policy says, cut to a_max; nobody looks whether it is safe

    def to_dict(self) -> dict[str, Any]:
        """The wire form, but for who acts."""
        where = {"id": self.map} if isinstance(self.map, str) else self.map.to_dict() if isinstance(self.map, Map) else dict(self.map)
        document: dict[str, Any] = {"map": where, "robots": [robot.to_dict() for robot in self.robots]}
        document["others"] = [stranger.to_dict() for stranger in self.strangers]
        document["options"] = {"tick_s": self.tick_s, "seed": self.seed, "filter": self.filter}
        return document | ({} if self.plan_id is None else {"plan_id": self.plan_id})


@dataclass(frozen=True)
class RobotAction:
    """What one robot should do for a tick."""

    id: str
    acceleration: Place  # m/s^2, map frame: to be done
    wanted: Place  # m/s^2: what the policy chose
    changed: bool  # by the filter
    safe: bool  # False: no acceleration keeps clear of everything, this one is the least bad


@dataclass(frozen=True)
class FleetActions:
    """What a fleet should do for a tick."""

    agent: str
    tick_s: float
    robots: tuple[RobotAction, ...]  # in the order of the state
    raw: dict[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """The answer in its wire form."""
        robots = tuple(
            RobotAction(r["id"], (r["acceleration"][0], r["acceleration"][1]), (r["wanted"][0], r["wanted"][1]), r["changed"], r["safe"])
            for r in document["robots"]
        )
        return cls(document["agent"], document["tick_s"], robots, document)


@dataclass(frozen=True)
class AgentInfo:
    """A released policy."""

    id: str
    version: str
    streams: bool  # whether it serves the stream of actions
    card: str  # Markdown: data, training, figures, limits
    raw: dict[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """The policy in a list of policies."""
        return cls(document["id"], document["model"]["version"], document.get("streams", False), document.get("card", ""), document)


AnyFleetState = FleetState | dict[str, Any]  # the wire form, without `agent`, will do
