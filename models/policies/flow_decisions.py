"""A flow as a sequence of decisions: the state is a point on the way from noise to an action, the decision its velocity.

Step k of T carries x to x + u(x, k / T) / T; the last one is worth what the critic says of the action, those before what the flow's
value says of where they lead. Source: Hu et al., Decision Flow Policy Optimization (2025), for the view; losses of the policies are ours.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.policies.critics import aggregate
from models.policies.flow_steps import Field, interpolate, times_of


def roll_path(field: Field, noise: Float[Tensor, "B A"], steps: int) -> Float[Tensor, "L B A"]:
    """All T + 1 points of an Euler roll, the noise first, not clipped."""
    path = [noise]
    for k in range(steps):
        path.append(path[-1] + field(path[-1], times_of(noise, k / steps)) / steps)
    return torch.stack(path)


@torch.no_grad()
def flow_states(
    field: Field, action: Float[Tensor, "B A"], noise: Float[Tensor, "B A"], place: Float[Tensor, "B 1"], steps: int
) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B 1"]]:
    """Points where decisions are taken: every other row on the straight path to a recorded action, the rest on the policy's own way.

    Args:
        field: the policy's.
        action: recorded ones.
        noise: where the ways begin.
        place: uniform in [0, 1): which of the steps.
        steps: T.

    Returns:
        Points, and their times k / T.
    """
    step = (place * steps).floor().clamp_max(steps - 1)
    t = step / steps
    own = roll_path(field, noise, steps).gather(0, step.long().expand(-1, noise.shape[-1])[None])[0]
    recorded = torch.arange(len(noise), device=noise.device)[:, None] % 2 == 0
    return torch.where(recorded, interpolate(noise, action, t), own), t


@dataclass(frozen=True)
class Judges:
    """What tells the worth of a decision."""

    critic: nn.Module  # (observation, action) -> values (E, B), of which the least counts
    value: nn.Module  # (observation, x, t) -> values (1, B) of points on the way

    def worth(
        self, observation: Float[Tensor, "B O"], after: Float[Tensor, "B A"], t: Float[Tensor, "B 1"], steps: int
    ) -> Float[Tensor, " B"]:
        """What a decision that led to a point is worth.

        Args:
            observation: of the agent.
            after: the point after the step, not clipped.
            t: times k / T of the steps.
            steps: T.

        Returns:
            The value of the clipped action after the last step, that of the point at the next time after the others.
        """
        last = t[:, 0] > 1.0 - 1.5 / steps
        action = aggregate(self.critic(observation, after.clamp(-1.0, 1.0)), "min")
        return torch.where(last, action, self.value(observation, after, t + 1.0 / steps)[0])
