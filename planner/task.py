"""One scenario on its way through the planner."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float

from maps.reason import Reason, ReasonCode
from maps.scenario import MovingObstacle, Scenario, ScenarioBatch
from models.checkpoint import ModelIdentity
from planner.choose import Candidate, best
from planner.plan import PlanOptions, Source, Timings


@dataclass
class Failure:
    """The last iterate of a proposal that was not certified."""

    control_points: Float[np.ndarray, "N n 2"]  # m
    residual: float  # m, worst violation


@dataclass
class Task:
    """What is known so far about one scenario; the only thing here that changes."""

    asked: Scenario  # as the caller gave it
    options: PlanOptions
    scenario: Scenario  # what is planned now: a horizon chosen, robots left out taken out
    kept: list[int]  # robots of `asked` that `scenario` holds
    reasons: dict[int, Reason] = field(default_factory=dict)  # of robots of `asked` that are left out or cannot be planned
    found: list[Candidate] = field(default_factory=list)
    failure: Failure | None = None  # the nearest miss
    proposed: int = 0  # proposals that went through the filter
    rounds: int = 0  # filter rounds waited for
    cold_runs: int = 0  # proposals run once more without the learned initialisation, which led nowhere
    spent: dict[str, float] = field(default_factory=dict)  # s, by stage
    began: float = field(default_factory=time.perf_counter)
    late: bool = False  # the deadline cut something short
    model: ModelIdentity | None = None  # weights that proposals were drawn from; None: none so far
    _batch: ScenarioBatch | None = None  # see `batch`

    @classmethod
    def begin(cls, scenario: Scenario, options: PlanOptions) -> "Task":
        """A task that nothing is known about yet."""
        return cls(scenario, options, scenario, list(range(len(scenario))))

    @property
    def horizon(self) -> float:
        """The horizon that is planned for, s."""
        return float(self.scenario.horizon or 0.0)

    @property
    def batch(self) -> ScenarioBatch:
        """What is planned now, as a batch of one."""
        if self._batch is None or self._batch.scenarios[0] is not self.scenario:
            self._batch = ScenarioBatch.stack([self.scenario])
        return self._batch

    def allows(self, source: Source) -> bool:
        """Whether proposals of this source may be used."""
        return source in self.options.sources

    def over(self) -> bool:
        """Whether the deadline has come, or the caller has given up; remembers that something was cut short."""
        options = self.options
        if (options.deadline is not None and time.monotonic() >= options.deadline) or (options.watch is not None and options.watch.stopped):
            self.late = True
        return self.late

    def snapshot(self) -> "Task":
        """A copy that knows of the best plan so far alone, as of a task whose time is over; later changes do not reach it."""
        return replace(self, kept=[*self.kept], reasons=dict(self.reasons), found=[best(self.found)], spent=dict(self.spent), late=True)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the time of a block to a stage."""
        began = time.perf_counter()
        yield
        self.spent[stage] = self.spent.get(stage, 0.0) + time.perf_counter() - began

    def timings(self) -> Timings:
        """Wall clock so far."""
        stages = {name: self.spent.get(name, 0.0) for name in ("generate", "search", "filter", "verify")}
        return Timings(**stages, total=time.perf_counter() - self.began)

    def miss(self, control_points: Float[np.ndarray, "N n 2"], residual: float) -> None:
        """Remembers the nearest miss."""
        if np.isfinite(control_points).all() and (self.failure is None or residual < self.failure.residual):
            self.failure = Failure(control_points, residual)

    def leave_out(self, reasons: dict[int, Reason]) -> None:
        """Takes robots of `asked` out of the problem; the others plan around their starts."""
        self.reasons.update(reasons)
        self.kept = [k for k in range(len(self.asked)) if k not in self.reasons]
        self.scenario = without(replace(self.asked, horizon=self.scenario.horizon), sorted(self.reasons), self.kept)
        self.found, self.failure = [], None


def without(scenario: Scenario, parked: list[int], kept: list[int]) -> Scenario:
    """The same problem for some of the robots; the parked ones stand at their starts as obstacles."""
    fleet, rows = scenario.fleet, torch.tensor(kept, dtype=torch.int64)
    standing = tuple(
        MovingObstacle(fleet.ids[k], float(fleet.radius[k]), torch.zeros(1, dtype=torch.float64), scenario.start[k : k + 1]) for k in parked
    )
    return replace(
        scenario,
        fleet=replace(
            fleet, ids=tuple(fleet.ids[k] for k in kept), radius=fleet.radius[rows], v_max=fleet.v_max[rows], a_max=fleet.a_max[rows]
        ),
        start=scenario.start[rows],
        goal=scenario.goal[rows],
        start_velocity=scenario.start_velocity[rows],
        start_acceleration=scenario.start_acceleration[rows],
        moving=scenario.moving + standing,
    )


def late_reason() -> Reason:
    """Why a robot of a request that ran out of time has no plan."""
    return Reason(ReasonCode.DEADLINE_EXCEEDED, "the deadline came before a certified plan was found")
