"""Policy mirror descent: the best of noisy candidates, critics of what is done next, and weights exp(Q / lambda) of own actions.

The law of the policy moves towards pi exp(Q / lambda), by a weighted loss on actions that the policy itself has chosen.
Source: Chen et al., One-Step Flow Policy Mirror Descent (2025).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.policies.critics import aggregate, best_of, polyak, running_copy, td_loss, td_target
from models.policies.draws import Draws
from models.policies.networks import EnsembleCritic, NetworkConfig, Sizes
from models.policies.transitions import Transitions

Sampler = Callable[[Tensor], Tensor]  # start points (..., A) -> actions (..., A), not clipped


@dataclass(frozen=True)
class MirrorConfig:
    """How a policy is improved by its own best actions."""

    temperature: float = 3.0  # lambda, in running spreads of the values
    standardize: bool = True  # values less their mean, limited; False: values as they are, which overflow once they exceed their spread
    limit: float = 3.0  # of standardised values, spreads
    spread_rate: float = 1e-3  # of the running spread; the first 1 / rate batches count alike
    reward_scale: float = 0.2  # before the critics
    num_particles: int = 32  # candidates of which the best is done
    start_spread: float = 0.5  # of the start points of actions; what learns starts from 1
    policy_freq: int = 2  # updates of the critics for each of the policy and the running copies
    exploration: float = 0.5  # spread of the noise on candidates, at first
    exploration_entropy: float = -1.5  # nats a number of the action, that this noise comes to
    exploration_rate: float = 7e-3  # of Adam, of the logarithm of that spread
    exploration_freq: int = 250  # updates for each of the exploration
    final_rate: float = 3e-5  # of Adam, of the policy, at last
    decay_from: int = 25_000  # updates, after which the policy's rate falls linearly
    decay_over: int = 50_000  # updates, during which it falls
    critics: int = 2  # members of the ensemble

    def policy_rate(self, first: float, updates: int) -> float:
        """The policy's rate after so many updates, if it starts at `first`."""
        return first + (self.final_rate - first) * min(max((updates - self.decay_from) / self.decay_over, 0.0), 1.0)


class Mirror(nn.Module):
    """Critics, their running copy, the scale of their values, and the spread of exploration."""

    spread: Tensor
    batches: Tensor

    def __init__(self, sizes: Sizes, config: MirrorConfig, critic: NetworkConfig, generator: torch.Generator) -> None:
        """`critic`: form of each critic."""
        super().__init__()
        self.config, self.action = config, sizes.action
        self.critic = EnsembleCritic(sizes, critic, config.critics, generator)
        self.target_critic = running_copy(self.critic)
        self.log_exploration = nn.Parameter(torch.tensor(math.log(config.exploration)))
        self.register_buffer("spread", torch.zeros(()))
        self.register_buffer("batches", torch.zeros(()))

    @torch.no_grad()
    def best(self, observation: Float[Tensor, "B O"], sampler: Sampler, draws: Draws, name: str, explore: bool) -> Float[Tensor, "B A"]:
        """The candidate that the most doubtful critic likes best.

        Args:
            observation: of each action.
            sampler: of the policy, from start points of candidates (M, B, A).
            draws: gives the start points under `name`, and the noise of exploration as `explore`.
            name: of the start points.
            explore: whether noise is added to each candidate, before the choice.

        Returns:
            Actions, clipped as the candidates were before they were valued.
        """
        shape = (self.config.num_particles, len(observation), self.action)
        candidates = sampler(self.config.start_spread * draws.normal(name, *shape))
        if explore:
            candidates = candidates + self.log_exploration.exp() * draws.normal("explore", *shape)
        return best_of(candidates.clamp(-1.0, 1.0), lambda action: self.value(observation, action))

    def value(self, observation: Float[Tensor, "B O"], action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
        """The least of the critics."""
        return aggregate(self.critic(observation, action), "min")

    def critic_loss(self, transitions: Transitions, following: Float[Tensor, "B A"], discount: float) -> tuple[Tensor, Tensor]:
        """Loss and target of the critics, of the scaled reward and the value of the following action."""
        with torch.no_grad():
            value = aggregate(self.target_critic(transitions.next_observation, following), "min")
        target = td_target(replace(transitions, reward=self.config.reward_scale * transitions.reward), value, discount)
        return td_loss(self.critic(transitions.observation, transitions.flat_action), target, transitions.valid), target

    @torch.no_grad()
    def weights(self, values: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """exp(Q / lambda), Q in spreads of values; as a batch norm does, in training this takes the batch into the running spread."""
        config = self.config
        if self.training:
            self.batches += 1.0
            rate = (1.0 / self.batches).clamp_min(config.spread_rate)
            self.spread.lerp_(values.std(unbiased=False), rate)
        scaled = (values - values.mean() if config.standardize else values) / self.spread.clamp_min(1e-6)
        return ((scaled.clamp(-config.limit, config.limit) if config.standardize else scaled) / config.temperature).exp()

    def exploration_loss(self) -> Float[Tensor, ""]:
        """Its gradient by the logarithm of the spread is the entropy of the noise, a Gaussian's, less the one that is wanted."""
        surplus = 0.5 * math.log(2.0 * math.pi * math.e) + self.log_exploration.detach() - self.config.exploration_entropy
        return self.action * surplus * self.log_exploration

    def parameter_groups(self, policy: nn.Module) -> list[dict[str, Any]]:
        """Of one optimizer: the critics, the policy (at 1, for `policy_rate`), and the exploration with its own rate."""
        exploration = {"params": [self.log_exploration], "lr": self.config.exploration_rate}
        return [{"params": list(self.critic.parameters())}, {"params": list(policy.parameters())}, exploration]

    def follow(self, rate: float) -> None:
        """Moves the running copy of the critics."""
        polyak(self.target_critic, self.critic, rate)


def effective_share(weights: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """(sum w)^2 / (B sum w^2): the share of a batch that weights leave; exp(-1 / lambda^2) for a Gaussian value of spread 1."""
    return weights.sum().square() / (len(weights) * weights.square().sum())
