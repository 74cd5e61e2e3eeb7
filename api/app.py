"""The application: create_app(settings); importing this does nothing else."""

from __future__ import annotations

import platform
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from api.desk import Desk
from api.documented import openapi_document
from api.frame import RequestFrame
from api.job_routes import router as job_router
from api.map_routes import router as map_router
from api.plan_routes import router as plan_router
from api.problems import MEDIA_TYPE, Problem, of_invalid_input
from api.server_routes import router as server_router
from api.settings import Settings
from maps.errors import InvalidInput, UnknownMap
from planner.assembly import load_planner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from planner.pipeline import Planner

_DESCRIPTION = "Maps and robots in, smooth timed curves for all of them out, with a certificate that holds at every instant."
_METHOD_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}


def create_app(
    settings: Settings | None = None, load: Callable[[], Planner] = load_planner, on_ready: Callable[[], None] | None = None
) -> FastAPI:
    """The server as an ASGI application.

    Args:
        settings: from the environment by default.
        load: makes the planner; called in the engine's thread once the application starts.
        on_ready: called in the engine's thread once requests can be planned.
    """
    settings = settings or Settings()
    app = FastAPI(
        title="flowfleet",
        summary="Multi-robot trajectory planning",
        description=_DESCRIPTION,
        version=version("flowfleet"),
        lifespan=_lifespan(settings, load, on_ready),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.versions = {
        "name": "flowfleet",
        "version": version("flowfleet"),
        "python": platform.python_version(),
        "torch": version("torch"),
    }
    app.openapi = lambda: _described(app)
    for router in (plan_router, job_router, map_router, server_router):
        app.include_router(router)
    for kind, handler in ((Problem, _on_problem), (InvalidInput, _on_invalid), (UnknownMap, _on_unknown_map), (HTTPException, _on_http)):
        app.add_exception_handler(kind, handler)
    app.add_middleware(RequestFrame)
    return app


def _lifespan(settings: Settings, load: Callable[[], Planner], on_ready: Callable[[], None] | None) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.desk = Desk(settings, load)
        app.state.desk.open(on_ready)
        yield
        await app.state.desk.close()

    return lifespan


def _described(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = openapi_document(app)
    return app.openapi_schema


def _answered(request: Request, problem: Problem) -> Response:
    body = problem.body(getattr(request.state, "request_id", None), request.url.path)
    return Response(body, problem.status, problem.headers, MEDIA_TYPE)


async def _on_problem(request: Request, error: Any) -> Response:
    return _answered(request, error)


async def _on_invalid(request: Request, error: Any) -> Response:
    return _answered(request, of_invalid_input(error))


async def _on_unknown_map(request: Request, error: Any) -> Response:
    return _answered(request, Problem(404, "UNKNOWN_MAP", f"no map has the id {error.map_id[:80]!r}"))


async def _on_http(request: Request, error: Any) -> Response:
    problem = Problem(error.status_code, _METHOD_CODES.get(error.status_code, "HTTP_ERROR"), str(error.detail), headers=error.headers)
    return _answered(request, problem)
