"""What a client of the planning server raises.

PlannerError
├── Unreachable           no answer came: refused, dropped, unknown address
│   └── TimedOut          no answer came in time
├── InvalidRequest        400, 413, 415, 422: `errors` have pointers into the request
├── NotAllowed            401, 403: no key, or not this one
├── NotFound              404: no such map, plan or job
├── Conflict              409, 412: a built-in map, a key that was used for another request
├── Overloaded            429, 503: too many requests; `retry_after` says when to come again
├── NotReady              503: the planner is starting, stopping or broken
├── ServerFault           any other answer that is an error, or none that can be read
└── JobEnded              a job that has no result
    ├── JobFailed
    └── JobCancelled
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RequestFault:
    """One thing that is wrong with a request, and where."""

    pointer: str  # JSON pointer (RFC 6901) into the request body, "" for all of it
    code: str
    message: str
    value: float | str | None = None  # what was received, where it is short
    limit: float | str | None = None  # what would be allowed


class PlannerError(Exception):
    """A call that has no result.

    Args:
        detail: what is wrong, in a sentence.
        problem: the body of the answer (RFC 9457), where there was one.
        retry_after: s, when the server says to come again.
    """

    def __init__(self, detail: str, problem: dict[str, Any] | None = None, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.problem = problem or {}
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.detail, self.problem, self.retry_after)

    @property
    def status(self) -> int | None:
        """HTTP status; None where there was no answer."""
        return self.problem.get("status")

    @property
    def code(self) -> str:
        """Machine-readable name; "" where there is none."""
        return str(self.problem.get("code") or "")

    @property
    def request_id(self) -> str | None:
        """Under this id the server's log has more."""
        return self.problem.get("request_id")

    @property
    def errors(self) -> tuple[RequestFault, ...]:
        """The places that are wrong."""
        listed = self.problem.get("errors")
        return tuple(_fault(entry) for entry in listed if isinstance(entry, dict)) if isinstance(listed, list) else ()


class Unreachable(PlannerError):
    """No answer came."""


class TimedOut(Unreachable):
    """No answer came in time."""


class InvalidRequest(PlannerError):
    """The request cannot be planned as it is; sending it again changes nothing."""


class NotAllowed(PlannerError):
    """No key, or not this one."""


class NotFound(PlannerError):
    """No such map, plan or job."""


class Conflict(PlannerError):
    """Against what the server holds."""


class Overloaded(PlannerError):
    """The server has too much to do."""


class NotReady(PlannerError):
    """The planner is starting, stopping or broken."""


class ServerFault(PlannerError):
    """The server failed."""


class JobEnded(PlannerError):
    """A job that has no result."""


class JobFailed(JobEnded):
    """The server could not answer the job."""


class JobCancelled(JobEnded):
    """Somebody cancelled the job."""


_KINDS: dict[int, type[PlannerError]] = {
    **dict.fromkeys((400, 413, 415, 422), InvalidRequest),
    **dict.fromkeys((401, 403), NotAllowed),
    **dict.fromkeys((404, 410), NotFound),
    **dict.fromkeys((409, 412), Conflict),
    **dict.fromkeys((429, 503), Overloaded),
}
_NOT_READY = {"NOT_READY", "NOT_ALIVE", "DRAINING"}


def error_of(problem: dict[str, Any], retry_after: float | None = None) -> PlannerError:
    """The error that a problem document tells of."""
    status, code = problem.get("status"), problem.get("code")
    kind = _KINDS.get(status, ServerFault) if isinstance(status, int) else ServerFault
    if kind is Overloaded and code in _NOT_READY:
        kind = NotReady
    detail = str(problem.get("detail") or problem.get("title") or "the server gave no reason")
    return kind(detail, problem, retry_after)


def _fault(entry: dict[str, Any]) -> RequestFault:
    pointer, code, message = (str(entry.get(key) or "") for key in ("pointer", "code", "message"))
    return RequestFault(pointer, code, message, entry.get("value"), entry.get("limit"))
