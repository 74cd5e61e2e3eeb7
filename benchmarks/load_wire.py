"""HTTP/1.1 as a load generator needs it: bodies encoded beforehand, connections kept, no more of an answer read than is counted."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_RETRY = re.compile(rb"retry-after:\s*([\d.]+)", re.IGNORECASE)
_SUCCEEDED = re.compile(rb'"status"\s*:\s*"(succeeded|partial)"')
_HEAD = 400  # bytes of a plan within which its status stands


@dataclass(frozen=True)
class Reply:
    """What came of one request."""

    at: float  # s, when it was due, time.perf_counter()
    latency: float  # s, from when it was due to the last byte of its answer
    status: int  # 0: the connection broke, or nothing came in time
    good: bool  # a plan that succeeded
    retry_after: float | None = None  # s


def encoded(request: dict, path: str = "/v1/plans") -> bytes:
    """A request as it goes over the wire."""
    body = json.dumps(request, separators=(",", ":")).encode()
    return f"POST {path} HTTP/1.1\r\nhost: load\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def looking(path: str) -> bytes:
    """A request without a body."""
    return f"GET {path} HTTP/1.1\r\nhost: load\r\n\r\n".encode()


class Connection:
    """One connection, opened anew where it was closed."""

    def __init__(self, url: str, patience: float = 120.0) -> None:
        """To the server at `url`; an answer that takes longer than `patience`, s, counts as none."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._patience = patience
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, message: bytes, due: float | None = None) -> Reply:
        """Sends a request and reads its answer.

        Args:
            message: head and body.
            due: when it should have been sent, time.perf_counter(); now by default. Waiting for a turn counts.
        """
        due = time.perf_counter() if due is None else due
        try:
            async with asyncio.timeout(self._patience):
                return await self._exchanged(message, due)
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            self.close()
            return Reply(due, time.perf_counter() - due, 0, good=False)

    async def _exchanged(self, message: bytes, due: float) -> Reply:
        if self._streams is None or self._streams[1].is_closing() or self._streams[0].at_eof():
            self._streams = await asyncio.open_connection(self._host, self._port, limit=1 << 20)
        reader, writer = self._streams
        writer.write(message)
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length[1])) if length else b""
        latency = time.perf_counter() - due
        if b"connection: close" in head.lower():
            self.close()
        status, wait = int(head[9:12]), _RETRY.search(head)
        good = status == 200 and _SUCCEEDED.search(body[:_HEAD]) is not None
        return Reply(due, latency, status, good, float(wait[1]) if wait else None)

    def close(self) -> None:
        """Closes the connection."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


async def dripped(url: str, message: bytes, seconds: float, step: float) -> Reply:
    """Sends a request byte by byte, one every `step` s, for `seconds`; gives up then unless it has been answered."""
    parts = urlsplit(url)
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    status = 0
    try:
        for k in range(len(message)):
            writer.write(message[k : k + 1])
            await asyncio.sleep(step)
            if reader.at_eof() or time.perf_counter() - began > seconds:
                break
        async with asyncio.timeout(1.0):
            status = int((await reader.readuntil(b"\r\n"))[9:12])
    except (OSError, EOFError, TimeoutError):
        pass
    finally:
        writer.close()
    return Reply(began, time.perf_counter() - began, status, good=False)
