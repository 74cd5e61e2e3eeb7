"""What surrounds every request: its ids and time of receipt, headers for safety, a log line, counts, and the last resort."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from structlog.contextvars import bound_contextvars

from api.problems import MEDIA_TYPE, Problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from api.metrics import Metrics
    from api.traffic import Traffic

log = logging.getLogger("flowfleet.access")
faults = logging.getLogger("flowfleet.api")

PROBES = frozenset({"/livez", "/readyz", "/healthz", "/version", "/metrics"})  # answered by a stopping server too
TURNED_AWAY = frozenset({429, 503})
QUIET = 1.0  # s between two log lines about requests that were turned away: under a flood, lines would cost what plans need
_GOOD_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_TRACE = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")  # W3C traceparent
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


class RequestFrame:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, traffic: Traffic, metrics: Metrics, body_timeout: float) -> None:
        """Around `app`.

        Args:
            app: the application.
            traffic: counts requests and bodies.
            metrics: counts answers.
            body_timeout: s, for a body to come.
        """
        self.app = app
        self.traffic = traffic
        self.metrics = metrics
        self.body_timeout = body_timeout
        self._unsaid = 0  # requests turned away since the last line about one
        self._said = -math.inf  # s, time.monotonic(), of that line

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received = time.monotonic()
        ids = _ids(scope)
        scope.setdefault("state", {}).update(received=received, request_id=ids["request_id"])
        visit = _Visit(self, receive, send, received, ids["request_id"])
        with bound_contextvars(**ids):
            try:
                await visit.answer(scope)
            finally:
                visit.close()
                self._note(scope, visit, time.monotonic() - received)

    def _note(self, scope: Scope, visit: _Visit, seconds: float) -> None:
        """The log line and the counts of a request."""
        state = scope["state"]
        self.metrics.answered(_endpoint(scope), state.get("outcome") or str(visit.status), seconds)
        line = {"method": scope["method"], "path": scope["path"], "status": visit.status, "ms": round(1e3 * seconds, 3)}
        line |= {"bytes": visit.sent} | {key: state[key] for key in ("queue_ms", "plan_id") if key in state}
        if visit.status in TURNED_AWAY and scope["path"] not in PROBES:
            now = time.monotonic()
            if now < self._said + QUIET:
                self._unsaid += 1
                return
            self._said, line["more_turned_away"], self._unsaid = now, self._unsaid, 0
        log.info("request", extra=line)


class _Visit:
    """One request on its way: what of its body has come, and what of its answer has gone."""

    def __init__(self, frame: RequestFrame, receive: Receive, send: Send, received: float, request_id: str) -> None:
        self.status = 0
        self.sent = 0  # bytes of the answer's body
        self._frame = frame
        self._receive = receive
        self._send = send
        self._request_id = request_id
        self._until = received + frame.body_timeout
        self._complete = False  # the whole body has come
        self._held = 0  # bytes of the body
        self._counted = False  # in the requests that a stopping server waits for

    async def answer(self, scope: Scope) -> None:
        """Has the application answer, or answers itself where that fails."""
        try:
            if scope["path"] not in PROBES:
                self._frame.traffic.enter()
                self._counted = True
            await self._frame.app(scope, self.receive, self.send)
        except Problem as problem:
            self._frame.metrics.rejected(problem.code)
            await send_problem(scope, self.send, problem)
        except Exception:
            faults.exception("unexpected fault", extra={"path": scope["path"]})
            if self.status:  # part of an answer has gone out: the connection can only be closed
                raise
            problem = Problem(500, "INTERNAL_ERROR", "the server failed; its log has more under this request id")
            await send_problem(scope, self.send, problem)

    async def receive(self) -> Message:
        """The next message; a body must be complete in time.

        Raises:
            Problem: 408 for one that is not, 503 where bodies take too much memory.
        """
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout(self._until - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            seconds = f"the body did not come within {self._frame.body_timeout:g} s"
            raise Problem(408, "BODY_TIMEOUT", seconds, headers={"Connection": "close"}) from None
        self._complete = not message.get("more_body", False)
        size = len(message.get("body", b""))
        self._frame.traffic.hold(size)
        self._held += size
        return message

    async def send(self, message: Message) -> None:
        """Passes a message on, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self._begin(message)
        else:
            self.sent += len(message.get("body", b""))
        await self._send(message)

    def _begin(self, message: Message) -> None:
        self.status = message["status"]
        present = {name.lower(): value for name, value in message["headers"]}
        if present.get(b"content-type", b"").startswith(b"text/event-stream"):
            self._uncount()  # it may go on for hours
        own = [(b"x-request-id", self._request_id.encode()), *(h for h in _HEADERS if h[0] not in present)]
        if self._frame.traffic.stopping and b"connection" not in present:
            own.append((b"connection", b"close"))
        message["headers"] = [*message["headers"], *own]

    def _uncount(self) -> None:
        if self._counted:
            self._frame.traffic.leave()
            self._counted = False

    def close(self) -> None:
        """The request is over."""
        self._uncount()
        self._frame.traffic.release(self._held)


async def send_problem(scope: Scope, send: Send, problem: Problem) -> None:
    """Answers with a problem from outside the application."""
    body = problem.body(scope["state"].get("request_id"), scope["path"])
    headers = {"content-type": MEDIA_TYPE, "content-length": str(len(body))} | {k.lower(): v for k, v in problem.headers.items()}
    start = {"type": "http.response.start", "status": problem.status}
    await send(start | {"headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _ids(scope: Scope) -> dict[str, str]:
    """The caller's id of this request where it is one, else a new one; and the id of the trace that it belongs to, if any."""
    headers = dict(scope["headers"])
    given = headers.get(b"x-request-id", b"")
    ids = {"request_id": given.decode() if _GOOD_ID.fullmatch(given) else uuid4().hex}
    trace = _TRACE.fullmatch(headers.get(b"traceparent", b"")[:512])
    return ids | {"trace_id": trace[1].decode()} if trace else ids


def _endpoint(scope: Scope) -> str:
    """The call's path with names in place of its parts; all unknown calls are one, so that nobody can make the counts endless."""
    return getattr(scope.get("route"), "path", None) or "other"
