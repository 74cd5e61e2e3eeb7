"""Random numbers with names, so that any of them can be given instead of drawn."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Draws:
    """Draws float32 numbers from a generator, unless they were given under the same name."""

    def __init__(self, generator: torch.Generator, given: Mapping[str, Tensor] | None = None, device: str | torch.device = "cpu") -> None:
        """`given` values are used once each, on the device they come on; what is drawn goes to `device`."""
        self.generator, self.device = generator, torch.device(device)
        self._given = dict(given or {})

    def normal(self, name: str, *shape: int) -> Tensor:
        """Standard normal numbers.

        Args:
            name: of these numbers within the loss.
            *shape: of the tensor.

        Returns:
            The given tensor, or a drawn one.

        Raises:
            ValueError: the given tensor has another shape.
        """
        given = self._take(name, shape)
        return self._here(torch.randn(shape, generator=self.generator, device=self.generator.device)) if given is None else given

    def uniform(self, name: str, *shape: int) -> Tensor:
        """Numbers uniform in [0, 1); else as `normal`."""
        given = self._take(name, shape)
        return self._here(torch.rand(shape, generator=self.generator, device=self.generator.device)) if given is None else given

    def refuse_unused(self) -> None:
        """Raises ValueError if a given name was never asked for: a misspelt one would silently be drawn."""
        if self._given:
            raise ValueError(f"given, but never asked for: {sorted(self._given)}")

    def _here(self, drawn: Tensor) -> Tensor:
        return drawn.to(self.device)

    def _take(self, name: str, shape: tuple[int, ...]) -> Tensor | None:
        given = self._given.pop(name, None)
        if given is not None and tuple(given.shape) != shape:
            raise ValueError(f"{name!r} has shape {tuple(given.shape)}, not {shape}")
        return given
