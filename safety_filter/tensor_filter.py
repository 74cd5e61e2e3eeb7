"""The safety filter over padded batches of tensors: the reference of the compiled one, and the GPU path.

The same interface and the same outcome as `safety_filter.solver.SafetyFilter`; all problems of a batch go through each
round together, and one that has ended stands still.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maps.scenario import Scenario, ScenarioBatch
from maps.scene_batch import SceneBatch
from maps.trajectory import TrajectoryBatch
from safety_filter.batch_problem import stack_problem
from safety_filter.problem import FilterConfig, room_aimed_at
from safety_filter.rounds import BatchIterate, begin, one_round
from safety_filter.solver import CHUNK, EARLIEST, PATIENCE, STALL, WIDEN, WIDENINGS, Accept, FilterResult, FilterStatus, Stop, first_iterate
from safety_filter.warm_start import Starter


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
        stops: Sequence[Stop | None] | None = None,
        config: FilterConfig | None = None,
        starter: Starter | None = None,
    ) -> FilterResult:
        """Repairs candidate joint trajectories; see `safety_filter.solver.SafetyFilter.project`."""
        config = config or self.config
        total, proposals = candidates.control_points.shape[:2]
        scenarios = [scenario for scenario in batch.scenarios for _ in range(proposals)]
        proposal = candidates.control_points.flatten(0, 1)
        asked = None if stops is None else [stop for stop in stops for _ in range(proposals)]

        def run(chosen: list[int], how: FilterConfig, start: tuple[Tensor, Tensor] | None) -> _BatchRun:
            moved = None if start is None else (start[0].to(self.device), start[1].to(self.device))
            batch_run = _BatchRun(
                proposal[chosen].to(self.device), ScenarioBatch.stack([scenarios[k] for k in chosen]).to(self.device), how, moved
            )
            test = None if accept is None else partial(_asked, accept, [divmod(k, proposals) for k in chosen])
            with torch.no_grad():
                batch_run.until_ended(test, None if asked is None else [asked[k] for k in chosen])
            return batch_run

        everything = list(range(len(scenarios)))
        if starter is None:
            outcome = _Outcome.of(run(everything, config, None))
        else:
            outcome = _Outcome.of(run(everything, starter.schedule.adapted(config), _starts(scenarios, proposal, config, starter)))
            lost = [k for k in everything if outcome.status[k] not in (FilterStatus.PASSED, FilterStatus.STOPPED)]
            if lost:
                outcome.replace(lost, _Outcome.of(run(lost, config, None)))
        shape = (total, proposals)
        return FilterResult(
            TrajectoryBatch(outcome.control.unflatten(0, shape), candidates.horizon),
            *(part.reshape(shape) for part in (outcome.status, outcome.residual, outcome.rounds, outcome.again)),
        )


def _asked(accept: Accept, places: list[tuple[int, int]], k: int, points: np.ndarray) -> bool:
    """Asks for problem k of a run, by its scenario and candidate."""
    return accept(*places[k], points)


def _starts(
    scenarios: Sequence[Scenario], proposal: Float[Tensor, "S N n 2"], config: FilterConfig, starter: Starter
) -> tuple[Tensor, Tensor]:
    """First iterates, one problem at a time, as the compiled filter has them."""
    control, multiplier = proposal.clone(), torch.zeros_like(proposal)
    for k, scenario in enumerate(scenarios):
        first = first_iterate(scenario, proposal[k, : len(scenario)].numpy(), config, starter)
        control[k, : len(scenario)], multiplier[k, : len(scenario)] = (torch.from_numpy(value) for value in first)
    return control, multiplier


@dataclass
class _Outcome:
    """What became of the problems of a batch, on the CPU."""

    control: Float[Tensor, "S N n 2"]  # m
    status: Int[Tensor, " S"]
    residual: Float[Tensor, " S"]  # m
    rounds: Int[Tensor, " S"]
    again: Bool[Tensor, " S"]  # run once more

    @classmethod
    def of(cls, run: "_BatchRun") -> "_Outcome":
        status, iterate = torch.tensor(run.status), run.iterate
        return cls(
            iterate.control.cpu(), status, iterate.gap.cpu(), iterate.rounds.cpu().long(), torch.zeros(len(status), dtype=torch.bool)
        )

    def replace(self, chosen: list[int], other: "_Outcome") -> None:
        """Puts the outcome of second runs in place of first ones."""
        self.control[chosen, : other.control.shape[1]] = other.control
        self.status[chosen], self.residual[chosen], self.again[chosen] = other.status, other.residual, True
        self.rounds[chosen] += other.rounds


class _BatchRun:
    """All problems of a batch on their way."""

    def __init__(
        self, proposal: Float[Tensor, "S N n 2"], batch: ScenarioBatch, config: FilterConfig, start: tuple[Tensor, Tensor] | None = None
    ) -> None:
        proposal = proposal[:, : batch.mask.shape[1]]
        self.batch, self.config, self.proposal = batch, config, proposal
        self.scenes = SceneBatch.stack([scenario.scene for scenario in batch.scenarios], proposal.device)
        self.aim = torch.tensor([room_aimed_at(s, config) for s in batch.scenarios], dtype=proposal.dtype, device=proposal.device)
        self.problem = stack_problem(proposal, batch, self.scenes, config, self.aim)
        self.iterate: BatchIterate = begin(self.problem, config.penalty, *(start or ()))
        self.status = [int(FilterStatus.EXHAUSTED)] * len(batch)
        self.widened = [0] * len(batch)
        self.seen = [[np.inf] * EARLIEST for _ in range(len(batch))]
        self.open = set(range(len(batch)))

    def until_ended(self, accept: Callable[[int, np.ndarray], bool] | None, stops: Sequence[Stop | None] | None) -> None:
        """Runs until every problem has passed, stalled, run out of rounds or been given up."""
        chunk = CHUNK * self.config.stage_rounds
        while self.open:
            for _ in range(chunk + 1):
                self.iterate = one_round(self.problem, self.iterate)
            refused = [k for k in sorted(self.open) if bool(self.iterate.done[k]) and not self._passes(k, accept)]
            if refused:
                self._widen(refused)
            for k in sorted(self.open):
                self._end(k, None if stops is None else stops[k])

    def _passes(self, k: int, accept: Callable[[int, np.ndarray], bool] | None) -> bool:
        points = self.iterate.control[k, : len(self.batch.scenarios[k])].cpu().numpy()
        if accept is not None and not accept(k, points):
            self.widened[k] += 1
            if self.widened[k] > WIDENINGS:
                self._close(k, FilterStatus.STALLED)
            return False
        self._close(k, FilterStatus.PASSED)
        return True

    def _end(self, k: int, stop: Stop | None) -> None:
        gap, tolerance = float(self.iterate.gap[k]), self.problem.schedules[k].gap_tolerance
        hopeless = self.config.hopeless * float(self.batch.scenarios[k].fleet.radius.mean())
        self.seen[k].append(gap)
        if not bool(self.iterate.control[k].isfinite().all()):
            self._close(k, FilterStatus.DIVERGED)
        elif stop is not None and stop():
            self._close(k, FilterStatus.STOPPED)
        elif (len(self.seen[k]) == EARLIEST + 1 and gap > hopeless) or (
            gap > 4.0 * tolerance and gap > STALL * self.seen[k][-1 - PATIENCE]
        ):
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
