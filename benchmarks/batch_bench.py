"""Batches, start and memory, measured: 32 hall requests of 16 robots in one call, the server's start, its memory at rest.

python benchmarks/batch_bench.py [--requests 32] [--robots 16] [--repeats 5]
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy, as the server does

import argparse
import json
import time
from pathlib import Path

import numpy as np
import scenarios
from cells import table
from server import running_server


def batch_times(count: int, robots: int, repeats: int, seed: int) -> tuple[list[float], int]:
    """Wall clock of one plan_batch, s, again and again with other requests, and how many plans failed in all."""
    from api.intake import Intake
    from api.maps_store import MapsStore
    from api.settings import Settings
    from planner.assembly import load_planner

    planner, settings = load_planner(), Settings()
    planner.warm_up()
    intake = Intake(settings, MapsStore(settings))
    times, failed = [], 0
    for repeat in range(repeats + 1):
        bodies = [json.dumps(scenarios.instance("hall", robots, seed + repeat * count + k)).encode() for k in range(count)]
        orders = [intake.order(body, time.monotonic() + 1e6) for body in bodies]  # no deadline is near
        started = time.perf_counter()
        plans = planner.plan_batch([order.scenario for order in orders], [order.options for order in orders])
        if repeat:  # the first warms up
            times.append(time.perf_counter() - started)
            failed += sum(plan.status != "succeeded" for plan in plans)
    return times, failed


def starts(times: int) -> list[tuple[float, float | None]]:
    """Seconds to ready and MB at rest of servers started one after another; the first may have to compile."""
    out = []
    for _ in range(times):
        with running_server() as server:
            time.sleep(1.0)
            out.append((server.ready_s, server.resident_mb()))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures batches, the start of the server and its memory at rest.")
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--robots", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=5000)
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    arguments = parser.parse_args()
    (_, _), (ready, memory) = starts(2)
    times, failed = batch_times(arguments.requests, arguments.robots, arguments.repeats, arguments.seed)
    rows = [
        [f"{arguments.requests} hall requests, {arguments.robots} robots, one batch, ms, median", 1000.0 * float(np.median(times)), "150"],
        ["the slowest of them, ms", 1000.0 * max(times), "-"],
        [f"not solved of {len(times) * arguments.requests}", failed, "0"],
        ["second start to ready, s", ready, "8"],
        ["memory at rest, MB", memory, "700"],
    ]
    text = table(["what", "measured", "mark"], rows)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "batch.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
