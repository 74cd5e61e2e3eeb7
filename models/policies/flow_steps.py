"""Flows on straight paths: interpolation, the flow-matching loss and the integration.

x_t = (1 - t) x_0 + t x_1 from noise x_0 to an action x_1, with velocity x_1 - x_0.
Source: Lipman et al., Flow Matching for Generative Modeling (2023).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

Field = Callable[[Tensor, Tensor], Tensor]  # (x (..., A), t (..., 1)) -> velocity (..., A)


@dataclass(frozen=True)
class Solver:
    """How a flow is integrated."""

    method: Literal["euler", "midpoint", "heun"] = "midpoint"  # Euler calls the field once a step, the others twice
    steps: int = 5  # of equal width


def interpolate(noise: Float[Tensor, "*batch A"], action: Float[Tensor, "*batch A"], t: Tensor) -> Float[Tensor, "*batch A"]:
    """The point at time t, (..., 1), on the straight path."""
    return (1.0 - t) * noise + t * action


def flow_matching_loss(
    field: Field,
    action: Float[Tensor, "B A"],
    noise: Float[Tensor, "B A"],
    t: Float[Tensor, "B 1"],
    weight: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over the batch of weight * mean over numbers of (v(x_t, t) - (action - noise))^2.

    Args:
        field: learns.
        action: end points.
        noise: start points.
        t: times in [0, 1].
        weight: of each sample, not normalised; None: 1.

    Returns:
        The loss; its minimiser is the mean of action - noise given x_t, weighted.
    """
    error = (field(interpolate(noise, action, t), t) - (action - noise)).square().mean(-1)
    return (error if weight is None else weight * error).mean()


def integrate(
    field: Field, x: Float[Tensor, "*batch A"], solver: Solver, start: float = 0.0, end: float = 1.0
) -> Float[Tensor, "*batch A"]:
    """Carries points along the field.

    Args:
        field: velocity.
        x: points at time `start`.
        solver: method and steps.
        start: time.
        end: time; may lie before `start`.

    Returns:
        Points at time `end`, not clipped; gradients flow through all steps unless the caller forbids them.

    Raises:
        ValueError: an unknown method, or no steps.
    """
    if solver.method not in _STEPS or solver.steps < 1:
        raise ValueError(f"{solver.steps} steps by {solver.method!r}; known are {sorted(_STEPS)}, of at least 1 step")
    width, step = (end - start) / solver.steps, _STEPS[solver.method]
    for k in range(solver.steps):
        x = step(field, x, start + k * width, width)
    return x


def times_of(x: Float[Tensor, "*batch A"], t: float) -> Float[Tensor, "*batch 1"]:
    """One time for all points."""
    return x.new_full((*x.shape[:-1], 1), t)


def _euler(field: Field, x: Tensor, t: float, width: float) -> Tensor:
    return x + width * field(x, times_of(x, t))


def _midpoint(field: Field, x: Tensor, t: float, width: float) -> Tensor:
    half = x + 0.5 * width * field(x, times_of(x, t))
    return x + width * field(half, times_of(x, t + 0.5 * width))


def _heun(field: Field, x: Tensor, t: float, width: float) -> Tensor:
    first = field(x, times_of(x, t))
    return x + 0.5 * width * (first + field(x + width * first, times_of(x, t + width)))


_STEPS: dict[str, Callable[[Field, Tensor, float, float], Tensor]] = {"euler": _euler, "midpoint": _midpoint, "heun": _heun}
