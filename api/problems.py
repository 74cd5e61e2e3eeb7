"""Everything that may be wrong with a request, as application/problem+json (RFC 9457)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from maps.errors import InvalidInput, LimitExceeded, UnknownMap

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

MEDIA_TYPE = "application/problem+json"
MOST_FAULTS = 20  # of one answer
LONGEST_VALUE = 80  # characters of an echoed text
LONGEST_KEY = 200  # characters of a key in a pointer


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and where."""

    pointer: str  # JSON pointer (RFC 6901) into the request body, "" for all of it
    code: str
    message: str
    value: float | str | None = None  # what was received, where it is short
    limit: float | str | None = None  # what would be allowed


class Problem(Exception):
    """An answer that is an error.

    Args:
        status: HTTP status.
        code: machine-readable name, upper case.
        detail: what is wrong, in a sentence.
        faults: the places, where there are any.
        headers: further HTTP headers, such as Retry-After.
    """

    def __init__(self, status: int, code: str, detail: str, faults: Iterable[Fault] = (), headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.faults = tuple(faults)[:MOST_FAULTS]
        self.headers = dict(headers or {})

    def document(self, request_id: str | None = None, instance: str | None = None) -> dict[str, Any]:
        """The body of the answer."""
        return {
            "type": "urn:flowfleet:problem:" + self.code.lower().replace("_", "-"),
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            "request_id": request_id,
            "errors": [
                {"pointer": f.pointer, "code": f.code, "message": f.message, "value": _echo(f.value), "limit": f.limit} for f in self.faults
            ],
        }

    def body(self, request_id: str | None = None, instance: str | None = None) -> bytes:
        """The body of the answer as JSON; what is not finite becomes null."""
        return orjson.dumps(self.document(request_id, instance))


def pointer(path: Iterable[str | int]) -> str:
    """The JSON pointer of a path of keys and indices."""
    out = ""
    for step in path:
        if isinstance(step, str) and len(step) > LONGEST_KEY:
            return out
        out += "/" + str(step).replace("~", "~0").replace("/", "~1")
    return out


def under(problem: Problem, prefix: str) -> Problem:
    """The same problem, seen from a document that holds this one at `prefix`, a JSON pointer."""
    faults = [replace(f, pointer=prefix + f.pointer) for f in problem.faults]
    return Problem(problem.status, problem.code, problem.detail, faults, problem.headers)


def of_invalid_input(error: InvalidInput) -> Problem:
    """The problem of data that the planner's own types refuse."""
    code = "LIMIT_EXCEEDED" if isinstance(error, LimitExceeded) else "INVALID_REQUEST"
    return Problem(422, code, error.message, [Fault(error.pointer, error.code, error.message, error.value, error.limit)])


def of_unknown_map(error: UnknownMap, where: str) -> Problem:
    """The problem of a request that names a map which is not registered."""
    fault = Fault(where, "UNKNOWN_MAP", f"no map has the id {_echo(error.map_id)!r}", error.map_id)
    return Problem(422, "UNKNOWN_MAP", fault.message, [fault])


def of_validation(error: ValidationError) -> Problem:
    """The problem of a document that does not fit its schema; nothing of pydantic's wording gets through."""
    faults = [_fault(e) for e in error.errors(include_url=False)[:MOST_FAULTS]]
    first = faults[0]
    count = error.error_count()
    more = f", and {count - 1} more" if count > 1 else ""
    return Problem(422, "INVALID_REQUEST", f"{first.pointer or 'the body'} {first.message}{more}", faults)


def _fault(error: ErrorDetails) -> Fault:
    code, message, limit = _explained(error["type"], error.get("ctx") or {})
    place = error["loc"]
    value = None if error["type"] == "missing" else _short(error["input"])
    if error["type"] in ("too_long", "too_short"):
        value = (error.get("ctx") or {}).get("actual_length")
    return Fault(pointer(_without_tags(place)), code, message, value, limit)


def _without_tags(place: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The path in the document: pydantic puts the name of the chosen alternative behind a map and behind an obstacle."""
    kept: list[int | str] = []
    k = 0
    while k < len(place):
        kept.append(place[k])
        behind_obstacle = isinstance(place[k], int) and k > 0 and place[k - 1] == "obstacles"
        k += 2 if (place[k] == "map" or behind_obstacle) else 1
    return tuple(kept)


_TYPES = {
    "float_type": "a number",
    "int_type": "an integer",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "none_required": "null",
}
_RANGES = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_LENGTHS = {
    "too_short": ("min_length", "at least", "entries"),
    "too_long": ("max_length", "at most", "entries"),
    "string_too_short": ("min_length", "at least", "characters"),
    "string_too_long": ("max_length", "at most", "characters"),
}


def _explained(kind: str, context: Mapping[str, Any]) -> tuple[str, str, float | str | None]:
    """Code, message and limit of a kind of fault."""
    if kind in _TYPES:
        return "WRONG_TYPE", f"must be {_TYPES[kind]}", None
    if kind in _RANGES:
        key, words = _RANGES[kind]
        return "OUT_OF_RANGE", f"must be {words} {context[key]:g}", context[key]
    if kind in _LENGTHS:
        key, words, what = _LENGTHS[kind]
        return "WRONG_LENGTH", f"must have {words} {context[key]} {what}", context[key]
    if kind == "missing":
        return "MISSING", "is missing", None
    if kind == "extra_forbidden":
        return "UNKNOWN_KEY", "is not a known key", None
    if kind in ("literal_error", "union_tag_invalid", "union_tag_not_found"):
        allowed = str(context.get("expected") or context.get("expected_tags") or "")
        return "NOT_ALLOWED", f"must be {allowed}" if allowed else 'must have a known "type"', allowed or None
    return "INVALID", "is not valid", None


def _short(value: object) -> float | str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return value
    return _echo(value) if isinstance(value, str) else None


def _echo(value: Any) -> Any:
    """A value that fits into an answer: short texts, and numbers that JSON libraries read."""
    if isinstance(value, int) and abs(value) >= 2**53:
        return float(value)
    if isinstance(value, str) and len(value) > LONGEST_VALUE:
        return value[:LONGEST_VALUE] + "..."
    return value
