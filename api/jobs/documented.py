"""What the API's description says about the calls on jobs and stored plans, taken by the routes as keywords."""

from __future__ import annotations

from typing import Any

from api import answers, examples
from api.documented import BODY_ERRORS, GATE, IDEMPOTENCY_KEY, described_answer, described_body, described_problems
from api.jobs.pages import MOST
from api.jobs.state import JobStatus


def _parameter(name: str, where: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": where, "required": False, "schema": schema, "description": description}


_PAGE = [
    _parameter("status", "query", {"type": "string", "enum": list(JobStatus)}, "only jobs in this state"),
    _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": MOST, "default": 50}, "jobs of a page"),
    _parameter("cursor", "query", {"type": "string"}, "next_cursor of the page before"),
]
_PARTIAL = _parameter("partial", "query", {"type": "boolean", "default": False}, "the plans made so far, null where there is none yet")
_SEEN = _parameter("Last-Event-ID", "header", {"type": "string"}, "only what happened after this event")
_STREAM = {
    200: {
        "description": "server-sent events: `status` with the job, `plan` for each answered request; ends when the job has ended",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": examples.JOB_EVENTS}},
    }
}

POST_JOB: dict[str, Any] = {
    "status_code": 202,
    "responses": described_answer(answers.JobAccepted, examples.JOB_ACCEPTED, "accepted, and on disk", 202)
    | described_problems(409, *BODY_ERRORS),
    "openapi_extra": described_body("JobRequest", examples.JOB_REQUEST) | {"parameters": [IDEMPOTENCY_KEY]},
}
JOBS: dict[str, Any] = {
    "responses": described_answer(answers.JobsAnswer, examples.JOBS_ANSWER) | described_problems(422, *GATE),
    "openapi_extra": {"parameters": _PAGE},
}
JOB: dict[str, Any] = {"responses": described_answer(answers.JobAnswer, examples.JOB_ANSWER) | described_problems(404, *GATE)}
CANCEL: dict[str, Any] = {"responses": described_answer(answers.JobAnswer, examples.JOB_CANCELLED) | described_problems(404, *GATE)}
RESULT: dict[str, Any] = {
    "responses": described_answer(answers.JobResult, examples.JOB_RESULT) | described_problems(404, 409, 410, *GATE),
    "openapi_extra": {"parameters": [_PARTIAL]},
}
EVENTS: dict[str, Any] = {"responses": _STREAM | described_problems(404, 422, *GATE), "openapi_extra": {"parameters": [_SEEN]}}
READ_PLAN: dict[str, Any] = {
    "responses": described_answer(answers.PlanAnswer, examples.PLAN_ANSWER, "the plan") | described_problems(404, *GATE)
}
