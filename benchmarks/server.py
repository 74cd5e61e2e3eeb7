"""A flowfleet server of its own for a measurement, and calls to it, one at a time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

START_LIMIT = 300.0  # s, compiling on a first start included


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    process: subprocess.Popen | None  # None: somebody else's
    ready_s: float  # from its start to its greeting

    def resident_mb(self) -> float | None:
        """Memory of the process, MB; None where it is not ours or the system does not tell."""
        if self.process is None:
            return None
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return None
        found = re.search(r"VmRSS:\s+(\d+)", status)
        return int(found[1]) / 1024.0 if found else None


@contextmanager
def running_server(url: str | None = None, settings: dict[str, str] | None = None, log: Path | None = None) -> Iterator[Server]:
    """A server at `url`, or a new one on a free port that is stopped afterwards.

    Args:
        url: of somebody else's server.
        settings: environment variables of a new one, beside those of this process.
        log: where a new one's log goes; by default warnings go to this process's standard error, and nothing is stored on disk.

    Raises:
        SystemExit: it does not start.
    """
    if url is not None:
        yield Server(url.rstrip("/"), None, 0.0)
        return
    started = time.perf_counter()
    command = [str(Path(sys.executable).with_name("flowfleet")), "serve", "--port", "0"]
    with ExitStack() as stack:
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
        errors = None if log is None else stack.enter_context(log.open("ab"))
        quiet = {"FLOWFLEET_LOG_LEVEL": "WARNING", "FLOWFLEET_STORE_URL": "sqlite://"} if log is None else {}
        environment = quiet | os.environ | (settings or {})
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
    try:
        yield Server(greeted(process), process, time.perf_counter() - started)
    finally:
        process.terminate()
        process.wait(60)


def greeted(process: subprocess.Popen) -> str:
    """The address in the server's greeting."""
    for line in process.stdout or ():
        found = re.search(r"https?://[^\s/]+", line)
        if found:
            return found[0]
    raise SystemExit(f"the server ended with {process.wait()} before it was ready")


class Caller:
    """Posts requests over one connection, by as little client as there is, so that its wall clock is the server's."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=START_LIMIT)
        self.wall_ms: list[float] = []  # of each call, client side

    def plan(self, request: dict) -> dict:
        """The plan of a request; what the server refuses comes back as the problem it names."""
        body = json.dumps(request).encode()
        started = time.perf_counter()
        self._connection.request("POST", "/v1/plans", body, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        self.wall_ms.append(1000.0 * (time.perf_counter() - started))
        document = json.loads(text)
        return document if answer.status == 200 else {"status": f"http {answer.status}", "robots": [], "problem": document}
