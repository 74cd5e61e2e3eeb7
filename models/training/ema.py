"""The running average of a module's weights."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

Model = TypeVar("Model", bound=nn.Module)


class Averager(Generic[Model]):
    """An exponential moving average of the parameters; buffers are copied as they are."""

    def __init__(self, source: Model, decay: float) -> None:
        """Starts from the weights of `source`; `module` is a copy of it that holds the average."""
        self.module = copy.deepcopy(source).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, source: Model, step: int) -> None:
        """Takes in the weights after one more step.

        The decay rises with the steps, min(decay, (1 + step) / (10 + step)), so that the first weights, which are worth
        nothing, are soon forgotten.

        Args:
            source: the module that learns.
            step: updates before this one.
        """
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        average = get_ema_multi_avg_fn(decay)  # all parameters in one call
        average(list(self.module.parameters()), list(source.parameters()), step)
        for mine, theirs in zip(self.module.buffers(), source.buffers(), strict=True):
            mine.copy_(theirs)
