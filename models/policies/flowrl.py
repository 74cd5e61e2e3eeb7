"""Flow-based policy for online RL: a flow climbs the critic through its one step, held to the behaviour that was better than itself.

The best behaviour of the buffer is known by the expectile of its values alone; where it is better than the policy, a weighted
flow-matching loss bounds W2 to it. Source: Lv et al., Flow-Based Policy for Online Reinforcement Learning (2025).
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from models.policies.critics import aggregate, expectile_loss, held, mean_of_valid, polyak, running_copy, td_loss, td_target
from models.policies.draws import Draws
from models.policies.flow_steps import Solver, flow_matching_loss, integrate
from models.policies.networks import EnsembleCritic, NetworkConfig, Sizes, Value, VelocityField
from models.policies.policy import LearningConfig, Losses, Policy
from models.policies.transitions import Transitions


@dataclass(frozen=True)
class FlowRLConfig:
    """How the flow climbs and what holds it."""

    lamda: float = 0.1  # weight of flow matching, values; where the behaviour's advantage is the batch's mean
    weight_range: tuple[float, float] = (1e-3, 1.0)  # of all weights of flow matching, values
    official_reduction: bool = False  # weights times the batch's mean of flow matching: all samples count alike
    expectile: float = 0.9  # of the values of recorded actions; 0.5: their mean, 1: their maximum
    policy_freq: int = 2  # updates of the critics for each of the policy and the running copies
    critics: int = 2  # members of each ensemble
    bound: Literal["clamp", "tanh"] = "clamp"  # keeps actions in [-1, 1]
    solver: Solver = field(default_factory=lambda: Solver("midpoint", 1))  # gradients flow through all its steps, and grow with them
    critic: NetworkConfig = field(default_factory=lambda: NetworkConfig((512, 512, 512), layer_norm=True))  # critics and value
    flow: NetworkConfig = field(default_factory=lambda: NetworkConfig((512, 512), "elu", layer_norm=True))  # velocity field
    learning: LearningConfig = field(default_factory=LearningConfig)  # rates

    @classmethod
    def paper(cls) -> "FlowRLConfig":
        """As in the authors' code: tanh, running copies that nearly jump, weights times the mean."""
        return cls(official_reduction=True, bound="tanh", learning=LearningConfig(polyak=0.95))

    @classmethod
    def cpu(cls) -> "FlowRLConfig":
        """Small networks."""
        return cls(critic=NetworkConfig((256, 256, 256), layer_norm=True), flow=NetworkConfig((256, 256), "elu", layer_norm=True))


class FlowRL(Policy):
    """Flow-based policy for online RL; a fifth of each batch is best drawn from the newest steps (`DrawConfig.recent_share`).

    Deviations from the authors' code, undone by `FlowRLConfig.paper`: each sample's flow matching has its own weight; running copies
    take in .005, not .95; actions are clamped, so that the flow ends where it aims, not squashed by a tanh after it.
    In `paper` too: critics are normalised after each activation, as all critics here.
    Draws: `next` of the target; `actor`, `flow` and `time` at updates of the policy; `act` of acting; noise is clamped to [-1, 1].
    """

    config_type = FlowRLConfig
    config: FlowRLConfig

    def __init__(self, sizes: Sizes, config: FlowRLConfig, seed: int = 0) -> None:
        """A new policy."""
        super().__init__(sizes, config, seed)
        self.critic = EnsembleCritic(sizes, config.critic, config.critics, self.generator)
        self.behaviour_critic = EnsembleCritic(sizes, config.critic, config.critics, self.generator)
        self.behaviour_value = Value(sizes, config.critic, self.generator)
        self.field = VelocityField(sizes, config.flow, self.generator)
        self.target_critic, self.target_behaviour_critic = running_copy(self.critic), running_copy(self.behaviour_critic)

    def losses(self, transitions: Transitions, draws: Draws) -> Losses:
        """`critic`, `behaviour_critic` and `behaviour_value`; at every `policy_freq`-th update `climb` and `flow`."""
        action, observation = transitions.flat_action, transitions.observation
        target = self.target(transitions, draws.normal("next", *action.shape))
        terms = {"critic": td_loss(self.critic(observation, action), target, transitions.valid)}
        terms["behaviour_critic"], terms["behaviour_value"] = self.behaviour_losses(transitions)
        metrics = {"target": target.mean()}
        if self.updates % self.config.policy_freq == 0:
            mine = self.sample(observation, draws.normal("actor", *action.shape))
            with held(self.critic):
                values = aggregate(self.critic(observation, mine), "min")
            weight = self.weights(transitions, values) * transitions.valid
            noise, t = draws.normal("flow", *action.shape).clamp(-1.0, 1.0), draws.uniform("time", len(action), 1)
            terms["climb"], terms["flow"] = -values.mean(), self.flow_loss(transitions, noise, t, weight)
            metrics["weight"] = weight.mean()
        return Losses(terms, metrics)

    @torch.no_grad()
    def target(self, transitions: Transitions, noise: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        """The target of the critics: the least value of what the policy does next."""
        following = transitions.next_observation
        values = self.target_critic(following, self.sample(following, noise))
        return td_target(transitions, aggregate(values, "min"), self.config.learning.discount)

    def behaviour_losses(self, transitions: Transitions) -> tuple[Tensor, Tensor]:
        """Of the critics and the value of the best behaviour in the buffer; no action of the policy is asked for."""
        action, observation = transitions.flat_action, transitions.observation
        with torch.no_grad():
            recorded = aggregate(self.target_behaviour_critic(observation, action), "min")
            target = td_target(transitions, self.behaviour_value(transitions.next_observation), self.config.learning.discount)
        error = (recorded - self.behaviour_value(observation)) * transitions.valid
        critic = td_loss(self.behaviour_critic(observation, action), target, transitions.valid)
        return critic, expectile_loss(error, self.config.expectile)

    @torch.no_grad()
    def weights(self, transitions: Transitions, values: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The clipped lamda exp(f - mean f); f: how much better the recorded action is than the policy's, of value `values`, or 0."""
        recorded = aggregate(self.behaviour_critic(transitions.observation, transitions.flat_action), "min")
        better = (recorded - values).relu()
        least, most = self.config.weight_range
        return (self.config.lamda * (better - mean_of_valid(better, transitions.valid)).exp()).clamp(least, most)

    def flow_loss(
        self, transitions: Transitions, noise: Float[Tensor, "B A"], t: Float[Tensor, "B 1"], weight: Float[Tensor, " B"]
    ) -> Float[Tensor, ""]:
        """Weighted flow matching to the recorded actions."""
        if self.config.official_reduction:
            weight = weight.mean().expand_as(weight)
        return flow_matching_loss(self.field.at(transitions.observation), transitions.flat_action, noise, t, weight)

    def sample(self, observation: Float[Tensor, "B O"], noise: Float[Tensor, "B A"]) -> Float[Tensor, "B A"]:
        """Actions from noise; gradients flow through the whole flow."""
        end = integrate(self.field.at(observation), noise.clamp(-1.0, 1.0), self.config.solver)
        return end.tanh() if self.config.bound == "tanh" else end.clamp(-1.0, 1.0)

    def after_update(self) -> None:
        """The running copies, when the policy has learned."""
        if (self.updates - 1) % self.config.policy_freq == 0:
            polyak(self.target_critic, self.critic, self.config.learning.polyak)
            polyak(self.target_behaviour_critic, self.behaviour_critic, self.config.learning.polyak)

    def choose(self, observation: Float[Tensor, "B O"], draws: Draws) -> Float[Tensor, "B A"]:
        """End points of the flow from fresh noise."""
        return self.sample(observation, draws.normal("act", len(observation), self.sizes.action))
