"""The filter as a differentiable function: its rounds unrolled."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from maps.scenario import ScenarioBatch
from maps.scene_batch import SceneBatch
from safety_filter.batch_problem import stack_problem
from safety_filter.problem import FilterConfig
from safety_filter.rounds import BatchIterate, begin, one_round


@dataclass(frozen=True)
class Unrolled:
    """What a number of rounds made of every proposal."""

    control_points: Float[Tensor, "S N n 2"]  # m
    multiplier: Float[Tensor, "S N n 2"]
    gap_violation: Float[Tensor, " S"]  # m, at the last look
    fixed_point_residual: Float[Tensor, " S"]  # mean over the rounds of |change of control| + |change of multiplier|
    residuals: Float[Tensor, "S R"]  # the same, round by round


def unroll(
    proposal: Float[Tensor, "S N n 2"],
    batch: ScenarioBatch,
    scenes: SceneBatch,
    rounds: int,
    config: FilterConfig | None = None,
    save_memory: bool = False,
    start: tuple[Tensor, Tensor] | None = None,
) -> Unrolled:
    """Runs a fixed number of rounds, differentiably.

    Args:
        proposal: control points with the scenarios' ends, m.
        batch: the scenarios.
        scenes: their scenes; the tensors in it may require gradients.
        rounds: how many.
        config: weights and schedule.
        save_memory: compute each round again in the backward pass instead of keeping its values.
        start: control points and multipliers of the first iterate; None: the proposal, and none.

    Returns:
        The last iterate. Its gradients are those of the rounds that were run: where the active constraints of a round
        change, they are one-sided.
    """
    config = config or FilterConfig()
    problem = stack_problem(proposal, batch, scenes, config)
    iterate = begin(problem, config.penalty, *(start or ()))
    moved = []
    for _ in range(rounds):
        after = checkpoint(one_round, problem, iterate, use_reentrant=False) if save_memory else one_round(problem, iterate)
        moved.append(_distance(after, iterate))
        iterate = after
    residuals = torch.stack(moved, dim=1) if moved else iterate.gap.new_zeros(len(batch), 1)
    return Unrolled(iterate.control, iterate.multiplier, iterate.gap, residuals.mean(1), residuals)


def _distance(after: BatchIterate, before: BatchIterate) -> Tensor:
    control = (after.control - before.control).square().sum((1, 2, 3)).clamp_min(1e-30).sqrt()
    return control + (after.multiplier - before.multiplier).square().sum((1, 2, 3)).clamp_min(1e-30).sqrt()
