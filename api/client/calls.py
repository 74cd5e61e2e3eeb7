"""Every call of the planning server: what is sent, and how its answer is read. The clients only carry them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

from api.client.errors import InvalidRequest, JobCancelled, JobFailed, PlannerError, ServerFault, error_of
from api.client.fleets import AgentInfo, FleetActions, FleetState
from api.client.requests import Map, MapFile, Request
from api.client.results import Job, MapInfo, PlanResult, Validation, Verdict
from api.client.retries import retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import httpx2

    from api.client.fleets import AnyFleetState
    from api.client.requests import AnyMap, AnyRequest

T = TypeVar("T")
KEY = "Idempotency-Key"
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request to the server."""

    method: str
    path: str
    read: Callable[[Any], T]  # the answer's document, to what the caller gets
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    deadline: float | None = None  # s, that the request names

    @property
    def keyed(self) -> bool:
        """Whether the server can tell a second try from a second request."""
        return KEY in self.headers


def plan(request: AnyRequest) -> Call[PlanResult]:
    """Plans a fleet."""
    document = document_of(request)
    return Call("POST", "/v1/plans", PlanResult.of, to_json(document), _JSON | _key(), _deadline(document))


def validate(request: AnyRequest) -> Call[Validation]:
    """Says what is proven impossible."""
    return Call("POST", "/v1/plans:validate", Validation.of, to_json(document_of(request)), _JSON)


def check(request: AnyRequest, made: Any) -> Call[Verdict]:
    """Judges a plan."""
    return Call("POST", "/v1/plans:check", Verdict.of, check_body(request, made), _JSON)


def plan_by_id(plan_id: str) -> Call[PlanResult]:
    """A plan that the server remembers."""
    return Call("GET", f"/v1/plans/{_quoted(plan_id)}", PlanResult.of)


def maps() -> Call[list[MapInfo]]:
    """All maps."""
    return Call("GET", "/v1/maps", lambda answer: [MapInfo.of(entry) for entry in answer["maps"]])


def read_map(map_id: str) -> Call[dict[str, Any]]:
    """A map in its inline form."""
    return Call("GET", f"/v1/maps/{_quoted(map_id)}", dict)


def put_map(map_id: str, given: AnyMap) -> Call[MapInfo]:
    """Registers a map."""
    path = f"/v1/maps/{_quoted(map_id)}"
    if isinstance(given, MapFile):
        kind, body = form(given.parts)
        return Call("PUT", path, MapInfo.of, body, {"Content-Type": kind})
    return Call("PUT", path, MapInfo.of, to_json(given.to_dict() if isinstance(given, Map) else given), _JSON)


def delete_map(map_id: str) -> Call[None]:
    """Forgets a registered map."""
    return Call("DELETE", f"/v1/maps/{_quoted(map_id)}", lambda _: None)


def capabilities() -> Call[dict[str, Any]]:
    """What the server can do."""
    return Call("GET", "/v1/capabilities", dict)


def agents() -> Call[list[AgentInfo]]:
    """The released policies."""
    return Call("GET", "/v1/agents", lambda answer: [AgentInfo.of(entry) for entry in answer["agents"]])


def act(agent: str, state: AnyFleetState) -> Call[FleetActions]:
    """What a fleet should do next."""
    document = state.to_dict() if isinstance(state, FleetState) else state
    return Call("POST", "/v1/agents/act", FleetActions.of, to_json(document | {"agent": agent}), _JSON)


def ready() -> Call[bool]:
    """Whether requests can be planned."""
    return Call("GET", "/readyz", lambda _: True)


def submit(requests: AnyRequest | Sequence[AnyRequest]) -> Call[Job]:
    """Hands over a job."""
    alone = isinstance(requests, Request | dict)
    document = document_of(requests) if alone else {"requests": [document_of(request) for request in requests]}
    return Call("POST", "/v1/jobs", Job.of, to_json(document), _JSON | _key())


def job(job_id: str) -> Call[Job]:
    """How a job is doing."""
    return Call("GET", job_path(job_id), Job.of)


def jobs(cursor: str | None = None) -> Call[tuple[list[Job], str | None]]:
    """A page of the jobs that the server remembers, and where the next one begins."""
    path = "/v1/jobs" + ("" if cursor is None else f"?cursor={_quoted(cursor)}")
    return Call("GET", path, lambda answer: ([Job.of(entry) for entry in answer["jobs"]], answer.get("next_cursor")))


def result(job_id: str) -> Call[list[PlanResult]]:
    """The plans of a finished job."""
    return Call("GET", f"{job_path(job_id)}/result", lambda answer: [PlanResult.of(made) for made in answer["plans"]])


def cancel(job_id: str) -> Call[None]:
    """Ends a job."""
    return Call("DELETE", job_path(job_id), lambda _: None)


def job_path(job_id: str) -> str:
    """Where a job is."""
    return f"/v1/jobs/{_quoted(job_id)}"


def job_id_of(job: Job | str) -> str:
    """The id of a job."""
    return job if isinstance(job, str) else job.job_id


def refuse_ended(job: Job) -> None:
    """Nothing, for a job that has a result.

    Raises:
        JobEnded: it failed or was cancelled.
    """
    problem = job.raw.get("problem")
    if job.status == "failed":
        raise JobFailed(f"the server could not answer job {job.job_id}", problem if isinstance(problem, dict) else None)
    if job.status == "cancelled":
        raise JobCancelled(f"job {job.job_id} was cancelled")


def document_of(request: AnyRequest) -> dict[str, Any]:
    """The wire form of a request."""
    return request.to_dict() if isinstance(request, Request) else request


def plan_document_of(made: Any) -> Any:
    """The wire form of a plan to be judged: a result of ours, or what any tool made."""
    return made.raw if hasattr(made, "raw") else made


def check_body(request: AnyRequest, made: Any) -> bytes:
    """The body that asks for a verdict."""
    return to_json({"request": document_of(request), "plan": plan_document_of(made)})


def to_json(document: Any) -> bytes:
    """A document as JSON; numbers and arrays of numpy become plain ones.

    What is not finite goes out as it is, for the server to refuse with its place.

    Raises:
        InvalidRequest: something in it has no form in JSON.
    """
    try:
        return json.dumps(document, separators=(",", ":"), default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"the request has no form in JSON: {error}", {"code": "MALFORMED_JSON"}) from None


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} cannot be sent as JSON")


def form(parts: Mapping[str, bytes]) -> tuple[str, bytes]:
    """The media type and the body of a form."""
    boundary = uuid4().hex
    files = ("yaml", "image", "file")  # the other parts are fields
    body = b""
    for name, content in parts.items():
        named = f'; filename="{name}"' if name in files else ""
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + content + b"\r\n"
    return f"multipart/form-data; boundary={boundary}", body + f"--{boundary}--\r\n".encode()


def read_answer(response: httpx2.Response, content: bytes, call: Call[T]) -> T:
    """What a caller gets of an answer.

    Raises:
        PlannerError: the answer is an error, or cannot be read.
    """
    if not response.is_success:
        raise refusal(response, content)
    try:
        return call.read(json.loads(content) if content.strip() else None)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ServerFault(f"the answer to {call.method} {call.path} cannot be read: {error!r}", {"status": response.status_code}) from error


def refusal(response: httpx2.Response, content: bytes) -> PlannerError:
    """The error in an answer; something between here and the server may have sent one that is no problem document."""
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    problem = document if isinstance(document, dict) else {"detail": f"HTTP {response.status_code} {response.reason_phrase}"}
    problem = {"request_id": response.headers.get("x-request-id")} | problem | {"status": response.status_code}
    return error_of(problem, retry_after(response.headers))


def _key() -> dict[str, str]:
    """The same for all tries of a call, so that the server does once what is asked twice."""
    return {KEY: uuid4().hex}


def _deadline(document: Any) -> float | None:
    """The deadline that a request names, s; what is none is left for the server to refuse."""
    options = document.get("options") if isinstance(document, dict) else None
    value = options.get("deadline_ms") if isinstance(options, dict) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value < 1e9:
        return 1e-3 * value
    return None


def _quoted(name: str) -> str:
    return quote(name, safe="")
