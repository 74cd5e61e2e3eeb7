"""The application: create_app(settings); importing this does nothing else."""

from __future__ import annotations

import platform
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from api.agents.documented import STREAM
from api.agents.routes import router as agent_router
from api.agents.wire import ActRequest, FleetRequest, StreamedAction
from api.desk import Desk, planner_loader
from api.documented import openapi_document
from api.frame import PROBES, RequestFrame
from api.gate import Gate
from api.jobs.routes import router as job_router
from api.map_routes import router as map_router
from api.metrics import Metrics
from api.pages import router as pages_router
from api.plan_routes import router as plan_router
from api.problems import MEDIA_TYPE, Problem, of_invalid_input
from api.server_routes import router as server_router
from api.settings import Settings
from api.traffic import Traffic
from maps.errors import InvalidInput, UnknownMap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from planner.pipeline import Planner

_DESCRIPTION = "Maps and robots in, smooth timed curves for all of them out, with a certificate that holds at every instant."
NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
TELEMETRY: TelemetryConfig = {"auto_configure": True, "exclude": lambda scope: scope.get("path") in PROBES}
_TURNED_AWAY = frozenset({408, 413, 429, 503})
_METHOD_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}


def create_app(
    settings: Settings | None = None, load: Callable[[], Planner] | None = None, on_ready: Callable[[], None] | None = None
) -> FastAPI:
    """The server as an ASGI application.

    Args:
        settings: from the environment by default.
        load: makes the planner; called in the engine's thread once the application starts. By default as the settings say.
        on_ready: called in the engine's thread once requests can be planned.
    """
    settings = settings or Settings()
    app = FastAPI(
        title="flowfleet",
        summary="Multi-robot trajectory planning",
        description=_DESCRIPTION,
        version=version("flowfleet"),
        lifespan=_lifespan(settings, load or planner_loader(settings), on_ready),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry=TELEMETRY if settings.telemetry else NO_TELEMETRY,
    )
    app.state.versions = {
        "name": "flowfleet",
        "version": version("flowfleet"),
        "python": platform.python_version(),
        "torch": version("torch"),
    }
    app.openapi = lambda: _described(app)
    for router in (plan_router, job_router, map_router, agent_router, server_router, pages_router):
        app.include_router(router)
    for kind, handler in ((Problem, _on_problem), (InvalidInput, _on_invalid), (UnknownMap, _on_unknown_map), (HTTPException, _on_http)):
        app.add_exception_handler(kind, handler)
    metrics, traffic = Metrics(), Traffic(settings.max_bodies_bytes)
    app.state.metrics, app.state.traffic = metrics, traffic
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=1)  # level 9 takes twenty times as long for a fifth less
    app.add_middleware(Gate, settings=settings, metrics=metrics, refusal=lambda: app.state.desk.engine.refusal())
    if settings.cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["*"], allow_headers=["*"], max_age=600)
    app.add_middleware(RequestFrame, traffic=traffic, metrics=metrics, body_timeout=settings.body_timeout_s)
    return app


def _lifespan(settings: Settings, load: Callable[[], Planner], on_ready: Callable[[], None] | None) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.desk = Desk(settings, load, app.state.metrics)
        app.state.metrics.watch(lambda: app.state.desk.engine.depth, lambda: app.state.traffic.inflight)
        app.state.desk.open(on_ready)
        yield
        await app.state.desk.close()

    return lifespan


def _described(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = openapi_document(app, (ActRequest, FleetRequest, StreamedAction), STREAM)
    return app.openapi_schema


def _answered(request: Request, problem: Problem) -> Response:
    body = problem.body(getattr(request.state, "request_id", None), request.url.path)
    return Response(body, problem.status, problem.headers, MEDIA_TYPE)


async def _on_problem(request: Request, error: Any) -> Response:
    if error.status in _TURNED_AWAY:
        request.app.state.metrics.rejected(error.code)
    return _answered(request, error)


async def _on_invalid(request: Request, error: Any) -> Response:
    return _answered(request, of_invalid_input(error))


async def _on_unknown_map(request: Request, error: Any) -> Response:
    return _answered(request, Problem(404, "UNKNOWN_MAP", f"no map has the id {error.map_id[:80]!r}"))


async def _on_http(request: Request, error: Any) -> Response:
    problem = Problem(error.status_code, _METHOD_CODES.get(error.status_code, "HTTP_ERROR"), str(error.detail), headers=error.headers)
    return _answered(request, problem)
