"""The safety filter: batched alternating minimisation with a status for every problem.

A problem is one scenario with one proposal. Each round projects every sample onto the constraint sets
(`safety_filter.projection`, compiled: `safety_filter.corrections`), updates multipliers in the space of the control
points and solves one linear system. The penalty grows from stage to stage: a soft start lets robots pass through each
other and choose sides, later rounds hold them apart.

Source: alternating minimisation with multipliers after Rastgar et al., "GPU accelerated convex approximations for fast
multi-agent trajectory optimization" (RA-L 2021). What differs: the projections are written without angles, walls enter
by signed distance, closest approaches between samples count, multipliers fade so that constraints no longer met are
forgotten, and the linear system weighs each robot's active constraints only.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maps.scenario import Scenario, ScenarioBatch
from maps.trajectory import TrajectoryBatch
from safety_filter.kernel import advance, passes
from safety_filter.problem import (
    FilterConfig,
    columns,
    make_iterate,
    make_limits,
    make_schedule,
    make_tables,
    room_aimed_at,
    rows,
    time_scale,
)
from safety_filter.warm_start import AtProposal, Starter

CHUNK = 4  # stages between two looks at the clock and at progress
PATIENCE = 2  # chunks between the two violations that tell whether a problem has stalled
EARLIEST = 4  # chunks before which it cannot have
STALL = 0.8  # share of the earlier one above which there is no progress
WIDEN = 1.7  # factor of the room aimed at, after an iterate that passed the samples was refused
WIDENINGS = 6

# scenario and candidate index, control points (N, n, 2), m -> whether they hold in continuous time
Accept = Callable[[int, int, np.ndarray], bool]
# whether a scenario is to be given up: its deadline has come, or nobody wants it any more
Stop = Callable[[], bool]


class FilterStatus(IntEnum):
    """How one problem ended."""

    PASSED = 0  # within the tolerances, and accepted where an acceptance test was given
    EXHAUSTED = 1  # the rounds ran out
    STALLED = 2  # no progress at full penalty
    STOPPED = 3  # it was to be given up
    DIVERGED = 4  # not finite


@dataclass(frozen=True)
class FilterResult:
    """What became of every problem of a batch."""

    trajectory: TrajectoryBatch  # (S, M, N, n, 2) control points
    status: Int[Tensor, "S M"]  # FilterStatus
    residual: Float[Tensor, "S M"]  # m, worst violation of the room aimed at, at the last iterate
    rounds: Int[Tensor, "S M"]  # rounds run, those of a warm run that led nowhere included
    again: Bool[Tensor, "S M"]  # run once more from the proposal, since the warm run led nowhere


class SafetyFilter:
    """Turns proposals into joint trajectories that keep apart, keep out, and keep their limits."""

    def __init__(self, config: FilterConfig | None = None, pool: Executor | None = None) -> None:
        """Sets weights and schedule, and the threads that problems are shared out to (None: the caller's own)."""
        self.config = config or FilterConfig()
        self._pool = pool

    def project(
        self,
        candidates: TrajectoryBatch,
        batch: ScenarioBatch,
        accept: Accept | None = None,
        stops: Sequence[Stop | None] | None = None,
        config: FilterConfig | None = None,
        starter: Starter | None = None,
    ) -> FilterResult:
        """Repairs candidate joint trajectories.

        Args:
            candidates: (S, M, N, n, 2) proposals with the scenarios' ends.
            batch: the S scenarios.
            accept: a stricter test than the filter's own, asked for every iterate that passes it; a refused one is
                run on with more room aimed at.
            stops: asked of each scenario now and then, whether to give it up; None: never.
            config: used in place of the filter's own.
            starter: says where the rounds start, and on what schedule. A problem that does not pass on it is run once more
                from the proposal itself, on the schedule of the config.

        Returns:
            The last iterate of every problem, with its status. No problem depends on another.
        """
        config = config or self.config
        total, proposals = candidates.control_points.shape[:2]
        jobs = [(s, m) for s in range(total) for m in range(proposals)]

        def run(job: tuple[int, int]) -> _Outcome:
            s, m = job
            scenario = batch.scenarios[s]
            proposal = candidates.control_points[s, m, : len(scenario)].numpy()
            test = None if accept is None else partial(accept, s, m)
            stop = None if stops is None else stops[s]
            if starter is None:
                return _Run(scenario, proposal, config).until_passed(test, stop)
            warm = _warm_run(scenario, proposal, config, starter).until_passed(test, stop)
            if warm.status in (FilterStatus.PASSED, FilterStatus.STOPPED):
                return warm
            cold = _Run(scenario, proposal, config).until_passed(test, stop)
            return cold._replace(rounds=warm.rounds + cold.rounds, again=True)

        done = list(self._pool.map(run, jobs)) if self._pool is not None and len(jobs) > 1 else [run(job) for job in jobs]
        control = candidates.control_points.clone()
        for (s, m), outcome in zip(jobs, done, strict=True):
            control[s, m, : outcome.points.shape[0]] = torch.from_numpy(outcome.points)

        def column(k: int, kind: torch.dtype) -> Tensor:
            return torch.tensor([row[k] for row in done], dtype=kind).reshape(total, proposals)

        trajectory = TrajectoryBatch(control, candidates.horizon)
        return FilterResult(trajectory, column(1, torch.int64), column(2, torch.float64), column(3, torch.int64), column(4, torch.bool))


class _Outcome(NamedTuple):
    """What became of one problem."""

    points: Float[np.ndarray, "N n 2"]  # m
    status: FilterStatus
    residual: float  # m
    rounds: int
    again: bool = False


def _warm_run(scenario: Scenario, proposal: np.ndarray, config: FilterConfig, starter: Starter) -> "_Run":
    run = _Run(scenario, proposal, starter.schedule.adapted(config))
    if isinstance(starter, AtProposal) or not run.passes_at_once(proposal):
        control, multiplier = starter(scenario, proposal)
        run.iterate.control[:], run.iterate.multiplier[:] = columns(control), columns(multiplier)
    return run


def first_iterate(
    scenario: Scenario, proposal: Float[np.ndarray, "N n 2"], config: FilterConfig, starter: Starter
) -> tuple[Float[np.ndarray, "N n 2"], Float[np.ndarray, "N n 2"]]:
    """Control points (m) and multipliers where rounds begin: as the starter says, but for a proposal that passes as it is."""
    iterate = _warm_run(scenario, proposal, config, starter).iterate
    return rows(iterate.control), rows(iterate.multiplier)


def cold_run(
    scenario: Scenario, proposal: Float[np.ndarray, "N n 2"], config: FilterConfig
) -> tuple[FilterStatus, Float[np.ndarray, "N n 2"], Float[np.ndarray, "N n 2"]]:
    """Status, last control points (m) and multipliers of a run from a proposal: what the learned initialisation is to foresee."""
    run = _Run(scenario, proposal, config)
    outcome = run.until_passed(None, None)
    return outcome.status, outcome.points, rows(run.iterate.multiplier)


class _Run:
    """One problem on its way."""

    def __init__(self, scenario: Scenario, control_points: np.ndarray, config: FilterConfig) -> None:
        self.scenario, self.config = scenario, config
        self.tables = make_tables(control_points.shape[1], float(scenario.horizon or 0.0), time_scale(scenario), config)
        self.iterate = make_iterate(control_points, self.tables, config.penalty)
        self.aim = room_aimed_at(scenario, config)
        self.hopeless = config.hopeless * float(scenario.fleet.radius.mean())
        self._set_room()

    def _set_room(self) -> None:
        self.limits = make_limits(self.scenario, self.tables.value.shape[0], self.aim, self.config)
        self.schedule = make_schedule(self.scenario, self.aim, self.config)

    def passes_at_once(self, control_points: np.ndarray) -> bool:
        """Whether the proposal passes the filter's own test as it is; the run has not begun after it."""
        passed = passes(self.tables, self.limits, self.scenario.scene.world, self.schedule, self.iterate)
        self.iterate = make_iterate(control_points, self.tables, self.config.penalty)
        return passed

    @property
    def control_points(self) -> np.ndarray:
        """(N, n, 2) of the current iterate."""
        return rows(self.iterate.control)

    def until_passed(self, accept: Callable[[np.ndarray], bool] | None, stop: Stop | None) -> _Outcome:
        """Runs until passed and accepted, or until there is no point in going on."""
        status = self._loop(accept, stop)
        points = self.control_points
        if not np.isfinite(points).all():
            status = FilterStatus.DIVERGED
        return _Outcome(points, status, float(self.iterate.progress[2]), int(self.iterate.progress[0]))

    def _loop(self, accept: Callable[[np.ndarray], bool] | None, stop: Stop | None) -> FilterStatus:
        progress, widened, seen = self.iterate.progress, 0, [np.inf] * EARLIEST
        world = self.scenario.scene.world
        while progress[0] < self.config.rounds:
            rounds = min(CHUNK * self.config.stage_rounds, self.config.rounds - int(progress[0]))
            if advance(self.tables, self.limits, world, self.schedule, self.iterate, rounds + 1):
                if accept is None or accept(self.control_points):
                    return FilterStatus.PASSED
                widened += 1
                if widened > WIDENINGS:
                    return FilterStatus.STALLED
                self._widen()
            if stop is not None and stop():
                return FilterStatus.STOPPED
            seen.append(float(progress[2]))
            if len(seen) == EARLIEST + 1 and seen[-1] > self.hopeless:
                return FilterStatus.STALLED
            if seen[-1] > 4.0 * self.schedule.gap_tolerance and seen[-1] > STALL * seen[-1 - PATIENCE]:
                return FilterStatus.STALLED
        return FilterStatus.EXHAUSTED

    def _widen(self) -> None:
        """Aims at more room; what was looked at must be looked at again."""
        self.aim *= WIDEN
        self._set_room()
        self.iterate.pair_budget[:] = 0.0
        self.iterate.wall_budget[:] = 0.0
