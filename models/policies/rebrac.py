"""ReBRAC: a deterministic actor and twin critics, both held to what was recorded.

Source: Tarasov et al., Revisiting the Minimalist Approach to Offline Reinforcement Learning (2023).
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from models.policies.critics import aggregate, held, polyak, running_copy, td_loss, td_target, value_scale
from models.policies.draws import Draws
from models.policies.networks import EnsembleCritic, NetworkConfig, OneStepActor, Sizes
from models.policies.policy import LearningConfig, Losses, Policy
from models.policies.transitions import Transitions


@dataclass(frozen=True)
class ReBRACConfig:
    """How ReBRAC learns."""

    alpha_actor: float = 0.01  # square distance of the actor from recorded actions, against a normalised value
    alpha_critic: float = 0.01  # square distance of the next action from the recorded one, in units of the value
    noise: float = 0.2  # spread of the noise on next actions
    noise_clip: float = 0.5  # of that noise
    actor_freq: int = 2  # updates of the critics for each of the actor and the running copies
    critics: int = 2  # members of the ensemble
    critic: NetworkConfig = field(default_factory=lambda: NetworkConfig(layer_norm=True))  # each critic
    actor: NetworkConfig = field(default_factory=NetworkConfig)  # before its tanh
    learning: LearningConfig = field(default_factory=LearningConfig)  # rates

    @classmethod
    def paper(cls) -> "ReBRACConfig":
        """As published: three layers of 256 ReLU; both alphas belong to a task."""
        hidden = (256, 256, 256)
        return cls(critic=NetworkConfig(hidden, "relu", layer_norm=True), actor=NetworkConfig(hidden, "relu"))

    @classmethod
    def cpu(cls) -> "ReBRACConfig":
        """Small networks."""
        hidden = (256, 256, 256)
        return cls(critic=NetworkConfig(hidden, layer_norm=True), actor=NetworkConfig(hidden))


class ReBRAC(Policy):
    """ReBRAC; the networks have the form of the other policies here, unless `ReBRACConfig.paper` is asked for.

    The critics' penalty needs next actions as `ReplayBuffer` gives them, and is 0 where there is none.
    Draws: `next` of the target; acting is deterministic.
    """

    config_type = ReBRACConfig
    config: ReBRACConfig

    def __init__(self, sizes: Sizes, config: ReBRACConfig, seed: int = 0) -> None:
        """A new policy."""
        super().__init__(sizes, config, seed)
        self.critic = EnsembleCritic(sizes, config.critic, config.critics, self.generator)
        self.actor = OneStepActor(sizes, config.actor, self.generator, noisy=False)
        self.target_critic, self.target_actor = running_copy(self.critic), running_copy(self.actor)

    def losses(self, transitions: Transitions, draws: Draws) -> Losses:
        """`critic`; at every `actor_freq`-th update also `climb` and `clone` (times alpha_actor)."""
        action, observation = transitions.flat_action, transitions.observation
        target = self.target(transitions, draws.normal("next", *action.shape))
        terms = {"critic": td_loss(self.critic(observation, action), target, transitions.valid)}
        if self.updates % self.config.actor_freq == 0:
            mine = self.actor(observation).tanh()
            with held(self.critic):
                values = aggregate(self.critic(observation, mine), "min")
            terms["climb"] = -value_scale(values) * values.mean()
            terms["clone"] = self.config.alpha_actor * ((mine - action).square().sum(-1) * transitions.valid).mean()
        return Losses(terms, {"target": target.mean()})

    @torch.no_grad()
    def target(self, transitions: Transitions, noise: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        """The target of the critics: the least value of a noisy next action, less its distance from the recorded one."""
        config, following = self.config, transitions.next_observation
        aside = (config.noise * noise).clamp(-config.noise_clip, config.noise_clip)
        action = (self.target_actor(following).tanh() + aside).clamp(-1.0, 1.0)
        value = aggregate(self.target_critic(following, action), "min")
        if transitions.next_action.shape == action.shape:  # not of chunks
            value = value - config.alpha_critic * transitions.has_next * (action - transitions.next_action).square().sum(-1)
        return td_target(transitions, value, config.learning.discount)

    def after_update(self) -> None:
        """The running copies, when the actor has learned."""
        if (self.updates - 1) % self.config.actor_freq == 0:
            polyak(self.target_critic, self.critic, self.config.learning.polyak)
            polyak(self.target_actor, self.actor, self.config.learning.polyak)

    def choose(self, observation: Float[Tensor, "B O"], draws: Draws) -> Float[Tensor, "B A"]:
        """The actor's action."""
        return self.actor(observation).tanh()
