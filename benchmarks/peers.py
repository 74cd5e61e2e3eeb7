"""Other planners beside ours: the same requests, the same judge, one table.

    python benchmarks/peers.py [--cells hall-16,warehouse-16,...] [--count 10] [--planners ours,joint_scp,orca,orca_clipped]

Peers take what they need and make no promise; "apart" counts the plans without overlap of discs and obstacles,
whatever their speeds, accelerations and ends.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: one thread for everyone

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import score
from cells import MAPS_FOLDER, chosen_cells, judged, table
from problem import read_problem
from server import Caller, running_server

HEADER = ["cell", "planner", "solved", "apart", "p50 ms", "p95 ms", "length ratio", "mean sq acc", "mean sq jerk", "cost", "faults"]
Planner = Callable[[dict], dict]


def planners(names: list[str], url: str | None) -> dict[str, Planner]:
    """Planners by name, each from a request to a plan; what a planner needs is imported only where it is asked for."""
    out: dict[str, Planner] = {}
    for name in names:
        if name == "ours" and url is not None:
            out[name] = Caller(url).plan
        elif name == "joint_scp":
            import joint_scp

            out[name] = lambda request: joint_scp.plan(read_problem(request))
        elif name in ("orca", "orca_clipped"):
            import orca

            out[name] = lambda request, clipped=name == "orca_clipped": orca.plan(read_problem(request), clipped)
        else:
            raise SystemExit(f"no planner is called {name!r}: ours, joint_scp, orca, orca_clipped")
    return out


def run_cell(cell_name: str, requests: list[dict], chosen: dict[str, Planner]) -> list[list]:
    """Rows of the table."""
    rows = []
    for name, planner in chosen.items():
        if name.startswith("orca") and "grid" in requests[0]["map"]:
            continue  # it knows discs and polygons only
        plans = [planner(request) for request in requests]
        figures = judged(requests, plans)
        summary = score.summary(figures)
        apart = sum(f.get("robot_gap", -1.0) >= -score.GAP_TOL and f.get("wall_gap", -1.0) >= -score.GAP_TOL for f in figures)
        faults = ", ".join(f"{fault} {count}" for fault, count in summary["faults"].items()) or "-"
        quality = [summary[key] for key in ("p50_ms", "p95_ms", "length_ratio", "mean_sq_acc", "mean_sq_jerk", "cost")]
        rows.append([cell_name, name, f"{summary['solved']}/{summary['asked']}", apart, *quality, faults])
        print(table(HEADER, rows[-1:]).splitlines()[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures other planners beside ours.")
    parser.add_argument("--cells", default="hall-16,hall-32,basic-9,room-9,warehouse-16,clutter-16,swap-8")
    parser.add_argument("--planners", default="ours,joint_scp,orca_clipped,orca")
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--maps-folder", type=Path, default=MAPS_FOLDER)
    parser.add_argument("--out", type=Path, default=Path("out/bench/peers.md"))
    arguments = parser.parse_args()
    names = arguments.planners.split(",")
    with running_server() if "ours" in names else nullcontext() as server:
        chosen = planners(names, server.url if server else None)
        rows = []
        for cell in chosen_cells(arguments.cells):
            requests = cell.requests(arguments.seed, arguments.count, arguments.maps_folder)
            rows += run_cell(f"{cell.family} {cell.robots}", requests, chosen)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(table(HEADER, rows) + "\n")
    print(f"\n{table(HEADER, rows)}\n\n{arguments.out}")


if __name__ == "__main__":
    main()
