"""What one server holds: its settings, maps, intake, engine and the thread for checks."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from api.agents.service import AgentService
from api.cores import planner_threads
from api.engine import Answer, Engine, EngineConfig
from api.intake import Intake
from api.jobs.runner import JobRunner, RunnerConfig
from api.maps_store import MapsStore
from api.onward import as_a_whole, left_to_plan
from api.store.retention import RetentionConfig
from api.store.store import Store, StoreConfig
from planner.assembly import load_planner
from planner.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.intake import Order
    from api.metrics import Metrics
    from api.settings import Settings
    from models.checkpoint import ModelIdentity
    from planner.pipeline import Planner

T = TypeVar("T")
DEVICE = "cpu"  # what plans
_LOOKS_UP = b'"previous_plan_id"'  # a body with this may have to wait for the store
_INLINE_BYTES = 32 * 1024  # longer bodies are read in a thread: they may take milliseconds that the event loop does not have


def _engine_config(settings: Settings) -> EngineConfig:
    return EngineConfig(settings.queue_size, settings.batch_size, settings.batch_robots, settings.drain_s, 1e-3 * settings.ageing_ms)


def _runner_config(settings: Settings) -> RunnerConfig:
    """Jobs take at most half of the engine's queue, whatever is set: the rest is for those who wait for their answer."""
    in_flight = min(settings.jobs_in_flight, max(1, settings.queue_size // 2))
    return RunnerConfig(in_flight, settings.jobs_lease_s, settings.max_job_attempts)


class Desk:
    """The parts of a server, wired together; nothing runs before `open`."""

    def __init__(self, settings: Settings, load: Callable[[], Planner], metrics: Metrics) -> None:
        """Takes the planner's loader, not the planner: loading takes seconds and happens in the engine's thread."""
        self.settings = settings
        self.metrics = metrics
        self.models: tuple[ModelIdentity, ...] = ()  # weights in use, once they are loaded
        self.maps = MapsStore(settings)
        self.store = Store(settings.store_url, StoreConfig(settings.recent_plans_bytes))
        self.intake = Intake(settings, self.maps, self.store)
        self.agents = AgentService(self.intake, settings.weights, settings.queue_size)
        self.engine = Engine(partial(self._loaded, load), _engine_config(settings), metrics.batch)
        self.jobs = JobRunner(self, _runner_config(settings), RetentionConfig(3600.0 * settings.keep_hours, settings.max_kept_plans))
        self._turn = asyncio.Lock()
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
        self.agents.close()
        await self.store.close()
        self._side.shutdown(wait=False, cancel_futures=True)

    def _loaded(self, load: Callable[[], Planner]) -> Planner:
        """Loads the planner and then the policies, in the engine's thread, and notes which weights the planner uses."""
        planner = load()
        self.agents.load()
        self.models = tuple(
            part.identity for part in (planner.proposer, planner.warm_start) if part is not None and part.identity is not None
        )
        for identity in self.models:
            self.metrics.model(identity, DEVICE)
        return planner

    async def aside(self, work: Callable[[], T]) -> T:
        """Runs something that takes time off the event loop, one at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._side, work)

    async def order(self, body: bytes, received: float) -> Order:
        """Reads a planning request; one at a time, and whatever else the event loop has to do comes in between."""
        if len(body) <= _INLINE_BYTES and b"previous_plan" not in body:
            async with self._turn:
                await asyncio.sleep(0)
                return self.intake.order(body, received)
        return await self.aside(lambda: self.intake.order(body, received))

    async def plan(self, order: Order) -> Answer:
        """Waits for the plan of an order, and counts it.

        Raises:
            Problem: see `Engine.submit`.
        """
        answer = await self._planned(order)
        self.metrics.planned(answer.plan, answer.queued, order.options.sources)
        return answer

    async def _planned(self, order: Order) -> Answer:
        if order.continuation is None:
            return await self.engine.submit(order.scenario, order.options, order.priority)
        left = await self.aside(lambda: left_to_plan(order))
        if isinstance(left, Plan):
            return Answer(left, 0.0)
        answer = await self.engine.submit(left, order.options, order.priority)
        return replace(answer, plan=await self.aside(lambda: as_a_whole(order, answer.plan)))


def planner_loader(settings: Settings) -> Callable[[], Planner]:
    """What makes the planner that the settings ask for."""
    return partial(load_planner, planner_threads(settings.planner_threads), settings.weights)
