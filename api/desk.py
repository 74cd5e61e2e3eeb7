"""What one server holds: its settings, maps, intake, engine and the thread for checks."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from api.engine import Answer, Engine, EngineConfig
from api.intake import Intake
from api.maps_store import MapsStore
from api.onward import as_a_whole, left_to_plan
from api.plan_wire import plan_document, to_json
from api.recent_plans import RecentPlans
from planner.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

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
        self.recent = RecentPlans(settings.recent_plans_bytes)
        self.intake = Intake(settings, self.maps, self.recent)
        self.engine = Engine(load, EngineConfig(settings.queue_size, settings.batch_size, settings.batch_robots, settings.drain_s))
        self._side = ThreadPoolExecutor(1, thread_name_prefix="checks")

    async def close(self) -> None:
        """Answers what was accepted, then stops."""
        await self.engine.close()
        self._side.shutdown(wait=False, cancel_futures=True)

    async def aside(self, work: Callable[[], T]) -> T:
        """Runs something that takes time off the event loop, one at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._side, work)

    async def order(self, body: bytes, received: float) -> Order:
        """Reads a planning request."""
        if len(body) <= _INLINE_BYTES and b"previous_plan" not in body:
            return self.intake.order(body, received)
        return await self.aside(lambda: self.intake.order(body, received))

    async def plan(self, order: Order) -> Answer:
        """Waits for the plan of an order."""
        if order.continuation is None:
            return await self.engine.submit(order.scenario, order.options, order.priority)
        left = await self.aside(lambda: left_to_plan(order))
        if isinstance(left, Plan):
            return Answer(left, 0.0)
        answer = await self.engine.submit(left, order.options, order.priority)
        return replace(answer, plan=await self.aside(lambda: as_a_whole(order, answer.plan)))


def plan_body(order: Order, answer: Answer, received: float, keep: Callable[[str, bytes], None] | None = None) -> bytes:
    """The answer to an order as JSON.

    Args:
        order: the request.
        answer: its plan.
        received: when the request came, s on the clock of time.monotonic().
        keep: called with the plan's id and the answer, so that later requests may go on from it.
    """
    document = plan_document(answer.plan, order.config)
    document["timings_ms"]["queue"] = round(1e3 * answer.queued, 4)
    document["timings_ms"]["total"] = round(1e3 * (time.monotonic() - received), 4)
    body = to_json(document)
    if keep is not None:
        keep(document["plan_id"], body)
    return body
