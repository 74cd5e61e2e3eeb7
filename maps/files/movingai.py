"""MovingAI benchmark grids (.map) and scenarios (.scen), in metres.

Source of the formats: N. Sturtevant, Benchmarks for grid-based pathfinding, IEEE Trans. Comput. Intell. AI Games 4 (2012).
Files count rows from the top; scenes count from the bottom, with the lower-left corner of the map as their origin.
"""

import re
from dataclasses import dataclass

import numpy as np

from maps.errors import InvalidMapFile, LimitExceeded
from maps.scene import Grid, Scene

MAX_CELLS = 16_000_000
MAX_ROWS = 100_000  # of a scenario
FREE, BLOCKED = b".GS", b"@OTW"
_HEADER = re.compile(rb"\s*type[ \t]+(\S+)\s+height[ \t]+(\d{1,9})\s+width[ \t]+(\d{1,9})\s+map[ \t]*\r?\n")


@dataclass(frozen=True)
class ScenarioRow:
    """One start and goal of a scenario file."""

    map_name: str  # file name of the map, without folders
    start: tuple[float, float]  # m
    goal: tuple[float, float]  # m


def read_movingai(text: str | bytes, cell_size: float, max_cells: int = MAX_CELLS) -> Scene:
    """The grid of a .map file.

    Args:
        text: the file; `.`, `G` and `S` are free, `@`, `O`, `T` and `W` blocked.
        cell_size: m, side of a cell.
        max_cells: most cells.

    Returns:
        A scene with one grid from (0, 0) up and to the right.

    Raises:
        InvalidMapFile: another format, rows that do not agree with the header, an unknown letter, a cell size that is none.
        LimitExceeded: too many cells.
    """
    check_cell_size(cell_size)
    content = text.encode("utf-8", "replace") if isinstance(text, str) else text
    header = _HEADER.match(content[:1000])
    if header is None:
        raise InvalidMapFile("a map starts with the lines type, height, width and map")
    rows, columns = int(header[2]), int(header[3])
    if rows < 1 or columns < 1:
        raise InvalidMapFile("height and width must be positive", value=min(rows, columns), limit=1)
    if rows * columns > max_cells:
        raise LimitExceeded(f"a grid may have {max_cells} cells", value=rows * columns, limit=max_cells)
    if len(content) > header.end() + rows * (columns + 2) + 1000:
        raise InvalidMapFile(f"the file holds more than {rows} rows of {columns} cells")
    lines = content[header.end() :].rstrip().splitlines()
    if len(lines) != rows:
        raise InvalidMapFile(f"the header says {rows} rows and the map has {len(lines)}", value=len(lines), limit=rows)
    for k, line in enumerate(lines):
        if len(line) != columns:
            raise InvalidMapFile(f"the header says {columns} columns and row {k} has {len(line)}", value=len(line), limit=columns)
    cells = np.frombuffer(b"".join(lines), dtype=np.uint8).reshape(rows, columns)[::-1]
    blocked, free = np.isin(cells, list(BLOCKED)), np.isin(cells, list(FREE))
    if not (blocked | free).all():
        raise InvalidMapFile("a letter of the map is unknown", value=chr(cells[~(blocked | free)][0]), limit=(FREE + BLOCKED).decode())
    return Scene(grid=Grid(np.ascontiguousarray(blocked), float(cell_size), (0.0, 0.0)))


def read_scen(text: str | bytes, cell_size: float, limit: int | None = None) -> tuple[ScenarioRow, ...]:
    """The starts and goals of a .scen file, at the middles of their cells.

    Args:
        text: the file: `version 1`, then nine columns a row: bucket, map, width, height, start column and row, goal column
            and row (from the top), length. Lengths are not read: some files hold none.
        cell_size: m, side of a cell.
        limit: read the first rows only.

    Raises:
        InvalidMapFile: another format, a place outside its map, a cell size that is none.
        LimitExceeded: more rows than can be meant.
    """
    check_cell_size(cell_size)
    content = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    lines = content.split("\n", (limit or MAX_ROWS) + 2)
    if not lines[0].strip().startswith("version"):
        raise InvalidMapFile("a scenario starts with the line version")
    rows = [(k, line) for k, line in enumerate(lines[1 : limit + 1 if limit is not None else None], 2) if line.strip()]
    if len(rows) > MAX_ROWS:
        raise LimitExceeded(f"a scenario may have {MAX_ROWS} rows", limit=MAX_ROWS)
    return tuple(_row(line, number, cell_size) for number, line in rows)


def _row(line: str, number: int, cell_size: float) -> ScenarioRow:
    fields = line.split("\t") if "\t" in line else line.split()
    try:
        width, height, *places = (int(field) for field in fields[2:8])
    except ValueError:
        raise InvalidMapFile(f"line {number} is no row of a scenario", value=line[:80]) from None
    if len(fields) < 8 or not all(0 <= p < size for p, size in zip(places, (width, height) * 2, strict=True)):
        raise InvalidMapFile(f"line {number} has too few columns or a place outside its map", value=line[:80])
    x, y, goal_x, goal_y = places
    name = re.split(r"[/\\]", fields[1].strip())[-1]
    return ScenarioRow(name, _middle(x, y, height, cell_size), _middle(goal_x, goal_y, height, cell_size))


def _middle(column: int, row: int, height: int, cell_size: float) -> tuple[float, float]:
    return (column + 0.5) * cell_size, (height - 1 - row + 0.5) * cell_size


def check_cell_size(cell_size: float) -> None:
    """Refuses a side of a cell that is not positive and finite.

    Raises:
        InvalidMapFile: with the value.
    """
    if not 0.0 < cell_size < float("inf"):
        raise InvalidMapFile("the cell size must be positive and finite", pointer="/cell_size", value=cell_size, limit=0.0)
