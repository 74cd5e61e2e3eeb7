"""One caller's stream: states come in, and for each the actions of a chunk go out, one a tick, until the next state."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocketDisconnect

from api.agents.wire import actions_document
from api.parsing import parse_json
from api.plan_wire import to_json
from api.problems import Fault, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import WebSocket
    from starlette.types import Message

    from api.agents.intake import FleetOrder
    from api.desk import Desk
    from planner.acting import Acted

log = logging.getLogger("flowfleet.agents")
EARLY = 1e-3  # s before a beat at which a stream stops sleeping: the loop's timers are whole milliseconds, and late


class Stream:
    """A connection on which one fleet is moved."""

    def __init__(self, socket: WebSocket, desk: Desk) -> None:
        """Not accepted yet."""
        self._socket = socket
        self._desk = desk
        self._looks = 0  # states that were read

    async def serve(self) -> None:
        """Until the caller goes."""
        await self._socket.accept()
        chunk: asyncio.Task[None] | None = None
        try:
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                if chunk is not None:
                    chunk.cancel()
                    await asyncio.wait({chunk})
                chunk = asyncio.ensure_future(self._answer(message))
        except WebSocketDisconnect:
            return
        finally:
            if chunk is not None:
                chunk.cancel()
                await asyncio.wait({chunk})

    async def _answer(self, message: Message) -> None:
        """The actions for one state, or what is wrong with it."""
        try:
            text = message.get("text")
            if text is None:
                raise Problem(415, "UNSUPPORTED_MEDIA_TYPE", "messages are text: JSON", [Fault("", "WRONG_TYPE", "must be a text message")])
            order, actions, first = await self._desk.agents.aside(partial(self._begun, text.encode()))
            look, self._looks = self._looks, self._looks + 1
            await self._send_chunk(order, actions, first, look)
        except Problem as problem:
            await self._send({"problem": problem.document(instance="/v1/agents/stream")})
        except WebSocketDisconnect:
            return
        except Exception:
            log.exception("a stream failed")
            problem = Problem(500, "INTERNAL_ERROR", "the server failed")
            with suppress(WebSocketDisconnect, RuntimeError):  # the caller may have gone
                await self._send({"problem": problem.document(instance="/v1/agents/stream")})

    def _begun(self, body: bytes) -> tuple[FleetOrder, Iterator[Acted], Acted]:
        order = self._desk.agents.intake.fleet(parse_json(body))
        actions = self._desk.agents.stream(order)
        return order, actions, next(actions)

    async def _send_chunk(self, order: FleetOrder, actions: Iterator[Acted], acted: Acted, look: int) -> None:
        """One message a tick, on the beat of the first; what comes next is integrated meanwhile."""
        agents = self._desk.agents
        beat, count = asyncio.get_running_loop().time(), agents.streamed
        for tick in range(count):
            text = _text({"look": look, "tick": tick, "last": tick + 1 == count, "robots": actions_document(order.ids, acted)})
            await _reach(beat + tick * order.request.options.tick_s)
            await self._socket.send_text(text)
            if tick + 1 < count:
                acted = await agents.aside(partial(next, actions))

    async def _send(self, document: dict[str, Any]) -> None:
        await self._socket.send_text(_text(document))


async def _reach(moment: float) -> None:
    """Returns at a moment of the loop's clock; others run meanwhile."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(max(0.0, moment - EARLY - loop.time()))
    while loop.time() < moment:
        await asyncio.sleep(0.0)


def _text(document: dict[str, Any]) -> str:
    return to_json(document).decode()
