"""Decision Flow, direction: each step of a flow that clones behaviour is turned towards what the flow's value likes better.

After the idea of Hu et al., Decision Flow Policy Optimization (2025): the steps of a flow are decisions of a process of their own, with a
critic of their own. The losses are ours, and no agreement with the published results is claimed.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from models.policies.critics import aggregate, held, polyak, running_copy, td_loss, td_target, value_scale
from models.policies.draws import Draws
from models.policies.flow_decisions import Judges, flow_states, roll_path
from models.policies.flow_steps import flow_matching_loss
from models.policies.networks import EnsembleCritic, NetworkConfig, Sizes, VelocityField
from models.policies.policy import LearningConfig, Losses, Policy
from models.policies.transitions import Transitions


@dataclass(frozen=True)
class DFDirConfig:
    """How the directions of a flow learn."""

    lam: float = 1.0  # weight of the value of a step against flow matching; 0: a cloned flow
    normalize_q_loss: bool = True  # divides that value by its mean magnitude
    steps: int = 5  # T, of the flow: its decisions
    critics: int = 2  # members of the ensemble
    critic: NetworkConfig = field(default_factory=lambda: NetworkConfig(layer_norm=True))  # each critic, and the flow's value
    flow: NetworkConfig = field(default_factory=NetworkConfig)  # velocity field
    learning: LearningConfig = field(default_factory=LearningConfig)  # rates

    @classmethod
    def paper(cls) -> "DFDirConfig":
        """Ten steps, as usual for flows; the published settings are not known to us."""
        return cls(steps=10)

    @classmethod
    def cpu(cls) -> "DFDirConfig":
        """Small networks."""
        hidden = (256, 256, 256)
        return cls(critic=NetworkConfig(hidden, layer_norm=True), flow=NetworkConfig(hidden))


class DFDir(Policy):
    """Decision Flow, direction; losses ours.

    The flow's value V(s, x, t) is that of the action at the end of the way, learned step by step without discount; the field
    minimises flow matching less lam times the value after its own step, with a gradient through that one step only.
    Draws: `next` of the critics' target, `way` and `place` of the points, `flow` and `time` of flow matching, `act` of acting.
    """

    config_type = DFDirConfig
    config: DFDirConfig

    def __init__(self, sizes: Sizes, config: DFDirConfig, seed: int = 0) -> None:
        """A new policy."""
        super().__init__(sizes, config, seed)
        self.critic = EnsembleCritic(sizes, config.critic, config.critics, self.generator)
        self.value = EnsembleCritic(sizes, config.critic, 1, self.generator, timed=True)
        self.field = VelocityField(sizes, config.flow, self.generator)
        self.target_critic, self.target_value = running_copy(self.critic), running_copy(self.value)
        self.target_field = running_copy(self.field)

    def losses(self, transitions: Transitions, draws: Draws) -> Losses:
        """`critic`, `value`, `flow` and `direct` (times lam)."""
        action, observation, valid = transitions.flat_action, transitions.observation, transitions.valid
        field, steps = self.field.at(observation), self.config.steps
        target = self.target(transitions, draws.normal("next", *action.shape))
        way, place = draws.normal("way", *action.shape), draws.uniform("place", len(action), 1)
        point, t = flow_states(field, action, way, place, steps)
        after = point + field(point, t) / steps
        with held(self.critic, self.value):
            worth = Judges(self.critic, self.value).worth(observation, after, t, steps)
        with torch.no_grad():
            ahead = Judges(self.target_critic, self.target_value).worth(observation, after, t, steps)
        scale = value_scale(worth, valid) if self.config.normalize_q_loss else 1.0
        noise, time = draws.normal("flow", *action.shape), draws.uniform("time", len(action), 1)
        terms = {
            "critic": td_loss(self.critic(observation, action), target, valid),
            "value": td_loss(self.value(observation, point, t), ahead, valid),
            "flow": flow_matching_loss(field, action, noise, time, valid),
            "direct": -self.config.lam * scale * (valid * worth).mean(),
        }
        return Losses(terms, {"target": target.mean(), "worth": worth.mean()})

    @torch.no_grad()
    def target(self, transitions: Transitions, noise: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        """The target of the critics: the least value of what the running copy of the flow does next."""
        following = transitions.next_observation
        action = roll_path(self.target_field.at(following), noise, self.config.steps)[-1].clamp(-1.0, 1.0)
        value = aggregate(self.target_critic(following, action), "min")
        return td_target(transitions, value, self.config.learning.discount)

    def after_update(self) -> None:
        """The running copies."""
        for copied, online in ((self.target_critic, self.critic), (self.target_value, self.value), (self.target_field, self.field)):
            polyak(copied, online, self.config.learning.polyak)

    def choose(self, observation: Float[Tensor, "B O"], draws: Draws) -> Float[Tensor, "B A"]:
        """End points of the flow from fresh noise, clipped."""
        noise = draws.normal("act", len(observation), self.sizes.action)
        return roll_path(self.field.at(observation), noise, self.config.steps)[-1].clamp(-1.0, 1.0)
