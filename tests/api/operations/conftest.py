"""A real application whose planner is still loading: all that happens before planning can be tried at once."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from api.connections import bounded_connections
from api.serving import listening_socket
from api.settings import load_settings
from maps.errors import InvalidCheckpoint
from planner.pipeline import Planner


@contextmanager
def loading_app(**settings: object) -> Iterator[FastAPI]:
    """An application whose planner goes on loading until the end."""
    over = threading.Event()

    def load() -> Planner:
        over.wait()
        raise InvalidCheckpoint("was never loaded", file="none")

    try:
        yield create_app(load_settings(drain_s=0.05, **settings), load)
    finally:
        over.set()


@contextmanager
def loading_client(**settings: object) -> Iterator[TestClient]:
    """A client of it, without a network."""
    with loading_app(**settings) as app, TestClient(app, raise_server_exceptions=False) as client:
        yield client


@contextmanager
def loading_server(**settings: object) -> Iterator[int]:
    """The port that it listens on, behind real connections."""
    with loading_app(**settings) as app:
        listener = listening_socket("127.0.0.1", 0)
        chosen = load_settings(**settings)
        config = uvicorn.Config(
            app,
            http=bounded_connections(chosen),
            ws="websockets-sansio",
            log_config=None,
            access_log=False,
            timeout_keep_alive=1,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture
def opened():
    """Makes clients and servers that end with the test: `opened(loading_client, rate_per_s=1)`."""
    with ExitStack() as stack:
        yield lambda make, **settings: stack.enter_context(make(**settings))


@pytest.fixture
def loading_client_of(opened):
    """A client of an application with these settings."""
    return lambda **settings: opened(loading_client, **settings)


@pytest.fixture
def loading_port_of(opened):
    """The port of a server with these settings."""
    return lambda **settings: opened(loading_server, **settings)
