"""The safety filter over padded batches of tensors: the reference of the compiled one, and the GPU path.

The same interface and the same outcome as `safety_filter.solver.SafetyFilter`; all problems of a batch go through each
round together, and one that has ended stands still.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maps.scenario import ScenarioBatch
from maps.scene_batch import SceneBatch
from maps.trajectory import TrajectoryBatch
from safety_filter.batch_problem import stack_problem
from safety_filter.problem import FilterConfig, room_aimed_at
from safety_filter.rounds import BatchIterate, begin, one_round
from safety_filter.solver import CHUNK, EARLIEST, PATIENCE, STALL, WIDEN, WIDENINGS, Accept, FilterResult, FilterStatus


class TensorSafetyFilter:
    """Turns proposals into joint trajectories, on any device."""

    def __init__(self, config: FilterConfig | None = None, device: str | torch.device = "cpu") -> None:
        """Sets weights and schedule, and where the tensors live."""
        self.config = config or FilterConfig()
        self.device = torch.device(device)

    def project(
        self,
        candidates: TrajectoryBatch,
        batch: ScenarioBatch,
        accept: Accept | None = None,
        deadlines: Sequence[float | None] | None = None,
        config: FilterConfig | None = None,
    ) -> FilterResult:
        """Repairs candidate joint trajectories; see `safety_filter.solver.SafetyFilter.project`."""
        config = config or self.config
        total, proposals = candidates.control_points.shape[:2]
        repeated = ScenarioBatch.stack([scenario for scenario in batch.scenarios for _ in range(proposals)]).to(self.device)
        limits = None if deadlines is None else [deadline for deadline in deadlines for _ in range(proposals)]
        run = _BatchRun(candidates.control_points.flatten(0, 1).to(self.device), repeated, config)
        with torch.no_grad():
            run.until_ended(None if accept is None else lambda k, points: accept(k // proposals, k % proposals, points), limits)
        control = run.iterate.control.cpu().unflatten(0, (total, proposals))
        status = torch.tensor(run.status).reshape(total, proposals)
        residual, rounds = run.iterate.gap.cpu().reshape(total, proposals), run.iterate.rounds.cpu().long().reshape(total, proposals)
        return FilterResult(TrajectoryBatch(control, candidates.horizon), status, residual, rounds)


class _BatchRun:
    """All problems of a batch on their way."""

    def __init__(self, proposal: Float[Tensor, "S N n 2"], batch: ScenarioBatch, config: FilterConfig) -> None:
        self.batch, self.config, self.proposal = batch, config, proposal
        self.scenes = SceneBatch.stack([scenario.scene for scenario in batch.scenarios], proposal.device)
        self.aim = torch.tensor([room_aimed_at(s, config) for s in batch.scenarios], dtype=proposal.dtype, device=proposal.device)
        self.problem = stack_problem(proposal, batch, self.scenes, config, self.aim)
        self.iterate: BatchIterate = begin(self.problem, config.penalty)
        self.status = [int(FilterStatus.EXHAUSTED)] * len(batch)
        self.widened = [0] * len(batch)
        self.seen = [[np.inf] * EARLIEST for _ in range(len(batch))]
        self.open = set(range(len(batch)))

    def until_ended(self, accept: Callable[[int, np.ndarray], bool] | None, deadlines: Sequence[float | None] | None) -> None:
        """Runs until every problem has passed, stalled, run out of rounds or of time."""
        chunk = CHUNK * self.config.stage_rounds
        while self.open:
            for _ in range(chunk + 1):
                self.iterate = one_round(self.problem, self.iterate)
            refused = [k for k in sorted(self.open) if bool(self.iterate.done[k]) and not self._passes(k, accept)]
            if refused:
                self._widen(refused)
            for k in sorted(self.open):
                self._end(k, None if deadlines is None else deadlines[k])

    def _passes(self, k: int, accept: Callable[[int, np.ndarray], bool] | None) -> bool:
        points = self.iterate.control[k, : len(self.batch.scenarios[k])].cpu().numpy()
        if accept is not None and not accept(k, points):
            self.widened[k] += 1
            if self.widened[k] > WIDENINGS:
                self._close(k, FilterStatus.STALLED)
            return False
        self._close(k, FilterStatus.PASSED)
        return True

    def _end(self, k: int, deadline: float | None) -> None:
        gap, tolerance = float(self.iterate.gap[k]), self.problem.schedules[k].gap_tolerance
        self.seen[k].append(gap)
        if not bool(self.iterate.control[k].isfinite().all()):
            self._close(k, FilterStatus.DIVERGED)
        elif deadline is not None and time.monotonic() > deadline:
            self._close(k, FilterStatus.STOPPED)
        elif gap > 4.0 * tolerance and gap > STALL * self.seen[k][-1 - PATIENCE]:
            self._close(k, FilterStatus.STALLED)
        elif float(self.iterate.rounds[k]) >= self.config.rounds:
            self._close(k, FilterStatus.EXHAUSTED)

    def _close(self, k: int, status: FilterStatus) -> None:
        """Ends a problem: it stands still from now on."""
        self.status[k] = int(status)
        self.open.discard(k)
        done = self.iterate.done.clone()
        done[k] = True
        self.iterate = replace(self.iterate, done=done)

    def _widen(self, refused: list[int]) -> None:
        """Aims at more room for problems whose iterate was refused, and lets them run on."""
        done = self.iterate.done.clone()
        for k in refused:
            if k in self.open:
                self.aim[k] *= WIDEN
                done[k] = False
        self.problem = replace(stack_problem(self.proposal, self.batch, self.scenes, self.config, self.aim), proposal=self.proposal)
        self.iterate = replace(self.iterate, done=done)
