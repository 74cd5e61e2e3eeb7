"""The server, measured: one request at a time over HTTP, judged by score.py, held against the marks.

    python benchmarks/serve_bench.py [--cells all|small,hall,clutter,warehouse,swap,maps|hall-32,...] [--quick] [--seed 1000]

Requests, plans and the table are left in --out. The exit code is 1 where a plan that says "succeeded" is faulted by the
judge or a failure has no typed reason, whatever the marks.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import score
from cells import MAPS_FOLDER, Cell, chosen_cells, judged, misses, table
from server import Caller, running_server

PROVEN = {"START_OUTSIDE_MAP", "GOAL_OUTSIDE_MAP", "START_OCCUPIED", "GOAL_OCCUPIED", "START_OVERLAP", "GOAL_OVERLAP", "GOAL_DISCONNECTED"}
TIMED = {"HORIZON_TOO_SHORT", "START_SPEED_EXCEEDS_LIMIT", "CANNOT_STOP_IN_TIME"}
REASONS = PROVEN | TIMED | {"NO_PLAN_FOUND", "CONFLICT_UNRESOLVED", "DEADLINE_EXCEEDED", "CANCELLED"}
FIGURES = ["solved", "mark", "p50 ms", "mark", "p95 ms", "wall p50", "length ratio", "mean sq acc", "cost"]
HEADER = ["cell", *FIGURES, "missed", "not solved (seeds)"]
WARM_UP = 3  # requests of a cell that are posted before the measured ones


@dataclass
class Tally:
    """What must not happen, counted over all cells."""

    faulted: int = 0  # plans with status succeeded that the judge faults
    untyped: int = 0  # failures without a typed reason


def main() -> None:
    arguments = _arguments()
    cells = chosen_cells(arguments.cells)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows, tally = [], Tally()
    with running_server(arguments.url) as server:
        print(f"{server.url}, ready after {server.ready_s:.1f} s, {server.resident_mb() or 0.0:.0f} MB at rest", flush=True)
        for cell in cells:
            row = _measure(cell, server.url, arguments, tally)
            if row is None:
                continue
            rows.append(row)
            print(table(HEADER, [row]).splitlines()[-1], flush=True)
    text = table(HEADER, rows)
    (arguments.out / "serve.md").write_text(text + "\n")
    print(f"\n{text}\n\nsucceeded but faulted: {tally.faulted}; failed without a typed reason: {tally.untyped}")
    raise SystemExit(1 if tally.faulted or tally.untyped else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures the server, one request at a time over HTTP.")
    parser.add_argument("--cells", default="all", help="all, groups, families or family-robots, separated by commas")
    parser.add_argument("--count", type=int, help="instances of each cell, instead of its own number")
    parser.add_argument("--quick", action="store_true", help="five instances of each cell")
    parser.add_argument("--seed", type=int, default=1000, help="instance k of a cell is made from seed + k")
    parser.add_argument("--url", help="a server that runs already")
    parser.add_argument("--maps-folder", type=Path, default=MAPS_FOLDER, help="with nav2/ and movingai/; left out where missing")
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    return parser.parse_args()


def _measure(cell: Cell, url: str, arguments: argparse.Namespace, tally: Tally) -> list | None:
    """A row of the table; None where the map file is not there."""
    if cell.map_file is not None and not (arguments.maps_folder / cell.map_file).exists():
        print(f"{cell.family}: no {cell.map_file} in the maps folder, left out")
        return None
    count = arguments.count or (5 if arguments.quick else cell.count)
    warm = Caller(url)
    for request in cell.requests(arguments.seed + 10_000, min(WARM_UP, count), arguments.maps_folder):
        warm.plan(request)
    requests = cell.requests(arguments.seed, count, arguments.maps_folder)
    caller = Caller(url)
    plans = [caller.plan(request) for request in requests]
    _keep(arguments.out, f"{cell.family}_{cell.robots}", requests, plans)
    figures = judged(requests, plans)
    tally.faulted += sum(p["status"] == "succeeded" and f["fault"] is not None for p, f in zip(plans, figures, strict=True))
    tally.untyped += sum(p["status"] != "succeeded" and not has_typed_reason(p) for p in plans)
    return _row(cell, requests, figures, caller)


def has_typed_reason(plan: dict) -> bool:
    """Whether a plan that did not succeed says why, in one of the known codes, for one robot at least."""
    return any((robot.get("reason") or {}).get("code") in REASONS for robot in plan.get("robots", ()))


def _keep(folder: Path, name: str, requests: list[dict], plans: list[dict]) -> None:
    for kind, documents in (("requests", requests), ("plans", plans)):
        (folder / f"{name}.{kind}.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))


def _row(cell: Cell, requests: list[dict], figures: list[dict], caller: Caller) -> list:
    summary = score.summary(figures)
    lost = [f"{request['options']['seed']} {f['fault']}" for request, f in zip(requests, figures, strict=True) if f["fault"]]
    shown = ", ".join(lost[:8]) + (f", and {len(lost) - 8} more" if len(lost) > 8 else "")
    return [
        f"{cell.family} {cell.robots}",
        f"{summary['solved']}/{summary['asked']}",
        f"{100 * cell.mark.solved:.0f} %",
        summary["p50_ms"],
        f"{cell.mark.p50:.0f}",
        summary["p95_ms"],
        float(np.median(caller.wall_ms)),
        summary["length_ratio"],
        summary["mean_sq_acc"],
        summary["cost"],
        ", ".join(misses(summary, cell.mark)) or "-",
        shown or "-",
    ]


if __name__ == "__main__":
    main()
