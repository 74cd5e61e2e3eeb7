"""Single calls with an idempotency key: planned once, answered as often as they are sent."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert

from api.idempotency import StoredAnswer, fulfil, release, reserve
from api.packing import packed
from api.store.schema import plans
from api.store.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from api.desk import Desk
    from api.idempotency import Replay

log = logging.getLogger("flowfleet.store")


@dataclass(frozen=True)
class MadePlan:
    """A plan that is ready to be sent."""

    id: str
    body: bytes  # JSON
    replayed: bool = False  # it answered the same call before


async def planned(desk: Desk, replay: Replay | None, work: Callable[[], Awaitable[MadePlan | None]]) -> MadePlan | None:
    """The plan that answers a call, made by `work` or before; it is stored under its key, or, without one, after the answer.

    Raises:
        Problem: 409 or 422, for the key; or whatever `work` raises.
    """
    if replay is not None:
        try:
            return await _once(desk, replay, work)
        except _StoreAway:
            log.warning("the store is away: a call with a key is answered without it")
    plan = await work()
    if plan is not None and desk.settings.keep_plans:
        desk.store.keep(plan.id, plan.body)
    return plan


class _StoreAway(Exception):
    """A key could not be looked up."""


async def _once(desk: Desk, replay: Replay, work: Callable[[], Awaitable[MadePlan | None]]) -> MadePlan | None:
    """The answer to a call with a key: the stored one, or that of `work`, which is stored before it is sent.

    What is refused, or whose caller hangs up, leaves no trace: the same key may be sent again. Where the store is away the call
    is answered all the same, and the key means nothing: planning twice does no harm.

    Raises:
        _StoreAway: nothing was done.
    """
    owner = desk.store.owner
    try:
        earlier = await desk.store.run(partial(reserve, replay, owner, desk.jobs.config.lease))
    except StoreUnavailable:
        raise _StoreAway from None
    if earlier is not None:
        return MadePlan("", earlier.body, replayed=True)
    plan, stored = None, False
    try:
        plan = await work()
        if plan is not None:
            desk.store.remember(plan.id, plan.body)
            with suppress(StoreUnavailable):
                await desk.store.run(partial(_fulfilled, replay, owner, plan))
                stored = True
    finally:
        if not stored:
            with suppress(StoreUnavailable):
                await desk.store.run(partial(release, replay, owner))
    return plan


def _fulfilled(replay: Replay, owner: str, plan: MadePlan, connection: Connection, now: float) -> None:
    connection.execute(insert(plans).values(id=plan.id, created=now, body=packed(plan.body)))
    fulfil(replay, owner, StoredAnswer(200, plan.body), connection, now)
