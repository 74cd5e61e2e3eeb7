"""Following a job's events over connections that may drop: what both clients know between two connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2

from api.client.calls import job_path
from api.client.events import EventReader
from api.client.results import FINISHED
from api.client.retries import Tries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.client.errors import PlannerError
    from api.client.events import Event
    from api.client.retries import RetryConfig

_IDLE = 60.0  # s, a connection that is silent for so long may be dead
_CALM = 1.0  # s, before a connection that ended in order is opened again


class Following:
    """A job's events as far as they have come."""

    def __init__(self, job_id: str, config: RetryConfig, after: str = "") -> None:
        """Goes on after the event with the id `after`."""
        self.path = f"{job_path(job_id)}/events"
        self.over = False  # the server has said that nothing more comes
        self.doubtful = False  # a connection ended in order without news: ask whether the job has finished
        self._job_id = job_id
        self._config = config
        self._reader = EventReader(after)
        self._tries: Tries | None = None  # since the last event
        self._news = False

    def opening(self) -> dict[str, str]:
        """The headers of the next connection."""
        retry = self._reader.retry
        self._reader = EventReader(self._reader.last_id)
        self._reader.retry = retry
        self._news = self.doubtful = False
        last = self._reader.last_id
        return {"Accept": "text/event-stream", "Cache-Control": "no-store"} | ({"Last-Event-ID": last} if last else {})

    def timeout(self) -> httpx2.Timeout:
        """The limits of a connection."""
        return httpx2.Timeout(_IDLE, connect=self._config.connect)

    def events(self, part: bytes) -> Iterator[Event]:
        """The events that are complete with these bytes."""
        for event in self._reader.feed(part):
            self._news, self._tries = True, None
            self.over = self.over or self._is_last(event)
            yield event

    def ended(self) -> float:
        """How long to wait, s, after a connection that ended in order."""
        self.doubtful = not self._news
        return _CALM if self._reader.retry is None else self._reader.retry

    def dropped(self, fault: httpx2.RequestError) -> float:
        """How long to wait, s, after a connection that broke.

        Raises:
            Unreachable: this often without any news.
        """
        if isinstance(fault, httpx2.ReadTimeout):  # silence is no fault: the job may have to wait
            return self.ended()
        return max(self._counted().after_fault(fault), self._reader.retry or 0.0)

    def refused(self, status: int, error: PlannerError) -> float:
        """How long to wait, s, after an answer that is an error.

        Raises:
            PlannerError: `error`, where asking again is no use.
        """
        return self._counted().after_refusal(status, error)

    def _counted(self) -> Tries:
        if self._tries is None:
            self._tries = Tries(self._config)
        return self._tries

    def _is_last(self, event: Event) -> bool:
        document = event.document
        if not isinstance(document, dict) or "plan_id" in document:  # a plan has a status of its own
            return False
        return document.get("job_id") == self._job_id and document.get("status") in FINISHED
