"""One thread owns the planner; requests wait for it in a bounded queue and are planned together."""

from __future__ import annotations

import asyncio
import gc
import heapq
import logging
import threading
import time
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from typing import TYPE_CHECKING

from api.problems import Problem
from api.together import plan_together
from maps.reason import Reason, ReasonCode
from planner.plan import Plan, PlanOptions, PlanStatus, RobotPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from maps.scenario import Scenario
    from planner.pipeline import Planner

log = logging.getLogger("flowfleet.engine")


class EngineState(StrEnum):
    """Where an engine is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    BROKEN = "broken"


@dataclass(frozen=True)
class EngineConfig:
    """Sizes of the queue and of what is taken from it at once."""

    queue_size: int = 64  # requests that may wait
    batch_size: int = 32  # requests planned together at most
    batch_robots: int = 1024  # robots planned together at most
    drain: float = 20.0  # s, how long close() waits for what was accepted


@dataclass(frozen=True)
class Answer:
    """A plan, and how long its request waited for the planner."""

    plan: Plan
    queued: float  # s


@dataclass(order=True)
class _Entry:
    """A request in the queue; ordered by priority, then by arrival."""

    priority: int
    number: int
    scenario: Scenario = field(compare=False)
    options: PlanOptions = field(compare=False)
    future: asyncio.Future[Answer] = field(compare=False)
    arrived: float = field(compare=False)  # s, time.monotonic()


class Engine:
    """The queue and the thread behind it. `start` and `submit` are called on the event loop."""

    def __init__(
        self, load: Callable[[], Planner], config: EngineConfig | None = None, on_batch: Callable[[int], None] | None = None
    ) -> None:
        """Nothing runs before `start`; `on_batch` is told the size of every batch, in the engine's thread."""
        self.config = config or EngineConfig()
        self.state = EngineState.STARTING
        self._load = load
        self._on_batch = on_batch
        self._waiting: list[_Entry] = []  # a heap
        self._news = threading.Condition()
        self._numbers = count()
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_ready: Callable[[], None] | None = None

    def start(self, on_ready: Callable[[], None] | None = None) -> None:
        """Starts loading the planner; `on_ready` is called in the engine's thread once it is warm."""
        self._loop = asyncio.get_running_loop()
        self._on_ready = on_ready
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    async def submit(self, scenario: Scenario, options: PlanOptions, priority: int = 5) -> Answer:
        """Waits for the plan of a scenario.

        A request that is still waiting at its deadline is answered there and then; one whose caller has gone
        (this coroutine is cancelled) leaves the queue.

        Raises:
            Problem: 503 where the planner is not ready, or the queue is full.
        """
        entry = self._enter(scenario, options, priority)
        loop = asyncio.get_running_loop()
        left = None if options.deadline is None else options.deadline - time.monotonic()
        timer = None if left is None else loop.call_later(max(left, 0.0), self._expire, entry)
        try:
            return await entry.future
        finally:
            if timer is not None:
                timer.cancel()
            self._withdraw(entry)

    def _enter(self, scenario: Scenario, options: PlanOptions, priority: int) -> _Entry:
        if self.state is not EngineState.READY:
            raise Problem(503, "NOT_READY", f"the planner is {self.state.value}", headers={"Retry-After": "2"})
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        entry = _Entry(priority, next(self._numbers), scenario, options, future, time.monotonic())
        with self._news:
            if len(self._waiting) >= self.config.queue_size:
                raise Problem(503, "QUEUE_FULL", f"{len(self._waiting)} requests are waiting already", headers={"Retry-After": "1"})
            heapq.heappush(self._waiting, entry)
            self._news.notify()
        return entry

    def _withdraw(self, entry: _Entry) -> bool:
        """Takes an entry out of the queue if it is still there."""
        with self._news:
            if entry not in self._waiting:
                return False
            self._waiting.remove(entry)
            heapq.heapify(self._waiting)
            return True

    def _expire(self, entry: _Entry) -> None:
        if self._withdraw(entry) and not entry.future.done():
            entry.future.set_result(Answer(expired(entry.scenario, entry.options), time.monotonic() - entry.arrived))

    async def close(self) -> None:
        """Accepts nothing more, answers what was accepted, and ends the thread."""
        with self._news:
            if self.state is not EngineState.BROKEN:
                self.state = EngineState.DRAINING
            self._news.notify()
        await asyncio.to_thread(self._thread.join, self.config.drain)
        gone = Problem(503, "NOT_READY", "the server is stopping", headers={"Retry-After": "5"})
        self._settle([(entry, gone) for entry in tuple(self._waiting)])

    def _work(self) -> None:
        """The thread: loads the planner, then plans whatever waits, until closed."""
        try:
            planner = self._load()
            planner.warm_up()
        except Exception:
            self.state = EngineState.BROKEN
            log.exception("the planner could not be loaded")
            return
        gc.collect()
        gc.freeze()  # what is loaded by now stays: later collections need not look at it
        with self._news:
            if self.state is EngineState.STARTING:
                self.state = EngineState.READY
        if self._on_ready is not None:
            self._on_ready()
        while batch := self._next_batch():
            self._plan(planner, batch)

    def _next_batch(self) -> list[_Entry]:
        """Whatever waits, the most urgent first, up to the sizes of a batch; empty when closed and nothing waits."""
        with self._news:
            while not self._waiting and self.state is EngineState.READY:
                self._news.wait()
            batch: list[_Entry] = []
            robots = 0
            while self._waiting and len(batch) < self.config.batch_size:
                robots += len(self._waiting[0].scenario)
                if batch and robots > self.config.batch_robots:
                    break
                batch.append(heapq.heappop(self._waiting))
            return batch

    def _plan(self, planner: Planner, batch: list[_Entry]) -> None:
        taken = time.monotonic()
        if self._on_batch is not None:
            self._on_batch(len(batch))
        results = plan_together(planner, [e.scenario for e in batch], [e.options for e in batch])
        self._settle([(e, _answered(r, taken - e.arrived)) for e, r in zip(batch, results, strict=True)])

    def _settle(self, results: Sequence[tuple[_Entry, Answer | Exception]]) -> None:
        def settle() -> None:
            for entry, result in results:
                if entry.future.done():
                    continue
                if isinstance(result, Exception):
                    entry.future.set_exception(result)
                else:
                    entry.future.set_result(result)

        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(settle)


def _answered(result: Plan | Exception, queued: float) -> Answer | Exception:
    """An exception of the planner is a fault of the server, whatever its type says about its input."""
    if isinstance(result, Exception):
        fault = RuntimeError("the planner failed")
        fault.__cause__ = result
        return fault
    return Answer(result, queued)


def expired(scenario: Scenario, options: PlanOptions) -> Plan:
    """The plan of a request whose deadline passed before the planner came to it."""
    reason = Reason(ReasonCode.DEADLINE_EXCEEDED, "the deadline passed while the request waited for the planner")
    robots = tuple(RobotPlan(name, None, reason=reason) for name in scenario.fleet.ids)
    return Plan(PlanStatus.FAILED, scenario.horizon, options.seed, robots)
