"""Values of many steps, gathered without waiting for the device."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Means:
    """Means of what the steps tell; nothing waits for the device until they are asked for."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Takes in the scalars of one step."""
        for name, term in terms.items():
            value = term.detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means since the last time."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


class FiniteWatch:
    """Remembers the first step with a value that is not finite, without waiting for the device."""

    def __init__(self, device: torch.device) -> None:
        """Watches values on `device`."""
        self._first = torch.zeros((), dtype=torch.int64, device=device)

    def see(self, step: int, *values: Tensor) -> None:
        """Looks at the scalars of one step; steps count from 1."""
        bad = torch.stack([~value.detach().isfinite() for value in values]).any()
        self._first = torch.where(bad & (self._first == 0), step, self._first)

    def first_bad_step(self) -> int | None:
        """Waits for the device; None as long as all were finite."""
        return int(self._first) or None
