"""Writes the built-in maps beside this file: `python -m maps.library.generate`."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import shapely

Document = dict[str, Any]

DEPOT_CELL = 0.05  # m
DEPOT_SHAPE = (300, 600)  # rows, columns
FREE, OCCUPIED, UNKNOWN = 254, 0, 205  # grey levels that mapping tools write


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Document:
    """An upright rectangle as an obstacle, m."""
    corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    return {"type": "polygon", "vertices": [[round(x, 4), round(y, 4)] for x, y in corners]}


def circle(x: float, y: float, radius: float) -> Document:
    """A disc as an obstacle, m."""
    return {"type": "circle", "x": x, "y": y, "radius": radius}


def open_hall() -> Document:
    """A hall with two rows of pillars and a counter."""
    pillars = [circle(x, y, 0.3) for x in (4.0, 8.0, 12.0, 16.0) for y in (4.5, 10.5)]
    return {"bounds": [0.0, 0.0, 20.0, 15.0], "obstacles": [*pillars, rectangle(8.5, 7.2, 11.5, 7.8)]}


def warehouse() -> Document:
    """Six rows of racks, aisles of 1.76 m between them, cross aisles of 2.0 m, 2.9 m free along the long sides."""
    racks = [rectangle(x, y, x + 4.0, y + 0.9) for y in 2.9 + 2.66 * np.arange(6) for x in (2.0, 8.0, 14.0, 20.0, 24.0)]
    return {"bounds": [0.0, 0.0, 30.0, 20.0], "obstacles": racks}


def office() -> Document:
    """Rooms above and below a corridor of 2.4 m; every wall is 0.15 m thick."""
    half = 0.075
    walls: list[shapely.Polygon] = []
    doors: list[shapely.Polygon] = []
    for side, far, wall in ((0.0, 6.8, 6.8), (16.0, 9.2, 9.2)):
        walls.append(shapely.box(0.0, wall - half, 24.0, wall + half))
        low, high = min(side, far), max(side, far)
        edges = [0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0] if side == 0.0 else [0.0, 5.0, 9.0, 14.0, 18.0, 24.0]
        walls += [shapely.box(x - half, low, x + half, high) for x in edges[1:-1]]
        for k, (left, right) in enumerate(pairwise(edges)):
            width, middle = (1.0, 1.1, 1.2)[k % 3], left + (0.35 if k % 2 else 0.6) * (right - left)
            doors.append(shapely.box(middle - width / 2, wall - 0.5, middle + width / 2, wall + 0.5))
    doors.append(shapely.box(7.5, 2.0, 8.5, 3.1))  # between two rooms below
    doors.append(shapely.box(13.5, 12.5, 14.5, 13.6))  # between two rooms above
    solid = shapely.unary_union(walls).difference(shapely.unary_union(doors))
    desks = [rectangle(x, y, x + 1.4, y + 0.7) for x, y in ((1.2, 0.6), (5.3, 0.6), (9.3, 4.0), (13.4, 0.6), (17.2, 4.4), (21.3, 0.6))]
    tables = [circle(x, y, 0.6) for x, y in ((2.5, 13.2), (7.0, 13.6), (11.3, 12.6), (16.0, 13.4), (21.2, 12.8))]
    return {"bounds": [0.0, 0.0, 24.0, 16.0], "obstacles": [*_outlines(solid), *desks, *tables]}


def _outlines(shape: shapely.Geometry) -> list[Document]:
    """Polygons with holes of a union, on a raster of 0.1 mm."""
    out = []
    for part in shapely.get_parts(shapely.simplify(shape, 0.0)):
        rings = [shapely.get_coordinates(ring)[:-1].round(4).tolist() for ring in (part.exterior, *part.interiors)]
        out.append({"type": "polygon", "vertices": rings[0]} | ({"holes": rings[1:]} if len(rings) > 1 else {}))
    return out


def crossing() -> Document:
    """Corridors of 2.4 m, with bays of 1.2 m in which a robot can let others pass."""
    corner = np.array([[0.0, 0.0], [4.8, 0.0], [4.8, 1.8], [3.6, 1.8], [3.6, 3.0], [4.8, 3.0], [4.8, 4.8], [0.0, 4.8]])
    four = [corner * [sx, sy] + [12.0 * (sx < 0), 12.0 * (sy < 0)] for sx in (1, -1) for sy in (1, -1)]
    return {"bounds": [0.0, 0.0, 12.0, 12.0], "obstacles": [{"type": "polygon", "vertices": ring.round(4).tolist()} for ring in four]}


def depot() -> np.ndarray:
    """Grey levels of the depot, row 0 at the top: a hall with offices, a machine line, shelves, pallets and specks."""
    rng = np.random.default_rng(20)
    walls = [(0.2, 0.2, 29.8, 0.4), (0.2, 14.6, 29.8, 14.8), (0.2, 0.2, 0.4, 14.8), (29.6, 0.2, 29.8, 14.8)]
    walls += [(0.4, 10.0, 3.0, 10.15), (4.3, 10.0, 8.0, 10.15), (8.0, 10.0, 8.15, 14.6), (5.4, 10.0, 5.55, 11.2), (5.4, 12.5, 5.55, 14.6)]
    walls += [(24.0, 0.4, 24.15, 2.6), (24.0, 4.0, 24.15, 6.0), (24.0, 6.0, 29.6, 6.15)]
    machines = [(11.0 + 3.4 * k, 11.2, 13.2 + 3.4 * k, 12.8) for k in range(5)]
    shelves = [(3.0 + 4.6 * k, y, 6.2 + 4.6 * k, y + 0.8) for k in range(4) for y in (2.4, 5.2)]
    pallets = [
        (x, y, x + 1.2, y + 0.8) for x, y in ((22.0, 8.2), (25.4, 8.6), (27.6, 12.0), (26.0, 2.0), (1.0, 7.6), (12.0, 7.9), (17.2, 8.1))
    ]
    y, x = (np.indices(DEPOT_SHAPE) + 0.5) * DEPOT_CELL
    level = np.full(DEPOT_SHAPE, FREE, dtype=np.uint8)
    level[(x < 0.2) | (x > 29.8) | (y < 0.2) | (y > 14.8)] = UNKNOWN
    for x0, y0, x1, y1 in (*walls, *machines, *shelves, *pallets):
        inside = (x > x0) & (x < x1) & (y > y0) & (y < y1)
        core = (x > x0 + 0.15) & (x < x1 - 0.15) & (y > y0 + 0.15) & (y < y1 - 0.15)
        level[inside] = OCCUPIED
        level[core] = UNKNOWN  # a scanner sees no further than the skin
    for cx, cy in ((9.5, 4.3), (21.4, 4.2), (10.0, 8.6), (20.8, 9.9)):
        level[np.hypot(x - cx, y - cy) < 0.3] = OCCUPIED
    hull = (x > 0.4) & (x < 29.6) & (y > 0.4) & (y < 14.6)
    near = np.zeros(DEPOT_SHAPE, dtype=bool)
    near[1:], near[:-1] = near[1:] | (level == OCCUPIED)[:-1], near[:-1] | (level == OCCUPIED)[1:]
    level[near & hull & (level == FREE) & (rng.random(DEPOT_SHAPE) < 0.2)] = OCCUPIED  # ragged edges
    return level[::-1]


def write(folder: Path) -> None:
    """Writes all maps.

    Args:
        folder: where to.
    """
    for make in (open_hall, warehouse, office, crossing):
        (folder / f"{make.__name__}.json").write_text(json.dumps(make()) + "\n", encoding="utf-8")
    level = depot()
    header = f"P5\n{level.shape[1]} {level.shape[0]}\n255\n".encode()
    (folder / "depot.pgm").write_bytes(header + level.tobytes())
    described = f"image: depot.pgm\nmode: trinary\nresolution: {DEPOT_CELL}\norigin: [0.0, 0.0, 0.0]\n"
    (folder / "depot.yaml").write_text(described + "negate: 0\noccupied_thresh: 0.65\nfree_thresh: 0.25\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).parent)
