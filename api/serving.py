"""Runs the server until it is told to stop."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import orjson
import uvicorn

from api.app import create_app
from api.examples import PLAN_REQUEST
from api.logs import set_up_logging

if TYPE_CHECKING:
    from api.settings import Settings


def run_server(settings: Settings) -> None:
    """Serves until interrupted or terminated; then answers what it has accepted, and returns.

    Args:
        settings: address, queue and caps.

    Raises:
        OSError: the address cannot be listened on.
    """
    set_up_logging(settings.log_level)
    where: list[str] = []

    def greet() -> None:
        sys.stdout.write(greeting(where[0]))
        sys.stdout.flush()

    app = create_app(settings, on_ready=greet)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.drain_s) + 1,
    )
    listener = listening_socket(settings.host, settings.port)
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    where.append(f"http://{shown}:{listener.getsockname()[1]}")
    _Server(config).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Lets go of those who listen to jobs before it waits for open calls to end: theirs would not."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.app.state.desk.jobs.stop()  # type: ignore[union-attr]
        await super().shutdown(sockets)


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound socket.

    It says that it speaks TCP, because the event loop sends small answers at once (TCP_NODELAY) on such sockets only:
    without it every answer waits 40 ms for the caller's acknowledgement of its header.

    Raises:
        OSError: there is no such address, or the port is taken.
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def greeting(url: str) -> str:
    """What is printed once the server is ready: where it is, and a call that works."""
    body = orjson.dumps(PLAN_REQUEST).decode()
    return f"flowfleet is ready on {url} (calls: {url}/docs)\n\ncurl -s {url}/v1/plans -H 'Content-Type: application/json' -d '{body}'\n\n"
