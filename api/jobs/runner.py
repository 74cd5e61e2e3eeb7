"""Works through the jobs in the store: takes their requests, has the engine plan them, and stores the answers."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import orjson

from api.engine import EngineState
from api.jobs import rows
from api.jobs.news import JobNews
from api.jobs.state import ItemAnswer
from api.jobs.work import answer_item
from api.problems import Problem
from api.store import leases
from api.store.retention import RetentionConfig, delete_expired
from api.store.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from api.desk import Desk
    from api.jobs.state import ClaimedItem, JobState

log = logging.getLogger("flowfleet.jobs")

Key = tuple[str, int]  # a job's id, and the number of a request in it
_LAST_WORDS = 5.0  # s, how long answers that are there already may take into the store when the server stops


@dataclass(frozen=True)
class RunnerConfig:
    """How much at once, and for how long a request is a process's own."""

    in_flight: int = 32  # requests handed to the engine at once
    lease: float = 15.0  # s, after which another process takes over what a dead one had
    attempts: int = 10  # times that a request is taken up; it must be what ends the process then
    poll: float = 1.0  # s, between looks for what other processes did
    prune: float = 300.0  # s, between deletions of what has expired


class JobRunner:
    """The background work of one server on the jobs of its store. All methods are called on the event loop."""

    def __init__(self, desk: Desk, config: RunnerConfig, retention: RetentionConfig) -> None:
        """Nothing runs before `start`."""
        self.config = config
        self.news = JobNews()
        self._desk = desk
        self._store = desk.store
        self._retention = retention
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._started: set[str] = set()  # jobs that are known to be marked as running
        self._bell = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts to work, once the engine is ready."""
        self._loops = [asyncio.ensure_future(loop) for loop in (self._claim_loop(), self._renew_loop(), self._prune_loop())]

    def wake(self, job_id: str) -> None:
        """Says that there is something new about a job."""
        self.news.tell(job_id)
        self._bell.set()

    async def cancel(self, job_id: str) -> JobState | None:
        """Ends a job, and what runs of it here; None where there is none."""
        state = await self._store.run(partial(rows.cancel_job, job_id))
        if state is not None and state.status.ended:
            for key, task in list(self._running.items()):
                if key[0] == job_id:
                    task.cancel()
        self.wake(job_id)
        return state

    def stop(self) -> None:
        """Takes up nothing more, and lets go of who listens."""
        self.news.close()
        for loop in self._loops[:1]:
            loop.cancel()

    async def close(self) -> None:
        """Stores the answers that the engine has given, and leaves all else to the next start."""
        self.stop()
        if self._running:
            await asyncio.wait(self._running.values(), timeout=_LAST_WORDS)
        tasks = [*self._loops, *self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(StoreUnavailable):
            await self._store.run(partial(leases.give_all_back, self._store.owner))

    async def _claim_loop(self) -> None:
        while True:
            self._bell.clear()
            free = self.config.in_flight - len(self._running)
            if free > 0 and self._desk.engine.state is EngineState.READY:
                await self._unless_away(self._claim(free))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._bell.wait(), self.config.poll)

    async def _claim(self, most: int) -> None:
        claimed = await self._store.run(partial(leases.claim, self._store.owner, most, self.config.lease))
        for item in claimed:
            key = (item.job_id, item.number)
            task = self._running[key] = asyncio.ensure_future(self._work(item))
            task.add_done_callback(partial(self._forget, key))
        fresh = {item.job_id for item in claimed} - self._started
        if fresh:
            await self._store.run(partial(rows.mark_running, sorted(fresh)))
            self._started = {job_id for job_id, _ in self._running} | fresh
            for job_id in fresh:
                self.news.tell(job_id)

    def _forget(self, key: Key, task: asyncio.Task[None]) -> None:
        self._running.pop(key, None)
        self._bell.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("a request of a job could not be worked on", exc_info=task.exception(), extra={"job_id": key[0]})

    async def _work(self, item: ClaimedItem) -> None:
        if item.attempts > self.config.attempts:
            problem = Problem(500, "WORK_LOST", f"the server ended {item.attempts - 1} times while it planned this request")
            answer = ItemAnswer(None, orjson.dumps(problem.document()), "failed")
        else:
            answer = await answer_item(self._desk, item)
        while answer is not None:
            try:
                stored = await self._store.run(partial(rows.finish_item, item.job_id, item.number, answer, self._store.owner))
            except StoreUnavailable:  # the answer is kept until it can be written, or another process has taken over
                await asyncio.sleep(self.config.poll)
                continue
            if stored and answer.plan_id is not None:
                self._store.remember(answer.plan_id, answer.body)
            self.news.tell(item.job_id)
            return
        await self._store.run(partial(leases.give_back, self._store.owner, [(item.job_id, item.number)]))

    async def _renew_loop(self) -> None:
        while True:
            await asyncio.sleep(self.config.lease / 5.0)
            await self._unless_away(self._renew())

    async def _renew(self) -> None:
        """Says that this process lives; drops what others have cancelled or taken, gives back what nobody works on."""
        before = set(self._running)
        ours = await self._store.run(partial(leases.renew, self._store.owner, self.config.lease))
        for key in before - ours:
            if key in self._running:
                self._running[key].cancel()
                self.news.tell(key[0])
        orphans = ours - before - set(self._running)
        if orphans:
            await self._store.run(partial(leases.give_back, self._store.owner, sorted(orphans)))

    async def _prune_loop(self) -> None:
        while True:
            await self._unless_away(delete_expired(self._store, self._retention))
            await asyncio.sleep(self.config.prune)

    async def _unless_away(self, work: Coroutine[Any, Any, None]) -> None:
        """Does something with the store; where that is away, or anything else goes wrong, it is tried again the next time."""
        try:
            await work
        except StoreUnavailable:
            return
        except Exception:
            log.exception("work on jobs failed")
