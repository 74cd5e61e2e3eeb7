"""Figures of a load: percentiles, rates, and what the server's process holds meanwhile."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from load_wire import Reply
    from server import Server

REFUSED = (429, 503)


def percentile(values: Iterable[float], share: float) -> float | None:
    """A percentile; None of nothing."""
    listed = list(values)
    return float(np.percentile(listed, share)) if listed else None


def latencies_ms(replies: Iterable[Reply]) -> list[float]:
    """The latencies, ms."""
    return [1e3 * reply.latency for reply in replies]


def refused(replies: Iterable[Reply]) -> list[Reply]:
    """Those that the server turned away."""
    return [reply for reply in replies if reply.status in REFUSED]


def accepted(replies: Iterable[Reply]) -> list[Reply]:
    """Those that were answered with a plan, found or not."""
    return [reply for reply in replies if reply.status == 200]


def broken(replies: Iterable[Reply]) -> int:
    """How many got no answer, or one that is none of these."""
    return sum(reply.status not in (200, *REFUSED) for reply in replies)


def share(part: int, whole: int) -> str:
    """A share in per cent."""
    return f"{100.0 * part / whole:.1f} %" if whole else "-"


@dataclass
class Watch:
    """What a process holds, over time."""

    t: list[float] = field(default_factory=list)  # s, since the watch began
    resident_mb: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)  # open file descriptors

    def slope_mb_per_hour(self, leave_out: float = 0.25) -> float | None:
        """How fast memory grows, by least squares, the first share of the time left out."""
        kept = [k for k, t in enumerate(self.t) if t >= leave_out * self.t[-1]] if self.t else []
        if len(kept) < 3:
            return None
        return 3600.0 * float(np.polyfit([self.t[k] for k in kept], [self.resident_mb[k] for k in kept], 1)[0])


@asynccontextmanager
async def watched(server: Server, every: float = 1.0) -> AsyncIterator[Watch]:
    """Watches a server's process; nothing is seen of one that is not ours."""
    watch, began = Watch(), time.perf_counter()

    def look() -> None:
        memory = server.resident_mb()
        if memory is not None and server.process is not None:
            watch.t.append(time.perf_counter() - began)
            watch.resident_mb.append(memory)
            watch.files.append(len(os.listdir(f"/proc/{server.process.pid}/fd")))

    async def look_again_and_again() -> None:
        while True:
            look()
            await asyncio.sleep(every)

    looking = asyncio.ensure_future(look_again_and_again())
    try:
        yield watch
    finally:
        looking.cancel()
        look()


def draw_curve(rows: Sequence[tuple[int, float]], where: Path) -> None:
    """Throughput against the largest batch allowed, as a picture.

    Args:
        rows: batch size, plans a second.
        where: a .png.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    axes.plot([size for size, _ in rows], [rate for _, rate in rows], "o-", color="#0b5cad")
    axes.set_xscale("log", base=2)
    axes.set_xticks([size for size, _ in rows], [str(size) for size, _ in rows])
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("largest batch allowed")
    axes.set_ylabel("plans a second")
    axes.grid(alpha=0.3)
    figure.savefig(where, dpi=150)
    plt.close(figure)
