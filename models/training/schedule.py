"""The learning rate over a run, and what is due when."""

import math
import time
from dataclasses import dataclass


def share_done(step: int, steps: int, minutes: float, budget: float | None) -> float:
    """How far a run has come, by its steps or its time, whichever is further on.

    Args:
        step: steps done.
        steps: steps to do.
        minutes: time taken, over all parts of the run.
        budget: time to take, min; None: no limit.

    Returns:
        0 at the start, 1 or more at the end.
    """
    return step / steps if budget is None else max(step / steps, minutes / budget)


def rate_share(step: int, done: float, warm_up: int, final_share: float) -> float:
    """Share of the full learning rate: a half cosine (Loshchilov and Hutter, 2017, without restarts) after a linear start.

    Args:
        step: steps done.
        done: how far the run has come, see `share_done`.
        warm_up: steps over which the rate rises.
        final_share: of the full rate, at the end.

    Returns:
        1 at the full rate.
    """
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
    return min(1.0, (step + 1) / max(1, warm_up)) * (final_share + (1.0 - final_share) * cosine)


class Clock:
    """Wall-clock time over all parts of a run."""

    def __init__(self, earlier: float = 0.0) -> None:
        """`earlier`: minutes that the parts before this one took."""
        self._start = time.monotonic() - 60.0 * earlier

    def minutes(self) -> float:
        """Time taken so far, min."""
        return (time.monotonic() - self._start) / 60.0


@dataclass(frozen=True)
class Every:
    """How often something is done: by steps, by time, by either, or never."""

    steps: int | None = None  # steps from one to the next
    minutes: float | None = None  # min from the end of one to the next


class Reminder:
    """Tells when something is due again."""

    def __init__(self, every: Every, minutes: float) -> None:
        """Counts time from `minutes` on, steps from the start of the run."""
        self._every = every
        self._last = minutes

    def is_due(self, step: int, minutes: float) -> bool:
        """Whether it is time, after so many steps and minutes of the run."""
        by_steps = self._every.steps is not None and step % self._every.steps == 0
        return by_steps or (self._every.minutes is not None and minutes - self._last >= self._every.minutes)

    def reset(self, minutes: float) -> None:
        """It has been done."""
        self._last = minutes
