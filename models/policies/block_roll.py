"""A flow as a cascade of blocks T_k(x) = x + h v_k(x, t_k), with the exact change of its density.

Source: the change of variables; Jordan, Kinderlehrer and Otto (1998) for the scheme that uses it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.policies.flow_steps import Field, times_of


@dataclass(frozen=True)
class Roll:
    """Points on their way through the blocks."""

    path: Float[Tensor, "L B A"]  # before each block, and after the last
    log_determinant: Float[Tensor, "K B"]  # log|det dT_k/dx| of each block

    @property
    def end(self) -> Float[Tensor, "B A"]:
        """After the last block, not clipped: a clip would change the density."""
        return self.path[-1]


def block_step(field: Field, x: Float[Tensor, "B A"], t: float, width: float) -> tuple[Float[Tensor, "B A"], Float[Tensor, " B"]]:
    """One block and the logarithm of its determinant.

    Args:
        field: the block's velocity; each sample's depends on that sample alone.
        x: points before the block.
        t: the block's time.
        width: h.

    Returns:
        Points after the block, and log|det(I + h dv/dx)|, -inf where the block folds space; exact, by one reverse pass a number of
        the action. Gradients flow through both, unless the caller forbids them.
    """
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        inner = x if x.requires_grad else x.detach().requires_grad_()
        velocity = field(inner, times_of(inner, t))
        columns = range(velocity.shape[-1])
        rows = [torch.autograd.grad(velocity[:, j].sum(), inner, create_graph=keep, retain_graph=True)[0] for j in columns]
    jacobian = torch.eye(len(rows), device=x.device, dtype=x.dtype) + width * torch.stack(rows, dim=1)
    log_determinant = torch.linalg.slogdet(jacobian).logabsdet
    after = x + width * velocity
    return (after, log_determinant) if keep else (after.detach(), log_determinant.detach())


def block_roll(blocks: Sequence[Field], x: Float[Tensor, "B A"]) -> Roll:
    """Carries noise through all blocks; block k of K has time k / K and width 1 / K.

    Args:
        blocks: a velocity field each; the same one K times is an Euler roll of K steps.
        x: noise.

    Returns:
        The path and each block's log-determinant; the logarithm of the density at the end is that of the noise less their sum.
    """
    path, changes = [x], []
    for k, field in enumerate(blocks):
        after, change = block_step(field, path[-1], k / len(blocks), 1.0 / len(blocks))
        path.append(after)
        changes.append(change)
    return Roll(torch.stack(path), torch.stack(changes))
