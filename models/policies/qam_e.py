"""QAM-E: a small squashed-Gaussian edit, on top of the flow that adjoint matching tilts, climbs the critic and keeps its entropy.

Source: Li and Levine, Q-learning with Adjoint Matching (2026), the variant with edits; entropy as in Haarnoja et al., Soft Actor-Critic
Algorithms and Applications (2018).
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.policies.critics import aggregate, best_of, held, polyak, running_copy, td_loss, td_target
from models.policies.draws import Draws
from models.policies.networks import EnsembleCritic, GaussianActor, NetworkConfig, Sizes, squashed
from models.policies.policy import LearningConfig, Losses, Policy
from models.policies.tilted_flow import TiltedFlow
from models.policies.transitions import Transitions


@dataclass(frozen=True)
class QAMEConfig:
    """How QAM-E learns and acts."""

    inv_temp: float = 0.3  # inverse temperature, per unit of the value: behaviour is tilted by exp(inv_temp Q)
    edit_scale: float = 0.1  # largest change of an action by an edit
    target_entropy: float = -0.5  # nats a number of the edit before its scale, that the temperature aims at
    rho: float = 0.5  # standard deviations of the critics that the target lies below their mean
    best_of_n: int = 1  # candidates of which the best is done, and valued in the target
    flow_steps: int = 10  # of the flow; fewer spoil the memoryless path
    critics: int = 10  # members of the ensemble
    critic: NetworkConfig = field(default_factory=lambda: NetworkConfig(layer_norm=True))  # each critic
    flow: NetworkConfig = field(default_factory=NetworkConfig)  # slow field, fast field and edit, each
    learning: LearningConfig = field(default_factory=lambda: LearningConfig(clip=1.0))  # rates

    @classmethod
    def paper(cls) -> "QAMEConfig":
        """As published; inv_temp and edit_scale belong to a task, these to cube-triple."""
        return cls(inv_temp=3.0, edit_scale=0.1)

    @classmethod
    def cpu(cls) -> "QAMEConfig":
        """Small networks, two critics."""
        hidden = (256, 256, 256)
        return cls(critics=2, critic=NetworkConfig(hidden, layer_norm=True), flow=NetworkConfig(hidden))


class QAME(Policy):
    """QAM-E: edits what the flow does, and its critics value the edited action; the entropy is no part of the value.

    Draws: `next` and `next_edit` (candidates first) of the target, `flow` and `time` of the slow field, `start` and `path` (steps - 1
    first) of the fast one, `base` and `edit` of the edit, `act` and `act_edit` (candidates first) of acting.
    """

    config_type = QAMEConfig
    config: QAMEConfig

    def __init__(self, sizes: Sizes, config: QAMEConfig, seed: int = 0) -> None:
        """A new policy."""
        super().__init__(sizes, config, seed)
        self.critic = EnsembleCritic(sizes, config.critic, config.critics, self.generator)
        self.flow = TiltedFlow(sizes, config.flow, config.flow_steps, self.generator)
        self.editor = GaussianActor(sizes, config.flow, self.generator, edits=True)
        self.log_temperature = nn.Parameter(torch.zeros(()))
        self.target_critic = running_copy(self.critic)

    def losses(self, transitions: Transitions, draws: Draws) -> Losses:
        """`critic`, `flow` (slow field), `adjoint` (fast field), `edit` and `temperature`."""
        action, observation = transitions.flat_action, transitions.observation
        candidates = self.config.best_of_n, *action.shape
        target = self.target(transitions, draws.normal("next", *candidates), draws.normal("next_edit", *candidates))
        edit, entropy = self.edit_loss(observation, draws.normal("base", *action.shape), draws.normal("edit", *action.shape))
        temperature = self.log_temperature.exp()
        terms = {
            "critic": td_loss(self.critic(observation, action), target, transitions.valid),
            "flow": self.flow.cloning_loss(transitions, draws),
            "adjoint": self.flow.tilting_loss(
                observation, lambda end: self.config.inv_temp * self.target_critic(observation, end).mean(0), draws
            ),
            "edit": edit,
            "temperature": temperature * (entropy - self.config.target_entropy * self.sizes.action),
        }
        return Losses(terms, {"target": target.mean(), "entropy": entropy, "alpha": temperature})

    def edit_loss(
        self, observation: Float[Tensor, "B O"], base: Float[Tensor, "B A"], noise: Float[Tensor, "B A"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Minus the value of the edited action and the entropy of the edit, times the temperature; and that entropy, without gradient."""
        action, log_density = self.edited(observation, self.flow.end(observation, base), noise)
        with held(self.critic):
            values = self.critic(observation, action).mean(0)
        loss = (self.log_temperature.detach().exp() * log_density - values).mean()
        return loss, -log_density.detach().mean()

    def edited(
        self, observation: Float[Tensor, "B O"], action: Float[Tensor, "*batch A"], noise: Float[Tensor, "*batch A"]
    ) -> tuple[Float[Tensor, "*batch A"], Float[Tensor, "*batch"]]:
        """Actions with an edit added, clipped, and the logarithm of the density of the edit before its scale."""
        mean, log_spread = self.editor(observation, action)
        edit, log_density = squashed(mean, log_spread, noise)
        return (action + self.config.edit_scale * edit).clamp(-1.0, 1.0), log_density

    @torch.no_grad()
    def target(self, transitions: Transitions, noise: Float[Tensor, "M B A"], edit: Float[Tensor, "M B A"]) -> Float[Tensor, " B"]:
        """The target of the critics: a lower bound of the value of what the policy does next."""
        following = transitions.next_observation
        values = self.target_critic(following, self.sample(following, noise, edit))
        return td_target(transitions, aggregate(values, "lower", self.config.rho), self.config.learning.discount)

    @torch.no_grad()
    def sample(
        self, observation: Float[Tensor, "B O"], noise: Float[Tensor, "M B A"], edit: Float[Tensor, "M B A"]
    ) -> Float[Tensor, "B A"]:
        """Of the edited end points of the fast flow, the one that the critics like best."""
        candidates, _ = self.edited(observation, self.flow.end(observation, noise), edit)
        return best_of(candidates, lambda action: self.critic(observation, action).mean(0)) if len(noise) > 1 else candidates[0]

    def after_update(self) -> None:
        """The running copies of critics and slow field."""
        polyak(self.target_critic, self.critic, self.config.learning.polyak)
        self.flow.follow(self.config.learning.polyak)

    def choose(self, observation: Float[Tensor, "B O"], draws: Draws) -> Float[Tensor, "B A"]:
        """The end of the fast flow from fresh noise, edited and clipped; of several, the best."""
        size = self.config.best_of_n, len(observation), self.sizes.action
        return self.sample(observation, draws.normal("act", *size), draws.normal("act_edit", *size))
