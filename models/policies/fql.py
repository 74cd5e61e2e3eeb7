"""Flow Q-Learning: a flow clones behaviour, and a one-step actor is distilled from it while it climbs the critic.

Source: Park, Li and Levine, Flow Q-Learning (2025).
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from models.policies.critics import Aggregation, aggregate, held, polyak, running_copy, td_loss, td_target
from models.policies.draws import Draws
from models.policies.flow_steps import Solver, flow_matching_loss, integrate
from models.policies.networks import EnsembleCritic, NetworkConfig, OneStepActor, Sizes, VelocityField
from models.policies.one_step import climbing_loss, distillation_loss
from models.policies.policy import LearningConfig, Losses, Policy
from models.policies.transitions import Transitions


@dataclass(frozen=True)
class FQLConfig:
    """How Flow Q-Learning learns."""

    alpha: float = 1.0  # weight of distillation against the critic; without normalisation, of the order of the values
    normalize_q_loss: bool = True  # divides the climb by the mean absolute value
    q_agg: Aggregation = "mean"  # of the critics in the target: "mean" or "min"
    critics: int = 2  # members of the ensemble
    solver: Solver = field(default_factory=Solver)  # of the flow that is distilled
    critic: NetworkConfig = field(default_factory=lambda: NetworkConfig(layer_norm=True))  # each critic
    actor: NetworkConfig = field(default_factory=NetworkConfig)  # one-step actor, and the velocity field
    learning: LearningConfig = field(default_factory=LearningConfig)  # rates

    @classmethod
    def paper(cls) -> "FQLConfig":
        """As published: values not normalised, alpha 10, ten Euler steps."""
        return cls(alpha=10.0, normalize_q_loss=False, solver=Solver("euler", 10))

    @classmethod
    def cpu(cls) -> "FQLConfig":
        """Small networks, three midpoint steps."""
        hidden = (256, 256, 256)
        return cls(solver=Solver(steps=3), critic=NetworkConfig(hidden, layer_norm=True), actor=NetworkConfig(hidden))


class FQL(Policy):
    """Flow Q-Learning.

    Deviations from the published defaults, undone by `FQLConfig.paper`: the climb is normalised by the mean absolute value, so that
    alpha (1, not 10) does not depend on the scale of rewards; five midpoint steps in place of ten Euler steps.
    Draws: `next` of the target, `flow` and `time` of behaviour cloning, `actor` of the one-step actor, `act` of acting.
    """

    config_type = FQLConfig
    config: FQLConfig

    def __init__(self, sizes: Sizes, config: FQLConfig, seed: int = 0) -> None:
        """A new policy."""
        super().__init__(sizes, config, seed)
        self.critic = EnsembleCritic(sizes, config.critic, config.critics, self.generator)
        self.field = VelocityField(sizes, config.actor, self.generator)
        self.actor = OneStepActor(sizes, config.actor, self.generator)
        self.target_critic = running_copy(self.critic)

    def losses(self, transitions: Transitions, draws: Draws) -> Losses:
        """`critic`, `flow`, `distill` (times alpha) and `climb`."""
        action, observation = transitions.flat_action, transitions.observation
        target = self.target(transitions, draws.normal("next", *action.shape))
        critic = td_loss(self.critic(observation, action), target, transitions.valid)
        noise, t = draws.normal("flow", *action.shape), draws.uniform("time", len(action), 1)
        flow = flow_matching_loss(self.field.at(observation), action, noise, t, transitions.valid)
        distill, climb = self.actor_losses(observation, draws.normal("actor", *action.shape))
        return Losses({"critic": critic, "flow": flow, "distill": distill, "climb": climb}, {"target": target.mean()})

    @torch.no_grad()
    def target(self, transitions: Transitions, noise: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        """The target of the critics: the value of what the one-step actor does next."""
        following = transitions.next_observation
        values = self.target_critic(following, self.actor(following, noise).clamp(-1.0, 1.0))
        return td_target(transitions, aggregate(values, self.config.q_agg), self.config.learning.discount)

    def actor_losses(self, observation: Float[Tensor, "B O"], noise: Float[Tensor, "B A"]) -> tuple[Tensor, Tensor]:
        """Distillation from the flow's end points from the same noise, times alpha, and the climb."""
        with torch.no_grad():
            end = integrate(self.field.at(observation), noise, self.config.solver).clamp(-1.0, 1.0)
        jump = self.actor(observation, noise)
        with held(self.critic):
            climb, _ = climbing_loss(jump, lambda action: self.critic(observation, action).mean(0), self.config.normalize_q_loss)
        return self.config.alpha * distillation_loss(jump, end), climb

    def after_update(self) -> None:
        """The running copy of the critics."""
        polyak(self.target_critic, self.critic, self.config.learning.polyak)

    def choose(self, observation: Float[Tensor, "B O"], draws: Draws) -> Float[Tensor, "B A"]:
        """One step of the actor from fresh noise, clipped."""
        return self.actor(observation, draws.normal("act", len(observation), self.sizes.action)).clamp(-1.0, 1.0)
