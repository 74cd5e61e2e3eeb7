"""Rounds of proposals, each of one kind, for tasks that have no plan yet."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maps.curve import fit_control_points
from maps.scenario import ScenarioBatch
from maps.trajectory import TrajectoryBatch
from planner.choose import Candidate, best, measure
from planner.plan import Source
from planner.proposals import control_count, perturbed_lines, straight_lines
from planner.search import SearchOptions, propose
from planner.task import Task
from safety_filter.problem import FilterConfig
from safety_filter.solver import FilterResult, FilterStatus, SafetyFilter
from safety_filter.verify import Certificate, certify
from safety_filter.warm_start import Starter

Propose = Callable[[Task], Float[Tensor, "M N n 2"]]

DIGITS = 9  # decimals of control points, m; what is certified is what is sent


@dataclass(frozen=True)
class Wave:
    """One kind of proposal and how the filter treats it."""

    source: Source
    stage: str  # whose time the making of proposals counts as
    propose: Propose
    config: FilterConfig
    starter: Starter | None = None  # where the filter starts at first, for every request
    warm_start: Starter | None = None  # the learned one, for requests that allow it
    warm_robots: tuple[int, int] | None = None  # fleets, from and to, for which that pays; None: none
    doubt: float = float("inf")  # times the cost of undisturbed straight lines, above which a plan is not left at that

    def concerns(self, task: Task) -> bool:
        """Whether a task has no plan yet, or a doubtful one."""
        if not task.found or self.doubt == float("inf"):
            return not task.found
        cost = best(task.found).metrics.cost
        if cost <= self.doubt:  # undisturbed lines cost at least 1
            return False
        lines = task.batch.minimum_jerk(control_count(task.scenario, task.horizon))[0].numpy()
        return cost > self.doubt * max(measure(lines, task.scenario, task.horizon).cost, 1.0)

    def starter_for(self, task: Task) -> Starter | None:
        """Where the filter starts, and on what short schedule; None: at the proposal, on the wave's own.

        The network is asked where that pays, as RESULTS.md has it: straight lines among polygons or on a grid seldom lead to a
        plan, so there it would be called in vain.
        """
        if self.warm_start is None or self.warm_robots is None or not task.options.warm_start:
            return self.starter
        scene = task.scenario.scene
        known = self.source == "straight" and (scene.polygons or scene.grid is not None)
        return self.warm_start if not known and self.warm_robots[0] <= len(task.scenario) <= self.warm_robots[1] else self.starter


def straight(task: Task) -> Float[Tensor, "1 N n 2"]:
    """The minimum-jerk lines."""
    return straight_lines(task.batch, control_count(task.scenario, task.horizon))[0]


def perturbed(task: Task, many: int) -> Float[Tensor, "M N n 2"]:
    """Bent minimum-jerk lines."""
    count = control_count(task.scenario, task.horizon)
    return perturbed_lines(task.batch, count, many, [task.options.seed])[0]


def searched(task: Task, many: int, options: SearchOptions | None = None) -> Float[Tensor, "M N n 2"]:
    """Curves near timed paths found by search."""
    count = control_count(task.scenario, task.horizon)
    lines = task.batch.minimum_jerk(count)
    paths = propose(task.scenario, task.horizon, 4 * count, task.options.seed, many, options)
    if not paths:
        return lines.new_zeros(0, *lines.shape[1:])
    position = torch.as_tensor(np.stack([path.position for path in paths]))
    return fit_control_points(position, lines.expand(len(paths), *lines.shape[1:]))


def run_wave(tasks: list[Task], wave: Wave, safety_filter: SafetyFilter, pool: Executor | None) -> None:
    """Proposes, filters and certifies for every task that may use the wave's source and has time left.

    Tasks with curves of the same number of control points, as many proposals and the same starter go through the filter together.
    """
    open_tasks = [task for task in tasks if task.allows(wave.source) and not task.over()]
    proposals = _propose(open_tasks, wave, pool)
    groups: dict[tuple[int, int, int], list[int]] = {}
    for k, (task, proposal) in enumerate(zip(open_tasks, proposals, strict=True)):
        if len(proposal):
            groups.setdefault((len(proposal), proposal.shape[2], id(wave.starter_for(task))), []).append(k)
    for members in groups.values():
        filter_proposals([open_tasks[k] for k in members], [proposals[k] for k in members], wave, safety_filter)


def _propose(tasks: list[Task], wave: Wave, pool: Executor | None) -> list[Tensor]:
    def make(task: Task) -> Tensor:
        with task.timed(wave.stage):
            return wave.propose(task)

    return list(pool.map(make, tasks)) if pool is not None and len(tasks) > 1 else [make(task) for task in tasks]


def filter_proposals(tasks: list[Task], proposals: list[Tensor], wave: Wave, safety_filter: SafetyFilter) -> None:
    """Filters proposals (M, N, n, 2) of each task as one batch and adds what is certified to the tasks.

    All tasks have the same starter.
    """
    batch = tasks[0].batch if len(tasks) == 1 else ScenarioBatch.stack([task.scenario for task in tasks])
    candidates = proposals[0].new_zeros(len(tasks), proposals[0].shape[0], batch.mask.shape[1], *proposals[0].shape[2:])
    for s, proposal in enumerate(proposals):
        candidates[s, :, : proposal.shape[1]] = proposal
    certified: dict[tuple[int, int], tuple[np.ndarray, Certificate]] = {}

    def accept(s: int, m: int, control_points: np.ndarray) -> bool:
        rounded = np.round(control_points, DIGITS)
        with tasks[s].timed("verify"):
            certificate = certify(rounded, tasks[s].horizon, tasks[s].scenario)
        certified[s, m] = (rounded, certificate)
        return certificate.safe

    began = [task.spent.get("verify", 0.0) for task in tasks]
    with tasks[0].timed("pass"):
        trajectory = TrajectoryBatch(candidates, batch.horizon[:, None].expand(candidates.shape[:2]))
        deadlines = [task.options.deadline for task in tasks]
        result = safety_filter.project(trajectory, batch, accept, deadlines, wave.config, wave.starter_for(tasks[0]))
    took = tasks[0].spent.pop("pass")
    for s, task in enumerate(tasks):
        checking = task.spent.get("verify", 0.0) - began[s]
        task.spent["filter"] = task.spent.get("filter", 0.0) + max(took - checking, 0.0)
        _collect(task, s, result, certified, wave)


def _collect(
    task: Task, s: int, result: FilterResult, certified: dict[tuple[int, int], tuple[np.ndarray, Certificate]], wave: Wave
) -> None:
    many = result.status.shape[1]
    task.proposed += many
    task.cold_runs += int(result.again[s].sum())
    waited = 0
    for m in range(many):
        rounds = int(result.rounds[s, m])
        if int(result.status[s, m]) == FilterStatus.PASSED:
            points, certificate = certified[s, m]
            metrics = measure(points, task.scenario, task.horizon)
            task.found.append(Candidate(points, wave.source, certificate, metrics, task.rounds + rounds))
            continue
        waited = max(waited, rounds)
        task.late = task.late or int(result.status[s, m]) == FilterStatus.STOPPED
        points = result.trajectory.control_points[s, m, : len(task.scenario)].numpy()
        task.miss(points, float(result.residual[s, m]))
    if not task.found:
        task.rounds += waited
