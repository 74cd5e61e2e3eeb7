"""How many requests a caller may send: a bucket of tokens that fills at a steady rate, and a cap on those in flight."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class RateConfig:
    """What a caller may do."""

    per_s: float = 0.0  # requests a second, on average; 0: any number
    burst: int = 20  # requests at once after a pause
    inflight: int = 0  # requests at a time; 0: any number
    callers: int = 10_000  # remembered at most; the longest quiet are forgotten first


class Rates:
    """The buckets of all callers; used on the event loop only."""

    def __init__(self, config: RateConfig, clock: Callable[[], float] = time.monotonic) -> None:
        """Nobody has called yet.

        Args:
            config: what a caller may do.
            clock: s.
        """
        self.config = config
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted
        self._inflight: dict[str, int] = {}

    def __len__(self) -> int:
        """Callers that are remembered."""
        return len(self._buckets)

    def enter(self, caller: str) -> None:
        """A request comes.

        Raises:
            Problem: 429, with the time after which there will be room again.
        """
        running = self._inflight.get(caller, 0)
        if self.config.inflight and running >= self.config.inflight:
            raise _too_many(f"{running} requests of this caller are being answered already", 1.0)
        if self.config.per_s:
            self._take(caller)
        self._inflight[caller] = running + 1

    def leave(self, caller: str) -> None:
        """A request that was let in is answered."""
        left = self._inflight[caller] - 1
        if left:
            self._inflight[caller] = left
        else:
            del self._inflight[caller]

    def _take(self, caller: str) -> None:
        """Takes a token out of a caller's bucket."""
        now = self._clock()
        tokens, counted = self._buckets.pop(caller, (float(self.config.burst), now))
        tokens = min(self.config.burst, tokens + (now - counted) * self.config.per_s)
        self._buckets[caller] = (tokens - 1.0 if tokens >= 1.0 else tokens, now)
        if len(self._buckets) > self.config.callers:
            self._buckets.popitem(last=False)
        if tokens < 1.0:
            raise _too_many(f"{self.config.per_s:g} requests a second are allowed", (1.0 - tokens) / self.config.per_s)


def _too_many(detail: str, wait: float) -> Problem:
    return Problem(429, "TOO_MANY_REQUESTS", detail, headers={"Retry-After": str(max(1, math.ceil(wait)))})
