"""Flow policy mirror descent with a rectified flow: weighted flow matching on the policy's own best actions.

Source: Chen et al., One-Step Flow Policy Mirror Descent (2025), the variant R.
"""

from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from models.policies.critics import polyak, running_copy
from models.policies.draws import Draws
from models.policies.flow_steps import Field, Solver, flow_matching_loss, integrate
from models.policies.mirror_descent import Mirror, MirrorConfig, Sampler, effective_share
from models.policies.networks import NetworkConfig, Sizes, VelocityField
from models.policies.policy import LearningConfig, Losses, Policy
from models.policies.transitions import Transitions


@dataclass(frozen=True)
class FPMDRConfig:
    """How mirror descent with a rectified flow learns and acts."""

    one_step: bool = False  # after `eval()`: one Euler step, without a choice; fails between two actions that are as good
    solver: Solver = field(default_factory=Solver)  # of candidates
    mirror: MirrorConfig = field(default_factory=MirrorConfig)  # candidates, weights, exploration
    critic: NetworkConfig = field(default_factory=lambda: NetworkConfig((256, 256, 256), "mish", layer_norm=True))  # each critic
    flow: NetworkConfig = field(default_factory=lambda: NetworkConfig((256, 256, 256), "mish", time_width=16))  # velocity field
    learning: LearningConfig = field(default_factory=LearningConfig)  # rates, the policy's at first

    @classmethod
    def paper(cls) -> "FPMDRConfig":
        """As published: twenty Euler steps, one once it is deployed; weights of plain values; critics without normalisation."""
        critic = NetworkConfig((256, 256, 256), "mish")
        return cls(True, Solver("euler", 20), MirrorConfig(standardize=False), critic)

    @classmethod
    def cpu(cls) -> "FPMDRConfig":
        """Four candidates, three midpoint steps."""
        return cls(solver=Solver(steps=3), mirror=MirrorConfig(num_particles=4))


class FPMDR(Policy):
    """Flow policy mirror descent, R.

    One step from any noise ends at the mean of the actions: their distance W2 is the spread of the actions, which is small once the
    policy has settled on one, and large between two that are as good (left or right of an obstacle). So acting takes several steps.
    It explores while it is in training; `eval()` stops that.

    Deviations from the authors' code, undone by `FPMDRConfig.paper`: weights of values less their mean, in spreads, limited to +-3;
    five midpoint steps in place of twenty Euler steps, and not one of them alone after `eval()`; critics with layer normalisation.
    In `paper` too: candidates are clipped before they are valued; the running spread counts its first batches alike.
    Draws: `next` (candidates first), `explore` (the same) of the target and of the actions that teach; `flow` and `time` at updates
    of the policy; `act` and, in training, `explore` of acting (in one step, `act` without candidates).
    """

    config_type = FPMDRConfig
    config: FPMDRConfig

    def __init__(self, sizes: Sizes, config: FPMDRConfig, seed: int = 0) -> None:
        """A new policy."""
        super().__init__(sizes, config, seed)
        self.mirror = Mirror(sizes, config.mirror, config.critic, self.generator)
        self.field = VelocityField(sizes, config.flow, self.generator)
        self.acting_field = running_copy(self.field)

    def losses(self, transitions: Transitions, draws: Draws) -> Losses:
        """`critic`; at every `policy_freq`-th update `flow`, at every `exploration_freq`-th `exploration`."""
        mirror, config, following = self.mirror, self.config.mirror, transitions.next_observation
        action = mirror.best(following, self.sampler(self.field.at(following)), draws, "next", explore=True)
        critic, target = mirror.critic_loss(transitions, action, self.config.learning.discount)
        terms, metrics = {"critic": critic}, {"target": target.mean()}
        if self.updates % config.policy_freq == 0:
            weight = mirror.weights(mirror.value(following, action))
            noise, t = draws.normal("flow", *action.shape), draws.uniform("time", len(action), 1)
            terms["flow"] = flow_matching_loss(self.field.at(following), action, noise, t, weight)
            metrics["effective_share"] = effective_share(weight)
        if self.updates % config.exploration_freq == 0:
            terms["exploration"] = mirror.exploration_loss()
        return Losses(terms, metrics)

    def sampler(self, field: Field) -> Sampler:
        """The flow of a field, from start points to actions."""
        return lambda start: integrate(field, start, self.config.solver)

    def jump(self, observation: Float[Tensor, "B O"], start: Float[Tensor, "B A"]) -> Float[Tensor, "B A"]:
        """One Euler step, x + v(x, 0), clipped: the mean action, once the field is learned."""
        return integrate(self.acting_field.at(observation), start, Solver("euler", 1)).clamp(-1.0, 1.0)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Critics, the policy, whose rate falls, and the exploration."""
        return self.mirror.parameter_groups(self.field)

    def before_step(self) -> None:
        """The rate of the policy."""
        self.optimizer.param_groups[1]["lr"] = self.config.mirror.policy_rate(self.config.learning.rate, self.updates)

    def after_update(self) -> None:
        """The running copies, when the policy has learned."""
        if (self.updates - 1) % self.config.mirror.policy_freq == 0:
            self.mirror.follow(self.config.learning.polyak)
            polyak(self.acting_field, self.field, self.config.learning.polyak)

    def choose(self, observation: Float[Tensor, "B O"], draws: Draws) -> Float[Tensor, "B A"]:
        """The best of several end points of the running copy's flow, with noise while it is in training."""
        if self.config.one_step and not self.training:
            start = self.config.mirror.start_spread * draws.normal("act", len(observation), self.sizes.action)
            return self.jump(observation, start)
        return self.mirror.best(observation, self.sampler(self.acting_field.at(observation)), draws, "act", self.training)
