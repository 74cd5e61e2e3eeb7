"""The requests that a server is answering: how many, how much of their bodies it holds, and whether it takes more."""

from __future__ import annotations

import asyncio
import time

from api.problems import Problem

STOPPING = {"Retry-After": "5", "Connection": "close"}


class Traffic:
    """Counts of one server; used on its event loop only."""

    def __init__(self, most_bytes: int) -> None:
        """Nothing is in flight.

        Args:
            most_bytes: of bodies held at once.
        """
        self.inflight = 0  # requests that a stopping server waits for
        self.stopping = False  # not ready any more, but answering
        self.closed = False  # nothing more is accepted
        self._most = most_bytes
        self._held = 0

    def enter(self) -> None:
        """A request is taken.

        Raises:
            Problem: 503, the server is stopping.
        """
        if self.closed:
            raise Problem(503, "STOPPING", "the server is stopping", headers=STOPPING)
        self.inflight += 1

    def leave(self) -> None:
        """A request is answered."""
        self.inflight -= 1

    def hold(self, size: int) -> None:
        """More of a body has come.

        Raises:
            Problem: 503, the bodies that are being read are too much already.
        """
        if self._held + size > self._most:
            raise Problem(503, "BODIES_TOO_LARGE", "too many large requests at once", headers={"Retry-After": "1", "Connection": "close"})
        self._held += size

    def release(self, size: int) -> None:
        """A body is not needed any more."""
        self._held -= size

    async def stop(self, delay: float, drain: float) -> bool:
        """Says that the server is not ready, goes on for a while, then takes nothing more and waits for what it has taken.

        Args:
            delay: s, in which new requests are still taken, for load balancers to notice.
            drain: s, the longest wait for what was taken.

        Returns:
            Whether all of it was answered.
        """
        self.stopping = True
        await asyncio.sleep(delay)
        self.closed = True
        until = time.monotonic() + drain
        while self.inflight and time.monotonic() < until:
            await asyncio.sleep(0.01)
        return not self.inflight
