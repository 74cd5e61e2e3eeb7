"""Connections that cannot be held for nothing: a limit to their number, and to the time that a request's head or an answer takes.

The web server times idle connections only; one that sends its first request a byte a minute, or reads its answer so, would
stay for ever.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.problems import MEDIA_TYPE, Problem

if TYPE_CHECKING:
    from api.settings import Settings

log = logging.getLogger("flowfleet.connections")


MOST_HEAD = 64 * 1024  # bytes of a request's head


def _farewell(problem: Problem) -> bytes:
    """The last answer of a connection, on the wire."""
    body = problem.body()
    headers = {"content-type": MEDIA_TYPE, **problem.headers, "connection": "close", "content-length": str(len(body))}
    lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def bounded_connections(settings: Settings) -> type[HttpToolsProtocol]:
    """The web server's protocol with the limits that the settings say."""
    most, head, answer = settings.max_connections, settings.header_timeout_s, settings.body_timeout_s

    class Bounded(_Connection):
        limits = (most, head, answer)

    return Bounded


class _Connection(HttpToolsProtocol):
    """One connection."""

    limits: tuple[int, float, float]  # connections; s for a head; s for a caller to take what is sent
    head_bytes: int | None = None  # of the head that is coming; None: none is
    upgraded = False  # to a connection for messages, which another protocol reads
    waiting_since = 0.0  # s, on the loop's clock: since when no request has come
    _head_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Takes a connection, in place of one that waits for a request if there are too many."""
        super().connection_made(transport)
        self.waiting_since = self.loop.time()
        if len(self.connections) > self.limits[0]:
            self._make_room()
        if not transport.is_closing():
            self._start_head_timer()

    def data_received(self, data: bytes) -> None:
        """Bytes have come: of a head, which has its time, or of a body, which the application times."""
        super().data_received(data)
        if self.head_bytes is not None:
            self.head_bytes += len(data)
            if self.head_bytes > MOST_HEAD:
                self._part(Problem(431, "HEAD_TOO_LARGE", f"a request's head may have {MOST_HEAD} bytes"))
        if self.transport.is_closing() or self.upgraded or not self.awaits_request:
            self._head_timer = _cancelled(self._head_timer)
        else:
            self._start_head_timer()

    def handle_websocket_upgrade(self) -> None:
        """The connection is for messages from now on, which have no heads."""
        self.upgraded = True
        super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        """A head begins."""
        self.head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head has come."""
        self.head_bytes = None
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """A request has been answered."""
        self.waiting_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._head_timer, self._write_timer = _cancelled(self._head_timer), _cancelled(self._write_timer)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The caller does not take what is sent."""
        super().pause_writing()
        self._write_timer = self._write_timer or self.loop.call_later(self.limits[2], self.transport.abort)

    def resume_writing(self) -> None:
        """The caller takes it again."""
        self._write_timer = _cancelled(self._write_timer)
        super().resume_writing()

    @property
    def awaits_request(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.limits[1], self.transport.abort)

    def _make_room(self) -> None:
        """Closes the connection that has waited longest for a request; if none waits, this one is turned away."""
        waiting = [c for c in self.connections if isinstance(c, _Connection) and c is not self and c.awaits_request]
        oldest = min(waiting, key=lambda c: c.waiting_since, default=None)
        if oldest is not None:
            oldest.transport.abort()
            self.connections.discard(oldest)
            return
        log.warning("too many connections")
        self._part(Problem(503, "TOO_MANY_CONNECTIONS", "all connections are busy", headers={"Retry-After": "1"}))

    def _part(self, problem: Problem) -> None:
        self.transport.write(_farewell(problem))
        self.transport.close()


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    """Stops a timer, if there is one; None, to put in its place."""
    if timer is not None:
        timer.cancel()
