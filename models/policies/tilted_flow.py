"""A flow whose law is tilted by a value: a slow field clones behaviour, a fast one samples its law times exp(value).

Source: Li and Levine, Q-learning with Adjoint Matching (2026).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.policies.adjoint import adjoint_matching_loss, lean_adjoint, memoryless_path, value_gradient
from models.policies.critics import polyak, running_copy
from models.policies.draws import Draws
from models.policies.flow_steps import Solver, flow_matching_loss, integrate
from models.policies.networks import NetworkConfig, Sizes, VelocityField
from models.policies.transitions import Transitions


class TiltedFlow(nn.Module):
    """A slow and a fast velocity field with weights of their own, and a running copy of the slow one, which is the base."""

    def __init__(self, sizes: Sizes, config: NetworkConfig, steps: int, generator: torch.Generator) -> None:
        """`steps`: of learning and of acting; the fast field knows the times 0, 1 / steps, ... alone, so acting takes Euler steps there."""
        super().__init__()
        self.sizes, self.steps = sizes, steps
        self.slow = VelocityField(sizes, config, generator)
        self.fast = VelocityField(sizes, config, generator)
        self.target_slow = running_copy(self.slow)

    def cloning_loss(self, transitions: Transitions, draws: Draws) -> Float[Tensor, ""]:
        """The flow-matching loss, of the slow field; draws `flow` and `time`."""
        action = transitions.flat_action
        noise, t = draws.normal("flow", *action.shape), draws.uniform("time", len(action), 1)
        return flow_matching_loss(self.slow.at(transitions.observation), action, noise, t, transitions.valid)

    def tilting_loss(self, observation: Float[Tensor, "B O"], value: Callable[[Tensor], Tensor], draws: Draws) -> Float[Tensor, ""]:
        """The adjoint-matching loss, of the fast field alone.

        Args:
            observation: of the actions.
            value: of clipped actions, (B,), in units of the temperature; its gradient is the terminal adjoint's, reversed.
            draws: gives `start`, (B, A), and `path`, (steps - 1, B, A).

        Returns:
            The loss.
        """
        size = len(observation), self.sizes.action
        fast, base = self.fast.at(observation), self.target_slow.at(observation)
        path = memoryless_path(fast, base, draws.normal("start", *size), draws.normal("path", self.steps - 1, *size), self.steps)
        adjoint = lean_adjoint(base, path, -value_gradient(value, path[-1]))
        return adjoint_matching_loss(fast, path, adjoint, base)

    @torch.no_grad()
    def end(self, observation: Float[Tensor, "B O"], noise: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch A"]:
        """End points of the fast flow, clipped; noise may have candidates' axes before that of the batch."""
        return integrate(self.fast.at(observation), noise, Solver("euler", self.steps)).clamp(-1.0, 1.0)

    def follow(self, rate: float) -> None:
        """The base takes in a share of the slow field."""
        polyak(self.target_slow, self.slow, rate)
