"""What one server holds: its settings, maps, intake, engine and the thread for checks."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from api.engine import Engine, EngineConfig
from api.intake import Intake
from api.job_runner import JobRunner, RunnerConfig
from api.maps_store import MapsStore
from api.plan_answer import answer_document
from api.plan_wire import to_json
from api.retention import RetentionConfig
from api.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.engine import Answer
    from api.intake import Order
    from api.settings import Settings
    from planner.pipeline import Planner

T = TypeVar("T")
_INLINE_BYTES = 32 * 1024  # longer bodies are read in a thread: they may take milliseconds that the event loop does not have


class Desk:
    """The parts of a server, wired together; nothing runs before `open`."""

    def __init__(self, settings: Settings, load: Callable[[], Planner]) -> None:
        """Takes the planner's loader, not the planner: loading takes seconds and happens in the engine's thread."""
        self.settings = settings
        self.maps = MapsStore(settings)
        self.intake = Intake(settings, self.maps)
        self.engine = Engine(load, EngineConfig(settings.queue_size, settings.batch_size, settings.batch_robots, settings.drain_s))
        self.store = Store(settings.store_url)
        self.jobs = JobRunner(self, _runner_config(settings), RetentionConfig(3600.0 * settings.keep_hours, settings.max_kept_plans))
        self._side = ThreadPoolExecutor(1, thread_name_prefix="checks")

    def open(self, on_ready: Callable[[], None] | None = None) -> None:
        """Starts loading the planner, and works on jobs once it is warm; `on_ready` is called in the engine's thread then."""
        self.engine.start(on_ready)
        self.jobs.start()

    async def close(self) -> None:
        """Answers what was accepted, then stops; requests of jobs that are not answered by then are left to the next start."""
        self.jobs.stop()
        await self.engine.close()
        await self.jobs.close()
        await self.store.close()
        self._side.shutdown(wait=False, cancel_futures=True)

    async def aside(self, work: Callable[[], T]) -> T:
        """Runs something that takes time off the event loop, one at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._side, work)

    async def order(self, body: bytes, received: float) -> Order:
        """Reads a planning request."""
        if len(body) <= _INLINE_BYTES:
            return self.intake.order(body, received)
        return await self.aside(lambda: self.intake.order(body, received))

    async def plan(self, order: Order) -> Answer:
        """Waits for the plan of an order."""
        return await self.engine.submit(order.scenario, order.options, order.priority)


def plan_body(order: Order, answer: Answer, received: float) -> bytes:
    """The answer to an order as JSON.

    Args:
        order: the request.
        answer: its plan.
        received: when the request came, s on the clock of time.monotonic().
    """
    return to_json(answer_document(order, answer, received))


def _runner_config(settings: Settings) -> RunnerConfig:
    """Jobs take at most half of the engine's queue, whatever is set: the rest is for those who wait for their answer."""
    in_flight = min(settings.jobs_in_flight, max(1, settings.queue_size // 2))
    return RunnerConfig(in_flight, settings.jobs_lease_s, settings.max_job_attempts)
