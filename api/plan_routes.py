"""The calls that plan, validate and check."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from api.desk import Desk
from api.documented import CHECK, PLAN, VALIDATE
from api.encodings import Encoding, encode_plan, read_document, wanted_encoding
from api.idempotency import REPLAYED, replay_of
from api.jobs.documented import READ_PLAN
from api.once import MadePlan, planned
from api.plan_answer import answer_document
from api.plan_wire import to_json
from api.problems import Problem
from api.verdicts import validation_document, verdict_body

if TYPE_CHECKING:
    from collections.abc import Coroutine


router = APIRouter(tags=["plans"])
JSON = "application/json"


@router.post("/v1/plans", **PLAN)
async def create_plan(request: Request) -> Response:
    """Plans a fleet: smooth, timed curves for all robots, with a certificate that holds at every instant.

    A plan that was not found is an answer too: status 200, `"status": "failed"`, and a reason for each robot.
    The body may be MessagePack (`application/msgpack`) as well; `Accept` may ask for that, or for an Arrow stream
    (`application/vnd.apache.arrow.stream`: a row for each robot, the rest of the plan as JSON in the schema's metadata).
    """
    encoding = wanted_encoding(request.headers.get("accept", ""))
    desk, received, body = await _received(request)
    plan = await planned(desk, replay_of(request, body), partial(_made, request, desk, body, received))
    return Response(status_code=499) if plan is None else await _encoded(desk, encoding, plan)


@router.get("/v1/plans/{plan_id}", **READ_PLAN)
async def read_plan(request: Request, plan_id: str) -> Response:
    """A plan that was made before, for a single call or for a job."""
    desk: Desk = request.app.state.desk
    body = await desk.store.plan(plan_id)
    if body is None:
        raise Problem(404, "UNKNOWN_PLAN", f"no plan has the id {plan_id[:80]!r}, or it has expired")
    return Response(body, media_type=JSON)


@router.post("/v1/plans:validate", **VALIDATE)
async def validate_plan(request: Request) -> Response:
    """Says what is proven impossible before any planning."""
    desk, received, body = await _received(request)
    order = await desk.order(body, received)
    return Response(to_json(await desk.aside(partial(validation_document, order))), media_type=JSON)


@router.post("/v1/plans:check", **CHECK)
async def check_plan(request: Request) -> Response:
    """Judges a plan, whoever made it, at every instant; samples are judged as straight lines between them."""
    desk, received, body = await _received(request)
    return Response(await desk.aside(partial(verdict_body, body, desk.intake, received)), media_type=JSON)


async def _received(request: Request) -> tuple[Desk, float, bytes]:
    """The server's parts, when the request came, and its body as JSON."""
    desk: Desk = request.app.state.desk
    return desk, request.state.received, await read_document(request, desk.settings.max_body_bytes)


async def _made(request: Request, desk: Desk, body: bytes, received: float) -> MadePlan | None:
    """The plan of a request, its outcome noted for the log and the counts; None where its caller has gone."""
    with desk.engine.place():
        order = await desk.order(body, received)
    answer = await _unless_gone(request, desk.plan(order))
    if answer is None:
        return None
    document, state = answer_document(order, answer, received), request.state
    state.outcome, state.plan_id, state.queue_ms = document["status"], document["plan_id"], document["timings_ms"]["queue"]
    began = time.perf_counter()
    made = MadePlan(document["plan_id"], to_json(document))
    desk.metrics.stage("serialize", time.perf_counter() - began)
    return made


async def _encoded(desk: Desk, encoding: Encoding, plan: MadePlan) -> Response:
    """A plan in the form that was asked for."""
    body = plan.body if encoding is Encoding.JSON else await desk.aside(partial(encode_plan, plan.body, encoding))
    headers = {"Vary": "Accept"} | ({REPLAYED: "true"} if plan.replayed else {})
    return Response(body, media_type=encoding.value, headers=headers)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Any]) -> Any:
    """What `work` returns, or None where the caller hangs up first; `work` is cancelled then."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait({task})
        return None
    finally:
        watch.cancel()
        task.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
