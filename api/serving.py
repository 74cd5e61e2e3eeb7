"""Runs the server until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING

import orjson
import uvicorn
from uvicorn.server import HANDLED_SIGNALS

from api.app import create_app
from api.connections import bounded_connections
from api.desk import planner_loader
from api.engine import EngineState
from api.examples import PLAN_REQUEST
from api.logs import set_up_logging
from planner.fleet_policy import load_fleet_policy, released_agents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from fastapi import FastAPI

    from api.settings import Settings

log = logging.getLogger("flowfleet.server")

ENDED_AT_ONCE = 1  # exit code
SWITCH = 0.0005  # s, after which a thread that plans lets the event loop in; Python's own 5 ms are as long as a plan
_LAST_STEPS = 3.0  # s, for what comes after the last answer


class ServerFailed(Exception):
    """A server that ended because it could not do its work."""


class Server(uvicorn.Server):
    """The web server, which on SIGTERM or SIGINT first says that it is not ready, answers what it has taken, and then ends."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, settings: Settings) -> None:
        """Nothing runs yet.

        Args:
            config: of the web server.
            app: made by `create_app`.
            settings: how long to wait.
        """
        super().__init__(config)
        self.complete = True  # whether all that was taken was answered
        self._app = app
        self._settings = settings
        self._stop: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def broken(self) -> bool:
        """Whether the planner could not be made ready."""
        desk = getattr(self._app.state, "desk", None)
        return desk is not None and desk.engine.state is EngineState.BROKEN

    async def on_tick(self, counter: int) -> bool:
        """Ends a server that will never be ready."""
        return await super().on_tick(counter) or self.broken

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles signals here: an end that was asked for is a success, and no signal is raised again afterwards."""
        self._loop = asyncio.get_running_loop()
        for number in HANDLED_SIGNALS:
            signal.signal(number, self.handle_exit)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the end, another one ends the process at once."""
        if self._app.state.traffic.stopping:
            os._exit(ENDED_AT_ONCE)
        self._app.state.traffic.stopping = True
        limit = self._settings.drain_delay_s + self._settings.drain_s + _LAST_STEPS
        watch = threading.Timer(limit, os._exit, (ENDED_AT_ONCE,))  # whatever hangs
        watch.daemon = True
        watch.start()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._begin_stop)

    def _begin_stop(self) -> None:
        self._stop = asyncio.ensure_future(self._end())

    async def _end(self) -> None:
        log.info("stopping", extra={"inflight": self._app.state.traffic.inflight})
        desk = getattr(self._app.state, "desk", None)
        if desk is not None:
            desk.jobs.stop()  # no further request of a job is begun, and whoever listens to one is let go
        self.complete = await self._app.state.traffic.stop(self._settings.drain_delay_s, self._settings.drain_s)
        self.should_exit = True


def run_server(settings: Settings) -> None:
    """Serves until interrupted or terminated; then answers what it has accepted, and returns.

    Args:
        settings: address, queue and caps.

    Raises:
        OSError: the address cannot be listened on.
        InvalidCheckpoint: the weights cannot be used; nothing has been listened on.
        InvalidInput: a file that the settings name cannot be used.
        ServerFailed: the planner could not be made ready, or not all that was accepted could be answered in time.
    """
    set_up_logging(settings.log_level, settings.log_format)
    sys.setswitchinterval(SWITCH)
    where: list[str] = []

    def greet() -> None:
        sys.stdout.write(greeting(where[0]))
        sys.stdout.flush()

    planner = planner_loader(settings)()  # before anybody can call: damaged weights end here
    for agent in released_agents(settings.weights):
        load_fleet_policy(agent, settings.weights)
    app = create_app(settings, lambda: planner, greet)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=bounded_connections(settings),
        ws="websockets-sansio",
        ws_max_size=settings.max_body_bytes,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=1,  # all requests have been waited for by then; streams end here
    )
    listener = listening_socket(settings.host, settings.port)
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    where.append(f"http://{shown}:{listener.getsockname()[1]}")
    server = Server(config, app, settings)
    server.run(sockets=[listener])
    if server.broken:
        raise ServerFailed("the planner could not be made ready; the log says why")
    if not server.complete:
        raise ServerFailed(f"not all requests could be answered within {settings.drain_s:g} s")


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
