"""Average velocities of a flow, which jump from noise to an action in one call.

u(x_t, t, r) is the mean of the velocity along the flow from time t to a later time r: x_r = x_t + (r - t) u(x_t, t, r). Derived with
respect to t along the flow, that is u = v + (r - t) du/dt with du/dt = du/dx v + du/dt.
Source: Geng et al., Mean Flows for One-step Generative Modeling (2025), there with time running from data to noise.
"""

import warnings
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp

from models.policies.flow_steps import interpolate, times_of

MeanField = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x (..., A), t (..., 1), r (..., 1)) -> average velocity (..., A)


def meanflow_loss(
    field: MeanField,
    action: Float[Tensor, "B A"],
    noise: Float[Tensor, "B A"],
    times: Float[Tensor, "B 2"],
    weight: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over the batch of weight * mean over numbers of (u(x_t, t, r) - sg[v + (r - t) du/dt])^2 with v = action - noise.

    Args:
        field: learns.
        action: end points.
        noise: start points.
        times: two in [0, 1] of each sample, in any order: the earlier is t, the later is r; equal ones match the velocity itself.
        weight: of each sample, not normalised; None: 1.

    Returns:
        The loss; the derivative is taken forward (JVP), and no gradient flows through it.
    """
    t, r = times.amin(-1, keepdim=True), times.amax(-1, keepdim=True)
    velocity = action - noise
    ahead = (velocity, torch.ones_like(t), torch.zeros_like(r))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch's own import at the first forward derivative
        both = jvp(field, (interpolate(noise, action, t), t, r), ahead)
    target = (velocity + (r - t) * both[1]).detach()
    error = (both[0] - target).square().mean(-1)
    return (error if weight is None else weight * error).mean()


def meanflow_jump(field: MeanField, noise: Float[Tensor, "*batch A"], steps: int = 1) -> Float[Tensor, "*batch A"]:
    """From noise to actions in equal jumps, one by default; not clipped."""
    x = noise
    for k in range(steps):
        x = x + field(x, times_of(x, k / steps), times_of(x, (k + 1) / steps)) / steps
    return x
