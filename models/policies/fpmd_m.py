"""Flow policy mirror descent with a mean flow: weighted average velocities, which jump to the policy's own best actions.

Sources: Chen et al., One-Step Flow Policy Mirror Descent (2025), the variant M; Geng et al., Mean Flows (2025).
"""

from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from models.policies.critics import polyak, running_copy
from models.policies.draws import Draws
from models.policies.meanflow import MeanField, meanflow_jump, meanflow_loss
from models.policies.mirror_descent import Mirror, MirrorConfig, Sampler, effective_share
from models.policies.networks import NetworkConfig, Sizes, VelocityField
from models.policies.policy import LearningConfig, Losses, Policy
from models.policies.transitions import Transitions


@dataclass(frozen=True)
class FPMDMConfig:
    """How mirror descent with a mean flow learns and acts."""

    one_step: bool = False  # after `eval()`: one jump from noise, without a choice
    jumps: int = 1  # from noise to an action
    mirror: MirrorConfig = field(default_factory=MirrorConfig)  # candidates, weights, exploration
    critic: NetworkConfig = field(default_factory=lambda: NetworkConfig((256, 256, 256), "mish", layer_norm=True))  # each critic
    flow: NetworkConfig = field(default_factory=lambda: NetworkConfig((256, 256, 256), "mish", time_width=16))  # average velocity
    learning: LearningConfig = field(default_factory=LearningConfig)  # rates, the policy's at first

    @classmethod
    def paper(cls) -> "FPMDMConfig":
        """As published: one jump without a choice once it is deployed; weights of plain values; critics without normalisation."""
        return cls(True, mirror=MirrorConfig(standardize=False), critic=NetworkConfig((256, 256, 256), "mish"))

    @classmethod
    def cpu(cls) -> "FPMDMConfig":
        """Eight candidates."""
        return cls(mirror=MirrorConfig(num_particles=8))


class FPMDM(Policy):
    """Flow policy mirror descent, M.

    One jump ends where the whole flow does, so that one call keeps two actions that are as good apart. Time runs from noise to action,
    as everywhere here. It explores while it is in training; `eval()` stops that.

    Deviations from the authors' code, undone by `FPMDMConfig.paper`: weights of values less their mean, in spreads, limited to +-3;
    after `eval()` still the best of several; critics with layer normalisation. In `paper` too: candidates are clipped before they
    are valued; the running spread counts its first batches alike; several jumps have the width of a share of the time each.
    Draws: `next` (candidates first), `explore` (the same) of the target and of the actions that teach; `flow` and `times` (two) at
    updates of the policy; `act` and, in training, `explore` of acting (in one step, `act` without candidates).
    """

    config_type = FPMDMConfig
    config: FPMDMConfig

    def __init__(self, sizes: Sizes, config: FPMDMConfig, seed: int = 0) -> None:
        """A new policy."""
        super().__init__(sizes, config, seed)
        self.mirror = Mirror(sizes, config.mirror, config.critic, self.generator)
        self.field = VelocityField(sizes, config.flow, self.generator, times=2)
        self.acting_field = running_copy(self.field)

    def losses(self, transitions: Transitions, draws: Draws) -> Losses:
        """`critic`; at every `policy_freq`-th update `flow`, at every `exploration_freq`-th `exploration`."""
        mirror, config, following = self.mirror, self.config.mirror, transitions.next_observation
        action = mirror.best(following, self.sampler(self.field.mean_at(following)), draws, "next", explore=True)
        critic, target = mirror.critic_loss(transitions, action, self.config.learning.discount)
        terms, metrics = {"critic": critic}, {"target": target.mean()}
        if self.updates % config.policy_freq == 0:
            weight = mirror.weights(mirror.value(following, action))
            noise, times = draws.normal("flow", *action.shape), draws.uniform("times", len(action), 2)
            terms["flow"] = meanflow_loss(self.field.mean_at(following), action, noise, times, weight)
            metrics["effective_share"] = effective_share(weight)
        if self.updates % config.exploration_freq == 0:
            terms["exploration"] = mirror.exploration_loss()
        return Losses(terms, metrics)

    def sampler(self, field: MeanField) -> Sampler:
        """The jumps of a field, from start points to actions."""
        return lambda start: meanflow_jump(field, start, self.config.jumps)

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
        """The best of several jumps of the running copy, with noise while it is in training."""
        if self.config.one_step and not self.training:
            start = self.config.mirror.start_spread * draws.normal("act", len(observation), self.sizes.action)
            return self.sampler(self.acting_field.mean_at(observation))(start).clamp(-1.0, 1.0)
        return self.mirror.best(observation, self.sampler(self.acting_field.mean_at(observation)), draws, "act", self.training)
