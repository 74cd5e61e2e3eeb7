import copy
import json
import socketserver
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

TWO_ROBOTS: dict[str, Any] = {
    "map": {"bounds": [0, 0, 10, 6], "obstacles": [{"type": "circle", "x": 5, "y": 3, "radius": 0.8}]},
    "horizon_s": 12,
    "robots": [
        {"id": "a", "start": {"x": 1, "y": 2.5}, "goal": {"x": 9, "y": 3.5}, "radius": 0.3, "limits": {"v_max": 1.5, "a_max": 1.0}},
        {"id": "b", "start": {"x": 9, "y": 2.5}, "goal": {"x": 1, "y": 3.5}, "radius": 0.3, "limits": {"v_max": 1.5, "a_max": 1.0}},
    ],
}


@pytest.fixture(scope="session", autouse=True)
def store_in_memory():
    """Servers of the tests, those in processes of their own too, leave nothing in the working folder unless a test says so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWFLEET_STORE_URL", "sqlite://")
        yield


@pytest.fixture(scope="session")
def two_robots() -> dict[str, Any]:
    """Two robots that pass each other beside a pillar; not to be changed."""
    return TWO_ROBOTS


@pytest.fixture
def request_body() -> dict[str, Any]:
    """The same, a fresh copy."""
    return copy.deepcopy(TWO_ROBOTS)


@pytest.fixture(scope="session")
def client():
    """A server with the real planner, warm."""
    from api.app import create_app
    from api.settings import Settings

    with TestClient(create_app(Settings()), raise_server_exceptions=False) as served:
        deadline = time.monotonic() + 400
        while served.get("/readyz").status_code != 200:
            state = served.get("/healthz").json()["status"]
            assert state in ("starting", "ready"), f"the planner is {state}; its log has more"
            assert time.monotonic() < deadline, "the planner takes too long to load"
            time.sleep(0.05)
        yield served


@pytest.fixture(scope="session")
def server_url(client):
    """The same server on a real socket."""
    import uvicorn

    from api.serving import listening_socket

    listener = listening_socket("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(client.app, log_config=None, lifespan="off", timeout_graceful_shutdown=10))
    serving = client.portal.start_task_soon(server.serve, [listener])
    while not server.started:
        assert not serving.done(), "the server ended"
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    serving.result(20)


@pytest.fixture
def scripted():
    """A maker of servers that answer one request after the other with given bytes, then close: a faulty network and all that is on it."""
    with ExitStack() as stack:
        yield lambda *steps: stack.enter_context(_scripted(steps))


@contextmanager
def _scripted(steps):
    left = list(steps)
    seen: list[SimpleNamespace] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            line = self.rfile.readline().decode()
            if not line:
                return
            headers = dict(h.decode().strip().lower().split(": ", 1) for h in iter(self.rfile.readline, b"\r\n"))
            body = self.rfile.read(int(headers.get("content-length", 0)))
            seen.append(SimpleNamespace(method=line.split()[0], path=line.split()[1], headers=headers, body=body))
            step = left.pop(0) if left else b"HTTP/1.1 500 Out Of Script\r\ncontent-length: 0\r\n\r\n"
            for part in [step] if isinstance(step, bytes) else step:
                time.sleep(part) if isinstance(part, float) else self.wfile.write(part)

        def finish(self) -> None:
            with suppress(OSError):  # the caller may have gone
                super().finish()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, request, client_address) -> None:
            pass  # the caller has gone

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
        thread.start()
        yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_address[1]}", seen=seen)
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def http_answer():
    """The bytes of an answer with a JSON document."""

    def answer(status: int, document: Any = None, **headers: str) -> bytes:
        body = b"" if document is None else json.dumps(document).encode()
        kind = "application/json" if status < 400 else "application/problem+json"
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{more}\r\n"
        return head.encode() + body

    return answer
