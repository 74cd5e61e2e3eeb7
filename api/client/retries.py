"""When a call is sent again: what both clients do after a refusal or a fault of the network."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx2

from api.client.errors import PlannerError, TimedOut, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AGAIN = (429, 502, 503)  # refusals that may be otherwise in a moment
_HOPELESS = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)  # the same next time


@dataclass(frozen=True)
class RetryConfig:
    """How often and how long a call is tried.

    A thread cannot be woken between two bytes of an answer's head: a server that sends those drop by drop holds the
    client for threads longer than `timeout`, the one for coroutines never.
    """

    timeout: float = 30.0  # s, of a call, all tries and waits together; a deadline in the request takes its place
    grace: float = 2.0  # s, how much longer than a request's deadline its answer may take
    retries: int = 4  # further tries at most
    first_wait: float = 0.1  # s, doubled with every try
    longest_wait: float = 5.0  # s, where the server does not say how long
    connect: float = 5.0  # s, to open a connection, within `timeout`


class Tries:
    """One call on its way: how much time it has left, and what to do after each try."""

    def __init__(self, config: RetryConfig, deadline: float | None = None, jitter: Callable[[], float] = random.random) -> None:
        """The clock starts now.

        Args:
            config: how often and how long.
            deadline: s, of the request, where it names one.
            jitter: 0 to 1, so that callers who were refused together do not come again together.
        """
        self._config = config
        self._until = time.monotonic() + (config.timeout if deadline is None else deadline + config.grace)
        self._jitter = jitter
        self._used = 0

    def left(self) -> float:
        """Time until the call has taken too long, s."""
        return self._until - time.monotonic()

    def timeout(self) -> httpx2.Timeout:
        """The limits of the next try."""
        left = max(self.left(), 1e-3)
        return httpx2.Timeout(left, connect=min(left, self._config.connect))

    def after_fault(self, fault: httpx2.RequestError) -> float:
        """How long to wait before the next try, s, after one that got no answer.

        Raises:
            Unreachable: there is no next try.
        """
        slow = isinstance(fault, httpx2.TimeoutException) and not isinstance(fault, httpx2.ConnectTimeout)
        kind = TimedOut if slow or self.left() <= 0.0 else Unreachable
        error = kind(f"no answer: {str(fault) or type(fault).__name__}")
        error.__cause__ = fault
        if isinstance(fault, _HOPELESS) or not isinstance(fault, httpx2.TransportError):
            raise error
        return self._wait(error, self._backoff())

    def after_refusal(self, status: int, error: PlannerError, keyed: bool = False) -> float:
        """How long to wait before the next try, s, after an answer that is an error.

        Args:
            status: of the answer.
            error: what it says.
            keyed: 409 then means that an earlier try, whose answer was lost, is still at work.

        Raises:
            PlannerError: `error`, where there is no next try.
        """
        if status not in AGAIN and not (keyed and status == 409):
            raise error
        asked = error.retry_after
        return self._wait(error, self._backoff() if asked is None else asked * (1.0 + 0.25 * self._jitter()))

    def _backoff(self) -> float:
        return min(self._config.longest_wait, self._config.first_wait * 2.0**self._used) * (0.5 + 0.5 * self._jitter())

    def _wait(self, error: PlannerError, wait: float) -> float:
        """`wait`, where there are tries left and the wait leaves time for one."""
        if self._used >= self._config.retries or wait >= self.left():
            raise error
        self._used += 1
        return wait


def pauses(timeout: float | None) -> Iterator[float]:
    """How long to wait before each look at something that takes its time, s: soon at first, then once a second.

    Args:
        timeout: s, of all looks together; None: for ever.

    Raises:
        TimedOut: it took longer.
    """
    began, pause = time.monotonic(), 0.02
    while timeout is None or time.monotonic() - began + pause < timeout:
        yield pause
        pause = min(1.5 * pause, 1.0)
    raise TimedOut(f"not finished after {timeout:g} s")


def retry_after(headers: httpx2.Headers) -> float | None:
    """What an answer's Retry-After says, s: a number of seconds or a date; None where it says nothing."""
    said = headers.get("retry-after", "").strip()
    try:
        return float(said) if said.replace(".", "", 1).isdecimal() else max(parsedate_to_datetime(said).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError):
        return None
