"""The rounds of the alternating minimisation over a batch of problems, in torch: the reference and the GPU path.

One round projects every sample onto the constraint sets, adds what is lacking to the multipliers, and solves

    (W + K + rho A^T A) delta = lambda + rho A^T lack - (W + K) c,      c <- c + delta,

where W weighs smoothness, K lengths (`tighten`), and A holds the sampling rows of the constraints that are active. With one
system a robot, a pair's block is replaced by `pair_weight` on each of its robots (Jacobi; 2 would bound it for any move); with
`two_mode`, all pairs count as active and the joint system splits exactly into the fleet's mean and the deviations from it,
since the pair block is (N I - 1 1^T) (x) P^T P.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maps.curve import END_POINTS
from safety_filter.kernel import SLOW, Schedule
from safety_filter.projection import Correction, Distance, by_phase, mover_correction, norm_correction, pair_correction, wall_correction


@dataclass(frozen=True)
class BatchProblem:
    """The numbers of B problems; see `safety_filter.problem` for those of one."""

    value: Float[Tensor, "T n"]  # basis values
    velocity: Float[Tensor, "B T n"]  # 1/s
    acceleration: Float[Tensor, "B T n"]  # 1/s^2
    smoothness: Float[Tensor, "B n n"]
    step: Float[Tensor, " B"]  # s
    mask: Bool[Tensor, "B N"]  # robots that exist
    pair: Float[Tensor, "B 3 N N"]  # m, centre distances needed; -1 for pairs that do not count
    wall: Float[Tensor, "B 3 N"]  # m, distances to walls needed; -1 for robots that do not count
    speed: Float[Tensor, "B N"]  # m/s
    bend: Float[Tensor, "B N"]  # m/s^2
    bounds: Float[Tensor, "B 4"]  # m
    mover_place: Float[Tensor, "B Q T 2"]  # m
    mover: Float[Tensor, "B Q T N"]  # m; -1 for what does not count
    distance: Distance
    schedules: tuple[Schedule, ...]  # one a problem
    proposal: Float[Tensor, "B N n 2"]  # m

    def column(self, name: str) -> Float[Tensor, " B"]:
        """One number of every problem's schedule."""
        return torch.tensor([float(getattr(s, name)) for s in self.schedules], dtype=self.step.dtype, device=self.step.device)


@dataclass(frozen=True)
class BatchIterate:
    """Where every problem stands."""

    control: Float[Tensor, "B N n 2"]  # m
    multiplier: Float[Tensor, "B N n 2"]
    taut: Float[Tensor, "B N n n"]  # each robot's length as a quadratic, set anew in every stage
    penalty: Float[Tensor, " B"]
    rounds: Float[Tensor, " B"]  # rounds done
    done: Bool[Tensor, " B"]  # passed the tolerances; stands still from then on
    gap: Float[Tensor, " B"]  # m, worst violation of a gap at the last look
    fast: Float[Tensor, " B"]  # worst relative excess of speed
    hard: Float[Tensor, " B"]  # worst relative excess of acceleration


def begin(problem: BatchProblem, penalty: float, control: Tensor | None = None, multiplier: Tensor | None = None) -> BatchIterate:
    """Every problem at its proposal without multipliers, or at another first iterate."""
    zero = torch.zeros_like(problem.step)
    control = problem.proposal if control is None else control
    multiplier = torch.zeros_like(control) if multiplier is None else multiplier
    taut = control.new_zeros(*control.shape[:3], control.shape[2])
    return BatchIterate(control, multiplier, taut, zero + penalty, zero, zero > 0, zero, zero, zero)


def look(problem: BatchProblem, iterate: BatchIterate) -> tuple[Correction, Correction, Correction, Correction]:
    """Corrections of walls and movers, of pairs, of speeds, of accelerations."""
    control = iterate.control
    position = problem.value @ control
    velocity, acceleration = problem.velocity[:, None] @ control, problem.acceleration[:, None] @ control
    samples = position.shape[2]
    walls = wall_correction(position, acceleration, by_phase(problem.wall, samples), problem.bounds, problem.step, problem.distance)
    movers = mover_correction(position, acceleration, problem.mover_place, problem.mover, problem.step)
    pairs = pair_correction(position, acceleration, by_phase(problem.pair, samples), problem.step)
    stiff = (problem.column("wall_penalty") / iterate.penalty).clamp_min(1.0)[:, None, None]
    fixed = Correction(
        stiff[..., None] * walls.force + movers.force, stiff * walls.weight + movers.weight, torch.maximum(walls.worst, movers.worst)
    )
    return fixed, pairs, norm_correction(velocity, problem.speed), norm_correction(acceleration, problem.bend)


def one_round(problem: BatchProblem, iterate: BatchIterate) -> BatchIterate:
    """One look, and one step for every problem that does not pass yet."""
    fixed, pairs, speed, bend = look(problem, iterate)
    gap = torch.maximum(fixed.worst, pairs.worst)
    passed = (gap <= problem.column("gap_tolerance")) & (speed.worst <= problem.column("speed_tolerance"))
    done = iterate.done | (passed & (bend.worst <= problem.column("acceleration_tolerance")))
    grows = (iterate.rounds > 0) & (iterate.rounds % problem.column("stage_rounds") == 0)
    grown = torch.minimum(iterate.penalty * problem.column("growth"), problem.column("most_penalty"))
    penalty = torch.where(grows, grown, iterate.penalty)
    iterate = replace(iterate, taut=tighten(problem, replace(iterate, penalty=penalty)))
    multiplier, step = _step(problem, iterate, penalty, (fixed, pairs, speed, bend))
    still = done[:, None, None, None]
    return replace(
        iterate,
        control=torch.where(still, iterate.control, iterate.control + step),
        multiplier=torch.where(still, iterate.multiplier, multiplier),
        penalty=torch.where(done, iterate.penalty, penalty),
        rounds=torch.where(done, iterate.rounds, iterate.rounds + 1),
        done=done,
        gap=gap,
        fast=speed.worst,
        hard=bend.worst,
    )


def tighten(problem: BatchProblem, iterate: BatchIterate) -> Float[Tensor, "B N n n"]:
    """Matrices K of the quadratics c^T K c / 2 that lie on the weighted lengths from above, for problems at the start of a stage.

    They touch where the robots are (iteratively reweighted least squares): a sample's squared velocity weighs
    `length_weight` over its speed. Samples slower than a share of the robot's mean speed count as that fast.
    """
    speed = (problem.velocity[:, None] @ iterate.control).square().sum(-1).clamp_min(1e-24).sqrt()
    slow = SLOW * speed.mean(-1, keepdim=True) + 1e-9
    share = (iterate.penalty / problem.column("length_penalty")).clamp_max(1.0)
    weight = (share * problem.column("length_weight"))[:, None, None] / torch.maximum(speed, slow)
    fresh = (problem.velocity.transpose(1, 2)[:, None] * weight[:, :, None]) @ problem.velocity[:, None]
    begins = iterate.rounds % problem.column("stage_rounds") == 0
    return torch.where(begins[:, None, None, None], fresh, iterate.taut)


def _step(
    problem: BatchProblem, iterate: BatchIterate, penalty: Tensor, looks: tuple[Correction, Correction, Correction, Correction]
) -> tuple[Tensor, Tensor]:
    """The new multipliers and the change of the control points."""
    fixed, pairs, speed, bend = looks
    rho, control = penalty[:, None, None, None], iterate.control
    lack = problem.value.T @ (fixed.force + pairs.force)
    lack = lack + problem.column("speed_weight")[:, None, None, None] * (problem.velocity.transpose(1, 2)[:, None] @ speed.force)
    lack = lack + problem.column("acceleration_weight")[:, None, None, None] * (problem.acceleration.transpose(1, 2)[:, None] @ bend.force)
    held = (penalty >= problem.column("wall_penalty"))[:, None, None, None]
    keep = problem.column("multiplier_keep")[:, None, None, None]
    multiplier = torch.where(held, keep * iterate.multiplier + rho * lack, iterate.multiplier)
    pull = problem.column("proposal_weight")[:, None, None, None] * (problem.value.T @ (problem.value @ (problem.proposal - control)))
    right = multiplier + rho * lack - (problem.smoothness[:, None] + iterate.taut) @ control + pull
    free = slice(END_POINTS, control.shape[2] - END_POINTS)
    return multiplier, _solve(problem, iterate.taut, penalty, looks, right, free)


def _solve(problem: BatchProblem, taut: Tensor, penalty: Tensor, looks: tuple[Correction, ...], right: Tensor, free: slice) -> Tensor:
    step = torch.zeros_like(right)
    if all(schedule.two_mode for schedule in problem.schedules):
        step[:, :, free] = _solve_modes(problem, penalty, right[:, :, free], free)
    else:
        matrix = (taut + normal_matrix(problem, penalty, looks))[:, :, free, free]
        step[:, :, free] = torch.linalg.solve(matrix, right[:, :, free])
    return step


def normal_matrix(problem: BatchProblem, penalty: Tensor, looks: tuple[Correction, ...]) -> Float[Tensor, "B N n n"]:
    """W + rho A^T A of each robot's active constraints."""
    fixed, pairs, speed, bend = looks

    def grown(rows: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        return (rows.transpose(-1, -2)[:, None] * (scale[:, None, None] * weight)[:, :, None]) @ rows[:, None]

    value = problem.value.expand(len(penalty), *problem.value.shape)
    own = problem.column("proximal") + problem.column("proposal_weight") / penalty
    active = problem.column("pair_weight")[:, None, None] * pairs.weight + fixed.weight + own[:, None, None]
    matrix = problem.smoothness[:, None] + grown(value, active, penalty)
    matrix = matrix + grown(problem.velocity, speed.weight, penalty * problem.column("speed_weight"))
    return matrix + grown(problem.acceleration, bend.weight, penalty * problem.column("acceleration_weight"))


def _solve_modes(problem: BatchProblem, penalty: Tensor, right: Tensor, free: slice) -> Tensor:
    """The joint system with every pair counted as active: one small inverse for the mean, one for the deviations."""
    count = problem.mask.sum(1).to(right.dtype)
    gram = problem.value.T @ problem.value
    limits = problem.column("speed_weight")[:, None, None] * (problem.velocity.transpose(1, 2) @ problem.velocity)
    limits = limits + problem.column("acceleration_weight")[:, None, None] * (problem.acceleration.transpose(1, 2) @ problem.acceleration)
    own = 1.0 + problem.column("proposal_weight") / penalty
    mean_matrix = problem.smoothness + penalty[:, None, None] * (own[:, None, None] * gram + limits)
    turn_matrix = mean_matrix + (penalty * count)[:, None, None] * gram
    real = problem.mask[:, :, None, None].to(right.dtype)
    mean = (real * right).sum(1, keepdim=True) / count[:, None, None, None]
    shared = torch.linalg.solve(mean_matrix[:, None, free, free], mean)
    return real * (shared + torch.linalg.solve(turn_matrix[:, None, free, free], right - mean))
