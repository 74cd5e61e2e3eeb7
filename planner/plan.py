"""What a caller asks of the planner beyond the scenario, and what comes back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import numpy as np
from jaxtyping import Float

from maps.reason import Reason
from models.checkpoint import ModelIdentity
from safety_filter.verify import Certificate

Source = Literal["flow", "search", "straight"]


class PlanStatus(StrEnum):
    """Outcome of planning."""

    SUCCEEDED = "succeeded"  # every robot planned, certified in continuous time
    PARTIAL = "partial"  # allow_partial: some robots planned and certified around the others' starts
    FAILED = "failed"


class Watch:
    """Held by a caller in another thread while a scenario is planned: gives it up, or takes what there is by now."""

    def __init__(self) -> None:
        """Nothing is found yet, and nobody has given up."""
        self.stopped = False
        self.best: Callable[[], Plan] | None = None  # makes the best certified plan so far; None: there is none yet

    def stop(self) -> None:
        """The planner ends its work on the scenario soon: within a few rounds of the filter."""
        self.stopped = True


@dataclass(frozen=True)
class PlanOptions:
    """How one scenario is to be planned."""

    seed: int = 0  # 0 to 2^63 - 1; the same scenario, options and seed give the same plan
    candidates: int = 8  # joint trajectories proposed at once
    alternatives: int = 1  # different certified plans to return
    deadline: float | None = None  # s on the clock of time.monotonic(); None: no deadline
    allow_partial: bool = False  # leave out robots that cannot be planned
    sources: tuple[Source, ...] = ("flow", "search", "straight")  # proposals that may be used
    warm_start: bool = True  # start the filter from its initialisation network where there is one
    watch: Watch | None = field(default=None, compare=False)  # see there


@dataclass(frozen=True)
class RobotPlan:
    """One robot's share of a plan."""

    id: str
    control_points: Float[np.ndarray, "n 2"] | None  # m; clamped quintic B-spline over [0, horizon]; None: failed
    source: Source | None = None  # the proposal that this curve grew from
    reason: Reason | None = None  # why there is no curve
    knots: Float[np.ndarray, " k"] | None = None  # s; None: uniform


@dataclass(frozen=True)
class Metrics:
    """Quality of a certified joint plan."""

    path_length: float  # m, summed over robots
    length_ratio: float  # path_length over summed straight distances
    mean_sq_acc: float  # m^2/s^4, mean over robots and time
    mean_sq_jerk: float  # m^2/s^6, mean over robots and time
    cost: float  # length_ratio + 0.5 mean_sq_acc / mean over robots of (a_max / 2)^2


@dataclass(frozen=True)
class JointPlan:
    """One certified joint trajectory."""

    robots: tuple[RobotPlan, ...]
    certificate: Certificate
    metrics: Metrics


@dataclass(frozen=True)
class Diagnostics:
    """What it took."""

    candidates: int = 0  # proposals that went through the filter
    certified: int = 0  # of them, how many were certified
    filter_rounds: int = 0  # rounds this plan waited for, those of failed earlier runs included
    cold_runs: int = 0  # proposals run once more without the learned initialisation, which led nowhere


@dataclass(frozen=True)
class Timings:
    """Wall clock of the stages, s; members of a batch share them."""

    generate: float = 0.0
    search: float = 0.0
    filter: float = 0.0
    verify: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class Plan:
    """The answer to one scenario."""

    status: PlanStatus
    horizon: float | None  # s; None where none was asked for and none was found
    seed: int
    robots: tuple[RobotPlan, ...]  # in the scenario's order
    certificate: Certificate | None = None
    metrics: Metrics | None = None
    alternatives: tuple[JointPlan, ...] = ()  # further certified plans, best first; the plan itself is not among them
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    timings: Timings = field(default_factory=Timings)
    warnings: tuple[str, ...] = ()
    model: ModelIdentity | None = None  # weights that proposals were drawn from; None: no weights were used
