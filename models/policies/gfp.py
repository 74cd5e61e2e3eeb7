"""Guided Flow Policy: a flow clones the recorded actions that are better than the actor's, and guides the actor in turn.

Source: Nguimatsia Tiofack et al., Guided Flow Policy: Learning from High-Value Actions in Offline Reinforcement Learning (2025).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from models.policies.critics import Aggregation, aggregate, held, polyak, running_copy, td_loss, td_target, value_scale
from models.policies.draws import Draws
from models.policies.flow_steps import Solver, flow_matching_loss, integrate
from models.policies.networks import EnsembleCritic, NetworkConfig, OneStepActor, Sizes, VelocityField
from models.policies.one_step import climbing_loss, distillation_loss
from models.policies.policy import LearningConfig, Losses, Policy
from models.policies.transitions import Transitions

Reference = Literal["actor", "flow", "mean", "min", "max"]


@dataclass(frozen=True)
class GFPConfig:
    """How a Guided Flow Policy learns."""

    alpha: float = 1.0  # weight of distillation against a normalised value
    eta_temperature: float = 1e-3  # of the guidance, in shares of the mean absolute value; 0: none, every recorded action counts 1
    q_agg: Aggregation = "mean"  # of the critics in targets, guidance and climb: "mean" or "min"
    target_agg: Reference = "actor"  # whose next action the critics' target values: of the actor, of the flow, or of both
    guidance_agg: Reference = "actor"  # whose action a recorded one must beat, likewise
    critics: int = 2  # members of the ensemble
    solver: Solver = field(default_factory=Solver)  # of the flow
    critic: NetworkConfig = field(default_factory=lambda: NetworkConfig(layer_norm=True))  # each critic
    actor: NetworkConfig = field(default_factory=lambda: NetworkConfig(time_width=64))  # one-step actor, and the velocity field
    learning: LearningConfig = field(default_factory=LearningConfig)  # rates

    @classmethod
    def paper(cls) -> "GFPConfig":
        """As published: ten Euler steps; alpha, eta_temperature and the three aggregations belong to a task."""
        return cls(solver=Solver("euler", 10))

    @classmethod
    def cpu(cls) -> "GFPConfig":
        """Small networks, three midpoint steps."""
        hidden = (256, 256, 256)
        critic, actor = NetworkConfig(hidden, layer_norm=True), NetworkConfig(hidden, time_width=64)
        return cls(solver=Solver(steps=3), critic=critic, actor=actor)


class GFP(Policy):
    """Guided Flow Policy.

    Deviation from the published defaults, undone by `GFPConfig.paper`: five midpoint steps in place of ten Euler steps. Deviation from
    the authors' code, after their formula, in both: where a target asks for the flow's next action, that action belongs to the next
    observation, not to the present one.
    Draws: `next` of the target, `flow` and `time` of guided cloning, `actor` of the one-step actor, `act` of acting.
    """

    config_type = GFPConfig
    config: GFPConfig

    def __init__(self, sizes: Sizes, config: GFPConfig, seed: int = 0) -> None:
        """A new policy."""
        super().__init__(sizes, config, seed)
        self.critic = EnsembleCritic(sizes, config.critic, config.critics, self.generator)
        self.field = VelocityField(sizes, config.actor, self.generator)
        self.actor = OneStepActor(sizes, config.actor, self.generator)
        self.target_critic = running_copy(self.critic)

    def losses(self, transitions: Transitions, draws: Draws) -> Losses:
        """`critic`, `flow` (guided), `distill` (times alpha) and `climb`."""
        action, observation = transitions.flat_action, transitions.observation
        target = self.target(transitions, draws.normal("next", *action.shape))
        critic = td_loss(self.critic(observation, action), target, transitions.valid)
        noise, t = draws.normal("flow", *action.shape), draws.uniform("time", len(action), 1)
        z = draws.normal("actor", *action.shape)
        end, jump = self.end(observation, z), self.actor(observation, z)
        with held(self.critic):
            climb, values = climbing_loss(jump, lambda made: aggregate(self.critic(observation, made), self.config.q_agg), normalize=True)
        guidance = self.guidance(transitions, jump.detach().clamp(-1.0, 1.0), end, value_scale(values))
        flow = flow_matching_loss(self.field.at(observation), action, noise, t, guidance * transitions.valid)
        terms = {"critic": critic, "flow": flow, "distill": self.config.alpha * distillation_loss(jump, end), "climb": climb}
        return Losses(terms, {"target": target.mean(), "guidance": guidance.mean()})

    @torch.no_grad()
    def target(self, transitions: Transitions, noise: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        """The target of the critics: the value of what actor, flow or both do next, from the same noise."""
        following = transitions.next_observation
        value = self.value(
            self.config.target_agg,
            following,
            lambda: self.actor(following, noise).clamp(-1.0, 1.0),
            lambda: self.end(following, noise),
        )
        return td_target(transitions, value, self.config.learning.discount)

    @torch.no_grad()
    def guidance(
        self, transitions: Transitions, mine: Float[Tensor, "B A"], end: Float[Tensor, "B A"], scale: Float[Tensor, ""]
    ) -> Float[Tensor, " B"]:
        """Weights of recorded actions: the softmax of their values against those of a reference, sigmoid(scale / eta (Q - Q_ref)).

        Args:
            transitions: with the recorded actions.
            mine: the actor's actions, clipped.
            end: the flow's, clipped.
            scale: 1 / mean|value|.

        Returns:
            Weights in (0, 1), 1/2 for an action as good as the reference; all 1 for an eta of 0.
        """
        if self.config.eta_temperature == 0.0:
            return torch.ones_like(transitions.reward)
        observation = transitions.observation
        recorded = aggregate(self.target_critic(observation, transitions.flat_action), self.config.q_agg)
        reference = self.value(self.config.guidance_agg, observation, lambda: mine, lambda: end)
        return (scale / self.config.eta_temperature * (recorded - reference)).sigmoid()

    @torch.no_grad()
    def end(self, observation: Float[Tensor, "B O"], noise: Float[Tensor, "B A"]) -> Float[Tensor, "B A"]:
        """End points of the flow, clipped."""
        return integrate(self.field.at(observation), noise, self.config.solver).clamp(-1.0, 1.0)

    def value(
        self, whose: Reference, observation: Float[Tensor, "B O"], actor: Callable[[], Tensor], flow: Callable[[], Tensor]
    ) -> Float[Tensor, " B"]:
        """Values, by the running copy of the critics, of the actions that `actor` and `flow` give, each asked only if needed."""
        asked = {"actor": [actor], "flow": [flow]}.get(whose, [actor, flow])
        values = torch.stack([aggregate(self.target_critic(observation, action()), self.config.q_agg) for action in asked])
        return values.amax(0) if whose == "max" else aggregate(values, "min" if whose == "min" else "mean")

    def after_update(self) -> None:
        """The running copy of the critics."""
        polyak(self.target_critic, self.critic, self.config.learning.polyak)

    def choose(self, observation: Float[Tensor, "B O"], draws: Draws) -> Float[Tensor, "B A"]:
        """One step of the actor from fresh noise, clipped."""
        return self.actor(observation, draws.normal("act", len(observation), self.sizes.action)).clamp(-1.0, 1.0)
