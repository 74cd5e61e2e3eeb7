"""The server under load, from a process of its own; each command prints a table and ends after a time that its arguments bound.

    python benchmarks/load.py batches --seconds 20            # throughput against the largest batch allowed, and a picture
    python benchmarks/load.py poisson --share 0.7             # random arrivals below capacity
    python benchmarks/load.py paced --share 0.7               # clients that each ask on a beat, below capacity
    python benchmarks/load.py overload --times 4              # far above it
    python benchmarks/load.py overhead                        # what HTTP adds to planning
    python benchmarks/load.py hostile                         # slow and oversized bodies, and health meanwhile
    python benchmarks/load.py soak --seconds 1800             # whether anything creeps at 70 % of capacity

Without --url a server is started for each measurement; its log and the tables are left in --out.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy, as the server does

import argparse
import json
from dataclasses import replace
from pathlib import Path

import load_cases as cases
from cells import table
from load_cases import Load
from load_figures import draw_curve
from server import running_server

BATCHES = "1,2,4,8,16,32"


def main() -> None:
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    header, rows = arguments.run(arguments)
    text = table(header, rows)
    (arguments.out / f"load_{arguments.command}.md").write_text(text + "\n")
    print(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures the server under load.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run, robots in (
        ("batches", _batches, 8),
        ("poisson", _below, 8),
        ("paced", _below, 8),
        ("overload", _overload, 32),
        ("overhead", _overhead, 32),
        ("hostile", _hostile, 8),
        ("soak", _soak, 8),
    ):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--url", help="a server that runs already")
        command.add_argument("--family", default="hall", help="of scenarios.py")
        command.add_argument("--robots", type=int, default=robots)
        command.add_argument("--instances", type=int, default=32, help="different requests, sent in turn")
        command.add_argument("--seed", type=int, default=1000, help="instance k is made from seed + k; arrivals from seed")
        command.add_argument("--callers", type=int, default=32, help="at a time, in closed loops")
        command.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
        command.add_argument("--warm-up", type=float, default=3.0, help="s, before each measurement")
        command.add_argument("--deadline-ms", type=float, default=10_000.0)
        command.add_argument("--sources", help="that proposals may come from, separated by commas [default: all]")
        command.add_argument("--out", type=Path, default=Path("out/bench"))
        _own_arguments(command, name)
    return parser.parse_args()


def _own_arguments(command: argparse.ArgumentParser, name: str) -> None:
    if name == "batches":
        command.add_argument("--sizes", default=BATCHES, help="largest batches allowed, separated by commas")
    if name in ("poisson", "paced", "soak"):
        command.add_argument("--share", type=float, default=0.7, help="of capacity")
    if name == "overload":
        command.add_argument("--times", type=float, default=4.0, help="over capacity")
    if name in ("poisson", "paced", "overload", "soak"):
        command.add_argument("--capacity", type=float, help="plans a second; measured first by default")
        command.add_argument("--capacity-seconds", type=float, default=10.0, help="of that measurement")
    if name == "hostile":
        command.add_argument("--slow", type=int, default=200, help="callers with bodies that never end")
        command.add_argument("--oversized", type=int, default=4, help="callers with bodies that are too large, one after the other")
        command.add_argument("--size-mb", type=float, default=40.0, help="of an oversized body")


def _load(arguments: argparse.Namespace) -> Load:
    names = ("family", "robots", "instances", "seed", "callers", "seconds", "warm_up", "deadline_ms", "sources")
    return Load(**{name: getattr(arguments, name) for name in names})


def _server(arguments: argparse.Namespace, **settings: str):
    named = {f"FLOWFLEET_{name.upper()}": value for name, value in settings.items()}
    return running_server(arguments.url, named, arguments.out / "server.log")


def _batches(arguments: argparse.Namespace) -> tuple[list[str], list[list]]:
    if arguments.url is not None:
        raise SystemExit("batches starts its own servers, one for each size")
    rows, curve = [], []
    for size in map(int, arguments.sizes.split(",")):
        with _server(arguments, batch_size=str(size)) as server:
            row, rate = cases.closed_row(server, _load(arguments), size)
        rows.append(row)
        curve.append((size, rate))
        print(table(cases.BATCH_HEADER, [row]).splitlines()[-1], flush=True)
    draw_curve(curve, arguments.out / "load_batches.png")
    return cases.BATCH_HEADER, rows


def _capacity(arguments: argparse.Namespace, server) -> float:
    if arguments.capacity is not None:
        return arguments.capacity
    found = cases.capacity(server, replace(_load(arguments), seconds=arguments.capacity_seconds, deadline_ms=60_000.0))
    if found <= 0.0:
        raise SystemExit("nothing was planned while capacity was measured")
    return found


def _below(arguments: argparse.Namespace) -> tuple[list[str], list[list]]:
    with _server(arguments) as server:
        rate = arguments.share * _capacity(arguments, server)
        label = f"{100 * arguments.share:.0f} %"
        return cases.OPEN_HEADER, [cases.open_row(server, _load(arguments), rate, label, paced=arguments.command == "paced")]


def _overload(arguments: argparse.Namespace) -> tuple[list[str], list[list]]:
    with _server(arguments) as server:
        row, watch = cases.overload_row(server, _load(arguments), _capacity(arguments, server), arguments.times)
    _keep(arguments, watch)
    return cases.OVERLOAD_HEADER, [row]


def _overhead(arguments: argparse.Namespace) -> tuple[list[str], list[list]]:
    with _server(arguments) as server:
        return cases.OVERHEAD_HEADER, [cases.overhead_row(server, _load(arguments))]


def _hostile(arguments: argparse.Namespace) -> tuple[list[str], list[list]]:
    callers = {"quiet": 0, "slow": arguments.slow, "oversized": arguments.oversized}
    with _server(arguments) as server:
        load = _load(arguments)
        return cases.HOSTILE_HEADER, [cases.hostile_row(server, load, kind, n, arguments.size_mb) for kind, n in callers.items()]


def _soak(arguments: argparse.Namespace) -> tuple[list[str], list[list]]:
    with _server(arguments) as server:
        rate = arguments.share * _capacity(arguments, server)
        row, watch = cases.soak_row(server, _load(arguments), rate)
    _keep(arguments, watch)
    return cases.SOAK_HEADER, [row]


def _keep(arguments: argparse.Namespace, watch) -> None:
    """What the server's process held, over time."""
    seen = {"t_s": watch.t, "resident_mb": watch.resident_mb, "files": watch.files}
    (arguments.out / f"load_{arguments.command}_memory.json").write_text(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main()
