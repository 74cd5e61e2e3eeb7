"""Streaming flow policy: the chunk of actions itself is the trajectory of a flow, and each action can be sent once it is integrated.

Source: Jiang et al., Streaming Flow Policy: Simplifying Diffusion/Flow-Matching Policies by Treating Action Trajectories as Flow
Trajectories (2025).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from models.policies.critics import polyak, running_copy
from models.policies.draws import Draws
from models.policies.flow_steps import Solver, integrate
from models.policies.networks import NetworkConfig, Sizes, VelocityField
from models.policies.policy import LearningConfig, Losses, Policy
from models.policies.streaming import StreamingConfig, latent_target, streaming_target
from models.policies.transitions import Transitions


@dataclass(frozen=True)
class SFPConfig:
    """How a streaming flow clones chunks."""

    horizon: int = 16  # actions of a chunk
    latent: bool = False  # carries a latent beside the action, so that a known start can branch
    start: int | None = None  # first column of the observation that holds where the chunk starts; None: chunks start at 0
    act_noise: float = 0.0  # spread of the start when acting without a latent, in units of the action
    tube: StreamingConfig = field(default_factory=StreamingConfig)  # around the chunk
    solver: Solver = field(default_factory=lambda: Solver(steps=1))  # within one action
    flow: NetworkConfig = field(default_factory=lambda: NetworkConfig(time_width=64))  # velocity field
    learning: LearningConfig = field(default_factory=LearningConfig)  # rate, and the pace of the average that acts

    @classmethod
    def paper(cls) -> "SFPConfig":
        """As the published experiment on Push-T: no pull to the chunk, a slower rate, Euler steps, fifteen actions after the start."""
        tube = StreamingConfig(k=0.0)
        return cls(horizon=15, tube=tube, solver=Solver("euler", 6), learning=LearningConfig(rate=1e-4))

    @classmethod
    def cpu(cls) -> "SFPConfig":
        """Small networks, chunks of eight."""
        return cls(horizon=8, flow=NetworkConfig((256, 256, 256), time_width=16))


class SFP(Policy):
    """A flow over single actions whose time is the time of execution.

    The waypoints of a chunk are its start, which the observation tells (the last action, or the state where actions are states) or
    which is 0, and the `horizon` recorded actions; so the first one is what is known when acting, always.
    Deviations from the published experiment: the pull of the paper's equations (k = 2.5), which its code for Push-T leaves out, undone
    by `SFPConfig.paper`; a perceptron in place of a one-dimensional U-Net; Adam without decay at one rate; an average of the weights
    at one pace.
    Draws: `start`, `time` and, with a latent, `latent` of the loss; `act` of acting.
    """

    config_type = SFPConfig
    config: SFPConfig

    def __init__(self, sizes: Sizes, config: SFPConfig, seed: int = 0) -> None:
        """A new policy; ValueError if an action of `sizes`, a whole chunk, is not `horizon` actions, or the start is no part of it."""
        super().__init__(sizes, config, seed)
        self.single = sizes.action // config.horizon
        if self.single * config.horizon != sizes.action:
            raise ValueError(f"a chunk of {sizes.action} numbers is not {config.horizon} actions")
        if config.start is not None and not 0 <= config.start <= sizes.observation - self.single:
            raise ValueError(f"column {config.start} of {sizes.observation} begins no start of {self.single} numbers")
        moved = Sizes(sizes.observation, self.single * (2 if config.latent else 1))
        self.field = VelocityField(moved, config.flow, self.generator)
        self.averaged = running_copy(self.field)

    def start_of(self, observation: Float[Tensor, "B O"]) -> Float[Tensor, "B A"]:
        """Where chunks start."""
        if self.config.start is None:
            return observation.new_zeros(len(observation), self.single)
        return observation[:, self.config.start : self.config.start + self.single]

    def losses(self, transitions: Transitions, draws: Draws) -> Losses:
        """`flow`: square of the field less the velocity of a point near the chunk; with a latent, of both."""
        observation, count = transitions.observation, len(transitions)
        chunk = transitions.flat_action.unflatten(1, (self.config.horizon, self.single))
        waypoint = torch.cat([self.start_of(observation)[:, None], chunk], 1)
        noise, t = draws.normal("start", count, self.single), draws.uniform("time", count, 1)
        if self.config.latent:
            point, velocity = latent_target(waypoint, noise, draws.normal("latent", count, self.single), t, self.config.tube)
        else:
            point, velocity = streaming_target(waypoint, noise, t, self.config.tube)
        error = (self.field(observation, point, t) - velocity).square().mean(-1)
        return Losses({"flow": (transitions.valid * error).mean()})

    def after_update(self) -> None:
        """The average of the weights."""
        polyak(self.averaged, self.field, self.config.learning.polyak)

    @torch.no_grad()
    def stream(
        self, observation: Float[Tensor, "B O"], draws: Draws, start: Float[Tensor, "B A"] | None = None
    ) -> Iterator[Float[Tensor, "B A"]]:
        """The actions of a chunk one by one, each as soon as it is integrated; leave off early to look anew.

        Args:
            observation: on the policy's device.
            draws: gives `act`.
            start: the last action executed, in place of what the observation tells.

        Yields:
            `horizon` times the next action, clipped to [-1, 1]; the flow goes on from where it was before the clip.
        """
        config = self.config
        point = self.start_of(observation) if start is None else start
        if config.latent or config.act_noise > 0.0:
            noise = draws.normal("act", len(observation), self.single)
            point = torch.cat([point, noise], -1) if config.latent else point + config.act_noise * noise
        velocity = self.averaged.at(observation)
        for tick in range(config.horizon):
            point = integrate(velocity, point, config.solver, tick / config.horizon, (tick + 1) / config.horizon)
            yield point[:, : self.single].clamp(-1.0, 1.0)

    def choose(self, observation: Float[Tensor, "B O"], draws: Draws) -> Float[Tensor, "B A"]:
        """All actions of a chunk in one row."""
        return torch.cat(list(self.stream(observation, draws)), 1)
