"""The planner at work for many callers: a bounded waiting room, threads that plan, and an answer in time for everyone."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from api.problems import Problem
from api.waiting import Answer, Entry, ServiceTimes, WaitingRoom
from maps.reason import Reason, ReasonCode
from planner.plan import Plan, PlanOptions, PlanStatus, RobotPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from maps.scenario import Scenario
    from planner.pipeline import Planner
    from planner.workshop import Job, Workshop

__all__ = ["Answer", "Engine", "EngineConfig", "EngineState"]

log = logging.getLogger("flowfleet.engine")

GRACE = 0.008  # s after a deadline that the planner has to end by itself, before its best plan so far is taken from it


class EngineState(StrEnum):
    """Where an engine is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    BROKEN = "broken"


@dataclass(frozen=True)
class EngineConfig:
    """Sizes of the waiting room and of what is planned at once."""

    queue_size: int = 64  # requests that may wait
    batch_size: int = 32  # requests planned together at most
    batch_robots: int = 1024  # robots planned together at most
    drain: float = 20.0  # s, how long close() waits for what was accepted
    ageing: float = 0.5  # s of waiting that a step of priority is worth


class Engine:
    """The waiting room and the threads behind it. `start` and `submit` are called on the event loop."""

    def __init__(
        self, load: Callable[[], Planner], config: EngineConfig | None = None, on_batch: Callable[[int], None] | None = None
    ) -> None:
        """Nothing runs before `start`; `on_batch` is told how many are planned at once whenever a request joins them."""
        self.config = config or EngineConfig()
        self.state = EngineState.STARTING
        self.times = ServiceTimes()
        self._load = load
        self._on_batch = on_batch
        self._room = WaitingRoom(self.config.queue_size, self.config.ageing)
        self._read = 0  # requests that are being read, each of which will want a place
        self._news = threading.Condition()
        self._threads = [threading.Thread(target=self._begin, name="engine", daemon=True)]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_ready: Callable[[], None] | None = None

    def start(self, on_ready: Callable[[], None] | None = None) -> None:
        """Starts loading the planner; `on_ready` is called in the engine's thread once it is warm."""
        self._loop = asyncio.get_running_loop()
        self._on_ready = on_ready
        self._threads[0].start()

    @property
    def alive(self) -> bool:
        """Whether its threads run."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return len(self._room)

    @property
    def active(self) -> int:
        """Requests that are planned."""
        return len(self._room.taken)

    def refusal(self) -> Problem | None:
        """What a request that came now would be told for want of a place to wait; None where there is one."""
        with self._news:
            return self._full() if len(self._room) + self._read >= self._room.size else None

    @contextmanager
    def place(self) -> Iterator[None]:
        """Keeps a place for a request that is being read; on the event loop."""
        self._read += 1
        try:
            yield
        finally:
            self._read -= 1

    def _full(self) -> Problem:
        wait = self._room.ahead(math.inf) / len(self._threads)
        return _refusal("QUEUE_FULL", f"{len(self._room)} requests are waiting already", wait)

    async def submit(self, scenario: Scenario, options: PlanOptions, priority: int = 5) -> Answer:
        """Waits for the plan of a scenario.

        At its deadline a request is answered, wherever it is: with the best certified plan so far where there is one. One whose
        caller has gone (this coroutine is cancelled) leaves its place.

        Raises:
            Problem: 503 where the planner is not ready, where too many wait, or where the deadline would come first.
        """
        left = math.inf if options.deadline is None else options.deadline - time.monotonic()
        if left <= 0.0 and self.state is EngineState.READY:
            return Answer(expired(scenario, options, "the deadline passed before the request was read"), 0.0)
        entry = self._enter(scenario, options, priority)
        timer = asyncio.get_running_loop().call_later(left, self._expire, entry) if left < math.inf else None
        try:
            return await entry.future
        finally:
            if timer is not None:
                timer.cancel()
            entry.watch.stop()
            with self._news:
                self._room.leave(entry)

    def _enter(self, scenario: Scenario, options: PlanOptions, priority: int) -> Entry:
        if self.state is not EngineState.READY:
            raise _refusal("NOT_READY", f"the planner is {self.state.value}", 2.0)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        now, cost = time.monotonic(), self.times.expected(scenario, options)
        with self._news:
            if self._room.full:
                raise self._full()
            wait = self._room.ahead(self._room.urgency(now, priority)) / len(self._threads)
            if options.deadline is not None and wait > 0.0 and now + wait + cost > options.deadline:
                raise _refusal("OVERLOADED", f"the deadline would come before the planner, which is busy for about {wait:.2g} s", wait)
            entry = self._room.enter(scenario, options, future, now, priority, cost)
            self._news.notify()
        return entry

    def _expire(self, entry: Entry) -> None:
        """The deadline has come: an answer at once for one that waits, and soon for one that is planned."""
        with self._news:
            waited = self._room.leave(entry)
        if waited:
            plan = expired(entry.scenario, entry.options, "the deadline passed while the request waited for the planner")
            entry.future.set_result(Answer(plan, entry.queued(time.monotonic())))
        else:
            asyncio.get_running_loop().call_later(GRACE, self._take_best, entry)

    def _take_best(self, entry: Entry) -> None:
        if entry.future.done():
            return
        entry.watch.stop()
        best = entry.watch.best
        plan = best() if best is not None else expired(entry.scenario, entry.options, "no certified plan was found by the deadline")
        entry.future.set_result(Answer(plan, entry.queued(time.monotonic())))

    async def close(self) -> None:
        """Accepts nothing more, answers what was accepted, and ends the threads."""
        with self._news:
            if self.state is not EngineState.BROKEN:
                self.state = EngineState.DRAINING
            self._news.notify_all()
        until = time.monotonic() + self.config.drain
        for thread in tuple(self._threads):
            await asyncio.to_thread(thread.join, max(until - time.monotonic(), 0.0))
        gone = Problem(503, "NOT_READY", "the server is stopping", headers={"Retry-After": "5"})
        for entry in (*self._room.everyone(), *self._room.taken.values()):
            entry.watch.stop()
            self._settle(entry, gone)

    def _begin(self) -> None:
        """The first thread: loads the planner, starts the others, and plans as they do."""
        try:
            planner = self._load()
            planner.warm_up()
        except Exception:
            self.state = EngineState.BROKEN
            log.exception("the planner could not be loaded")
            return
        gc.freeze()  # what is loaded by now stays: later collections need not look at it
        gc.enable()  # whoever started this process may have put them off until here
        workshop = planner.workshop()
        for _ in range(planner.config.threads - 1):
            other = threading.Thread(target=self._work, args=(workshop,), name="engine", daemon=True)
            other.start()
            self._threads.append(other)
        with self._news:
            if self.state is EngineState.STARTING:
                self.state = EngineState.READY
        if self._on_ready is not None:
            self._on_ready()
        self._work(workshop)

    def _work(self, workshop: Workshop) -> None:
        """A thread: plans whatever is there, until the engine is closed and nothing is left."""
        while True:
            with self._news:
                self._admit(workshop)
                while not workshop.waiting:
                    if self.state is EngineState.DRAINING and not self._room.taken:
                        self._news.notify_all()
                        return
                    self._news.wait()
                    self._admit(workshop)
            workshop.step()

    def _admit(self, workshop: Workshop) -> None:
        """Brings in the most urgent of those that wait, while there is room among those that are planned."""
        config = self.config
        while (entry := self._room.first()) is not None and len(self._room.taken) < config.batch_size:
            if self._room.taken and self._room.robots + len(entry.scenario) > config.batch_robots:
                return
            self._room.take(time.monotonic())
            jobs: list[Job] = []
            jobs.append(workshop.add(entry.scenario, entry.options, partial(self._answered, entry, jobs), entry.urgency))
            if self._on_batch is not None:
                self._on_batch(len(self._room.taken))

    def _answered(self, entry: Entry, jobs: list[Job], result: Plan | Exception) -> None:
        with self._news:
            self._room.finish(entry)
            self.times.learn(entry.scenario, entry.options, jobs[0].busy, cut=jobs[0].task.late)
            self._news.notify()
        if isinstance(result, Exception):
            log.error("the planner failed", exc_info=result)
            fault = RuntimeError("the planner failed")  # a fault of the server, whatever its type says about its input
            fault.__cause__ = result
            self._settle(entry, fault)
        else:
            self._settle(entry, Answer(result, entry.queued(time.monotonic())))

    def _settle(self, entry: Entry, result: Answer | Exception) -> None:
        def settle() -> None:
            if entry.future.done():
                return
            if isinstance(result, Exception):
                entry.future.set_exception(result)
            else:
                entry.future.set_result(result)

        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(settle)


def _refusal(code: str, detail: str, wait: float) -> Problem:
    return Problem(503, code, detail, headers={"Retry-After": str(max(math.ceil(wait), 1))})


def expired(scenario: Scenario, options: PlanOptions, message: str) -> Plan:
    """The plan of a request whose deadline passed before there was one."""
    reason = Reason(ReasonCode.DEADLINE_EXCEEDED, message)
    robots = tuple(RobotPlan(name, None, reason=reason) for name in scenario.fleet.ids)
    return Plan(PlanStatus.FAILED, scenario.horizon, options.seed, robots)
