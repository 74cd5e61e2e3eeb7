"""The answer to one request of a job, from the same intake and engine as that of a single call."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import orjson

from api.engine import EngineState
from api.jobs import rows
from api.jobs.state import ItemAnswer
from api.plan_answer import answer_document
from api.plan_wire import to_json
from api.problems import Problem

if TYPE_CHECKING:
    from typing import Any

    from api.desk import Desk
    from api.intake import Order
    from api.jobs.state import ClaimedItem

log = logging.getLogger("flowfleet.jobs")
_PAUSE = 0.2  # s, before an engine whose queue is full is asked again
_LONGEST_PAUSE = 2.0  # s


async def answer_item(desk: Desk, item: ClaimedItem) -> ItemAnswer | None:
    """Has the engine plan a request of a job; its deadline counts from each time that it is handed over.

    Where the engine's queue is full, it waits and asks again.

    Returns:
        The plan, or the problem that made it impossible; None where the server stops first.

    Raises:
        StoreUnavailable: the map of the request could not be read.
    """
    try:
        order, budget = await _order(desk, item)
        pause = _PAUSE
        while True:
            began = time.monotonic()
            options = replace(order.options, deadline=None if budget is None else began + budget)
            try:
                answer = await desk.plan(replace(order, options=options, priority=item.priority))
            except Problem as problem:
                if problem.status != 503:
                    raise
                if desk.engine.state is EngineState.DRAINING:
                    return None
                await asyncio.sleep(pause)
                pause = min(2.0 * pause, _LONGEST_PAUSE)
                continue
            return _planned(answer_document(order, answer, began))
    except Problem as problem:
        if problem.status == 503:
            raise
        return ItemAnswer(None, orjson.dumps(problem.document()), "failed")
    except Exception:
        log.exception("a request of a job could not be planned", extra={"job_id": item.job_id, "number": item.number})
        return ItemAnswer(None, orjson.dumps(Problem(500, "INTERNAL_ERROR", "the planner failed").document()), "failed")


async def _order(desk: Desk, item: ClaimedItem) -> tuple[Order, float | None]:
    """The order in a stored request, and how long it may take, s."""
    document = orjson.loads(item.request)
    if item.map_id is not None:
        body = await desk.store.run(partial(rows.read_map, item.job_id, item.map_id))
        document["map"] = orjson.loads(body) if body is not None else document["map"]
    received = time.monotonic()
    order = await desk.aside(partial(desk.intake.order_of, document, received))
    return order, None if order.options.deadline is None else order.options.deadline - received


def _planned(document: dict[str, Any]) -> ItemAnswer:
    return ItemAnswer(document["plan_id"], to_json(document), document["status"])
