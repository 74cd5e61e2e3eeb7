"""The tables of the store, and the steps that lead from one version of them to the next."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Connection, Double, Index, Integer, LargeBinary, MetaData, String, Table, func, insert, select, text, update

from maps.errors import PlanningError

if TYPE_CHECKING:
    from collections.abc import Callable

TABLES = MetaData()
_LOCK = 7_385_931_042  # any number of our own: PostgreSQL's advisory lock for changes of the schema

version = Table("flowfleet_schema", TABLES, Column("version", Integer, nullable=False))

jobs = Table(
    "flowfleet_jobs",
    TABLES,
    Column("id", String(32), primary_key=True),
    Column("created", Double, nullable=False),  # s since 1970, as all times here
    Column("finished", Double),
    Column("status", String(16), nullable=False),  # JobStatus
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("refused", Integer, nullable=False),  # of the done ones: those that the server could not answer
    Column("events", Integer, nullable=False),  # the number of its last event
)
Index("flowfleet_jobs_created", jobs.c.created, jobs.c.id)
Index("flowfleet_jobs_status", jobs.c.status)
Index("flowfleet_jobs_finished", jobs.c.finished)

items = Table(
    "flowfleet_items",
    TABLES,
    Column("job_id", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", String(16), nullable=False),  # ItemState
    Column("priority", Integer, nullable=False),
    Column("queued", Double, nullable=False),
    Column("request", LargeBinary, nullable=False),  # packed JSON
    Column("map_id", String(64)),  # the map of the job that stands for the one that the request names
    Column("attempts", Integer, nullable=False),
    Column("owner", String(32)),  # the process that has it
    Column("lease_until", Double),
    Column("plan_id", String(32)),  # of its answer
    Column("problem", LargeBinary),  # in place of a plan: why the server could not answer, JSON
)
Index("flowfleet_items_next", items.c.state, items.c.priority, items.c.queued, items.c.job_id, items.c.number)

job_maps = Table(
    "flowfleet_job_maps",
    TABLES,
    Column("job_id", String(32), primary_key=True),
    Column("map_id", String(64), primary_key=True),
    Column("body", LargeBinary, nullable=False),  # packed JSON, as the map was when the job was accepted
)

events = Table(
    "flowfleet_events",
    TABLES,
    Column("job_id", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("body", LargeBinary, nullable=False),  # JSON
)

plans = Table(
    "flowfleet_plans",
    TABLES,
    Column("id", String(32), primary_key=True),
    Column("created", Double, nullable=False),
    Column("job_id", String(32)),  # none: the plan of a single call
    Column("body", LargeBinary, nullable=False),  # packed JSON
)
Index("flowfleet_plans_created", plans.c.job_id, plans.c.created)

replays = Table(
    "flowfleet_replays",
    TABLES,
    Column("scope", String(32), primary_key=True),  # whose key it is
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),  # of the call and its body
    Column("created", Double, nullable=False),
    Column("owner", String(32)),  # the process that still works on the answer
    Column("lease_until", Double),
    Column("status", Integer),  # of the answer; none: there is no answer yet
    Column("location", String(255)),
    Column("body", LargeBinary),  # packed JSON
)
Index("flowfleet_replays_created", replays.c.created)


class StoreTooNew(PlanningError):
    """The store was written by a later version of this program."""


def _first(connection: Connection) -> None:
    TABLES.create_all(connection)


STEPS: tuple[Callable[[Connection], None], ...] = (_first,)  # step k leads from version k to k + 1; never change one that was released


def prepare(connection: Connection) -> None:
    """Brings the tables to this program's version; safe where several processes start at once.

    Raises:
        StoreTooNew: they are of a later version.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    version.create(connection, checkfirst=True)
    found = connection.scalar(select(version.c.version))
    if found is None:
        connection.execute(insert(version).values(version=0))
    at = found or 0
    if at > len(STEPS):
        raise StoreTooNew(f"the store has version {at}, this program knows {len(STEPS)}")
    for step in STEPS[at:]:
        step(connection)
    if at < len(STEPS):
        connection.execute(update(version).values(version=len(STEPS)))


def now_of(connection: Connection) -> float:
    """The time that leases are measured by, s since 1970: the database server's, where several machines share one."""
    if connection.dialect.name == "postgresql":
        return float(connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())::float8")) or 0.0)
    return time.time()


def inserted(connection: Connection, table: Table, values: dict[str, Any]) -> bool:
    """Adds a row unless one of its key is there; returns whether it was added."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_new
    else:
        from sqlalchemy.dialects.sqlite import insert as insert_new
    added = insert_new(table).values(**values).on_conflict_do_nothing().returning(*table.primary_key.columns)
    return connection.execute(added).first() is not None
