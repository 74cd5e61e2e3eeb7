"""Proposals of one kind for a task that has no plan yet, or none that is good enough; filtered and certified."""

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maps.curve import fit_control_points
from maps.scenario import Scenario
from maps.trajectory import TrajectoryBatch
from models.checkpoint import ModelIdentity
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

Steps = Generator["Wave", None, None]  # each wave that it yields has been run for its task when it goes on

CROWDED = 0.38  # share of a floor that discs cover, from which on straight lines seldom lead to a plan
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
    model: ModelIdentity | None = None  # weights that the proposals come from; None: from none
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

        The network is asked where that pays, as RESULTS.md has it: straight lines among polygons, on a grid or on a floor full of
        discs seldom lead to a plan, so there it would be called in vain.
        """
        if self.warm_start is None or self.warm_robots is None or not task.options.warm_start:
            return self.starter
        vain = self.source == "straight" and not is_open(task.scenario)
        return self.warm_start if not vain and self.warm_robots[0] <= len(task.scenario) <= self.warm_robots[1] else self.starter


def is_open(scenario: Scenario) -> bool:
    """Whether straight lines of many robots may lead to a plan: no walls, and discs that leave most of the floor free for centres.

    Discs count with two radii of the robots around them, and as if none overlapped.
    """
    scene = scenario.scene
    if scene.polygons or scene.grid is not None:
        return False
    x0, y0, x1, y1 = scene.extent
    covered = np.pi * np.square(scene.discs[:, 2].numpy() + 2.0 * scenario.fleet.radius.numpy().mean()).sum()
    return bool(covered <= CROWDED * (x1 - x0) * (y1 - y0))


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


def run_wave(task: Task, wave: Wave, safety_filter: SafetyFilter) -> None:
    """Proposes, filters and certifies, where the task may use the wave's source and has time left."""
    if not task.allows(wave.source) or task.over():
        return
    with task.timed(wave.stage):
        proposals = wave.propose(task)
    if len(proposals):
        _filter(task, proposals, wave, safety_filter)


def _filter(task: Task, proposals: Float[Tensor, "M N n 2"], wave: Wave, safety_filter: SafetyFilter) -> None:
    """Filters the proposals and adds what is certified to the task."""
    certified: dict[int, tuple[np.ndarray, Certificate]] = {}

    def accept(_: int, m: int, control_points: np.ndarray) -> bool:
        rounded = np.round(control_points, DIGITS)
        with task.timed("verify"):
            certificate = certify(rounded, task.horizon, task.scenario)
        certified[m] = (rounded, certificate)
        return certificate.safe

    checked = task.spent.get("verify", 0.0)
    with task.timed("pass"):
        trajectory = TrajectoryBatch(proposals[None], task.batch.horizon[:, None].expand(1, len(proposals)))
        result = safety_filter.project(trajectory, task.batch, accept, [task.over], wave.config, wave.starter_for(task))
    took = task.spent.pop("pass") - (task.spent.get("verify", 0.0) - checked)
    task.spent["filter"] = task.spent.get("filter", 0.0) + max(took, 0.0)
    _collect(task, result, certified, wave)


def _collect(task: Task, result: FilterResult, certified: dict[int, tuple[np.ndarray, Certificate]], wave: Wave) -> None:
    many = result.status.shape[1]
    task.proposed += many
    task.cold_runs += int(result.again[0].sum())
    task.model = wave.model or task.model
    waited = 0
    for m in range(many):
        rounds = int(result.rounds[0, m])
        if int(result.status[0, m]) == FilterStatus.PASSED:
            points, certificate = certified[m]
            metrics = measure(points, task.scenario, task.horizon)
            task.found.append(Candidate(points, wave.source, certificate, metrics, task.rounds + rounds))
            continue
        waited = max(waited, rounds)
        points = result.trajectory.control_points[0, m, : len(task.scenario)].numpy()
        task.miss(points, float(result.residual[0, m]))
    if not task.found:
        task.rounds += waited


def run_through(steps: Steps, task: Task, safety_filter: SafetyFilter) -> None:
    """Runs all waves of a task, here and now."""
    for wave in steps:
        run_wave(task, wave, safety_filter)
