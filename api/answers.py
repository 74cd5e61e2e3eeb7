"""The schemas of answers: documentation for callers, and the tests' yardstick; the server builds its answers without them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from maps.reason import ReasonCode

_EXACT = ConfigDict(extra="forbid")


class ReasonAnswer(BaseModel):
    """Why a robot has no plan."""

    model_config = _EXACT

    code: ReasonCode
    message: str
    other: str | None = Field(description="id of the other robot or moving obstacle")
    value: float | None = Field(description="what was found, in the unit that the message names")
    limit: float | None = Field(description="what would be needed")


class CurveAnswer(BaseModel):
    """A clamped B-spline over time; a NURBS whose weights are 1."""

    model_config = _EXACT

    degree: int
    knots_s: list[float] = Field(description="s")
    control_points: list[list[float]] = Field(description="m")


class SamplesAnswer(BaseModel):
    """The curve at multiples of the step asked for, and at the horizon."""

    model_config = _EXACT

    t: list[float] = Field(description="s")
    x: list[float] = Field(description="m")
    y: list[float] = Field(description="m")
    vx: list[float] = Field(description="m/s")
    vy: list[float] = Field(description="m/s")


class RobotAnswer(BaseModel):
    """One robot's share of a plan."""

    model_config = _EXACT

    id: str
    status: Literal["planned", "failed"]
    source: Literal["flow", "search", "straight"] | None = Field(description="the proposal it grew from; null for a frozen robot")
    reason: ReasonAnswer | None
    curve: CurveAnswer | None
    samples: SamplesAnswer | None


class CertificateAnswer(BaseModel):
    """What holds at every instant, of the very numbers sent; null where there is nothing to measure."""

    model_config = _EXACT

    safe: bool
    continuous: bool
    min_robot_gap: float | None = Field(description="m, centre distance less radii")
    closest_pair: list[str] | None
    closest_at_s: float | None
    min_obstacle_gap: float | None = Field(description="m, bounds and moving obstacles included")
    max_speed_ratio: float | None = Field(description="of v_max")
    max_acceleration_ratio: float | None = Field(description="of a_max")


class MetricsAnswer(BaseModel):
    """Quality of a joint plan."""

    model_config = _EXACT

    path_length: float = Field(description="m, summed over robots")
    length_ratio: float = Field(description="path lengths over straight distances")
    mean_sq_acc: float = Field(description="m^2/s^4, mean over robots and time")
    mean_sq_jerk: float = Field(description="m^2/s^6, mean over robots and time")
    cost: float = Field(description="length_ratio + 0.5 mean_sq_acc / mean of (a_max / 2)^2")


class AlternativeAnswer(BaseModel):
    """A further certified plan."""

    model_config = _EXACT

    robots: list[RobotAnswer]
    certificate: CertificateAnswer
    metrics: MetricsAnswer


class DiagnosticsAnswer(BaseModel):
    """What it took."""

    model_config = _EXACT

    candidates: int
    certified: int
    filter_rounds: int


class TimingsAnswer(BaseModel):
    """Wall clock, ms; `total` is from receipt to answer."""

    model_config = _EXACT

    queue: float
    generate: float
    search: float
    filter: float
    verify: float
    total: float


class PlanAnswer(BaseModel):
    """The answer to a planning request; a plan that failed is an answer too."""

    model_config = _EXACT

    plan_id: str
    status: Literal["succeeded", "partial", "failed"]
    horizon_s: float | None
    seed: int
    model: dict[str, str] | None = Field(description="the weights used; null where none were")
    robots: list[RobotAnswer]
    certificate: CertificateAnswer | None
    metrics: MetricsAnswer | None
    alternatives: list[AlternativeAnswer]
    diagnostics: DiagnosticsAnswer
    timings_ms: TimingsAnswer
    warnings: list[str]


class JobAccepted(BaseModel):
    """A job that is on disk."""

    model_config = _EXACT

    job_id: str
    status: Literal["queued"]


class JobAnswer(BaseModel):
    """How far a job is."""

    model_config = _EXACT

    job_id: str
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"] = Field(
        description="succeeded: every request has an answer, also where no plan was found; failed: the server could not answer some"
    )
    done: int
    total: int
    created_at: str = Field(description="ISO 8601, UTC")
    finished_at: str | None


class JobsAnswer(BaseModel):
    """A page of jobs, the latest first."""

    model_config = _EXACT

    jobs: list[JobAnswer]
    next_cursor: str | None = Field(description="of the next page; null on the last")


class ValidatedRobot(BaseModel):
    """Whether a robot is proven to have no plan."""

    model_config = _EXACT

    id: str
    reason: ReasonAnswer | None


class ValidationAnswer(BaseModel):
    """The checks before any planning."""

    model_config = _EXACT

    valid: bool
    robots: list[ValidatedRobot]
    warnings: list[str]


class ViolationAnswer(BaseModel):
    """One broken rule."""

    model_config = _EXACT

    code: str
    robots: list[str]
    t_s: float | None
    value: float | None
    limit: float | None


class CheckAnswer(BaseModel):
    """The verdict on a plan, whoever made it."""

    model_config = _EXACT

    certificate: CertificateAnswer
    violations: list[ViolationAnswer]


class MapSummary(BaseModel):
    """A map in a list."""

    model_config = _EXACT

    id: str
    built_in: bool
    bounds: list[float] | None
    obstacles: int
    grid: dict[str, Any] | None
    warnings: list[str]


class MapsAnswer(BaseModel):
    """All maps of the server."""

    model_config = _EXACT

    maps: list[MapSummary]


class HealthAnswer(BaseModel):
    """How the server is."""

    model_config = _EXACT

    status: Literal["starting", "ready", "draining", "broken"]
    waiting: int = Field(description="requests in the queue")


class VersionAnswer(BaseModel):
    """What is running."""

    model_config = _EXACT

    name: str
    version: str
    python: str
    torch: str


class FaultAnswer(BaseModel):
    """One thing that is wrong with a request, and where."""

    model_config = _EXACT

    pointer: str = Field(description="JSON pointer (RFC 6901) into the request body")
    code: str
    message: str
    value: float | str | None
    limit: float | str | None


class ProblemAnswer(BaseModel):
    """An error (RFC 9457)."""

    model_config = _EXACT

    type: str
    title: str
    status: int
    detail: str
    instance: str | None
    code: str
    request_id: str | None
    errors: list[FaultAnswer]


class UnplannedAnswer(BaseModel):
    """In place of a plan: why the server could not answer."""

    model_config = _EXACT

    status: Literal["failed"]
    problem: ProblemAnswer


class JobResult(BaseModel):
    """The plans of a job, in the order of its requests."""

    model_config = _EXACT

    plans: list[PlanAnswer | UnplannedAnswer | None]
