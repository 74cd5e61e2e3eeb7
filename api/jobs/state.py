"""What is known of a job, as it lies in the store and as it goes over the wire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class JobStatus(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"  # every request has an answer, also where a plan was not found
    FAILED = "failed"  # some request could not be answered by the server
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self not in UNFINISHED


UNFINISHED = (JobStatus.QUEUED, JobStatus.RUNNING)


class ItemState(StrEnum):
    """Where one request of a job is."""

    WAITING = "waiting"
    CLAIMED = "claimed"  # a process works on it, for as long as its lease lasts
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class JobState:
    """A job, without its requests and answers."""

    id: str
    status: JobStatus
    done: int
    total: int
    created: float  # s since 1970
    finished: float | None = None  # s since 1970

    def document(self) -> dict[str, Any]:
        """The wire form."""
        return {
            "job_id": self.id,
            "status": self.status.value,
            "done": self.done,
            "total": self.total,
            "created_at": _iso(self.created),
            "finished_at": None if self.finished is None else _iso(self.finished),
        }


@dataclass(frozen=True)
class NewItem:
    """A request of a job to be stored."""

    request: bytes  # JSON
    priority: int
    map_id: str | None  # the map of the job that stands for the one named


@dataclass(frozen=True)
class ClaimedItem:
    """A request of a job that this process is to answer."""

    job_id: str
    number: int
    request: bytes  # JSON
    priority: int
    map_id: str | None
    attempts: int  # this one counted


@dataclass(frozen=True)
class ItemAnswer:
    """What came of a request: a plan, or why the server could not answer."""

    plan_id: str | None
    body: bytes  # JSON: the plan, or the problem
    status: str  # the plan's; "failed" for a problem


@dataclass(frozen=True)
class JobEvent:
    """Something that happened to a job."""

    number: int  # from 1
    kind: str
    body: bytes  # JSON


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
