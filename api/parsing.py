"""Bytes to JSON values: strict JSON, with numbers that are not finite told apart from text that is no JSON."""

from __future__ import annotations

import re
from typing import Any

import orjson

from api.problems import Fault, Problem, pointer

_STAND_IN = "\u0000not-finite"  # replaces a number that is not finite, to find its place
_NUMBER = re.compile(r"-?(NaN|Infinity|inf|nan|\d+(\.\d+)?([eE][+-]?\d+)?)")
_MOST_TRIES = 4


def parse_json(body: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        Problem: 400 for what is no JSON, 422 for a number that no double can hold (NaN, Infinity, 1e999).
    """
    if not body.strip():
        raise Problem(400, "MALFORMED_JSON", "the body is empty; a JSON object is expected", [Fault("", "EMPTY_BODY", "the body is empty")])
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _problem(error) from None


def _problem(error: orjson.JSONDecodeError) -> Problem:
    """The problem of a text that is refused: its numbers where they are not finite, else the text."""
    faults: list[Fault] = []
    text, at = error.doc, error
    values: list[str] = []
    while isinstance(text, str) and len(values) < _MOST_TRIES:
        number = _NUMBER.match(text, at.pos - (text[at.pos - 1 : at.pos] == "-"))  # the place is behind the sign of -Infinity
        if number is None:
            return _malformed(at)
        values.append(number[0])
        text = text[: number.start()] + orjson.dumps(f"{_STAND_IN}{len(values) - 1}").decode() + text[number.end() :]
        try:
            document = orjson.loads(text)
        except orjson.JSONDecodeError as following:
            at = following
            continue
        places = sorted(_stand_ins(document, ()))
        faults = [Fault(pointer(path), "NON_FINITE", "must be a finite number", values[k]) for k, path in places]
        return Problem(422, "NON_FINITE", f"{faults[0].pointer or 'the body'} must be a finite number", faults)
    return Problem(
        422,
        "NON_FINITE",
        "the body holds numbers that are not finite",
        [Fault("", "NON_FINITE", "must be finite numbers", values[0] if values else None)],
    )


def _malformed(error: orjson.JSONDecodeError) -> Problem:
    place = f"line {error.lineno}, column {error.colno}"
    return Problem(400, "MALFORMED_JSON", f"the body is no JSON: {place}", [Fault("", "MALFORMED_JSON", f"no JSON at {place}")])


def _stand_ins(value: Any, path: tuple[str | int, ...]) -> list[tuple[int, tuple[str | int, ...]]]:
    """Numbers and paths of the stand-ins in a document."""
    if isinstance(value, str):
        return [(int(value[len(_STAND_IN) :]), path)] if value.startswith(_STAND_IN) else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, inner in items if isinstance(inner, str | dict | list) for found in _stand_ins(inner, (*path, key))]
