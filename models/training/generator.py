"""The generator's loss: velocity matching in the coefficients of the principal modes."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.condition import Surveyed, condition_on
from models.dit import DiT
from models.flow import LATEST, interpolate, velocity


@dataclass(frozen=True)
class FlowLossConfig:
    """What is drawn and how it is weighed."""

    noise: float = 1.0  # standard deviation of x_0, in spreads of the coefficients
    draws: int = 1  # noises and times drawn for each scene of a batch
    tolerance: float = 4.0  # radii; robots whose expert strays further count less, as 1 / (1 + (stray / tolerance)^2)
    flow: bool = True  # False: plain regression from the route, for comparison


def flow_loss(
    network: DiT, surveyed: Surveyed, path: Float[Tensor, "S N T 2"], generator: torch.Generator, config: FlowLossConfig
) -> dict[str, Tensor]:
    """Mean squared error of the velocity, in square radii, weighted by robot.

    Args:
        network: predicts the end of the flow.
        surveyed: the scenes.
        path: experts as offsets from the routes, radii.
        generator: draws noise and times.
        config: noise and weights.

    Returns:
        `total`, and `end`: root mean squared error of the predicted end, radii.
    """
    condition = condition_on(surveyed)
    target = network.normalizer.encode(path)[:, None].expand(-1, config.draws, -1, -1, -1)
    noise = torch.randn(target.shape, generator=generator).to(target) * network.normalizer.scale * config.noise
    t = torch.rand(target.shape[:2], generator=generator).to(target) * LATEST
    if not config.flow:
        noise, t = torch.zeros_like(noise), torch.zeros_like(t)
    state = interpolate(noise, target, t)
    end = network(state, t, condition, network.encode(condition))
    stray = target.square().sum((-1, -2))
    weight = surveyed.mask[:, None] / (1.0 + stray / config.tolerance**2)
    error = (velocity(end, state, t) - (target - noise)).square().sum((-1, -2))
    off = (end - target).square().sum((-1, -2))
    total = (weight * error).sum() / weight.sum()
    return {"total": total, "end": ((weight * off).sum() / weight.sum()).sqrt().detach()}
