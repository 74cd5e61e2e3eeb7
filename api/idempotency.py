"""Idempotency-Key: a call that is sent again with its key is answered again, not done again.

The same key with the same body gets the stored answer, with another body 422, and while the first call still runs 409.
A key belongs to whoever sent it: the credentials of the call, where it has any, are part of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from fastapi import Response
from sqlalchemy import Connection, delete, select, update

from api.packing import packed, unpacked
from api.problems import Problem
from api.store.schema import inserted, replays

if TYPE_CHECKING:
    from starlette.requests import Request

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
_KEY = re.compile(r'"?([\x21\x23-\x5b\x5d-\x7e]{1,255})"?')  # bare, or a structured header's string


@dataclass(frozen=True)
class Replay:
    """A key, whose it is, and the call that it stands for."""

    scope: str
    key: str
    fingerprint: str


@dataclass(frozen=True)
class StoredAnswer:
    """An answer that is sent again."""

    status: int
    body: bytes
    location: str | None = None

    def response(self, *, replayed: bool) -> Response:
        """The HTTP answer."""
        headers = {} if self.location is None else {"Location": self.location}
        if replayed:
            headers[REPLAYED] = "true"
        return Response(self.body, self.status, headers, "application/json")


def replay_of(request: Request, body: bytes) -> Replay | None:
    """The key of a call; None where it has none.

    Raises:
        Problem: 400, it is no key.
    """
    given = request.headers.get(HEADER)
    if given is None:
        return None
    key = _KEY.fullmatch(given.strip())
    if key is None:
        raise Problem(400, "INVALID_IDEMPOTENCY_KEY", f"{HEADER} has 1 to 255 visible ASCII characters without quotes and backslashes")
    whose = "\n".join(request.headers.get(name, "") for name in ("authorization", "x-api-key"))
    called = f"{request.method} {request.url.path}\n".encode() + body
    return Replay(_digest(whose.encode(), 16), key[1], _digest(called, 32))


def find_answer(replay: Replay, connection: Connection, now: float) -> StoredAnswer | None:
    """The answer that a key stands for; None where there is none and none is on its way.

    Raises:
        Problem: 409 or 422.
    """
    row = connection.execute(select(replays).where(*_at(replay))).one_or_none()
    if row is None:
        return None
    if row.fingerprint != replay.fingerprint:
        raise Problem(422, "IDEMPOTENCY_KEY_REUSED", f"this {HEADER} was sent with another body, or to another address")
    if row.status is not None:
        return StoredAnswer(row.status, unpacked(row.body), row.location)
    if row.lease_until < now:  # its process died over it
        return None
    raise Problem(409, "STILL_RUNNING", f"the call with this {HEADER} is still being answered", headers={"Retry-After": "1"})


def reserve(replay: Replay, owner: str, lease: float, connection: Connection, now: float) -> StoredAnswer | None:
    """Takes a key for a call that begins now, for as long as its process lives; or the answer that it has already.

    Raises:
        Problem: 409 or 422.
    """
    values = {"fingerprint": replay.fingerprint, "created": now, "owner": owner, "lease_until": now + lease}
    if inserted(connection, replays, {"scope": replay.scope, "key": replay.key} | values):
        return None
    answer = find_answer(replay, connection, now)
    if answer is None:
        taken = connection.execute(update(replays).where(*_at(replay), replays.c.lease_until < now).values(**values)).rowcount
        if not taken:
            raise Problem(409, "STILL_RUNNING", f"the call with this {HEADER} is still being answered", headers={"Retry-After": "1"})
    return answer


def fulfil(replay: Replay, owner: str, answer: StoredAnswer, connection: Connection, _: float) -> None:
    """Stores the answer to a call whose key was reserved."""
    values = {"owner": None, "lease_until": None, **_stored(answer)}
    connection.execute(update(replays).where(*_at(replay), replays.c.owner == owner).values(**values))


def fulfil_at_once(replay: Replay, answer: StoredAnswer, connection: Connection, now: float) -> StoredAnswer | None:
    """Stores an answer that is made within this very transaction; or returns the one that was made before.

    Raises:
        Problem: 409 or 422.
    """
    values = {"scope": replay.scope, "key": replay.key, "fingerprint": replay.fingerprint, "created": now, **_stored(answer)}
    return None if inserted(connection, replays, values) else find_answer(replay, connection, now)


def release(replay: Replay, owner: str, connection: Connection, _: float) -> None:
    """Forgets a reserved key: its call came to nothing, and may be sent again."""
    connection.execute(delete(replays).where(*_at(replay), replays.c.owner == owner))


def _stored(answer: StoredAnswer) -> dict[str, object]:
    return {"status": answer.status, "location": answer.location, "body": packed(answer.body)}


def _at(replay: Replay) -> tuple:
    return replays.c.scope == replay.scope, replays.c.key == replay.key


def _digest(text: bytes, size: int) -> str:
    return blake2b(text, digest_size=size).hexdigest()
