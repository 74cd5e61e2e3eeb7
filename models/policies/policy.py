"""What all policies are: losses that are summed, one optimizer, actions for observations, a state on disk."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.policies.draws import Draws
from models.policies.networks import Sizes
from models.policies.stored import StoredPolicy, read_policy, rebuild, write_policy
from models.policies.transitions import Transitions

Kind = TypeVar("Kind", bound="Policy")


@dataclass(frozen=True)
class LearningConfig:
    """How a policy learns."""

    rate: float = 3e-4  # of Adam
    clip: float | None = None  # norm at most of the gradient of all networks together; None: no limit
    discount: float = 0.99  # a time step
    polyak: float = 0.005  # share of the online weights that running copies take in, an update


@dataclass(frozen=True)
class Losses:
    """What one batch says."""

    terms: dict[str, Tensor]  # scalars whose sum is minimised
    metrics: dict[str, Tensor] = field(default_factory=dict)  # scalars that are only told


class Policy(nn.Module, ABC):
    """A policy that learns by one Adam over all of its networks, from the sum of its losses.

    Each loss holds the networks that it must not change, so that the sum trains each network by its own loss.
    A final class sets `config_type`, builds its networks after `super().__init__` from `self.generator`, and gives `losses`,
    `choose` and, for running copies, `after_update`; for rates that change, `before_step`.
    """

    config_type: ClassVar[type]
    config: Any  # frozen, of `config_type`, with `learning`
    middle: Tensor  # of observations
    width: Tensor

    def __init__(self, sizes: Sizes, config: Any, seed: int) -> None:
        """`seed` fixes the weights and all that learning draws."""
        super().__init__()
        self.sizes, self.config = sizes, config
        self.generator = torch.Generator().manual_seed(seed)
        self.updates = 0  # done
        self.register_buffer("middle", torch.zeros(sizes.observation))
        self.register_buffer("width", torch.ones(sizes.observation))

    def look_at(self, observations: Float[Tensor, "T O"]) -> None:
        """Takes the mean and the spread of recorded observations as those that `update` and `act` bring to 0 and 1 from now on.

        Not for observations with a set in them, whose numbers must stay alike from member to member. A number that never changes
        is only shifted.
        """
        spread = observations.std(0, unbiased=False)
        self.middle.copy_(observations.mean(0))
        self.width.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    def scaled(self, observation: Float[Tensor, "B O"]) -> Float[Tensor, "B O"]:
        """Observations as the networks see them; as they are, unless `look_at` was called."""
        return (observation - self.middle) / self.width

    @abstractmethod
    def losses(self, transitions: Transitions, draws: Draws) -> Losses:
        """The losses of a batch.

        Args:
            transitions: on the policy's device, their observations scaled.
            draws: gives all random numbers, by the names that the class lists.

        Returns:
            The losses, and what else is told.
        """

    @abstractmethod
    def choose(self, observation: Float[Tensor, "B O"], draws: Draws) -> Float[Tensor, "B A"]:
        """Actions for scaled observations, in [-1, 1]; called without gradients."""

    def before_step(self) -> None:
        """What precedes a step of the optimizer: rates that change."""

    def after_update(self) -> None:
        """What follows a step of the optimizer: running copies."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimizer steps, in groups of options; one group with the rate of the config, unless a class says otherwise."""
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]

    @cached_property
    def optimizer(self) -> torch.optim.Adam:
        """Adam, made at first use: move the policy to its device before."""
        return torch.optim.Adam(self.parameter_groups(), lr=self.config.learning.rate, fused=True)

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return next(self.parameters()).device

    def update(self, transitions: Transitions, given: Mapping[str, Tensor] | None = None) -> dict[str, float]:
        """One step of the optimizer.

        Args:
            transitions: a batch, on any device.
            given: random numbers by name, in place of those that the policy's generator would give.

        Returns:
            The losses and metrics by name.

        Raises:
            ValueError: a given name is not one of the losses', or has another shape.
        """
        draws = Draws(self.generator, given, self.device)
        batch = transitions.to(self.device)
        seen, following = self.scaled(batch.observation), self.scaled(batch.next_observation)
        told = self.losses(replace(batch, observation=seen, next_observation=following), draws)
        draws.refuse_unused()
        self.optimizer.zero_grad()
        torch.stack(list(told.terms.values())).sum().backward()
        if self.config.learning.clip is not None:
            learning = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(learning, self.config.learning.clip)
        self.before_step()
        self.optimizer.step()
        self.updates += 1
        self.after_update()
        named = told.terms | told.metrics
        values = torch.stack([value.detach() for value in named.values()])
        return dict(zip(named, values.tolist(), strict=True))

    @torch.no_grad()
    def act(
        self, observation: Float[Tensor, "B O"], generator: torch.Generator, given: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "B A"]:
        """Actions for observations.

        Args:
            observation: on any device.
            generator: draws the noise.
            given: random numbers by name, in place of drawn ones.

        Returns:
            Actions in [-1, 1], on the policy's device; of a chunk policy, all actions of the chunk in one row.
        """
        draws = Draws(generator, given, self.device)
        action = self.choose(self.scaled(observation.to(self.device)), draws)
        draws.refuse_unused()
        return action

    def save(self, path: Path) -> None:
        """Stores all that learning needs to go on: weights, running copies, optimizer, random numbers, sizes and config."""
        write_policy(path, self, StoredPolicy(type(self).__name__, self.sizes, self.config, self.updates))

    @classmethod
    def load(cls: type[Kind], path: Path, device: str | torch.device = "cpu") -> Kind:
        """The policy that `save` stored; it goes on as if it had never stopped.

        Args:
            path: of the file.
            device: where it goes on.

        Returns:
            The policy.

        Raises:
            ValueError: no such file, or one of another class or another form.
        """
        described, tensors = read_policy(path, cls.__name__)
        made: Any = cls  # final classes take (sizes, config, seed)
        policy = made(rebuild(Sizes, described["sizes"]), rebuild(cls.config_type, described["config"]), 0).to(device)
        tensors.fill(policy, path)
        policy.updates = described["updates"]
        return policy
