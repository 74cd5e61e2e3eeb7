"""The load experiments: each drives a server for a bounded time and returns a row of its table."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np
import scenarios
from load_figures import Watch, accepted, broken, latencies_ms, percentile, refused, share, watched
from load_loops import measured, open_loop, paced_loop
from load_wire import Connection, Reply, dripped, encoded, looking

if TYPE_CHECKING:
    from server import Server


@dataclass(frozen=True)
class Load:
    """What is sent, and for how long."""

    family: str = "hall"  # of scenarios.py
    robots: int = 8
    instances: int = 32  # different requests, sent in turn
    seed: int = 1000  # instance k is made from seed + k
    callers: int = 32  # of a closed loop
    seconds: float = 20.0  # of a measurement
    warm_up: float = 3.0  # s, before it
    deadline_ms: float = 10_000.0
    sources: str | None = None  # that proposals may come from, separated by commas; None: all

    def requests(self) -> list[dict]:
        """The requests."""
        made = [scenarios.instance(self.family, self.robots, self.seed + k) for k in range(self.instances)]
        for request in made:
            request["options"]["deadline_ms"] = self.deadline_ms
            if self.sources:
                request["options"]["sources"] = self.sources.split(",")
        return made

    def messages(self) -> list[bytes]:
        """The requests as they go over the wire."""
        return [encoded(request) for request in self.requests()]


BATCH_HEADER = ["largest batch", "plans/s", "p50 ms", "p99 ms", "succeeded", "broken", "generator's CPU"]
OPEN_HEADER = ["load", "offered/s", "answered/s", "p50 ms", "p99 ms", "refused", "broken", "generator's CPU"]
OVERLOAD_HEADER = [
    "load",
    "capacity/s",
    "offered/s",
    "refused",
    "refusal p50 ms",
    "refusal p99 ms",
    "Retry-After",
    "accepted p50 ms",
    "accepted p99 ms",
    "deadline ms",
    "over deadline",
    "goodput/s",
    "of capacity",
    "broken",
    "MB before",
    "MB most",
    "MB after",
]
HOSTILE_HEADER = ["meanwhile", "probes", "health p50 ms", "health p99 ms", "health most ms", "their answers", "MB most"]
SOAK_HEADER = [
    "minutes",
    "plans",
    "plans/s",
    "p99 ms first",
    "p99 ms last",
    "MB first",
    "MB last",
    "MB/h",
    "files first",
    "files last",
    "broken",
]


def closed_row(server: Server, load: Load, label: int) -> tuple[list, float]:
    """A closed loop's row, and its plans a second."""
    busy = _Busy()
    replies = asyncio.run(measured(server.url, load.messages(), load.callers, load.seconds, load.warm_up))
    answered = accepted(replies)
    rate = len(answered) / load.seconds
    times = latencies_ms(answered)
    good = share(sum(r.good for r in answered), len(answered))
    return [label, rate, percentile(times, 50), percentile(times, 99), good, broken(replies), busy.share()], rate


def capacity(server: Server, load: Load) -> float:
    """Plans a second that succeed while so many callers are served as fast as they come."""
    replies = asyncio.run(measured(server.url, load.messages(), load.callers, load.seconds, load.warm_up))
    return sum(r.good for r in replies) / load.seconds


def open_row(server: Server, load: Load, rate: float, label: str, *, paced: bool = False) -> list:
    """Arrivals at a rate below capacity: at random, or of clients on a beat."""
    busy = _Busy()
    if paced:
        replies = asyncio.run(paced_loop(server.url, load.messages(), load.callers, rate, load.seconds, load.seed))
    else:
        replies = asyncio.run(open_loop(server.url, load.messages(), rate, load.seconds, load.seed))
    answered = accepted(replies)
    times = latencies_ms(answered)
    return [
        label,
        len(replies) / load.seconds,
        len(answered) / _span(replies, load.seconds),
        percentile(times, 50),
        percentile(times, 99),
        share(len(refused(replies)), len(replies)),
        broken(replies),
        busy.share(),
    ]


async def _watched_arrivals(server: Server, load: Load, rate: float, every: float = 1.0) -> tuple[list[Reply], Watch]:
    async with watched(server, every) as watch:
        return await open_loop(server.url, load.messages(), rate, load.seconds, load.seed), watch


def overload_row(server: Server, load: Load, most: float, times_over: float) -> tuple[list, Watch]:
    """Random arrivals far above capacity: who is turned away how soon, and what becomes of the others.

    Args:
        server: the server.
        load: what is sent.
        most: plans a second that the server can do.
        times_over: arrivals over capacity.
    """
    replies, watch = asyncio.run(_watched_arrivals(server, load, times_over * most))
    answered, away = accepted(replies), refused(replies)
    times, refusals = latencies_ms(answered), latencies_ms(away)
    in_time = [r for r in answered if r.good and 1e3 * r.latency <= load.deadline_ms]
    goodput = len(in_time) / _span(replies, load.seconds)
    said = [r.retry_after for r in away if r.retry_after is not None]
    row = [
        f"{times_over:g} x",
        most,
        len(replies) / load.seconds,
        share(len(away), len(replies)),
        percentile(refusals, 50),
        percentile(refusals, 99),
        f"{share(len(said), len(away))}, {min(said):g} to {max(said):g} s" if said else "-",
        percentile(times, 50),
        percentile(times, 99),
        f"{load.deadline_ms:g}",
        share(sum(t > load.deadline_ms for t in times), len(times)),
        goodput,
        share(round(1000 * goodput), round(1000 * most)) if most else "-",
        broken(replies),
        *([watch.resident_mb[0], max(watch.resident_mb), watch.resident_mb[-1]] if watch.t else [None] * 3),
    ]
    return row, watch


async def _probed(server: Server, seconds: float, every: float = 0.05) -> list[Reply]:
    """Looks at the server's health again and again."""
    connection, until, replies = Connection(server.url, patience=30.0), time.perf_counter() + seconds, []
    while time.perf_counter() < until:
        replies.append(await connection.send(looking("/healthz")))
        await asyncio.sleep(every)
    connection.close()
    return replies


async def _bother(url: str, load: Load, kind: str, callers: int, size_mb: float) -> list[Reply]:
    message, padded = load.messages()[0], encoded({"padding": " " * int(1e6 * size_mb)})

    async def send_oversized() -> list[Reply]:
        until, replies = time.perf_counter() + load.seconds, []
        while time.perf_counter() < until:
            replies.append(await Connection(url, patience=30.0).send(padded))
        return replies

    if kind == "slow":
        return await asyncio.gather(*(dripped(url, message, load.seconds, 0.2) for _ in range(callers)))
    if kind == "oversized":
        return [reply for found in await asyncio.gather(*(send_oversized() for _ in range(callers))) for reply in found]
    return []


def bothered(url: str, load: Load, kind: str, callers: int, size_mb: float) -> list[Reply]:
    """What callers get who send as `hostile_row` says; blocks."""
    return asyncio.run(_bother(url, load, kind, callers, size_mb))


def hostile_row(server: Server, load: Load, kind: str, callers: int, size_mb: float) -> list:
    """Health's latency while many callers send bodies that never end ("slow"), are too large ("oversized"), or nothing ("quiet")."""

    async def both() -> tuple[list[Reply], list[Reply], Watch]:
        async with watched(server, 0.2) as watch:
            with ProcessPoolExecutor(1, get_context("spawn")) as apart:  # else the probe would wait for the bodies' sender
                others = asyncio.get_running_loop().run_in_executor(apart, bothered, server.url, load, kind, callers, size_mb)
                return await _probed(server, load.seconds), await others, watch

    probes, others, watch = asyncio.run(both())
    times = latencies_ms(r for r in probes if r.status == 200)
    statuses = [r.status for r in others]
    said = ", ".join(f"{statuses.count(s)} x {s or 'none'}" for s in sorted(set(statuses)))
    label = f"{callers} {kind}" if others else kind
    most = max(watch.resident_mb) if watch.t else None
    lost = sum(r.status != 200 for r in probes)
    shown = f"{len(probes)}, {lost} lost" if lost else str(len(probes))
    return [label, shown, percentile(times, 50), percentile(times, 99), max(times, default=None), said or "-", most]


def soak_row(server: Server, load: Load, rate: float) -> tuple[list, Watch]:
    """Random arrivals at a rate below capacity for long: whether memory, files or latencies creep."""
    replies, watch = asyncio.run(_watched_arrivals(server, load, rate, max(load.seconds / 2000.0, 0.2)))
    answered = sorted(accepted(replies), key=lambda r: r.at)
    quarter = max(len(answered) // 4, 1)
    first, last = latencies_ms(answered[:quarter]), latencies_ms(answered[-quarter:])
    settled = next((k for k, t in enumerate(watch.t) if t >= 0.25 * watch.t[-1]), 0)
    row = [
        f"{load.seconds / 60.0:.1f}",
        len(answered),
        len(answered) / load.seconds,
        percentile(first, 99),
        percentile(last, 99),
        *([watch.resident_mb[settled], watch.resident_mb[-1], watch.slope_mb_per_hour()] if watch.t else [None] * 3),
        *([watch.files[settled], watch.files[-1]] if watch.t else [None] * 2),
        broken(replies),
    ]
    return row, watch


def _span(replies: list[Reply], seconds: float) -> float:
    """From the first arrival to the last answer, s: what is answered after the arrivals' end counts with its time."""
    ends = [r.at + r.latency for r in replies]
    return max(max(ends) - min(r.at for r in replies), seconds) if replies else seconds


class _Busy:
    """How much of a core this process takes: a generator that is busy measures itself."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def share(self) -> str:
        wall, work = (now - then for now, then in zip((time.perf_counter(), time.process_time()), self._began, strict=True))
        return f"{100.0 * work / wall:.0f} %"


OVERHEAD_HEADER = ["robots", "requests", "HTTP p50 ms", "planner p50 ms", "overhead p50 ms", "overhead p95 ms", "answer KB"]


def overhead_row(server: Server, load: Load) -> list:
    """What HTTP adds to planning, one request at a time: the same request over HTTP and to a planner in this process, in turn.

    Answers are the same to the last digit but for measured times, so the difference is reading, queueing, writing and sending.
    """
    from server import Caller

    from api.intake import Intake
    from api.maps_store import MapsStore
    from api.settings import Settings
    from planner.assembly import load_planner

    planner, settings, caller = load_planner(), Settings(), Caller(server.url)
    planner.warm_up()
    intake = Intake(settings, MapsStore(settings))
    requests, alone, sizes = load.requests(), [], []
    until, k = time.perf_counter() + load.seconds, -2  # the first two warm up
    while k < 1 or time.perf_counter() < until:
        request = requests[k % len(requests)]
        answer = caller.plan(request)
        order = intake.order(encoded(request).partition(b"\r\n\r\n")[2], time.monotonic())
        began = time.perf_counter()
        plan = planner.plan(order.scenario, order.options)
        alone.append(1e3 * (time.perf_counter() - began))
        if answer["status"] != plan.status.value:
            raise SystemExit(f"the server says {answer['status']}, the planner {plan.status.value}, of seed {request['options']['seed']}")
        sizes.append(len(str(answer)) / 1e3)
        k += 1
    wall, alone = np.array(caller.wall_ms[2:]), np.array(alone[2:])
    added = wall - alone
    figures = [float(np.median(v)) for v in (wall, alone, added)]
    return [load.robots, len(wall), *figures, float(np.percentile(added, 95)), float(np.mean(sizes))]
