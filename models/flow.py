"""Flow matching on straight paths: the loss and the integration.

The state moves from noise x_0 to an expert x_1 on x_t = (1 - t) x_0 + t x_1 with velocity x_1 - x_0. The network says where the
flow will end, E[x_1 | x_t], so its velocity is (end - x_t) / (1 - t).
Source: Lipman et al., Flow Matching for Generative Modeling (2023).
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

LATEST = 0.9  # flow time up to which the velocity is learned; nearer to the end it is divided by 1 - LATEST

End = Callable[[Tensor, Tensor], Tensor]  # (state, t) -> expected end


def velocity(end: Float[Tensor, "S M *rest"], state: Float[Tensor, "S M *rest"], t: Float[Tensor, "S M"]) -> Float[Tensor, "S M *rest"]:
    """Velocity of the flow towards an expected end."""
    return (end - state) / spread(1.0 - t, state).clamp_min(1.0 - LATEST)


def spread(t: Float[Tensor, "S M"], like: Tensor) -> Tensor:
    """Times with as many axes as the states have."""
    return t.reshape(t.shape + (1,) * (like.dim() - t.dim()))


def interpolate(noise: Tensor, target: Tensor, t: Float[Tensor, "S M"]) -> Tensor:
    """The state at time t on the straight path."""
    s = spread(t, noise)
    return (1.0 - s) * noise + s * target


def integrate(end: End, state: Float[Tensor, "S M *rest"], steps: int) -> Float[Tensor, "S M *rest"]:
    """Carries states from t = 0 to 1 by midpoint steps, two calls of the network each; no steps: one call, to the expected end."""
    if steps == 0:
        return end(state, state.new_zeros(state.shape[:2]))
    width = 1.0 / steps
    for k in range(steps):
        t = state.new_full(state.shape[:2], k * width)
        half = state + 0.5 * width * velocity(end(state, t), state, t)
        middle = t + 0.5 * width
        state = state + width * velocity(end(half, middle), half, middle)
    return state
