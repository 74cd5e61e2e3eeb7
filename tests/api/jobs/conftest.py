import asyncio
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from api.store.store import Store

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

_INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


@dataclass
class Postgres:
    """A PostgreSQL server of the tests' own, reached over a Unix socket."""

    binaries: Path
    folder: Path
    account: dict[str, Any] = field(default_factory=dict)  # the server refuses to run as root
    process: subprocess.Popen[bytes] | None = None

    def run(self, *command: str) -> None:
        subprocess.run([self.binaries / command[0], *command[1:]], check=True, capture_output=True, cwd=self.folder, **self.account)

    def start(self) -> None:
        options = ["-D", "cluster", "-k", str(self.folder), "-c", "listen_addresses=", "-c", "fsync=off"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([self.binaries / "postgres", *options], cwd=self.folder, stdout=log, stderr=log, **self.account)
        deadline = time.monotonic() + 30
        while subprocess.run([self.binaries / "pg_isready", "-q", "-h", self.folder], check=False).returncode:
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(2)  # at once, connections are cut
            self.process.wait(30)
            self.process = None

    def new_database(self) -> str:
        name = f"t{uuid4().hex}"
        with psycopg.connect(host=str(self.folder), user="flowfleet", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql+psycopg://flowfleet@/{name}?host={self.folder}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running server; skips where none is installed."""
    found = shutil.which("initdb")
    places = [*_INSTALLED, *([Path(found).resolve().parent] if found else [])]
    binaries = next((place for place in places if (place / "postgres").exists() and (place / "initdb").exists()), None)
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed (Debian's package is postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="flowfleet-pg-"))  # short: a socket's path has 107 characters at most
    server = Postgres(binaries, folder)
    if os.geteuid() == 0:
        user = "postgres" if subprocess.run(["id", "postgres"], check=False, capture_output=True).returncode == 0 else "nobody"
        shutil.chown(folder, user)
        server.account = {"user": user, "extra_groups": []}
    try:
        server.run("initdb", "-D", "cluster", "-U", "flowfleet", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-instructions")
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request, tmp_path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return request.getfixturevalue("postgres").new_database()


@pytest.fixture(scope="session")
def planner():
    """The real planner, warm."""
    from planner.assembly import load_planner

    made = load_planner()
    made.warm_up()
    return made


@pytest.fixture
def serve(request) -> Callable[..., Any]:
    """Serves with the real planner: `with serve(store_url=..., ready=...) as client`; not `ready`: the planner never gets loaded."""
    from fastapi.testclient import TestClient

    from api.app import create_app
    from api.settings import Settings

    @contextmanager
    def served(ready: bool = True, **chosen: Any) -> "Iterator[TestClient]":
        gate = threading.Event()
        planner = request.getfixturevalue("planner") if ready else None

        def load():
            gate.wait()
            if planner is None:
                raise OSError("the server ends before its planner is there")
            return planner

        settings = Settings(drain_s=0.5 if not ready else 20.0, **chosen)
        with TestClient(create_app(settings, load), raise_server_exceptions=False) as client:
            if ready:
                gate.set()
                wait_for(lambda: client.get("/readyz").status_code == 200)
            try:
                yield client
            finally:
                gate.set()

    return served


@pytest.fixture
def new_store() -> Iterator[Callable[[str], Store]]:
    """Opens stores as other processes would, and closes them in the end."""
    opened: list[Store] = []

    def opener(url: str) -> Store:
        opened.append(Store(url))
        return opened[-1]

    yield opener
    for store in opened:
        asyncio.run(store.close())


def wait_for(true: Callable[[], Any], limit: float = 180.0) -> Any:
    """Waits until something is so, and returns it."""
    deadline = time.monotonic() + limit
    while not (found := true()):
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """`wait_for`."""
    return wait_for


@pytest.fixture(scope="session")
def transact() -> Callable[..., Any]:
    """Does one transaction's work in a store: `transact(store, function, arguments...)`."""

    def done(store: Store, work: Callable[..., Any], *arguments: Any) -> Any:
        return asyncio.run(store.run(lambda connection, now: work(*arguments, connection, now)))

    return done
