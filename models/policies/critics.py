"""What critics share: aggregation, targets, losses, running copies, and the choice among candidates."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.policies.transitions import Transitions

Aggregation = Literal["mean", "min", "lower"]
Network = TypeVar("Network", bound=nn.Module)


def aggregate(values: Float[Tensor, "E *batch"], how: Aggregation, rho: float = 0.5) -> Float[Tensor, "*batch"]:
    """One value of an ensemble's.

    Args:
        values: of each member.
        how: the mean, the least, or a lower bound, mean - rho * standard deviation (with divisor E).
        rho: of the lower bound.

    Returns:
        The value of each element.

    Raises:
        ValueError: another `how`.
    """
    if how == "mean":
        return values.mean(0)
    if how == "min":
        return values.amin(0)
    if how == "lower":
        return values.mean(0) - rho * values.std(0, unbiased=False)
    raise ValueError(f"aggregation {how!r} is none of 'lower', 'mean', 'min'")


def td_target(transitions: Transitions, next_value: Float[Tensor, " B"], discount: float) -> Float[Tensor, " B"]:
    """The reward plus discount^steps * mask * next value, without gradient; what was cut off, not terminated, has its mask at 1."""
    return (transitions.reward + discount**transitions.steps * transitions.mask * next_value).detach()


def td_loss(values: Float[Tensor, "E B"], target: Float[Tensor, " B"], valid: Float[Tensor, " B"] | None = None) -> Float[Tensor, ""]:
    """Mean over members and batch of valid * (value - target)^2; what is not valid counts in the mean, with 0."""
    error = (values - target).square()
    return (error if valid is None else error * valid).mean()


def expectile_loss(error: Float[Tensor, "*batch"], expectile: float) -> Float[Tensor, ""]:
    """Mean of |expectile - 1[error < 0]| * error^2, of targets less values.

    Source: Kostrikov et al., Offline Reinforcement Learning with Implicit Q-Learning (2021).
    """
    return (torch.where(error < 0.0, 1.0 - expectile, expectile) * error.square()).mean()


def mean_of_valid(values: Float[Tensor, "*batch B"], valid: Float[Tensor, " B"] | None = None) -> Float[Tensor, ""]:
    """The mean over those that count; of all where `valid` is None, and 0 where none does."""
    if valid is None:
        return values.mean()
    counted = valid.expand_as(values)
    return (counted * values).sum() / counted.sum().clamp_min(1.0)


def value_scale(values: Float[Tensor, "*batch"], valid: Float[Tensor, " B"] | None = None) -> Float[Tensor, ""]:
    """1 / mean|value|, without gradient: makes a loss of values independent of the scale of rewards.

    Args:
        values: of a batch, last axis.
        valid: 1 for those that count, 0 for others; None: all do.

    Source: Fujimoto and Gu, A Minimalist Approach to Offline Reinforcement Learning (2021).
    """
    return 1.0 / mean_of_valid(values.detach().abs(), valid).clamp_min(1e-8)


def running_copy(network: Network) -> Network:
    """A copy that learns by `polyak` alone."""
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def polyak(target: nn.Module, online: nn.Module, rate: float) -> None:
    """Takes (1 - rate) target + rate online as the new target, in place."""
    for mine, theirs in zip(target.parameters(), online.parameters(), strict=True):
        mine.lerp_(theirs, rate)


@contextmanager
def held(*networks: nn.Module) -> Iterator[None]:
    """Within it, calls of these networks give gradients to their inputs, not to their weights."""
    learning = [parameter for network in networks for parameter in network.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def best_of(candidates: Float[Tensor, "M B A"], value: Callable[[Tensor], Tensor]) -> Float[Tensor, "B A"]:
    """The candidate of the highest value, for each element; `value` gives (M, B)."""
    best = value(candidates).argmax(0)
    return candidates[best, torch.arange(candidates.shape[1], device=best.device)]
