"""QAM-F: a one-step actor is distilled from the flow that adjoint matching tilts, while it climbs the critic.

Source: Li and Levine, Q-learning with Adjoint Matching (2026), the variant with the actor of Flow Q-Learning.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from models.policies.critics import aggregate, best_of, held, polyak, running_copy, td_loss, td_target
from models.policies.draws import Draws
from models.policies.networks import EnsembleCritic, NetworkConfig, OneStepActor, Sizes
from models.policies.one_step import climbing_loss, distillation_loss
from models.policies.policy import LearningConfig, Losses, Policy
from models.policies.tilted_flow import TiltedFlow
from models.policies.transitions import Transitions


@dataclass(frozen=True)
class QAMFConfig:
    """How QAM-F learns and acts."""

    inv_temp: float = 0.3  # inverse temperature, per unit of the value: behaviour is tilted by exp(inv_temp Q)
    fql_alpha: float = 1.0  # weight of distillation against the critic; without normalisation, of the order of the values
    normalize_q_loss: bool = True  # divides the climb by the mean absolute value
    rho: float = 0.5  # standard deviations of the critics that the target lies below their mean
    best_of_n: int = 1  # candidates of which the best is done, and valued in the target
    flow_steps: int = 10  # of the flow; fewer spoil the memoryless path
    critics: int = 10  # members of the ensemble
    critic: NetworkConfig = field(default_factory=lambda: NetworkConfig(layer_norm=True))  # each critic
    flow: NetworkConfig = field(default_factory=NetworkConfig)  # slow field, fast field and one-step actor, each
    learning: LearningConfig = field(default_factory=lambda: LearningConfig(clip=1.0))  # rates

    @classmethod
    def paper(cls) -> "QAMFConfig":
        """As published: values not normalised; inv_temp and fql_alpha belong to a task, these to cube-triple."""
        return cls(inv_temp=10.0, fql_alpha=300.0, normalize_q_loss=False)

    @classmethod
    def cpu(cls) -> "QAMFConfig":
        """Small networks, two critics."""
        hidden = (256, 256, 256)
        return cls(critics=2, critic=NetworkConfig(hidden, layer_norm=True), flow=NetworkConfig(hidden))


class QAMF(Policy):
    """QAM-F: acts in one step, and its critics value that step.

    Deviation from the published defaults, undone by `QAMFConfig.paper`: the climb is normalised by the mean absolute value, so that
    fql_alpha does not depend on the scale of rewards.
    Draws: `next` (candidates first) of the target, `flow` and `time` of the slow field, `start` and `path` (steps - 1 first) of the fast
    one, `actor` of the one-step actor, `act` (candidates first) of acting.
    """

    config_type = QAMFConfig
    config: QAMFConfig

    def __init__(self, sizes: Sizes, config: QAMFConfig, seed: int = 0) -> None:
        """A new policy."""
        super().__init__(sizes, config, seed)
        self.critic = EnsembleCritic(sizes, config.critic, config.critics, self.generator)
        self.flow = TiltedFlow(sizes, config.flow, config.flow_steps, self.generator)
        self.actor = OneStepActor(sizes, config.flow, self.generator)
        self.target_critic = running_copy(self.critic)

    def losses(self, transitions: Transitions, draws: Draws) -> Losses:
        """`critic`, `flow` (slow field), `adjoint` (fast field), `distill` (times fql_alpha) and `climb` (one-step actor)."""
        action, observation = transitions.flat_action, transitions.observation
        target = self.target(transitions, draws.normal("next", self.config.best_of_n, *action.shape))
        distill, climb = self.actor_losses(observation, draws.normal("actor", *action.shape))
        terms = {
            "critic": td_loss(self.critic(observation, action), target, transitions.valid),
            "flow": self.flow.cloning_loss(transitions, draws),
            "adjoint": self.flow.tilting_loss(
                observation, lambda end: self.config.inv_temp * self.target_critic(observation, end).mean(0), draws
            ),
            "distill": distill,
            "climb": climb,
        }
        return Losses(terms, {"target": target.mean()})

    def actor_losses(self, observation: Float[Tensor, "B O"], noise: Float[Tensor, "B A"]) -> tuple[Tensor, Tensor]:
        """Distillation from the fast flow's end points from the same noise, times fql_alpha, and the climb."""
        jump = self.actor(observation, noise)
        with held(self.critic):
            climb, _ = climbing_loss(jump, lambda action: self.critic(observation, action).mean(0), self.config.normalize_q_loss)
        return self.config.fql_alpha * distillation_loss(jump, self.flow.end(observation, noise)), climb

    @torch.no_grad()
    def target(self, transitions: Transitions, noise: Float[Tensor, "M B A"]) -> Float[Tensor, " B"]:
        """The target of the critics: a lower bound of the value of what the one-step actor does next."""
        following = transitions.next_observation
        values = self.target_critic(following, self.sample(following, noise))
        return td_target(transitions, aggregate(values, "lower", self.config.rho), self.config.learning.discount)

    @torch.no_grad()
    def sample(self, observation: Float[Tensor, "B O"], noise: Float[Tensor, "M B A"]) -> Float[Tensor, "B A"]:
        """Of the one-step actor's actions, the one that the critics like best."""
        candidates = self.actor(observation, noise).clamp(-1.0, 1.0)
        return best_of(candidates, lambda action: self.critic(observation, action).mean(0)) if len(noise) > 1 else candidates[0]

    def after_update(self) -> None:
        """The running copies of critics and slow field."""
        polyak(self.target_critic, self.critic, self.config.learning.polyak)
        self.flow.follow(self.config.learning.polyak)

    def choose(self, observation: Float[Tensor, "B O"], draws: Draws) -> Float[Tensor, "B A"]:
        """One step of the actor from fresh noise, clipped; of several, the best."""
        return self.sample(observation, draws.normal("act", self.config.best_of_n, len(observation), self.sizes.action))
