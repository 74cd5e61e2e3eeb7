"""The cells of the measurements: families of requests, how many, and the marks they are held against."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import scenarios
import score

MAPS_FOLDER = Path(os.environ.get("FLOWFLEET_SHARED", Path(__file__).resolve().parents[1] / ".." / "shared")) / "data"
SMALL = ("basic", "dense", "shelf", "room", "empty", "conveyor", "highways", "drop")


@dataclass(frozen=True)
class Mark:
    """What a cell is to reach."""

    solved: float = 0.0  # share of the instances
    p50: float = float("inf")  # ms
    length_ratio: float = float("inf")
    mean_sq_acc: float = float("inf")  # m^2/s^4


@dataclass(frozen=True)
class Cell:
    """Instances of one family, or on one map file, with one number of robots."""

    group: str
    family: str  # of scenarios.py, or the name of a map file
    robots: int
    count: int
    mark: Mark
    map_file: str | None = None  # below the maps folder
    size: float | None = None  # m, side of a cell of the map file where it does not say

    def requests(self, seed: int, count: int, folder: Path) -> list[dict]:
        """Bodies of planning requests; instance k is made from seed + k."""
        if self.map_file is None:
            return [scenarios.instance(self.family, self.robots, seed + k) for k in range(count)]
        return scenarios.on_grid(str(folder / self.map_file), self.robots, count, 0.3, cell=self.size, seed=seed)


def _small() -> list[Cell]:
    ratio = {"basic": 1.12, "empty": 1.04}
    cells = []
    for family in SMALL:
        best = ratio.get(family, float("inf"))
        cells.append(Cell("small", family, 9, 100, Mark(0.98, 20.0, best)))
        cells.append(Cell("small", family, 18, 100, Mark(0.94, 60.0, best)))
    return cells


CELLS = (
    *_small(),
    Cell("hall", "hall", 16, 100, Mark(1.0, 10.0)),
    Cell("hall", "hall", 32, 100, Mark(0.99, 30.0, 1.05, 0.08)),
    Cell("hall", "hall", 64, 25, Mark(0.9, 300.0)),
    Cell("clutter", "clutter", 16, 25, Mark(0.98, 40.0, 1.10)),
    Cell("clutter", "clutter", 32, 25, Mark(0.95, 100.0, 1.10)),
    Cell("warehouse", "warehouse", 8, 25, Mark(0.98, 20.0)),
    Cell("warehouse", "warehouse", 16, 25, Mark(0.96, 60.0)),
    Cell("warehouse", "warehouse", 32, 25, Mark(0.90, 300.0)),
    Cell("swap", "swap", 8, 25, Mark(0.99, 20.0)),
    Cell("swap", "swap", 16, 25, Mark(0.95, 60.0)),
    Cell("maps", "depot", 12, 10, Mark(0.9, 1000.0), "nav2/depot.yaml"),
    Cell("maps", "aws005", 8, 10, Mark(0.9, 1000.0), "nav2/aws005_map.yaml"),
    Cell("maps", "room-32-32-4", 32, 10, Mark(0.9, 1000.0), "movingai/room-32-32-4.map", 1.0),
    Cell("maps", "warehouse-10-20-10-2-1", 32, 10, Mark(0.9, 1000.0), "movingai/warehouse-10-20-10-2-1.map", 1.0),
)
GROUPS = tuple(dict.fromkeys(cell.group for cell in CELLS))


def chosen_cells(names: str) -> list[Cell]:
    """Cells of groups, families or single cells such as `hall-32`, separated by commas; "all" for all.

    Raises:
        SystemExit: a name that no cell answers to.
    """
    if names == "all":
        return list(CELLS)
    asked = names.split(",")
    unknown = [a for a in asked if not any(a in (c.group, c.family, f"{c.family}-{c.robots}") for c in CELLS)]
    if unknown:
        raise SystemExit(f"no cell answers to {', '.join(unknown)}; groups: {', '.join(GROUPS)}; single cells: family-robots")
    return [c for c in CELLS if any(a in (c.group, c.family, f"{c.family}-{c.robots}") for a in asked)]


def misses(summary: dict, mark: Mark) -> list[str]:
    """What of a cell's mark was not reached; empty where all was."""
    out = []
    if summary["solved"] < mark.solved * summary["asked"]:
        out.append("solved")
    figures = [("p50", "p50_ms", mark.p50), ("length", "length_ratio", mark.length_ratio)]
    figures += [("acceleration", "mean_sq_acc", mark.mean_sq_acc)]
    out += [name for name, key, most in figures if summary[key] is not None and summary[key] > most]
    if summary["p95_ms"] is not None and summary["p95_ms"] > 5.0 * summary["p50_ms"]:
        out.append("p95")
    return out


def judged(requests: list[dict], plans: list[dict]) -> list[dict]:
    """The judge's figures, one a plan."""
    return [score.judge(request, plan) for request, plan in zip(requests, plans, strict=True)]


def table(header: list[str], rows: list[list]) -> str:
    """A table in Markdown; numbers to the right."""
    cells = [[_text(value) for value in row] for row in rows]
    width = [max(len(line[k]) for line in [header, *cells]) for k in range(len(header))]
    rule = ["-" * (w - 1) + (":" if k else "-") for k, w in enumerate(width)]
    return "\n".join(_line(line, width) for line in [header, rule, *cells])


def _line(line: list[str], width: list[int]) -> str:
    first, *others = zip(line, width, strict=True)
    return " | ".join([f"| {first[0].ljust(first[1])}", *(value.rjust(w) for value, w in others)]) + " |"


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) and abs(value) < 10 else f"{value:.1f}" if isinstance(value, float) else str(value)
