"""The loss of the learned initialisation: the very rounds that serve, unrolled from the predicted start."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maps.scenario import Scenario, ScenarioBatch
from maps.scene_batch import SceneBatch
from models.condition import Surveyed
from safety_filter.gradient import unroll
from safety_filter.problem import FilterConfig, room_aimed_at
from safety_filter.warm_start import WarmSchedule, WarmStartNetwork


@dataclass(frozen=True)
class WarmLossConfig:
    """How many rounds, and what each term weighs."""

    rounds: int = 5  # K, unrolled from the predicted start
    save_memory: bool = False  # compute each round again in the backward pass
    schedule: WarmSchedule = field(default_factory=WarmSchedule)  # of those rounds: the one that serves
    filter: FilterConfig = field(default_factory=FilterConfig)
    residual: float = 1.0  # of the mean fixed-point residual, radii a control point
    proposal: float = 0.002  # of the mean squared distance of the last iterate to the proposal, square radii
    primal: float = 20.0  # of the worst gap violation of the last iterate, radii
    clearance: float = 100.0  # of what it lacks of the bare need, radii
    imitation: float = 1.0  # of the distance to what a long, soft run from the same proposal ended at
    forced: float = 2.0  # standard deviations of the multipliers from which on a robot's count less, likewise
    tolerance: float = 4.0  # radii; robots that this run moved further count less, as 1 / (1 + (stray / tolerance)^2)


@dataclass(frozen=True)
class Unrolling:
    """Problems to be run from the predicted start."""

    scenarios: tuple[Scenario, ...]
    scenes: SceneBatch
    batch: ScenarioBatch
    proposal: Float[Tensor, "S N n 2"]  # m

    def to(self, device: str | torch.device) -> "Unrolling":
        """The same on a device."""
        scenes = SceneBatch.stack([s.scene for s in self.scenarios], device)
        return Unrolling(self.scenarios, scenes, self.batch.to(device), self.proposal.to(device))


@dataclass(frozen=True)
class WarmBatch:
    """Proposals seen by the network, and what it is taught about them."""

    surveyed: Surveyed
    aim: Float[Tensor, "S N K 2"]  # coefficients of what the long run ended at
    solved: Bool[Tensor, " S"]  # whether that run passed; else `aim` teaches nothing
    unrolling: Unrolling | None = None  # the same problems, where they are to be run

    def to(self, device: str | torch.device) -> "WarmBatch":
        """The same on a device."""
        unrolling = self.unrolling and self.unrolling.to(device)
        return WarmBatch(self.surveyed.to(device), self.aim.to(device), self.solved.to(device), unrolling)


def warm_start_loss(network: WarmStartNetwork, batch: WarmBatch, config: WarmLossConfig) -> dict[str, Tensor]:
    """What a start is worth.

    Args:
        network: predicts starts.
        batch: proposals.
        config: rounds and weights.

    Returns:
        `total`; `control` and `multiplier`, shares of the variance that the prediction leaves unexplained; where the batch is
        run, `residual`, `proposal`, `primal` and `clearance`, in radii (the second in square radii).
    """
    coefficients = network(batch.surveyed)
    terms = _imitation(network, batch, coefficients, config)
    total = config.imitation * (terms["control"] + terms["multiplier"])
    if batch.unrolling is not None:
        rounds = _rounds(batch.unrolling, network.decode(coefficients, batch.surveyed, batch.unrolling.proposal), config)
        for name, value in rounds.items():
            total = total + getattr(config, name) * value
        terms |= rounds
    return {"total": total} | {name: value.detach() for name, value in terms.items()}


def _imitation(network: WarmStartNetwork, batch: WarmBatch, coefficients: Tensor, config: WarmLossConfig) -> dict[str, Tensor]:
    split = network.config.control_modes
    real = (batch.surveyed.mask & batch.solved[:, None]).to(coefficients.dtype)
    error, size = (coefficients - batch.aim).square().sum(-1), batch.aim.square().sum(-1)
    variance = network.spread.square().sum(-1)

    def unexplained(modes: slice, tolerance: float) -> Tensor:
        weight = real / (1.0 + size[:, :, modes].sum(-1) / tolerance)
        return (weight * error[:, :, modes].sum(-1)).sum() / weight.sum().clamp_min(1e-6) / variance[modes].sum()

    # a few robots that are squeezed hard would outweigh all others
    forced = float(variance[split:].sum()) * config.forced**2
    return {"control": unexplained(slice(None, split), config.tolerance**2), "multiplier": unexplained(slice(split, None), forced)}


def _rounds(problems: Unrolling, start: tuple[Tensor, Tensor], config: WarmLossConfig) -> dict[str, Tensor]:
    batch, proposal = problems.batch, problems.proposal
    weights = config.schedule.adapted(config.filter)
    out = unroll(proposal, batch, problems.scenes, config.rounds, weights, config.save_memory, start)
    robots = batch.mask.sum(1)
    radius = batch.radius.sum(1) / robots
    size = radius * (robots * proposal.shape[2]).sqrt()
    aimed = torch.tensor([room_aimed_at(s, weights) for s in problems.scenarios], dtype=radius.dtype, device=radius.device)
    return {
        "residual": (out.fixed_point_residual / size).mean(),
        "proposal": ((out.control_points - proposal).square().sum((1, 2, 3)) / size.square()).mean(),
        "primal": (out.gap_violation.clamp_min(0.0) / radius).mean(),
        "clearance": ((out.gap_violation - aimed).clamp_min(0.0) / radius).mean(),
    }
