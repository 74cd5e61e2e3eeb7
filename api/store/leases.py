"""Who works on what: a process takes requests of jobs for a while, says that it lives, and loses them when it does not.

Each function is one transaction's work, called in the store's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, and_, delete, select, update

from api.jobs.state import ClaimedItem, ItemState
from api.packing import unpacked
from api.store.schema import items, replays

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Row, Update


def claim(owner: str, most: int, lease: float, connection: Connection, now: float) -> list[ClaimedItem]:
    """Takes requests to work on: first those whose process has died, then waiting ones by priority and age.

    Args:
        owner: this process.
        most: how many at most.
        lease: s, for how long, unless renewed.
        connection: a transaction.
        now: s since 1970.
    """
    lapsed = and_(items.c.state == ItemState.CLAIMED, items.c.lease_until < now, items.c.owner != owner)
    rows = _next(connection, lapsed, most)
    rows += _next(connection, items.c.state == ItemState.WAITING, most - len(rows))
    for row in rows:
        values = {"state": ItemState.CLAIMED, "owner": owner, "lease_until": now + lease, "attempts": row.attempts + 1}
        connection.execute(update(items).where(items.c.job_id == row.job_id, items.c.number == row.number).values(**values))
    return [ClaimedItem(r.job_id, r.number, unpacked(r.request), r.priority, r.map_id, r.attempts + 1) for r in rows]


def _next(connection: Connection, which: ColumnElement[bool], most: int) -> list[Row]:
    """Rows that nobody else is taking at this moment: another process's claim is skipped, not waited for."""
    if most <= 0:
        return []
    order = (items.c.priority, items.c.queued, items.c.job_id, items.c.number)
    return list(connection.execute(select(items).where(which).order_by(*order).limit(most).with_for_update(skip_locked=True)))


def renew(owner: str, lease: float, connection: Connection, now: float) -> set[tuple[str, int]]:
    """Says that this process lives; returns the requests that are still its own."""
    connection.execute(update(replays).where(replays.c.owner == owner).values(lease_until=now + lease))
    ours = (items.c.state == ItemState.CLAIMED, items.c.owner == owner)
    rows = connection.execute(update(items).where(*ours).values(lease_until=now + lease).returning(items.c.job_id, items.c.number))
    return {(row.job_id, row.number) for row in rows}


def give_back(owner: str, keys: Sequence[tuple[str, int]], connection: Connection, _: float) -> None:
    """Leaves requests to whoever claims them next; that they were taken does not count."""
    for job_id, number in keys:
        connection.execute(_returned(owner).where(items.c.job_id == job_id, items.c.number == number))


def give_all_back(owner: str, connection: Connection, _: float) -> None:
    """Leaves everything to others: this process ends."""
    connection.execute(_returned(owner))
    connection.execute(delete(replays).where(replays.c.owner == owner))


def _returned(owner: str) -> Update:
    values = {"state": ItemState.WAITING, "owner": None, "lease_until": None, "attempts": items.c.attempts - 1}
    return update(items).where(items.c.state == ItemState.CLAIMED, items.c.owner == owner).values(**values)


def forget_leases(connection: Connection) -> None:
    """Ends all leases: no process lives that could hold one."""
    values = {"state": ItemState.WAITING, "owner": None, "lease_until": None}
    connection.execute(update(items).where(items.c.state == ItemState.CLAIMED).values(**values))
    connection.execute(delete(replays).where(replays.c.status.is_(None)))
