"""Lets requests in: those of callers who may call, and not too many of them; decided before a byte of the body is read."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from api.frame import PROBES, send_problem
from api.keys import Keys
from api.problems import MEDIA_TYPE, Problem
from api.rates import RateConfig, Rates

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from api.metrics import Metrics
    from api.settings import Settings


class Gate:
    """ASGI middleware in front of all calls but the probes."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, refusal: Callable[[], Problem | None]) -> None:
        """Around `app`.

        Args:
            app: the application.
            settings: keys and rates.
            metrics: counts who is turned away.
            refusal: what a planning request is told while the planner has no place for it; None: it has one.

        Raises:
            InvalidInput: the keys cannot be used.
        """
        self.app = app
        self._keys = Keys(settings)
        self._rates = Rates(RateConfig(settings.rate_per_s, settings.rate_burst, settings.max_inflight_per_key, settings.max_callers))
        self._metrics = metrics
        self._refusal = refusal
        self._streams, self._most_streams = 0, settings.max_streams
        self._origins = set(settings.cors_origins)
        self._open = (PROBES | {"/"}) - (set() if settings.metrics_open else {"/metrics"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "websocket":
            await self._connection(scope, receive, send)
            return
        if scope["type"] != "http" or scope["path"] in self._open:
            await self.app(scope, receive, send)
            return
        try:
            caller = self._keys.caller(scope)
            self._rates.enter(caller)
        except Problem as problem:
            self._metrics.rejected(problem.code)
            await send_problem(scope, send, problem)
            return
        scope["state"]["caller"] = caller
        try:
            problem = self._refusal() if _plans(scope) else None
            if problem is None:
                await self.app(scope, receive, send)
            else:  # reading the body first would take longer than planning has left
                self._metrics.rejected(problem.code)
                await send_problem(scope, send, problem)
        finally:
            self._rates.leave(caller)

    async def _connection(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A connection for messages; it counts as one request for as long as it lasts."""
        try:
            self._refuse_pages(scope)
            caller = self._keys.caller(scope)
            self._rates.enter(caller)
        except Problem as problem:
            self._metrics.rejected(problem.code)
            await _deny(scope, send, problem)
            return
        if self._streams >= self._most_streams:
            self._rates.leave(caller)
            said = f"{self._streams} streams are open already"
            await _deny(scope, send, Problem(503, "TOO_MANY_STREAMS", said, headers={"Retry-After": "5"}))
            return
        self._streams += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._streams -= 1
            self._rates.leave(caller)

    def _refuse_pages(self, scope: Scope) -> None:
        """Browsers let any page open a connection for messages, and say only whose page it is; Problem 403 for others' pages."""
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1")
        own = urlsplit(origin).netloc == headers.get(b"host", b"").decode("latin-1")
        if origin and not own and not {"*", origin} & self._origins:
            raise Problem(403, "FOREIGN_ORIGIN", "pages of other origins may not open streams; see the setting cors_origins")


async def _deny(scope: Scope, send: Send, problem: Problem) -> None:
    """Turns a connection for messages down: with the problem where the web server can send one, else by closing it."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": problem.code})
        return
    headers = [(b"content-type", MEDIA_TYPE.encode()), *((k.lower().encode(), v.encode()) for k, v in problem.headers.items())]
    await send({"type": "websocket.http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": problem.body(None, scope["path"])})


def _plans(scope: Scope) -> bool:
    """Whether a request wants a plan made; one with an idempotency key may want one that was made before."""
    return scope["path"] == "/v1/plans" and scope["method"] == "POST" and all(name != b"idempotency-key" for name, _ in scope["headers"])
