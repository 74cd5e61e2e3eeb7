"""Behaviour cloning by flow matching.

Source: Lipman et al., Flow Matching for Generative Modeling (2023), conditioned on the observation.
"""

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from models.policies.draws import Draws
from models.policies.flow_steps import Solver, flow_matching_loss, integrate
from models.policies.networks import NetworkConfig, Sizes, VelocityField
from models.policies.policy import LearningConfig, Losses, Policy
from models.policies.transitions import Transitions


@dataclass(frozen=True)
class BCConfig:
    """How a flow clones behaviour."""

    solver: Solver = field(default_factory=Solver)  # of acting
    flow: NetworkConfig = field(default_factory=NetworkConfig)  # velocity field
    learning: LearningConfig = field(default_factory=LearningConfig)  # rate; nothing is discounted

    @classmethod
    def paper(cls) -> "BCConfig":
        """Ten Euler steps, as the base of Flow Q-Learning is published."""
        return cls(solver=Solver("euler", 10))

    @classmethod
    def cpu(cls) -> "BCConfig":
        """Small networks, three midpoint steps."""
        return cls(Solver(steps=3), NetworkConfig((256, 256, 256)))


class BC(Policy):
    """A flow that samples the recorded actions of an observation.

    Deviation from the published sampler, undone by `BCConfig.paper`: five midpoint steps in place of ten Euler steps, which narrow
    the law. Draws: `flow` and `time` of the loss, `act` of acting.
    """

    config_type = BCConfig
    config: BCConfig

    def __init__(self, sizes: Sizes, config: BCConfig, seed: int = 0) -> None:
        """A new policy."""
        super().__init__(sizes, config, seed)
        self.field = VelocityField(sizes, config.flow, self.generator)

    def losses(self, transitions: Transitions, draws: Draws) -> Losses:
        """`flow`: the flow-matching loss."""
        action = transitions.flat_action
        noise, t = draws.normal("flow", *action.shape), draws.uniform("time", len(action), 1)
        return Losses({"flow": flow_matching_loss(self.field.at(transitions.observation), action, noise, t, transitions.valid)})

    def choose(self, observation: Float[Tensor, "B O"], draws: Draws) -> Float[Tensor, "B A"]:
        """End points of the flow from fresh noise, clipped."""
        noise = draws.normal("act", len(observation), self.sizes.action)
        return integrate(self.field.at(observation), noise, self.config.solver).clamp(-1.0, 1.0)
