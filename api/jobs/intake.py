"""From the bytes of a job to the requests that are stored: each is refused or accepted as a single call would."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from api.jobs.state import NewItem
from api.problems import Fault, Problem, under

if TYPE_CHECKING:
    from api.intake import Intake
    from api.maps_store import MapsStore


@dataclass
class JobDraft:
    """The requests of a job, on their way into the store."""

    items: list[NewItem] = field(default_factory=list)
    maps: dict[str, bytes] = field(default_factory=dict)  # JSON of those registered maps that requests name


def requests_of(document: Any, most: int) -> tuple[list[Any], bool]:
    """The requests in the parsed body of a job.

    Args:
        document: one request, or an object with a list of them under "requests".
        most: how many there may be.

    Returns:
        The requests, and whether they came in a list.

    Raises:
        Problem: 422, with pointers into the body.
    """
    if not isinstance(document, dict) or "requests" not in document:
        return [document], False
    unknown = next((key for key in document if key != "requests"), None)
    if unknown is not None:
        raise _refused(f"/{unknown[:80]}", "UNKNOWN_KEY", "is not a known key beside requests")
    requests = document["requests"]
    if not isinstance(requests, list):
        raise _refused("/requests", "WRONG_TYPE", "must be a list")
    if not requests:
        raise _refused("/requests", "WRONG_LENGTH", "must have at least 1 entries", 0, 1)
    if len(requests) > most:
        raise _refused("/requests", "LIMIT_EXCEEDED", f"may have {most} entries", len(requests), most)
    return requests, True


def accept(draft: JobDraft, document: Any, where: str, intake: Intake, default_priority: int) -> None:
    """Adds a request to a job, once it is found to be one.

    A map that is registered with the server is stored with the job, as it is now: it may be gone when its turn comes.

    Args:
        draft: takes the request.
        document: the request, parsed.
        where: its JSON pointer.
        intake: reads requests.
        default_priority: in the engine's queue, where the request names none.

    Raises:
        Problem: 422, with pointers into the job's body.
    """
    try:
        order = intake.order_of(document, time.monotonic())
    except Problem as problem:
        raise under(problem, where) from None
    given = (document.get("options") or {}).get("priority")
    map_id = _registered_map(document, intake.maps)
    if map_id is not None and map_id not in draft.maps:
        draft.maps[map_id] = intake.maps.find(map_id).body()
    draft.items.append(NewItem(orjson.dumps(document), default_priority if given is None else order.priority, map_id))


def _registered_map(document: dict[str, Any], maps: MapsStore) -> str | None:
    named = document["map"].get("id")
    return None if named is None or maps.find(named).built_in else named


def _refused(where: str, code: str, message: str, value: float | None = None, limit: float | None = None) -> Problem:
    return Problem(
        422,
        "LIMIT_EXCEEDED" if code == "LIMIT_EXCEEDED" else "INVALID_REQUEST",
        f"{where} {message}",
        [Fault(where, code, message, value, limit)],
    )
