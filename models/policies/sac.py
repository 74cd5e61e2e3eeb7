"""Soft actor-critic: a squashed Gaussian that climbs twin critics and keeps its entropy.

Source: Haarnoja et al., Soft Actor-Critic Algorithms and Applications (2018).
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.policies.critics import aggregate, held, polyak, running_copy, td_loss, td_target
from models.policies.draws import Draws
from models.policies.networks import EnsembleCritic, GaussianActor, NetworkConfig, Sizes, squashed
from models.policies.policy import LearningConfig, Losses, Policy
from models.policies.transitions import Transitions


@dataclass(frozen=True)
class SACConfig:
    """How soft actor-critic learns."""

    target_entropy: float = -1.0  # nats a number of the action, that the temperature aims at
    critics: int = 2  # members of the ensemble
    critic: NetworkConfig = field(default_factory=lambda: NetworkConfig((256, 256), "relu", layer_norm=True))  # each critic
    actor: NetworkConfig = field(default_factory=lambda: NetworkConfig((256, 256), "relu"))  # mean and spread
    learning: LearningConfig = field(default_factory=LearningConfig)  # rates

    @classmethod
    def paper(cls) -> "SACConfig":
        """As published: critics without normalisation."""
        return cls(critic=NetworkConfig((256, 256), "relu"))

    @classmethod
    def cpu(cls) -> "SACConfig":
        """The default, which is small."""
        return cls()


class SAC(Policy):
    """Soft actor-critic with a learned temperature.

    Deviation from the published defaults, undone by `SACConfig.paper`: critics with layer normalisation, as all critics here.
    Draws: `next` of the target, `actor` of the actor, `act` of acting.
    """

    config_type = SACConfig
    config: SACConfig

    def __init__(self, sizes: Sizes, config: SACConfig, seed: int = 0) -> None:
        """A new policy."""
        super().__init__(sizes, config, seed)
        self.critic = EnsembleCritic(sizes, config.critic, config.critics, self.generator)
        self.actor = GaussianActor(sizes, config.actor, self.generator)
        self.log_temperature = nn.Parameter(torch.zeros(()))
        self.target_critic = running_copy(self.critic)

    def losses(self, transitions: Transitions, draws: Draws) -> Losses:
        """`critic`, `actor` and `temperature`."""
        action, observation = transitions.flat_action, transitions.observation
        temperature = self.log_temperature.exp()
        target = self.target(transitions, draws.normal("next", *action.shape))
        mine, log_density = self.sample(observation, draws.normal("actor", *action.shape))
        with held(self.critic):
            values = aggregate(self.critic(observation, mine), "min")
        surplus = -log_density.detach().mean() - self.config.target_entropy * self.sizes.action
        terms = {
            "critic": td_loss(self.critic(observation, action), target, transitions.valid),
            "actor": (temperature.detach() * log_density - values).mean(),
            "temperature": temperature * surplus,
        }
        return Losses(terms, {"target": target.mean(), "entropy": -log_density.mean(), "alpha": temperature})

    def sample(self, observation: Float[Tensor, "B O"], noise: Float[Tensor, "B A"]) -> tuple[Tensor, Tensor]:
        """Actions and the logarithms of their densities."""
        mean, log_spread = self.actor(observation)
        return squashed(mean, log_spread, noise)

    @torch.no_grad()
    def target(self, transitions: Transitions, noise: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        """The target of the critics: the least value of a next action, and its entropy."""
        following = transitions.next_observation
        action, log_density = self.sample(following, noise)
        value = aggregate(self.target_critic(following, action), "min") - self.log_temperature.exp() * log_density
        return td_target(transitions, value, self.config.learning.discount)

    def after_update(self) -> None:
        """The running copy of the critics."""
        polyak(self.target_critic, self.critic, self.config.learning.polyak)

    def choose(self, observation: Float[Tensor, "B O"], draws: Draws) -> Float[Tensor, "B A"]:
        """A sample."""
        return self.sample(observation, draws.normal("act", len(observation), self.sizes.action))[0]
