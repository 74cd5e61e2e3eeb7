"""Reading a request's body: its type, its size, and no more of it than the cap."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from api.problems import Fault, Problem

if TYPE_CHECKING:
    from starlette.requests import Request

_DRAIN = 4  # times the cap that is read and thrown away, so that a caller who sends first and reads then gets the answer
_DRAIN_TIME = 1.0  # s, the longest that this takes


def media_type(request: Request) -> str:
    """The body's media type without parameters, lower case; "" where none is said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_json(request: Request) -> None:
    """Refuses a body that says it is something else.

    Raises:
        Problem: 415.
    """
    kind = media_type(request)
    if kind not in ("", "application/json") and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Problem(
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            f"the body is {kind[:80]!r}; application/json is expected",
            headers={"Accept-Post": "application/json"},
        )
    refuse_encoded(request)


def refuse_encoded(request: Request) -> None:
    """Refuses a compressed body.

    Raises:
        Problem: 415.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("", "identity"):
        raise Problem(
            415,
            "UNSUPPORTED_ENCODING",
            f"the body is encoded as {encoding[:40]!r}; send it as it is",
            headers={"Accept-Encoding": "identity"},
        )


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body.

    Args:
        request: the request.
        limit: bytes.

    Raises:
        Problem: 413 as soon as it is known to be longer; what is over is never kept.
    """
    said = request.headers.get("content-length", "")
    expected = int(said) if said.isdecimal() and len(said) < 20 else 0
    parts: list[bytes] = []
    total, more = 0, True
    while more and max(total, expected) <= limit:
        part, more = await _receive(request)
        parts.append(part)
        total += len(part)
    if max(total, expected) <= limit:
        return b"".join(parts)
    parts.clear()
    if more:
        await _drain(request, _DRAIN * limit)
    fault = Fault("", "BODY_TOO_LARGE", f"the body may have {limit} bytes", max(total, expected), limit)
    raise Problem(413, "BODY_TOO_LARGE", fault.message, [fault], {"Connection": "close"})


async def _receive(request: Request) -> tuple[bytes, bool]:
    """The next part, and whether there is more."""
    message = await request.receive()
    if message["type"] != "http.request":
        raise Problem(400, "INCOMPLETE_BODY", "the caller hung up before the body was complete")
    return message.get("body", b""), message.get("more_body", False)


async def _drain(request: Request, most: int) -> None:
    """Throws away what still comes, up to `most` bytes and for a moment at most."""
    thrown, more = 0, True
    try:
        async with asyncio.timeout(_DRAIN_TIME):
            while more and thrown < most:
                part, more = await _receive(request)
                thrown += len(part)
    except (TimeoutError, Problem):
        return
