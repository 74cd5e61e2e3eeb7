"""Flat observations into what networks see, with a set of neighbours where there is one."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn


class _Undrawn(nn.Linear):
    def reset_parameters(self) -> None:
        """Draws nothing, as torch's own generator is left alone."""


def dense(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with Xavier-uniform weights and no bias at the start; source: Glorot and Bengio (2010)."""
    layer = _Undrawn(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


@dataclass(frozen=True)
class SetConfig:
    """Where a flat observation holds a set, member after member; the last number of a member is 1, or 0 where there is none."""

    first: int  # column of the first member's first number
    members: int  # at most
    features: int  # numbers of a member, with the one that tells whether it is there
    hidden: int = 64  # width of the layer over each member
    width: int = 64  # numbers of the mean and of the maximum over the members


class SetEncoder(nn.Module):
    """The observation, its set replaced by the mean and the maximum over the features of its members.

    The order of the members does not matter, nor what absent ones hold. No members give zeros.
    Source: Zaheer et al., Deep Sets (2017).
    """

    def __init__(self, observation: int, config: SetConfig | None, generator: torch.Generator) -> None:
        """`observation` numbers come in and `width` go out; without config, the observation itself; ValueError: no such columns."""
        super().__init__()
        self.config, self.width, self.member = config, observation, nn.Identity()
        if config is not None:
            taken = config.members * config.features
            if config.features < 2 or config.first < 0 or config.first + taken > observation:
                raise ValueError(f"columns {config.first} to {config.first + taken} of an observation of {observation}")
            self.width = observation - taken + 2 * config.width
            inward, outward = dense(config.features, config.hidden, generator), dense(config.hidden, config.width, generator)
            self.member = nn.Sequential(inward, nn.GELU(approximate="tanh"), outward)

    def forward(self, observation: Float[Tensor, "*batch O"]) -> Float[Tensor, "*batch W"]:
        """What networks see of observations."""
        config = self.config
        if config is None:
            return observation
        before, flat, after = observation.tensor_split((config.first, config.first + config.members * config.features), dim=-1)
        member = flat.unflatten(-1, (config.members, config.features))
        there = member[..., -1:] > 0.5
        feature = self.member(torch.where(there, member, 0.0))
        mean = torch.where(there, feature, 0.0).sum(-2) / there.sum(-2).clamp_min(1)
        most = torch.where(there.any(-2), feature.masked_fill(~there, -torch.inf).amax(-2), 0.0)
        return torch.cat([before, mean, most, after], dim=-1)
