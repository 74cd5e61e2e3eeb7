"""Many scenarios and proposals as the torch filter's numbers; the same as `safety_filter.problem` for one, with gradients."""

from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maps.curve import curve_basis
from maps.scenario import Scenario, ScenarioBatch
from maps.scene_batch import SceneBatch
from safety_filter.corrections import LOOK
from safety_filter.problem import SAMPLES_PER_PIECE, FilterConfig, make_schedule, mover_needs, room_aimed_at, time_scale
from safety_filter.rounds import BatchProblem


def stack_problem(
    proposal: Float[Tensor, "S N n 2"],
    batch: ScenarioBatch,
    scenes: SceneBatch,
    config: FilterConfig,
    aim: Float[Tensor, " S"] | None = None,
) -> BatchProblem:
    """One problem a scenario.

    Args:
        proposal: control points with the scenarios' ends, m.
        batch: the scenarios.
        scenes: their scenes, on the proposal's device; its tensors may require gradients.
        config: weights and schedule.
        aim: room aimed at beyond what is needed, m; None: as the config says.

    Returns:
        The problems; gradients flow to the proposal, to the batch's radii, limits and margins, and to the scenes.
    """
    basis, device = curve_basis(proposal.shape[2]), proposal.device
    u = np.linspace(0.0, 1.0, SAMPLES_PER_PIECE * basis.pieces + 1)
    rows = [torch.as_tensor(basis.matrix(u, k), dtype=proposal.dtype, device=device) for k in range(3)]
    horizon = batch.horizon[:, None, None]
    tau = torch.tensor([time_scale(s) for s in batch.scenarios], dtype=proposal.dtype, device=device)
    gram = torch.as_tensor(basis.gram, dtype=proposal.dtype, device=device)
    ratio = (tau / batch.horizon)[:, None, None]
    smoothness = len(u) * (config.jerk_weight * ratio**6 * gram[3] + config.bend_weight * ratio**4 * gram[2])
    if aim is None:
        aim = torch.tensor([room_aimed_at(s, config) for s in batch.scenarios], dtype=proposal.dtype, device=device)
    place, mover = _movers(batch, len(u), aim)
    return BatchProblem(
        rows[0],
        rows[1] / horizon,
        rows[2] / horizon**2,
        smoothness,
        batch.horizon / (len(u) - 1),
        batch.mask,
        _pair_needs(batch, aim),
        _wall_needs(batch, scenes, aim),
        batch.v_max * config.slack,
        batch.a_max * config.bend_slack,
        scenes.bounds,
        place,
        mover,
        partial(scenes.signed_distance, reach=_reach(batch)),
        tuple(make_schedule(scenario, float(aim[k]), config) for k, scenario in enumerate(batch.scenarios)),
        proposal,
    )


def _reach(batch: ScenarioBatch) -> float:
    """How far walls are looked for, m: what any robot needs, and as much again."""
    return 2.0 * (batch.radius + batch.margin[:, None]).max().item() + LOOK


def _pair_needs(batch: ScenarioBatch, aim: Tensor) -> Float[Tensor, "S 3 N N"]:
    """Centre distances needed at the start, between, and at the goal; -1 where a robot is padding."""
    radius = batch.radius + 0.5 * batch.margin[:, None]
    least = radius[:, :, None] + radius[:, None]
    room = aim[:, None, None]

    def at(ends: Tensor) -> Tensor:
        between = (ends[:, :, None] - ends[:, None]).norm(dim=-1).detach()
        return torch.minimum(torch.maximum(between - 0.5 * room, least), least + room)

    needs = torch.stack([at(batch.start), least + room, at(batch.goal)], dim=1)
    real = batch.mask[:, None, :, None] & batch.mask[:, None, None, :]
    return torch.where(real, needs, torch.full_like(needs, -1.0))


def _wall_needs(batch: ScenarioBatch, scenes: SceneBatch, aim: Tensor) -> Float[Tensor, "S 3 N"]:
    """Distances to walls needed, likewise."""
    least, room = batch.radius + batch.margin[:, None], aim[:, None]
    bounds = scenes.bounds[:, None]

    def at(ends: Tensor) -> Tensor:
        sides = torch.minimum(ends - bounds[..., :2], bounds[..., 2:] - ends).amin(-1)
        free = torch.minimum(scenes.signed_distance(ends, _reach(batch)), sides).detach()
        return torch.minimum(torch.maximum(free - 0.5 * room, least), least + room)

    needs = torch.stack([at(batch.start), least + room, at(batch.goal)], dim=1)
    return torch.where(batch.mask[:, None], needs, torch.full_like(needs, -1.0))


def _movers(batch: ScenarioBatch, samples: int, aim: Tensor) -> tuple[Float[Tensor, "S Q T 2"], Float[Tensor, "S Q T N"]]:
    """Moving obstacles, padded with ones that need nothing."""
    robots, most = batch.mask.shape[1], max(len(s.moving) for s in batch.scenarios)
    place = aim.new_zeros(len(batch), most, samples, 2)
    need = aim.new_full((len(batch), most, samples, robots), -1.0)

    def one(k: int, scenario: Scenario) -> None:
        count = len(scenario.moving)
        if count:
            room = (scenario.fleet.radius + scenario.margin).numpy() + float(aim[k])
            where, needed = mover_needs(scenario, samples, room)
            place[k, :count] = torch.as_tensor(where)
            need[k, :count, :, : len(scenario)] = torch.as_tensor(needed)

    for k, scenario in enumerate(batch.scenarios):
        one(k, scenario)
    return place, need
