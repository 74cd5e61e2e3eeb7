"""Perceptrons, ensembles of them as one module, and the networks of policies."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

from models.policies.encoder import SetConfig, SetEncoder, dense
from models.policies.flow_steps import Field
from models.policies.meanflow import MeanField

NORM_EPSILON = 1e-6
FASTEST = 30.0  # rad, of the features of a time in [0, 1]: faster ones make the time derivative of mean flows large
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": lambda: nn.GELU(approximate="tanh"),
    "mish": nn.Mish,
    "elu": nn.ELU,
    "relu": nn.ReLU,
}


@dataclass(frozen=True)
class Sizes:
    """What a policy sees and does."""

    observation: int  # numbers of an observation
    action: int  # numbers of an action, or of a whole chunk of actions


@dataclass(frozen=True)
class NetworkConfig:
    """Form of a perceptron."""

    hidden: tuple[int, ...] = (512, 512, 512, 512)  # width of each hidden layer
    activation: str = "gelu"  # "gelu" (by tanh), "mish", "elu" or "relu"
    layer_norm: bool = False  # after each activation
    time_width: int = 0  # features of a flow time, even; 0: the time itself
    members: SetConfig | None = None  # a set within the observation; None: a plain one


class EnsembleLinear(nn.Module):
    """Linear layers side by side, weights (E, inputs, outputs), each initialised as `dense`."""

    def __init__(self, members: int, inputs: int, outputs: int, generator: torch.Generator) -> None:
        """`members` layers."""
        super().__init__()
        bound = math.sqrt(6.0 / (inputs + outputs))
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound, generator=generator))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Float[Tensor, "E B I"]) -> Float[Tensor, "E B J"]:
        """Each member's output for its own input."""
        return torch.baddbmm(self.bias, x, self.weight)


class EnsembleNorm(nn.Module):
    """Layer normalisation with gains of each member's own."""

    def __init__(self, members: int, width: int) -> None:
        """`members` normalisations of `width` numbers."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, 1, width))
        self.bias = nn.Parameter(torch.zeros(members, 1, width))

    def forward(self, x: Float[Tensor, "E B I"]) -> Float[Tensor, "E B I"]:
        """Normalised along the last axis."""
        return torch.addcmul(self.bias, functional.layer_norm(x, x.shape[-1:], eps=NORM_EPSILON), self.weight)


def mlp(inputs: int, outputs: int, config: NetworkConfig, generator: torch.Generator, members: int = 0) -> nn.Sequential:
    """A perceptron: linear, activation, and normalisation where it is asked for, then a last linear layer.

    Args:
        inputs: numbers that come in.
        outputs: numbers that go out.
        config: its form.
        generator: draws the weights.
        members: 0, or the size of an ensemble, whose tensors are (E, B, inputs) and (E, B, outputs).

    Returns:
        The module.

    Raises:
        ValueError: an unknown activation.
    """
    if config.activation not in ACTIVATIONS:
        raise ValueError(f"activation {config.activation!r} is none of {sorted(ACTIVATIONS)}")

    def linear(one: int, other: int) -> nn.Module:
        return EnsembleLinear(members, one, other, generator) if members else dense(one, other, generator)

    layers: list[nn.Module] = []
    for width in config.hidden:
        layers += [linear(inputs, width), ACTIVATIONS[config.activation]()]
        if config.layer_norm:
            layers.append(EnsembleNorm(members, width) if members else nn.LayerNorm(width, eps=NORM_EPSILON))
        inputs = width
    return nn.Sequential(*layers, linear(inputs, outputs))


def time_features(t: Float[Tensor, "*batch 1"], width: int) -> Float[Tensor, "*batch W"]:
    """Cosines and sines of a time at geometric frequencies up to `FASTEST`; the time itself for a width of 0."""
    if width == 0:
        return t
    angle = t * torch.exp(torch.linspace(0.0, math.log(FASTEST), width // 2, device=t.device, dtype=t.dtype))
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def joined(seen: Float[Tensor, "B W"], *parts: Tensor) -> Tensor:
    """Encoded observations and what else a network takes, side by side; parts may have more leading axes, as for candidates."""
    lead = np.broadcast_shapes(seen.shape[:-1], *(part.shape[:-1] for part in parts))  # torch's own imports sympy for it
    return torch.cat([part.expand(*lead, -1) for part in (seen, *parts)], dim=-1)


class VelocityField(nn.Module):
    """The velocity v(s, x, t) of a flow over actions, or its average u(s, x, t, r) from time t to time r."""

    def __init__(self, sizes: Sizes, config: NetworkConfig, generator: torch.Generator, times: int = 1) -> None:
        """`times`: 1 for a velocity, 2 for an average."""
        super().__init__()
        self.encoder = SetEncoder(sizes.observation, config.members, generator)
        self.time_width = config.time_width
        self.net = mlp(self.encoder.width + sizes.action + times * max(config.time_width, 1), sizes.action, config, generator)

    def forward(
        self, observation: Float[Tensor, "B O"], x: Float[Tensor, "*batch A"], t: Tensor, r: Tensor | None = None
    ) -> Float[Tensor, "*batch A"]:
        """Velocities; x may have candidates' axes before that of the batch, and times are (..., 1)."""
        return self._velocity(self.encoder(observation), x, t, r)

    def at(self, observation: Float[Tensor, "B O"]) -> Field:
        """The field of these observations, encoded once, as (x, t) -> velocity."""
        seen = self.encoder(observation)
        return lambda x, t: self._velocity(seen, x, t)

    def mean_at(self, observation: Float[Tensor, "B O"]) -> MeanField:
        """The average field of these observations, encoded once, as (x, t, r) -> average velocity."""
        seen = self.encoder(observation)
        return lambda x, t, r: self._velocity(seen, x, t, r)

    def _velocity(self, seen: Tensor, x: Tensor, t: Tensor, r: Tensor | None = None) -> Tensor:
        times = [time_features(time, self.time_width) for time in (t, r) if time is not None]
        return self.net(joined(seen, x, *times))


class EnsembleCritic(nn.Module):
    """Values Q_i(s, a) of E critics, or Q_i(s, x, t) on the way of a flow; one encoder for all."""

    def __init__(self, sizes: Sizes, config: NetworkConfig, members: int, generator: torch.Generator, timed: bool = False) -> None:
        """`members` critics; `timed` ones take a flow time."""
        super().__init__()
        self.encoder = SetEncoder(sizes.observation, config.members, generator)
        self.members, self.time_width = members, config.time_width
        inputs = self.encoder.width + sizes.action + (max(config.time_width, 1) if timed else 0)
        self.net = mlp(inputs, 1, config, generator, members)

    def forward(
        self, observation: Float[Tensor, "B O"], action: Float[Tensor, "*batch A"], t: Tensor | None = None
    ) -> Float[Tensor, "E *batch"]:
        """Values; actions may have candidates' axes before that of the batch."""
        times = [] if t is None else [time_features(t, self.time_width)]
        inputs = joined(self.encoder(observation), action, *times)
        flat = inputs.flatten(0, -2).expand(self.members, -1, -1)
        return self.net(flat).view(self.members, *inputs.shape[:-1])


class OneStepActor(nn.Module):
    """An action mu(s, z) from noise in one step; without noise, a deterministic actor mu(s)."""

    def __init__(self, sizes: Sizes, config: NetworkConfig, generator: torch.Generator, noisy: bool = True) -> None:
        """`noisy`: takes noise of the size of an action."""
        super().__init__()
        self.encoder = SetEncoder(sizes.observation, config.members, generator)
        self.net = mlp(self.encoder.width + (sizes.action if noisy else 0), sizes.action, config, generator)

    def forward(self, observation: Float[Tensor, "B O"], noise: Float[Tensor, "*batch A"] | None = None) -> Float[Tensor, "*bound A"]:
        """Actions, not clipped."""
        seen = self.encoder(observation)
        return self.net(seen if noise is None else joined(seen, noise))


class Value(nn.Module):
    """The value V(s) of an observation."""

    def __init__(self, sizes: Sizes, config: NetworkConfig, generator: torch.Generator) -> None:
        """Takes the observation alone."""
        super().__init__()
        self.encoder = SetEncoder(sizes.observation, config.members, generator)
        self.net = mlp(self.encoder.width, 1, config, generator)

    def forward(self, observation: Float[Tensor, "B O"]) -> Float[Tensor, " B"]:
        """Values."""
        return self.net(self.encoder(observation)).squeeze(-1)


class GaussianActor(nn.Module):
    """Mean and logarithm of the spread of a Gaussian over actions before their tanh, after the observation (and an action to edit)."""

    def __init__(self, sizes: Sizes, config: NetworkConfig, generator: torch.Generator, edits: bool = False) -> None:
        """`edits`: takes an action as well."""
        super().__init__()
        self.encoder = SetEncoder(sizes.observation, config.members, generator)
        self.net = mlp(self.encoder.width + (sizes.action if edits else 0), 2 * sizes.action, config, generator)

    def forward(
        self, observation: Float[Tensor, "B O"], action: Float[Tensor, "*batch A"] | None = None
    ) -> tuple[Float[Tensor, "*bound A"], Float[Tensor, "*bound A"]]:
        """Mean and logarithm of the spread, the latter in [-5, 2]; actions may have candidates' axes before that of the batch."""
        seen = self.encoder(observation)
        mean, spread = self.net(seen if action is None else joined(seen, action)).chunk(2, dim=-1)
        return mean, spread.clamp(-5.0, 2.0)


def squashed(
    mean: Float[Tensor, "*batch A"], log_spread: Float[Tensor, "*batch A"], noise: Float[Tensor, "*batch A"]
) -> tuple[Float[Tensor, "*batch A"], Float[Tensor, "*batch"]]:
    """The action tanh(mean + spread * noise) and the logarithm of its density.

    Source: Haarnoja et al., Soft Actor-Critic (2018), appendix C; log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)).
    """
    raw = mean + log_spread.exp() * noise
    normal = -0.5 * noise.square() - log_spread - 0.5 * math.log(2.0 * math.pi)
    shrinkage = 2.0 * (math.log(2.0) - raw - functional.softplus(-2.0 * raw))
    return raw.tanh(), (normal - shrinkage).sum(-1)
