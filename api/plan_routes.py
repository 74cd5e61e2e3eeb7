"""The calls that plan, validate and check."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from api.body import read_body, require_json
from api.desk import Desk
from api.documented import CHECK, PLAN, VALIDATE
from api.documented_jobs import READ_PLAN
from api.idempotency import StoredAnswer, replay_of
from api.judge import judge, read_check
from api.once import MadePlan, planned
from api.parsing import parse_json
from api.plan_answer import answer_document
from api.plan_wire import reason_document, to_json
from api.problems import Problem, of_invalid_input, under
from maps.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from api.intake import Intake, Order

router = APIRouter(tags=["plans"])
JSON = "application/json"


@router.post("/v1/plans", **PLAN)
async def create_plan(request: Request) -> Response:
    """Plans a fleet: smooth, timed curves for all robots, with a certificate that holds at every instant.

    A plan that was not found is an answer too: status 200, `"status": "failed"`, and a reason for each robot.
    """
    desk, received, body = await _received(request)
    plan = await planned(desk, replay_of(request, body), partial(_made, request, desk, body, received))
    if plan is None:
        return Response(status_code=499)
    return StoredAnswer(200, plan.body).response(replayed=plan.replayed)


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
    return Response(to_json(await desk.aside(partial(_validation, order))), media_type=JSON)


@router.post("/v1/plans:check", **CHECK)
async def check_plan(request: Request) -> Response:
    """Judges a plan, whoever made it, at every instant; samples are judged as straight lines between them."""
    desk, received, body = await _received(request)
    return Response(await desk.aside(partial(_check, body, desk.intake, received)), media_type=JSON)


async def _received(request: Request) -> tuple[Desk, float, bytes]:
    """The server's parts, when the request came, and its JSON body."""
    require_json(request)
    desk: Desk = request.app.state.desk
    return desk, request.state.received, await read_body(request, desk.settings.max_body_bytes)


async def _made(request: Request, desk: Desk, body: bytes, received: float) -> MadePlan | None:
    """The plan of a request; None where its caller has gone."""
    order = await desk.order(body, received)
    answer = await _unless_gone(request, desk.plan(order))
    if answer is None:
        return None
    document = answer_document(order, answer, received)
    return MadePlan(document["plan_id"], to_json(document))


def _validation(order: Order) -> dict[str, Any]:
    reasons = order.scenario.check()
    robots = [{"id": name, "reason": reason_document(reason)} for name, reason in zip(order.scenario.fleet.ids, reasons, strict=True)]
    return {"valid": not any(reasons), "robots": robots, "warnings": list(order.config.warnings)}


def _check(body: bytes, intake: Intake, received: float) -> bytes:
    order, plan = read_check(parse_json(body), intake, received)
    try:
        return to_json(judge(order, plan).document())
    except InvalidInput as error:
        raise under(of_invalid_input(error), "/plan") from None


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
