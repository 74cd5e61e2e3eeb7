"""Q-learning with Adjoint Matching: a flow learns to sample behaviour times exp(inv_temp Q), without gradients through its steps.

Source: Li and Levine, Q-learning with Adjoint Matching (2026).
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from models.policies.critics import aggregate, best_of, polyak, running_copy, td_loss, td_target
from models.policies.draws import Draws
from models.policies.networks import EnsembleCritic, NetworkConfig, Sizes
from models.policies.policy import LearningConfig, Losses, Policy
from models.policies.tilted_flow import TiltedFlow
from models.policies.transitions import Transitions


@dataclass(frozen=True)
class QAMConfig:
    """How Q-learning with Adjoint Matching learns and acts."""

    inv_temp: float = 0.3  # inverse temperature, per unit of the value: behaviour is tilted by exp(inv_temp Q)
    rho: float = 0.5  # standard deviations of the critics that the target lies below their mean
    best_of_n: int = 1  # candidates of which the best is done, and valued in the target
    flow_steps: int = 10  # of the flow; fewer spoil the memoryless path
    critics: int = 10  # members of the ensemble
    critic: NetworkConfig = field(default_factory=lambda: NetworkConfig(layer_norm=True))  # each critic
    flow: NetworkConfig = field(default_factory=NetworkConfig)  # slow field and fast field, each
    learning: LearningConfig = field(default_factory=lambda: LearningConfig(clip=1.0))  # rates

    @classmethod
    def paper(cls) -> "QAMConfig":
        """As published, which is the default; inv_temp belongs to a task, from 1 to 30."""
        return cls()

    @classmethod
    def cpu(cls) -> "QAMConfig":
        """Small networks, two critics."""
        hidden = (256, 256, 256)
        return cls(critics=2, critic=NetworkConfig(hidden, layer_norm=True), flow=NetworkConfig(hidden))


class QAM(Policy):
    """Q-learning with Adjoint Matching; the defaults are the published ones.

    Draws: `next` (candidates first) of the target, `flow` and `time` of the slow field, `start` and `path` (steps - 1 first) of the fast
    one, `act` (candidates first) of acting.
    """

    config_type = QAMConfig
    config: QAMConfig

    def __init__(self, sizes: Sizes, config: QAMConfig, seed: int = 0) -> None:
        """A new policy."""
        super().__init__(sizes, config, seed)
        self.critic = EnsembleCritic(sizes, config.critic, config.critics, self.generator)
        self.flow = TiltedFlow(sizes, config.flow, config.flow_steps, self.generator)
        self.target_critic = running_copy(self.critic)

    def losses(self, transitions: Transitions, draws: Draws) -> Losses:
        """`critic`, `flow` (slow field) and `adjoint` (fast field)."""
        action, observation = transitions.flat_action, transitions.observation
        target = self.target(transitions, draws.normal("next", self.config.best_of_n, *action.shape))
        terms = {
            "critic": td_loss(self.critic(observation, action), target, transitions.valid),
            "flow": self.flow.cloning_loss(transitions, draws),
            "adjoint": self.flow.tilting_loss(
                observation, lambda end: self.config.inv_temp * self.target_critic(observation, end).mean(0), draws
            ),
        }
        return Losses(terms, {"target": target.mean()})

    @torch.no_grad()
    def target(self, transitions: Transitions, noise: Float[Tensor, "M B A"]) -> Float[Tensor, " B"]:
        """The target of the critics: a lower bound of the value of what the policy does next."""
        following = transitions.next_observation
        values = self.target_critic(following, self.sample(following, noise))
        return td_target(transitions, aggregate(values, "lower", self.config.rho), self.config.learning.discount)

    @torch.no_grad()
    def sample(self, observation: Float[Tensor, "B O"], noise: Float[Tensor, "M B A"]) -> Float[Tensor, "B A"]:
        """Of the end points of the fast flow, the one that the critics like best."""
        candidates = self.flow.end(observation, noise)
        return best_of(candidates, lambda action: self.critic(observation, action).mean(0)) if len(noise) > 1 else candidates[0]

    def after_update(self) -> None:
        """The running copies of critics and slow field."""
        polyak(self.target_critic, self.critic, self.config.learning.polyak)
        self.flow.follow(self.config.learning.polyak)

    def choose(self, observation: Float[Tensor, "B O"], draws: Draws) -> Float[Tensor, "B A"]:
        """The end of the fast flow from fresh noise, clipped; of several, the best."""
        return self.sample(observation, draws.normal("act", self.config.best_of_n, len(observation), self.sizes.action))
