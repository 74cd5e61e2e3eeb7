"""Decision Flow, divergence: each step of a flow earns the value it leads to and pays for leaving a cloned flow.

After the idea of Hu et al., Decision Flow Policy Optimization (2025): the steps of a flow are decisions of a process of their own, with a
critic of their own. The losses are ours, and no agreement with the published results is claimed.
"""

import copy
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
class DFDivConfig:
    """How a flow that pays for its divergence learns."""

    beta: float = 1.0  # price of a mean square distance from the cloned velocity, over all of the flow time, in values
    normalize_q_loss: bool = True  # prices in mean magnitudes of the value, so that beta does not depend on the scale of rewards
    steps: int = 5  # T, of the flow: its decisions
    critics: int = 2  # members of the ensemble
    critic: NetworkConfig = field(default_factory=lambda: NetworkConfig(layer_norm=True))  # each critic, and the flow's value
    flow: NetworkConfig = field(default_factory=NetworkConfig)  # both velocity fields
    learning: LearningConfig = field(default_factory=LearningConfig)  # rates

    @classmethod
    def paper(cls) -> "DFDivConfig":
        """Ten steps, as usual for flows; the published settings are not known to us."""
        return cls(steps=10)

    @classmethod
    def cpu(cls) -> "DFDivConfig":
        """Small networks."""
        hidden = (256, 256, 256)
        return cls(critic=NetworkConfig(hidden, layer_norm=True), flow=NetworkConfig(hidden))


class DFDiv(Policy):
    """Decision Flow, divergence; losses ours.

    A step from x at time t earns - beta / T mean|u - v|^2, with v the cloned velocity there, and the last one the value of the action.
    The flow's value V(s, x, t) is what is earned from there on; the field maximises what its own step earns and leads to, with a
    gradient through that one step only. For a base law N(0, s^2) and a value c a, the best law is N(c pi s / (4 beta), s^2).
    Draws: `next` of the critics' target, `way` and `place` of the points, `flow` and `time` of behaviour cloning, `act` of acting.
    """

    config_type = DFDivConfig
    config: DFDivConfig

    def __init__(self, sizes: Sizes, config: DFDivConfig, seed: int = 0) -> None:
        """A new policy, whose field starts as the one that clones."""
        super().__init__(sizes, config, seed)
        self.critic = EnsembleCritic(sizes, config.critic, config.critics, self.generator)
        self.value = EnsembleCritic(sizes, config.critic, 1, self.generator, timed=True)
        self.cloned = VelocityField(sizes, config.flow, self.generator)
        self.field = copy.deepcopy(self.cloned)
        self.target_critic, self.target_value = running_copy(self.critic), running_copy(self.value)
        self.target_field = running_copy(self.field)

    def losses(self, transitions: Transitions, draws: Draws) -> Losses:
        """`critic`, `value`, `clone` (of the cloned flow) and `earn` (of the field)."""
        action, observation, valid = transitions.flat_action, transitions.observation, transitions.valid
        field, steps = self.field.at(observation), self.config.steps
        target = self.target(transitions, draws.normal("next", *action.shape))
        way, place = draws.normal("way", *action.shape), draws.uniform("place", len(action), 1)
        point, t = flow_states(field, action, way, place, steps)
        velocity, values = field(point, t), self.critic(observation, action)
        unit = 1.0 / value_scale(values, valid) if self.config.normalize_q_loss else 1.0
        with torch.no_grad():
            cloned = self.cloned(observation, point, t)
        after = point + velocity / steps
        price = self.config.beta * unit / steps * (velocity - cloned).square().mean(-1)
        with held(self.critic, self.value):
            worth = Judges(self.critic, self.value).worth(observation, after, t, steps)
        with torch.no_grad():
            ahead = Judges(self.target_critic, self.target_value).worth(observation, after, t, steps)
        noise, time = draws.normal("flow", *action.shape), draws.uniform("time", len(action), 1)
        terms = {
            "critic": td_loss(values, target, valid),
            "value": td_loss(self.value(observation, point, t), ahead - price.detach(), valid),
            "clone": flow_matching_loss(self.cloned.at(observation), action, noise, time, valid),
            "earn": (valid * (price - worth)).mean() / unit,
        }
        return Losses(terms, {"target": target.mean(), "worth": worth.mean(), "price": price.mean()})

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
