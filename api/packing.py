"""How JSON lies in the store: as it is where it is short, deflated where it is long."""

from __future__ import annotations

import zlib

_LONG = 1024  # bytes, from which deflating pays


def packed(body: bytes) -> bytes:
    """The bytes that are stored; deflated ones begin with a zero byte, which no JSON does."""
    return b"\0" + zlib.compress(body, 1) if len(body) >= _LONG else body


def unpacked(stored: bytes) -> bytes:
    """The JSON that was stored."""
    return zlib.decompress(stored[1:]) if stored[:1] == b"\0" else bytes(stored)
