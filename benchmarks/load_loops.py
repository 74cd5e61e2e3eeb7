"""Callers that each wait for their answer (closed loop), arrivals that wait for nobody (open loop), and clients that ask on a beat."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from load_wire import Connection, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence


async def closed_loop(url: str, messages: Sequence[bytes], callers: int, seconds: float) -> list[Reply]:
    """Every caller sends its next request as soon as the last is answered.

    Args:
        url: of the server.
        messages: sent in turn.
        callers: how many at a time.
        seconds: after which no more is sent.
    """
    numbers = count()
    until = time.perf_counter() + seconds
    replies: list[Reply] = []

    async def call() -> None:
        connection = Connection(url)
        while time.perf_counter() < until:
            reply = await connection.send(messages[next(numbers) % len(messages)])
            replies.append(reply)
            if not reply.status:
                await asyncio.sleep(0.05)  # nobody listens: no storm of attempts
        connection.close()

    await asyncio.gather(*(call() for _ in range(callers)))
    return replies


async def open_loop(url: str, messages: Sequence[bytes], rate: float, seconds: float, seed: int, most: int = 2000) -> list[Reply]:
    """Requests arrive at random, independent of each other and of the answers (a Poisson process).

    Latencies count from when a request was due, so that a generator that falls behind hides nothing.

    Args:
        url: of the server.
        messages: sent in turn.
        rate: requests a second, on average.
        seconds: after which no more arrive.
        seed: of the arrivals.
        most: requests under way at most; those over it are not sent and count as broken.
    """
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1.0 / rate, int(1.5 * rate * seconds) + 50)
    arrivals = np.cumsum(gaps)
    idle: list[Connection] = []
    under_way: set[asyncio.Task[None]] = set()
    replies: list[Reply] = []
    began = time.perf_counter()

    async def call(message: bytes, due: float) -> None:
        connection = idle.pop() if idle else Connection(url)
        replies.append(await connection.send(message, due))
        idle.append(connection)

    for k, arrival in enumerate(arrivals[arrivals < seconds]):
        due = began + float(arrival)
        if (wait := due - time.perf_counter()) > 0.0:
            await asyncio.sleep(wait)
        if len(under_way) >= most:
            replies.append(Reply(due, 0.0, 0, good=False))
            continue
        task = asyncio.ensure_future(call(messages[k % len(messages)], due))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    for connection in idle:
        connection.close()
    return replies


async def paced_loop(url: str, messages: Sequence[bytes], callers: int, rate: float, seconds: float, seed: int) -> list[Reply]:
    """Clients that each plan on a beat of their own, as fleets do that replan every so often: the same period, phases at random.

    Latencies count from the beat. A client whose answer comes after its next beat asks again at once.

    Args:
        url: of the server.
        messages: sent in turn.
        callers: how many clients.
        rate: requests a second, of all of them together.
        seconds: after which no more is sent.
        seed: of the phases.
    """
    period, numbers = callers / rate, count()
    phases = np.random.default_rng(seed).uniform(0.0, period, callers)
    began = time.perf_counter()
    replies: list[Reply] = []

    async def call(phase: float) -> None:
        connection = Connection(url)
        for beat in np.arange(phase, seconds, period):
            due = began + float(beat)
            if (wait := due - time.perf_counter()) > 0.0:
                await asyncio.sleep(wait)
            replies.append(await connection.send(messages[next(numbers) % len(messages)], due))
        connection.close()

    await asyncio.gather(*(call(float(phase)) for phase in phases))
    return replies


async def measured(url: str, messages: Sequence[bytes], callers: int, seconds: float, warm_up: float) -> list[Reply]:
    """A closed loop whose first moments, in which queues fill and caches warm, are left out.

    Returns:
        What was answered between `warm_up` and `warm_up` + `seconds`.
    """
    began = time.perf_counter()
    replies = await closed_loop(url, messages, callers, warm_up + seconds)
    return [r for r in replies if warm_up <= r.at + r.latency - began <= warm_up + seconds]
