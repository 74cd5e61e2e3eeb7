"""What surrounds every request: its id and time of receipt, headers for safety, a log line, and the last resort."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from api.problems import MEDIA_TYPE, Problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("flowfleet.access")
faults = logging.getLogger("flowfleet.api")

_GOOD_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; frame-ancestors 'none'"),
)


class RequestFrame:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        """Around `app`."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received = time.monotonic()
        request_id = _request_id(scope)
        scope.setdefault("state", {}).update(received=received, request_id=request_id)
        status = 0

        async def send_framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message["headers"]}
                message["headers"] += [(b"x-request-id", request_id.encode()), *(h for h in _HEADERS if h[0] not in present)]
            await send(message)

        try:
            await self.app(scope, receive, send_framed)
        except Exception:
            faults.exception("unexpected fault", extra={"request_id": request_id, "path": scope["path"]})
            if status:  # part of an answer has gone out: the connection can only be closed
                raise
            await _last_resort(send_framed, request_id)
        finally:
            spent = round(1e3 * (time.monotonic() - received), 3)
            log.info(
                "request", extra={"request_id": request_id, "method": scope["method"], "path": scope["path"], "status": status, "ms": spent}
            )


def _request_id(scope: Scope) -> str:
    """The caller's id of this request where it is one, else a new one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given.decode() if _GOOD_ID.fullmatch(given) else uuid4().hex


async def _last_resort(send: Send, request_id: str) -> None:
    body = Problem(500, "INTERNAL_ERROR", "the server failed; its log has more under this request id").body(request_id)
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
