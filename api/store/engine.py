"""Connections to the store's database: SQLite in a file or in memory, or PostgreSQL."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import StaticPool

from maps.errors import InvalidInput

_BUSY = 5.0  # s, how long a statement waits for another process that writes
_CONNECT = 3  # s, how long a connection may take
_SERVER_OPTIONS = "-c synchronous_commit=on -c statement_timeout=20000 -c lock_timeout=10000 -c idle_in_transaction_session_timeout=60000"


def database(url: str) -> Engine:
    """The database behind an address; nothing is opened yet.

    Args:
        url: "sqlite:///FILE", "postgresql+psycopg://USER@HOST/NAME", or "" and "sqlite://" for one in memory.

    Raises:
        InvalidInput: it is no such address.
    """
    try:
        parsed = make_url(url or "sqlite://")
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
            raise InvalidInput("the setting STORE_URL must be for SQLite or PostgreSQL", code="INVALID_SETTING")
        if parsed.get_backend_name() == "postgresql":
            arguments: dict[str, Any] = {"connect_timeout": _CONNECT, "options": _SERVER_OPTIONS, "application_name": "flowfleet"}
            return create_engine(parsed, pool_size=1, max_overflow=0, pool_pre_ping=True, connect_args=arguments)
        engine = create_engine(parsed, poolclass=StaticPool, connect_args={"timeout": _BUSY, "check_same_thread": False})
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"the setting STORE_URL is no address of a database: {error}", code="INVALID_SETTING") from None
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, not where the driver thinks
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):  # FULL: what is committed survives a loss of power
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # what is read is still true when it is written


class FileShare:
    """Says to other processes on the same SQLite file that this one lives; the system takes it back when the process dies."""

    def __init__(self, engine: Engine) -> None:
        """Nothing is locked yet."""
        name = engine.url.database if engine.dialect.name == "sqlite" else None
        self._path = None if name in (None, "", ":memory:") else Path(str(name) + ".lock")
        self._file: IO[bytes] | None = None
        self._alone = False

    def join(self) -> bool:
        """Joins those who use the file; returns whether nobody else did, so that every lease in it is a dead process's.

        Raises:
            OSError: there can be no file.
        """
        if self._path is None or self._file is not None:
            return self._alone
        self._file = self._path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._alone = True
        except BlockingIOError:
            pass
        return self._alone

    def settle(self) -> None:
        """Lets others in beside this process."""
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_SH)

    def leave(self) -> None:
        """Ends this process's share."""
        if self._file is not None:
            self._file.close()
            self._file = None
