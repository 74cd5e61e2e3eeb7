"""What a policy learns from."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Transitions:
    """Steps of an agent, over one or more time steps each."""

    observation: Float[Tensor, "B O"]
    action: Float[Tensor, "B *H A"]  # in [-1, 1]; of a chunk: (B, H, A)
    reward: Float[Tensor, " B"]  # discounted sum over the time steps
    mask: Float[Tensor, " B"]  # 0: the task ended (nothing follows), 1: it goes on, also where an episode was cut off
    next_observation: Float[Tensor, "B O"]
    steps: Float[Tensor, " B"]  # time steps from observation to next observation
    valid: Float[Tensor, " B"]  # 0: a chunk that runs over the end of its episode, where that was cut off and did not terminate
    next_action: Float[Tensor, "B A"]  # the one recorded at the next observation; anything where there is none
    has_next: Float[Tensor, " B"]  # 1: there is a next action

    @classmethod
    def single(cls, observation: Tensor, action: Tensor, reward: Tensor, mask: Tensor, next_observation: Tensor) -> "Transitions":
        """Transitions of one time step each, all valid, with next actions unknown."""
        one, last = torch.ones_like(reward), action.flatten(1, -2)[:, 0] if action.dim() > 2 else action
        return cls(observation, action, reward, mask, next_observation, one, one, torch.zeros_like(last), torch.zeros_like(reward))

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def flat_action(self) -> Float[Tensor, "B D"]:
        """The action, a chunk's in one row: what flows and critics of chunks see."""
        return self.action.flatten(1)

    def to(self, device: str | torch.device) -> "Transitions":
        """The same on a device."""
        return Transitions(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})
