"""The store: what outlives a request or the server. One thread talks to the database; the event loop never does."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from api.packing import packed, unpacked
from api.problems import Problem
from api.recent_plans import RecentPlans
from api.store import schema
from api.store.engine import FileShare, database
from api.store.leases import forget_leases

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

T = TypeVar("T")

log = logging.getLogger("flowfleet.store")
_OUR_FAULTS = (IntegrityError, ProgrammingError, DataError)  # a statement that is wrong, not a database that is away
_TRY_AGAIN = ("40001", "40P01")  # PostgreSQL: two transactions in each other's way
_TRIES = 4


class StoreUnavailable(Problem):
    """The database is away, full or locked: nothing was written."""

    def __init__(self) -> None:
        super().__init__(503, "STORE_UNAVAILABLE", "the store cannot be reached or written now", headers={"Retry-After": "5"})


@dataclass(frozen=True)
class StoreConfig:
    """What is kept in memory."""

    recent_bytes: int = 32 * 1024 * 1024  # plans that are remembered beside the database
    backlog: int = 2048  # plans that may wait to be written; more are not kept
    delay: float = 0.1  # s, that plans wait for others to be written with


class Store:
    """A database, its thread, and the plans on their way there."""

    def __init__(self, url: str, config: StoreConfig | None = None) -> None:
        """Nothing is opened before the first use.

        Raises:
            InvalidInput: the address is none.
        """
        self.config = config or StoreConfig()
        self.owner = uuid4().hex  # of the leases that this process holds
        self._engine = database(url)
        self._share = FileShare(self._engine)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._is_open = False
        self._is_away = False
        self._recent = RecentPlans(self.config.recent_bytes)
        self._backlog: list[tuple[str, bytes]] = []
        self._lock = Lock()

    async def run(self, work: Callable[[Connection, float], T]) -> T:
        """Does something in one transaction, in the store's thread.

        Raises:
            StoreUnavailable: nothing of it was done.
        """
        return await asyncio.wrap_future(self._submit(work))

    def find_plan(self, plan_id: str) -> bytes | None:
        """A plan's JSON by its id; None where there is none (any more). Safe from any thread; may wait for the database.

        Raises:
            StoreUnavailable: it is not in memory, and the database is away.
        """
        known, body = self._remembered(plan_id)
        return body if known else self._submit(partial(_plan, plan_id)).result()

    async def plan(self, plan_id: str) -> bytes | None:
        """The same as `find_plan`, for the event loop."""
        known, body = self._remembered(plan_id)
        return body if known else await self.run(partial(_plan, plan_id))

    def keep(self, plan_id: str, body: bytes) -> None:
        """Stores a plan soon; costs the caller, on the event loop, next to nothing. Where too many wait it is not kept."""
        self.remember(plan_id, body)
        with self._lock:
            if len(self._backlog) >= self.config.backlog:
                log.warning("the store is too slow: a plan is not kept", extra={"plan_id": plan_id})
                return
            self._backlog.append((plan_id, body))
            first = len(self._backlog) == 1
        if first:
            asyncio.get_running_loop().call_later(self.config.delay, self._write_backlog)

    def remember(self, plan_id: str, body: bytes) -> None:
        """Keeps a plan at hand in memory."""
        self._recent.keep(plan_id, body)

    async def close(self) -> None:
        """Writes what waits, and lets go of the database."""
        self._write_backlog()
        await asyncio.to_thread(self._thread.shutdown)
        self._engine.dispose()
        self._share.leave()

    def _remembered(self, plan_id: str) -> tuple[bool, bytes | None]:
        """Whether there is no need to ask the database, and the plan."""
        if len(plan_id) != 32 or not plan_id.isalnum() or not plan_id.isascii():
            return True, None
        body = self._recent.find_plan(plan_id)
        return body is not None, body

    def _write_backlog(self) -> None:
        with self._lock:
            rows, self._backlog = self._backlog, []
        if rows:
            try:
                self._submit(partial(_keep, rows)).add_done_callback(partial(_report, len(rows)))
            except RuntimeError:  # closed meanwhile, and that wrote the rest
                log.warning("the store is closed: %d plans are not kept", len(rows))

    def _submit(self, work: Callable[[Connection, float], T]) -> Future[T]:
        return self._thread.submit(self._transact, work)

    def _transact(self, work: Callable[[Connection, float], T]) -> T:
        for attempt in range(1, _TRIES + 1):
            try:
                self._open()
                with self._engine.begin() as connection:
                    result = work(connection, schema.now_of(connection))
            except _OUR_FAULTS:
                raise
            except (DBAPIError, PoolTimeout, OSError, schema.StoreTooNew) as error:
                if getattr(getattr(error, "orig", None), "sqlstate", None) in _TRY_AGAIN and attempt < _TRIES:
                    continue
                self._say(str(getattr(error, "orig", None) or error))
                raise StoreUnavailable from error
            self._say(None)
            return result
        raise StoreUnavailable

    def _say(self, why: str | None) -> None:
        """Logs that the store is away, or back: once, not with every use."""
        if self._is_away == (why is not None):
            return
        self._is_away = why is not None
        if why is None:
            log.warning("the store can be used again")
        else:
            log.error("the store cannot be used", extra={"why": why})

    def _open(self) -> None:
        """Makes the tables where there are none; tried anew with each use until it works."""
        if self._is_open:
            return
        alone = self._share.join()
        with self._engine.begin() as connection:
            schema.prepare(connection)
            if alone:
                forget_leases(connection)
        self._share.settle()
        self._is_open = True


def _plan(plan_id: str, connection: Connection, _: float) -> bytes | None:
    body = connection.scalar(select(schema.plans.c.body).where(schema.plans.c.id == plan_id))
    return None if body is None else unpacked(body)


def _keep(rows: list[tuple[str, bytes]], connection: Connection, now: float) -> None:
    connection.execute(insert(schema.plans), [{"id": name, "created": now, "body": packed(body)} for name, body in rows])


def _report(count: int, done: Future[None]) -> None:
    if not done.cancelled() and done.exception() is not None:
        log.warning("%d plans are not kept", count)
