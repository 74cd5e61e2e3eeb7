"""Jobs in the store: each function is one transaction's work, called in the store's thread.

Whatever changes a job locks its row first and its items after, so that no two transactions wait for each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import Connection, Row, Table, func, insert, select, tuple_, update

from api.jobs.state import UNFINISHED, ItemState, JobEvent, JobState, JobStatus
from api.packing import packed, unpacked
from api.problems import Problem
from api.store.schema import events, items, job_maps, jobs, plans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.jobs.state import ItemAnswer, NewItem


def add_job(
    job_id: str, requests: Sequence[NewItem], maps: dict[str, bytes], most_unfinished: int, connection: Connection, now: float
) -> JobState:
    """Stores a new job.

    Args:
        job_id: its id.
        requests: at least one.
        maps: JSON of the maps that requests name by id, by these ids.
        most_unfinished: jobs that may wait or run, this one counted.
        connection: a transaction.
        now: s since 1970.

    Raises:
        Problem: 503 where too many jobs wait or run.
    """
    waiting = connection.scalar(select(func.count()).select_from(jobs).where(jobs.c.status.in_(UNFINISHED))) or 0
    if waiting >= most_unfinished:
        raise Problem(503, "TOO_MANY_JOBS", f"{waiting} jobs are waiting or running already", headers={"Retry-After": "10"})
    values = {"id": job_id, "created": now, "status": JobStatus.QUEUED, "total": len(requests), "done": 0, "refused": 0, "events": 0}
    connection.execute(insert(jobs).values(**values))
    same = {"job_id": job_id, "state": ItemState.WAITING, "queued": now, "attempts": 0}
    rows = [same | {"number": k, "priority": r.priority, "request": packed(r.request), "map_id": r.map_id} for k, r in enumerate(requests)]
    connection.execute(insert(items), rows)
    if maps:
        connection.execute(insert(job_maps), [{"job_id": job_id, "map_id": name, "body": packed(body)} for name, body in maps.items()])
    state = JobState(job_id, JobStatus.QUEUED, 0, len(requests), now)
    _tell_status(connection, state)
    return state


def read_job(job_id: str, connection: Connection, _: float) -> JobState | None:
    """A job; None where there is none (any more)."""
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
    return None if row is None else _state(row)


def list_jobs(status: JobStatus | None, before: tuple[float, str] | None, most: int, connection: Connection, _: float) -> list[JobState]:
    """Jobs, the latest first.

    Args:
        status: only those in this state.
        before: only those that come after the one of this time and id.
        most: how many at most.
        connection: a transaction.
    """
    query = select(jobs).order_by(jobs.c.created.desc(), jobs.c.id.desc()).limit(most)
    if status is not None:
        query = query.where(jobs.c.status == status)
    if before is not None:
        query = query.where(tuple_(jobs.c.created, jobs.c.id) < tuple_(*before))
    return [_state(row) for row in connection.execute(query)]


def mark_running(job_ids: Sequence[str], connection: Connection, _: float) -> None:
    """Says of jobs of which a request was taken up that they run."""
    for job_id in sorted(job_ids):
        row = _locked(connection, job_id)
        if row is not None and row.status == JobStatus.QUEUED:
            _change(connection, row, status=JobStatus.RUNNING)


def finish_item(job_id: str, number: int, answer: ItemAnswer, owner: str, connection: Connection, now: float) -> bool:
    """Stores an answer and says that its request is done, both or neither.

    Returns:
        Whether that was so; not where this process has lost the request to another or to a cancellation.
    """
    row = _locked(connection, job_id)
    problem = answer.body if answer.plan_id is None else None
    values = {"state": ItemState.DONE, "owner": None, "lease_until": None, "plan_id": answer.plan_id, "problem": problem}
    ours = (items.c.state == ItemState.CLAIMED, items.c.owner == owner)
    done = connection.execute(update(items).where(items.c.job_id == job_id, items.c.number == number, *ours).values(**values))
    if row is None or done.rowcount == 0:
        return False
    if answer.plan_id is not None:
        stored = {"id": answer.plan_id, "created": now, "job_id": job_id, "body": packed(answer.body)}
        connection.execute(insert(plans).values(**stored))
    count, refused = row.done + 1, row.refused + (answer.plan_id is None)
    told = {"job_id": job_id, "index": number, "plan_id": answer.plan_id, "status": answer.status, "done": count, "total": row.total}
    _tell(connection, job_id, "plan", told)
    if count < row.total:
        _change(connection, row, status=row.status, tell=False, done=count, refused=refused)
    else:
        end = JobStatus.FAILED if refused else JobStatus.SUCCEEDED
        _change(connection, row, status=end, done=count, refused=refused, finished=now)
    return True


def cancel_job(job_id: str, connection: Connection, now: float) -> JobState | None:
    """Ends a job that has not ended; what is answered stays, what is not is never started."""
    row = _locked(connection, job_id)
    if row is None:
        return None
    if JobStatus(row.status).ended:
        return _state(row)
    left = (items.c.job_id == job_id, items.c.state.in_((ItemState.WAITING, ItemState.CLAIMED)))
    connection.execute(update(items).where(*left).values(state=ItemState.CANCELLED, owner=None, lease_until=None))
    return _change(connection, row, status=JobStatus.CANCELLED, finished=now)


def events_after(job_id: str, number: int, most: int, connection: Connection, _: float) -> tuple[JobState | None, list[JobEvent]]:
    """A job, and what happened to it after an event."""
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
    query = select(events).where(events.c.job_id == job_id, events.c.number > number).order_by(events.c.number).limit(most)
    told = [JobEvent(e.number, e.kind, bytes(e.body)) for e in connection.execute(query)]
    return None if row is None else _state(row), told


def answers_from(job_id: str, first: int, most: int, connection: Connection, _: float) -> list[bytes | None]:
    """JSON of the answers to a job's requests, in their order from `first` on; None for one that has none."""
    joined = items.outerjoin(plans, plans.c.id == items.c.plan_id)
    query = select(items.c.problem, plans.c.body).select_from(joined)
    query = query.where(items.c.job_id == job_id, items.c.number >= first).order_by(items.c.number).limit(most)
    return [_answer(problem, body) for problem, body in connection.execute(query)]


def read_map(job_id: str, map_id: str, connection: Connection, _: float) -> bytes | None:
    """JSON of a map as it was when a job was accepted."""
    body = connection.scalar(select(job_maps.c.body).where(job_maps.c.job_id == job_id, job_maps.c.map_id == map_id))
    return None if body is None else unpacked(body)


def _answer(problem: bytes | None, plan: bytes | None) -> bytes | None:
    if problem is not None:
        return b'{"status":"failed","problem":' + bytes(problem) + b"}"
    return None if plan is None else unpacked(plan)


def _locked(connection: Connection, job_id: str) -> Row[Any] | None:
    return connection.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()).one_or_none()


def _state(row: Any) -> JobState:
    return JobState(row.id, JobStatus(row.status), row.done, row.total, row.created, row.finished)


def _change(connection: Connection, row: Any, *, status: JobStatus, tell: bool = True, **values: Any) -> JobState:
    """Changes a job whose row is locked, and tells who listens."""
    connection.execute(update(jobs).where(jobs.c.id == row.id).values(status=status, **values))
    merged = {"done": row.done, "finished": row.finished} | values
    state = JobState(row.id, JobStatus(status), merged["done"], row.total, row.created, merged["finished"])
    if tell:
        _tell_status(connection, state)
    return state


def _tell_status(connection: Connection, state: JobState) -> None:
    _tell(connection, state.id, "status", state.document())


def _tell(connection: Connection, job_id: str, kind: str, document: dict[str, Any]) -> None:
    """Writes down what happened; the job's row is locked, so numbers have no gaps and no twins."""
    number = connection.scalar(update(jobs).where(jobs.c.id == job_id).values(events=jobs.c.events + 1).returning(jobs.c.events))
    connection.execute(insert(events).values(job_id=job_id, number=number, kind=kind, body=orjson.dumps(document)))


TABLES_OF_A_JOB: tuple[Table, ...] = (items, events, job_maps, plans)
