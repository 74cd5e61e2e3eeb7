"""Pages of the list of jobs: what is asked for in the address, and the cursor that leads to the next one."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.jobs.state import JobStatus
from api.problems import Fault, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.jobs.state import JobState

MOST = 200  # jobs of a page
_USUAL = 50


@dataclass(frozen=True)
class JobsPage:
    """Which jobs are asked for."""

    status: JobStatus | None
    before: tuple[float, str] | None  # time and id of the last one seen
    limit: int


def page_of(query: Mapping[str, str]) -> JobsPage:
    """The page that the parameters of an address ask for.

    Raises:
        Problem: 422.
    """
    status, cursor, limit = query.get("status"), query.get("cursor"), query.get("limit", str(_USUAL))
    if status is not None and status not in list(JobStatus):
        raise _refused("status", "NOT_ALLOWED", "must be one of " + ", ".join(JobStatus), status)
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 10 and 1 <= int(limit) <= MOST):
        raise _refused("limit", "OUT_OF_RANGE", f"must be from 1 to {MOST}", limit)
    return JobsPage(None if status is None else JobStatus(status), None if cursor is None else _place(cursor), int(limit))


def cursor_after(state: JobState) -> str:
    """The cursor of the page that begins after a job."""
    return base64.urlsafe_b64encode(f"{state.created.hex()} {state.id}".encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[float, str]:
    try:
        text = base64.urlsafe_b64decode(cursor.encode("ascii") + b"===").decode("ascii")
        moment, name = text.split(" ")
        place = float.fromhex(moment), name
    except (ValueError, OverflowError, binascii.Error):
        raise _refused("cursor", "INVALID", "is no cursor of this list", cursor) from None
    if not (name.isalnum() and len(name) == 32 and abs(place[0]) < 1e12):
        raise _refused("cursor", "INVALID", "is no cursor of this list", cursor)
    return place


def _refused(name: str, code: str, message: str, value: str) -> Problem:
    return Problem(422, "INVALID_REQUEST", f"the parameter {name} {message}", [Fault("", code, f"{name} {message}", value)])
