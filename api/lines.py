"""Files of JSON documents, one a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from pathlib import Path


def read_lines(path: Path) -> list[bytes]:
    """The documents of a file: one a line; a file that is one JSON document over several lines is one.

    Raises:
        OSError: it cannot be read.
    """
    text = path.read_bytes()
    lines = text.splitlines()
    return [text] if len(lines) > 1 and not _is_json(lines[0]) and _is_json(text) else lines


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
