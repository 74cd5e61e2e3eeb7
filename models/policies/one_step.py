"""A one-step actor, held to the end points of a flow from the same noise while it climbs the critic.

Source: Park, Li and Levine, Flow Q-Learning (2025).
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from models.policies.critics import value_scale


def distillation_loss(jump: Float[Tensor, "B A"], end: Float[Tensor, "B A"]) -> Float[Tensor, ""]:
    """Mean square of the actor's action, not clipped, less the flow's from the same noise: bounds W2^2 per number from above."""
    return (jump - end.detach()).square().mean()


def climbing_loss(
    jump: Float[Tensor, "B A"], value: Callable[[Tensor], Tensor], normalize: bool
) -> tuple[Float[Tensor, ""], Float[Tensor, " B"]]:
    """Minus the mean value of the clipped action.

    Args:
        jump: the actor's action, not clipped; it gets no gradient from numbers outside [-1, 1].
        value: of actions, (B,); hold its weights.
        normalize: divides by the mean absolute value, without gradient.

    Returns:
        The loss, and the values.
    """
    values = value(jump.clamp(-1.0, 1.0))
    loss = -values.mean()
    return (loss * value_scale(values) if normalize else loss), values
