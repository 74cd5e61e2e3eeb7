"""The memoryless SDE of a flow, its lean adjoint, and the loss that tilts the flow by a value.

Minimising the loss makes the fast flow sample from the base flow's law times exp(value), if the terminal adjoint is minus the gradient
of that value. Time is cut into K steps of h = 1 / K, t_i = i h, and the noise scale is sigma_i^2 = 2 (1 - t_i + h) / (t_i + h).
Sources: Domingo-Enrich et al., Adjoint Matching (2024), whose shift by h keeps sigma finite; Li and Levine, Q-learning with Adjoint
Matching (2026).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from models.policies.flow_steps import Field, times_of


def noise_scale(steps: int, like: Tensor) -> Float[Tensor, "K 1 1"]:
    """sigma_i of each step."""
    shifted = torch.arange(1, steps + 1, device=like.device, dtype=like.dtype) / steps  # t_i + h
    return (2.0 * (1.0 + 2.0 / steps - shifted) / shifted).sqrt()[:, None, None]


def memoryless_path(
    fast: Field, base: Field, start: Float[Tensor, "B A"], noise: Float[Tensor, "J B A"], steps: int
) -> Float[Tensor, "L B A"]:
    """Simulates the memoryless SDE of a fast field; its last step is one of the base flow without noise. No gradients.

    x_{i+1} = x_i + h (2 v(x_i, t_i) - x_i / (t_i + h)) + sqrt(h) sigma_i noise_i.

    Args:
        fast: the field that is simulated.
        base: the field of the last step.
        start: standard normal points.
        noise: standard normal, of the K - 1 first steps.
        steps: K.

    Returns:
        All K + 1 points, the start first.
    """
    width, scale = 1.0 / steps, noise_scale(steps, start)
    path = [start]
    with torch.no_grad():
        for i in range(steps - 1):
            x, t = path[-1], i * width
            drift = 2.0 * fast(x, times_of(x, t)) - x / (t + width)
            path.append(x + width * drift + width**0.5 * scale[i] * noise[i])
        last = path[-1]
        path.append(last + width * base(last, times_of(last, 1.0 - width)))
    return torch.stack(path)


def value_gradient(value: Callable[[Tensor], Tensor], action: Float[Tensor, "B A"], clip: bool = True) -> Float[Tensor, "B A"]:
    """Gradient of values (B,) with respect to actions; with `clip`, of the value of the clipped action: 0 outside [-1, 1]."""
    with torch.enable_grad():
        action = action.detach().requires_grad_()
        return torch.autograd.grad(value(action.clamp(-1.0, 1.0) if clip else action).sum(), action)[0]


def lean_adjoint(base: Field, path: Float[Tensor, "L B A"], terminal: Float[Tensor, "B A"]) -> Float[Tensor, "K B A"]:
    """Carries a terminal adjoint back along a path, through the base drift alone.

    g_i = g_{i+1} + h J_i^T g_{i+1} with J_i = d/dx (2 v(x, t_i + h) - x / (t_i + h)) at x_i.

    Args:
        base: the field whose law is tilted.
        path: of `memoryless_path`.
        terminal: g_K, minus the gradient of the value at the end.

    Returns:
        g_0 to g_{K-1}.
    """
    steps, adjoint, carried = len(path) - 1, terminal, []
    width = 1.0 / steps
    for i in reversed(range(steps)):
        t = (i + 1) * width
        with torch.enable_grad():
            x = path[i].detach().requires_grad_()
            (pulled,) = torch.autograd.grad(base(x, times_of(x, t)), x, adjoint)
        adjoint = adjoint + width * (2.0 * pulled - adjoint / t)
        carried.append(adjoint)
    return torch.stack(carried[::-1])


def adjoint_matching_loss(
    correction: Field, path: Float[Tensor, "L B A"], adjoint: Float[Tensor, "K B A"], base: Field | None = None
) -> Float[Tensor, ""]:
    """Mean over the batch of sum_i sum_d (2 / sigma_i (v_fast - v_base)(x_i, t_i) + sigma_i g_i)^2.

    Args:
        correction: the fast field, which learns; or v_fast - v_base itself, where that is what learns.
        path: of `memoryless_path`.
        adjoint: of `lean_adjoint`.
        base: the base field, without gradient; None where `correction` is the difference.

    Returns:
        The loss. Its scale by sigma is part of it: it keeps the optimum unbiased near both ends.
    """
    steps = len(adjoint)
    points, scale = path[:-1], noise_scale(steps, path)
    t = torch.arange(steps, device=path.device, dtype=path.dtype)[:, None, None] / steps
    t = t.expand(*points.shape[:-1], 1)
    change = correction(points, t)
    if base is not None:
        with torch.no_grad():
            known = base(points, t)
        change = change - known
    return (2.0 / scale * change + scale * adjoint.detach()).square().sum((0, 2)).mean()
