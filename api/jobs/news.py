"""Wakes those in this process who wait for something to happen to a job."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class JobNews:
    """A bell for each listener; used on the event loop only."""

    def __init__(self) -> None:
        """Nobody listens yet."""
        self.closed = False
        self._bells: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def listening(self, job_id: str) -> Iterator[asyncio.Event]:
        """A bell that is rung whenever something happens to a job, or nothing will any more."""
        bell = asyncio.Event()
        bells = self._bells.setdefault(job_id, set())
        bells.add(bell)
        try:
            yield bell
        finally:
            bells.discard(bell)
            if not bells:
                self._bells.pop(job_id, None)

    def tell(self, job_id: str) -> None:
        """Rings for a job."""
        for bell in self._bells.get(job_id, ()):
            bell.set()

    def close(self) -> None:
        """Rings for all, for the last time."""
        self.closed = True
        for job_id in self._bells:
            self.tell(job_id)
