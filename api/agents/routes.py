"""The calls of agents."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response, WebSocket

from api.agents.documented import ACT, AGENTS
from api.agents.stream import Stream
from api.encodings import read_document
from api.parsing import parse_json
from api.plan_wire import to_json

if TYPE_CHECKING:
    from api.desk import Desk

router = APIRouter(tags=["agents"])
JSON = "application/json"


@router.get("/v1/agents", **AGENTS)
async def list_agents(request: Request) -> Response:
    """The released policies, with their cards."""
    desk: Desk = request.app.state.desk
    return Response(to_json(await desk.agents.aside(desk.agents.listed)), media_type=JSON)


@router.post("/v1/agents/act", **ACT)
async def act(request: Request) -> Response:
    """Accelerations for the next tick of a fleet on its way, chosen by a policy and filtered so that every robot can still stop.

    The robots of a request are each other's neighbours. The server keeps nothing between calls: send where robots are, how they
    move, and how far along their plans they are. `WS /v1/agents/stream` takes the same body without `agent` as a message, again
    and again, and answers with the actions of the streaming policy as they come, one message for each tick of `tick_s`.
    """
    desk: Desk = request.app.state.desk
    body = await read_document(request, desk.settings.max_body_bytes)
    answer = await desk.agents.aside(partial(_acted, desk, body))
    return Response(answer, media_type=JSON)


@router.websocket("/v1/agents/stream")
async def stream(socket: WebSocket) -> None:
    """A state in, actions out while they are integrated: one message a tick, until the chunk ends or another state comes."""
    desk: Desk = socket.app.state.desk
    await Stream(socket, desk).serve()


def _acted(desk: Desk, body: bytes) -> bytes:
    return to_json(desk.agents.act(parse_json(body)))
