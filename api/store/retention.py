"""What is deleted from the store, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, select

from api.jobs.rows import TABLES_OF_A_JOB
from api.store.schema import jobs, plans, replays

if TYPE_CHECKING:
    from api.store.store import Store

_JOBS_AT_ONCE = 20  # in one transaction: others wait for it
_PLANS_AT_ONCE = 2_000


@dataclass(frozen=True)
class RetentionConfig:
    """How much is kept."""

    keep: float = 24 * 3600.0  # s, from when a job ended or an answer was made
    plans: int = 100_000  # of single calls; the oldest go first


async def delete_expired(store: Store, config: RetentionConfig) -> None:
    """Deletes what is older than it may be, a little at a time.

    Raises:
        StoreUnavailable: some of it is still there.
    """
    while await store.run(lambda connection, now: _drop_jobs(connection, now - config.keep)):
        pass
    while await store.run(lambda connection, now: _drop_plans(connection, now - config.keep, config.plans)):
        pass
    await store.run(lambda connection, now: connection.execute(delete(replays).where(replays.c.created < now - config.keep)).rowcount)


def _drop_jobs(connection: Connection, before: float) -> bool:
    """Deletes some jobs that ended before a time, and all that belongs to them; returns whether there may be more."""
    query = select(jobs.c.id).where(jobs.c.finished < before).limit(_JOBS_AT_ONCE)
    ids = [row.id for row in connection.execute(query.with_for_update(skip_locked=True))]
    for table in TABLES_OF_A_JOB if ids else ():
        connection.execute(delete(table).where(table.c.job_id.in_(ids)))
    connection.execute(delete(jobs).where(jobs.c.id.in_(ids)))
    return len(ids) == _JOBS_AT_ONCE


def _drop_plans(connection: Connection, before: float, most: int) -> bool:
    """Deletes some plans of single calls, old ones and those beyond the number kept; returns whether there may be more."""
    single = plans.c.job_id.is_(None)
    last_kept = connection.scalar(select(plans.c.created).where(single).order_by(plans.c.created.desc()).offset(most).limit(1))
    edge = before if last_kept is None else max(before, last_kept)
    which = select(plans.c.id).where(single, plans.c.created <= edge).limit(_PLANS_AT_ONCE)
    return connection.execute(delete(plans).where(plans.c.id.in_(which))).rowcount == _PLANS_AT_ONCE
