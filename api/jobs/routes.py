"""The calls about jobs: many requests at once, answered in the background, whatever happens to the server meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.encodings import read_document
from api.idempotency import Replay, StoredAnswer, find_answer, fulfil_at_once, replay_of
from api.jobs import rows
from api.jobs.documented import CANCEL, EVENTS, JOB, JOBS, POST_JOB, RESULT
from api.jobs.intake import JobDraft, accept, requests_of
from api.jobs.pages import cursor_after, page_of
from api.jobs.state import JobState, JobStatus
from api.parsing import parse_json
from api.plan_wire import to_json
from api.problems import Problem
from api.store.store import StoreUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from api.desk import Desk

router = APIRouter(tags=["jobs"])
JSON = "application/json"
_ANSWERS_AT_ONCE = 50  # read from the store while a result is sent
_EVENTS_AT_ONCE = 200
_ENDED = "the job was cancelled; its events name the plans that were made before, and ?partial=true returns them"


@router.post("/v1/jobs", **POST_JOB)
async def create_job(request: Request) -> Response:
    """Accepts one request or many, to be planned in the background.

    Once this is answered 202 the job is on disk: neither a restart nor a crash loses it. Each request's deadline counts
    from when the planner is handed it, not from this call. Requests go behind those of single calls unless they say a priority.
    """
    desk: Desk = request.app.state.desk
    body = await read_document(request, desk.settings.max_job_bytes)
    replay = replay_of(request, body)
    answer = None if replay is None else await desk.store.run(partial(find_answer, replay))
    if answer is not None:
        return answer.response(replayed=True)
    draft = await _draft(desk, body)
    job_id = uuid4().hex
    answer = StoredAnswer(202, to_json({"job_id": job_id, "status": JobStatus.QUEUED.value}), f"/v1/jobs/{job_id}")
    earlier = await desk.store.run(partial(_stored, job_id, draft, desk.settings.max_jobs, answer, replay))
    desk.jobs.wake(job_id)
    return answer.response(replayed=False) if earlier is None else earlier.response(replayed=True)


@router.get("/v1/jobs", **JOBS)
async def list_jobs(request: Request) -> Response:
    """All jobs that are kept, the latest first."""
    desk: Desk = request.app.state.desk
    page = page_of(request.query_params)
    found = await desk.store.run(partial(rows.list_jobs, page.status, page.before, page.limit + 1))
    shown = found[: page.limit]
    following = cursor_after(shown[-1]) if len(found) > page.limit else None
    return Response(to_json({"jobs": [state.document() for state in shown], "next_cursor": following}), media_type=JSON)


async def known_job(request: Request, job_id: str) -> JobState:
    """The job of a call.

    Raises:
        Problem: 404.
    """
    desk: Desk = request.app.state.desk
    state = await desk.store.run(partial(rows.read_job, job_id)) if is_id(job_id) else None
    if state is None:
        raise _unknown(job_id)
    return state


KnownJob = Annotated[JobState, Depends(known_job)]


@router.get("/v1/jobs/{job_id}", **JOB)
async def read_job(job: KnownJob) -> Response:
    """How far a job is."""
    return Response(to_json(job.document()), media_type=JSON)


@router.delete("/v1/jobs/{job_id}", **CANCEL)
async def cancel_job(request: Request, job: KnownJob) -> Response:
    """Cancels a job: what is answered by now is kept, what runs is stopped, what waits is never started.

    A job that has ended already stays as it is, and is the answer.
    """
    desk: Desk = request.app.state.desk
    state = await desk.jobs.cancel(job.id)
    if state is None:
        raise _unknown(job.id)
    return Response(to_json(state.document()), media_type=JSON)


@router.get("/v1/jobs/{job_id}/result", **RESULT)
async def read_result(request: Request, job: KnownJob) -> Response:
    """The plans of a job in the order of its requests; with ?partial=true those made so far, whatever became of the job."""
    desk: Desk = request.app.state.desk
    if request.query_params.get("partial") not in ("true", "1"):
        if not job.status.ended:
            raise Problem(409, "JOB_UNFINISHED", f"{job.done} of {job.total} requests are answered", headers={"Retry-After": "1"})
        if job.status is JobStatus.CANCELLED:
            raise Problem(410, "JOB_CANCELLED", _ENDED)
    first = await _answers(desk, job, 0)
    return StreamingResponse(_result(desk, job, first), media_type=JSON)


async def resume_point(request: Request) -> int:
    """The number of the last event that a listener has seen.

    Raises:
        Problem: 422, it is no number.
    """
    given = request.headers.get("last-event-id", "").strip()
    if given and not (given.isascii() and given.isdecimal() and len(given) < 10):
        raise Problem(422, "INVALID_EVENT_ID", "Last-Event-ID must be the id of an event of this job")
    return int(given or 0)


@router.get("/v1/jobs/{job_id}/events", response_class=EventSourceResponse, **EVENTS)
async def job_events(request: Request, job: KnownJob, seen: Annotated[int, Depends(resume_point)]) -> AsyncIterator[ServerSentEvent]:
    """What happens to a job, from its beginning or from after Last-Event-ID, until it has ended.

    `status` has the job, `plan` tells of an answered request; ids count from 1. A comment every 15 s keeps the line open.
    """
    desk: Desk = request.app.state.desk
    with desk.jobs.news.listening(job.id) as bell:
        while True:
            bell.clear()
            state, told = None, []
            with suppress(StoreUnavailable):  # it is asked again: the listener need not know
                state, told = await desk.store.run(partial(rows.events_after, job.id, seen, _EVENTS_AT_ONCE))
                if state is None:
                    return
            for event in told:
                yield ServerSentEvent(raw_data=event.body.decode(), event=event.kind, id=str(event.number))
                seen = event.number
            if not told and ((state is not None and state.status.ended) or desk.jobs.news.closed):
                return
            if not told:
                with suppress(TimeoutError):
                    await asyncio.wait_for(bell.wait(), desk.jobs.config.poll)


def is_id(text: str) -> bool:
    """Whether a text may be the id of a job or a plan."""
    return len(text) == 32 and text.isascii() and text.isalnum()


def _unknown(job_id: str) -> Problem:
    return Problem(404, "UNKNOWN_JOB", f"no job has the id {job_id[:80]!r}, or it has expired")


async def _draft(desk: Desk, body: bytes) -> JobDraft:
    """The requests of a job, read off the event loop one by one, so that others get their turn in between."""
    document = await desk.aside(partial(parse_json, body))
    documents, is_list = requests_of(document, desk.settings.max_job_requests)
    draft = JobDraft()
    for k, one in enumerate(documents):
        where = f"/requests/{k}" if is_list else ""
        await desk.aside(partial(accept, draft, one, where, desk.intake, desk.settings.jobs_priority))
    return draft


def _stored(
    job_id: str, draft: JobDraft, most: int, answer: StoredAnswer, replay: Replay | None, connection: Connection, now: float
) -> StoredAnswer | None:
    """Stores a job and the answer to its key, both or neither; returns the earlier answer where another call was first."""
    earlier = None if replay is None else fulfil_at_once(replay, answer, connection, now)
    if earlier is None:
        rows.add_job(job_id, draft.items, draft.maps, most, connection, now)
    return earlier


async def _answers(desk: Desk, job: JobState, first: int) -> list[bytes | None]:
    return await desk.store.run(partial(rows.answers_from, job.id, first, _ANSWERS_AT_ONCE))


async def _result(desk: Desk, job: JobState, part: list[bytes | None]) -> AsyncIterator[bytes]:
    """The JSON of a result, a part at a time: a job's plans may be larger than memory should be."""
    sent = 0
    yield b'{"plans":['
    while part:
        yield (b"," if sent else b"") + b",".join(b"null" if answer is None else answer for answer in part)
        sent += len(part)
        part = await _answers(desk, job, sent) if sent < job.total else []
    if sent < job.total:
        raise RuntimeError(f"the job {job.id} expired while its result was sent")  # the caller sees that it is cut off
    yield b"]}"
