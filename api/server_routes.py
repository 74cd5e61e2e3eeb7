"""The calls about the server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from api.capabilities import capabilities
from api.documented import CAPABILITIES, HEALTH, METRICS, READY, VERSION
from api.engine import EngineState
from api.plan_wire import to_json
from api.problems import Problem

if TYPE_CHECKING:
    from api.engine import Engine

router = APIRouter(tags=["server"])
JSON = "application/json"


def _health(engine: Engine) -> Response:
    return Response(to_json({"status": engine.state.value, "waiting": engine.depth}), media_type=JSON)


@router.get("/healthz", **HEALTH)
async def healthz(request: Request) -> Response:
    """How the server is; 200 as long as it answers."""
    return _health(request.app.state.desk.engine)


@router.get("/livez", **READY)
async def livez(request: Request) -> Response:
    """200 unless the planner's thread is gone: then only a restart helps."""
    engine: Engine = request.app.state.desk.engine
    if not engine.alive:
        raise Problem(503, "NOT_ALIVE", "the planner's thread has ended")
    return _health(engine)


@router.get("/readyz", **READY)
async def readyz(request: Request) -> Response:
    """200 once requests can be planned."""
    engine: Engine = request.app.state.desk.engine
    if request.app.state.traffic.stopping:
        raise Problem(503, "NOT_READY", "the server is stopping", headers={"Retry-After": "5"})
    if engine.state is not EngineState.READY:
        raise Problem(503, "NOT_READY", f"the planner is {engine.state.value}", headers={"Retry-After": "2"})
    return _health(engine)


@router.get("/version", **VERSION)
async def version(request: Request) -> Response:
    """What is running."""
    return Response(to_json(request.app.state.versions), media_type=JSON)


@router.get("/v1/capabilities", **CAPABILITIES)
async def read_capabilities(request: Request) -> Response:
    """What this server can do: caps, sources, weights, formats, defaults."""
    return Response(to_json(capabilities(request.app.state.desk, request.app.state.versions)), media_type=JSON)


@router.get("/metrics", **METRICS)
async def metrics(request: Request) -> Response:
    """What the server has counted since it started, for Prometheus."""
    text, kind = request.app.state.metrics.text(request.headers.get("accept", ""))
    return Response(text, media_type=kind)


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    """The description of all calls."""
    return Response(to_json(request.app.openapi()), media_type=JSON)
