"""Implicit flow Q-learning: expectile values of recorded actions, a cloned flow, and the best of its samples.

Sources: Kostrikov et al., Offline Reinforcement Learning with Implicit Q-Learning (2021); Hansen-Estruch et al., IDQL (2023), with a
flow in place of diffusion as in Park, Li and Levine, Flow Q-Learning (2025).
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from models.policies.critics import aggregate, best_of, expectile_loss, polyak, running_copy, td_loss, td_target
from models.policies.draws import Draws
from models.policies.flow_steps import Solver, flow_matching_loss, integrate
from models.policies.networks import EnsembleCritic, NetworkConfig, Sizes, Value, VelocityField
from models.policies.policy import LearningConfig, Losses, Policy
from models.policies.transitions import Transitions


@dataclass(frozen=True)
class IFQLConfig:
    """How implicit flow Q-learning learns and acts."""

    expectile: float = 0.9  # of the values of recorded actions; 0.5: their mean, 1: their maximum
    num_samples: int = 32  # candidates of which the best is done
    critics: int = 2  # members of the ensemble
    solver: Solver = field(default_factory=Solver)  # of acting
    critic: NetworkConfig = field(default_factory=lambda: NetworkConfig(layer_norm=True))  # each critic, and the value
    flow: NetworkConfig = field(default_factory=NetworkConfig)  # velocity field
    learning: LearningConfig = field(default_factory=LearningConfig)  # rates

    @classmethod
    def paper(cls) -> "IFQLConfig":
        """As published: ten Euler steps."""
        return cls(solver=Solver("euler", 10))

    @classmethod
    def cpu(cls) -> "IFQLConfig":
        """Small networks, three midpoint steps, eight candidates."""
        hidden = (256, 256, 256)
        return cls(num_samples=8, solver=Solver(steps=3), critic=NetworkConfig(hidden, layer_norm=True), flow=NetworkConfig(hidden))


class IFQL(Policy):
    """Implicit flow Q-learning.

    Deviation from the published defaults, undone by `IFQLConfig.paper`: five midpoint steps in place of ten Euler steps.
    Draws: `flow` and `time` of behaviour cloning, `act` (candidates first) of acting.
    """

    config_type = IFQLConfig
    config: IFQLConfig

    def __init__(self, sizes: Sizes, config: IFQLConfig, seed: int = 0) -> None:
        """A new policy."""
        super().__init__(sizes, config, seed)
        self.critic = EnsembleCritic(sizes, config.critic, config.critics, self.generator)
        self.value = Value(sizes, config.critic, self.generator)
        self.field = VelocityField(sizes, config.flow, self.generator)
        self.target_critic = running_copy(self.critic)

    def losses(self, transitions: Transitions, draws: Draws) -> Losses:
        """`value`, `critic` and `flow`; no network of an actor is asked for a value."""
        action, observation = transitions.flat_action, transitions.observation
        with torch.no_grad():
            recorded = aggregate(self.target_critic(observation, action), "min")
            target = td_target(transitions, self.value(transitions.next_observation), self.config.learning.discount)
        value = self.value(observation)
        noise, t = draws.normal("flow", *action.shape), draws.uniform("time", len(action), 1)
        terms = {
            "value": expectile_loss((recorded - value) * transitions.valid, self.config.expectile),
            "critic": td_loss(self.critic(observation, action), target, transitions.valid),
            "flow": flow_matching_loss(self.field.at(observation), action, noise, t, transitions.valid),
        }
        return Losses(terms, {"target": target.mean()})

    def after_update(self) -> None:
        """The running copy of the critics."""
        polyak(self.target_critic, self.critic, self.config.learning.polyak)

    def choose(self, observation: Float[Tensor, "B O"], draws: Draws) -> Float[Tensor, "B A"]:
        """Of several end points of the flow, the one that the most doubtful critic likes best."""
        noise = draws.normal("act", self.config.num_samples, len(observation), self.sizes.action)
        candidates = integrate(self.field.at(observation), noise, self.config.solver).clamp(-1.0, 1.0)
        return best_of(candidates, lambda action: aggregate(self.critic(observation, action), "min"))
