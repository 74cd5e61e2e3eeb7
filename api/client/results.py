"""What the planning server answers, as typed values; `raw` always is the answer as it came.

Keys that a newer server adds are ignored, those that it leaves out are None or empty.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from api.client.curves import Curve, CurveArrays, Motion

PlanStatus = Literal["succeeded", "partial", "failed"]
JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]
FINISHED = ("succeeded", "failed", "cancelled")


def _known(kind: type, document: dict[str, Any]) -> dict[str, Any]:
    """What of a document the fields of a type are named after."""
    return {f.name: document[f.name] for f in fields(kind) if f.name in document}


@dataclass(frozen=True)
class Reason:
    """Why a robot has no plan."""

    code: str
    message: str = ""
    other: str | None = None  # id of the other robot or moving obstacle
    value: float | None = None  # what was found, in the unit that the message names
    limit: float | None = None  # what would be needed

    @classmethod
    def of(cls, document: dict[str, Any] | None) -> Self | None:
        """The reason in its wire form, if there is one."""
        return None if document is None else cls(**_known(cls, document))


@dataclass(frozen=True)
class Certificate:
    """What holds at every instant; None where there is nothing to measure."""

    safe: bool
    continuous: bool = True
    min_robot_gap: float | None = None  # m, centre distance less radii
    closest_pair: tuple[str, str] | None = None
    closest_at_s: float | None = None
    min_obstacle_gap: float | None = None  # m, bounds and moving obstacles included
    max_speed_ratio: float | None = None  # of v_max
    max_acceleration_ratio: float | None = None  # of a_max

    @classmethod
    def of(cls, document: dict[str, Any] | None) -> Self | None:
        """The certificate in its wire form, if there is one."""
        if document is None:
            return None
        pair = document.get("closest_pair")
        known: dict[str, Any] = _known(cls, document) | {"closest_pair": None if pair is None else (pair[0], pair[1])}
        return cls(**known)


@dataclass(frozen=True)
class Metrics:
    """Quality of a joint plan."""

    path_length: float  # m, summed over robots
    length_ratio: float  # path lengths over straight distances
    mean_sq_acc: float  # m^2/s^4, mean over robots and time
    mean_sq_jerk: float  # m^2/s^6, mean over robots and time
    cost: float

    @classmethod
    def of(cls, document: dict[str, Any] | None) -> Self | None:
        """The metrics in their wire form, if there are any."""
        return None if document is None else cls(**_known(cls, document))


@dataclass(frozen=True)
class RobotResult:
    """One robot's share of a plan."""

    id: str
    status: Literal["planned", "failed"]
    source: Literal["flow", "search", "straight"] | None  # the proposal that the curve grew from
    reason: Reason | None
    raw: dict[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """The robot in its wire form."""
        return cls(document["id"], document["status"], document.get("source"), Reason.of(document.get("reason")), document)

    @property
    def curve(self) -> Curve | None:
        """The robot's motion; None where it has none."""
        from api.client.curves import Curve

        document = self.raw.get("curve")
        return None if document is None else Curve.of(document)

    @property
    def samples(self) -> dict[str, list[float]] | None:
        """What the server sampled, where `samples_dt` asked for it: t, x, y, vx, vy."""
        return self.raw.get("samples")


@dataclass(frozen=True)
class JointResult:
    """Curves for all robots together, and what holds of them."""

    robots: tuple[RobotResult, ...]
    certificate: Certificate | None
    metrics: Metrics | None
    raw: dict[str, Any] = field(repr=False, compare=False)

    def robot(self, robot_id: str) -> RobotResult:
        """The share of one robot.

        Raises:
            KeyError: the plan has no such robot.
        """
        for robot in self.robots:
            if robot.id == robot_id:
                return robot
        raise KeyError(robot_id)

    def curves(self) -> list[tuple[str, Curve]]:
        """The motions of the planned robots with their ids, in the order of the request."""
        return [(robot.id, robot.curve) for robot in self.robots if robot.curve is not None]

    def to_numpy(self) -> CurveArrays:
        """Control points (N, n, 2), m, and the knots, s, of the planned robots.

        Raises:
            ValueError: no robot has a curve, or their knots differ.
        """
        from api.client.curves import CurveArrays

        return CurveArrays.of(self.curves())

    def sample(self, dt: float) -> Motion:
        """Places, velocities and accelerations (N, T, 2) of the planned robots at multiples of `dt`, s, and at the end.

        Raises:
            ValueError: the step is not positive.
        """
        from api.client.curves import sampled

        return sampled(self.curves(), dt)


@dataclass(frozen=True)
class PlanResult(JointResult):
    """The answer to a planning request; a plan that failed is an answer too, with a reason on at least one robot."""

    plan_id: str
    status: PlanStatus
    horizon_s: float | None
    seed: int
    alternatives: tuple[JointResult, ...]
    warnings: tuple[str, ...]
    timings_ms: dict[str, float]
    diagnostics: dict[str, Any]
    model: dict[str, str] | None  # the weights used; None where none were

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """The plan in its wire form."""
        return cls(
            *_joint(document),
            plan_id=document.get("plan_id", ""),
            status=document["status"],
            horizon_s=document.get("horizon_s"),
            seed=document.get("seed", 0),
            alternatives=tuple(JointResult(*_joint(entry)) for entry in document.get("alternatives") or ()),
            warnings=tuple(document.get("warnings") or ()),
            timings_ms=dict(document.get("timings_ms") or {}),
            diagnostics=dict(document.get("diagnostics") or {}),
            model=document.get("model"),
        )

    @property
    def succeeded(self) -> bool:
        """Whether every robot has a certified curve."""
        return self.status == "succeeded"


def _joint(document: dict[str, Any]) -> tuple[tuple[RobotResult, ...], Certificate | None, Metrics | None, dict[str, Any]]:
    robots = tuple(RobotResult.of(robot) for robot in document.get("robots") or ())
    return robots, Certificate.of(document.get("certificate")), Metrics.of(document.get("metrics")), document


@dataclass(frozen=True)
class Validation:
    """What is proven impossible before any planning."""

    valid: bool
    reasons: dict[str, Reason]  # of the robots that are proven to have no plan
    warnings: tuple[str, ...]
    raw: dict[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """The validation in its wire form."""
        found = {robot["id"]: Reason.of(robot.get("reason")) for robot in document["robots"]}
        reasons = {name: reason for name, reason in found.items() if reason is not None}
        return cls(document["valid"], reasons, tuple(document.get("warnings") or ()), document)


@dataclass(frozen=True)
class Violation:
    """One rule that a plan breaks."""

    code: str
    robots: tuple[str, ...]
    t_s: float | None = None
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What came of judging a plan."""

    certificate: Certificate
    violations: tuple[Violation, ...]
    raw: dict[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """The verdict in its wire form."""
        found = document["certificate"]
        broken: list[dict[str, Any]] = [_known(Violation, v) | {"robots": tuple(v["robots"])} for v in document["violations"]]
        return cls(Certificate.of(found) or Certificate(safe=False), tuple(Violation(**v) for v in broken), document)


@dataclass(frozen=True)
class MapInfo:
    """A map of the server."""

    id: str
    built_in: bool = False
    bounds: tuple[float, float, float, float] | None = None  # m
    obstacles: int = 0
    grid: dict[str, Any] | None = None  # shape and resolution
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """The map in a list of maps."""
        bounds = document.get("bounds")
        typed: dict[str, Any] = {"bounds": None if bounds is None else tuple(bounds), "warnings": tuple(document.get("warnings") or ())}
        return cls(**_known(cls, document) | typed)


@dataclass(frozen=True)
class Job:
    """Requests that are planned while the caller does something else."""

    job_id: str
    status: JobStatus
    done: int = 0  # requests that have an answer
    total: int = 0
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """The job in its wire form."""
        known: dict[str, Any] = _known(cls, document) | {"raw": document}
        return cls(**known)

    @property
    def finished(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in FINISHED
