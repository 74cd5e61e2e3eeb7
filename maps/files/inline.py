"""The JSON form of a map as it stands in a request: bounds, obstacles and a grid, any of them together."""

from typing import Any

import torch

from maps.errors import InvalidInput, InvalidMapFile
from maps.files.inline_grid import ENCODING, decode_cells, write_grid
from maps.files.shapes import ShapeCaps, check_counts, checked_polygon
from maps.scene import Grid, Polygon, Scene


def read_inline(document: dict[str, Any], caps: ShapeCaps | None = None) -> Scene:
    """The scene of a document such as `write_inline` makes.

    Raises:
        InvalidMapFile: with a JSON pointer.
        LimitExceeded: over a cap.
    """
    obstacles = list(enumerate(document.get("obstacles", [])))
    try:
        circles = [o for _, o in obstacles if o["type"] == "circle"]
        outlines = [(f"/obstacles/{k}", o["vertices"], o.get("holes", [])) for k, o in obstacles if o["type"] == "polygon"]
        check_counts([len(outer) + sum(map(len, holes)) for _, outer, holes in outlines], len(circles), caps or ShapeCaps())
        return Scene(
            bounds=_read_bounds(*document["bounds"]) if "bounds" in document else None,
            discs=torch.tensor([[o["x"], o["y"], o["radius"]] for o in circles], dtype=torch.float64).reshape(-1, 3),
            polygons=tuple(checked_polygon(outer, holes, where) for where, outer, holes in outlines),
            grid=_read_grid(document["grid"]) if "grid" in document else None,
        )
    except InvalidInput:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidMapFile(f"the document is no map: {type(error).__name__} {error}"[:120]) from None


def _read_bounds(xmin: float, ymin: float, xmax: float, ymax: float) -> tuple[float, float, float, float]:
    return float(xmin), float(ymin), float(xmax), float(ymax)


def _read_grid(grid: dict[str, Any]) -> Grid:
    if grid["encoding"] != ENCODING:
        raise InvalidMapFile("the encoding is unknown", pointer="/grid/encoding", value=str(grid["encoding"])[:40], limit=ENCODING)
    rows, columns = map(int, grid["shape"])
    try:
        cells = decode_cells(grid["data"], rows, columns)
    except InvalidInput as error:
        raise error.under("/grid") from None
    x, y = map(float, grid["origin"])
    return Grid(cells, float(grid["resolution"]), (x, y))


def write_inline(scene: Scene) -> dict[str, Any]:
    """The JSON form of a scene."""
    document: dict[str, Any] = {} if scene.bounds is None else {"bounds": list(scene.bounds)}
    circles = [{"type": "circle", "x": x, "y": y, "radius": radius} for x, y, radius in scene.discs.tolist()]
    document["obstacles"] = circles + [_write_polygon(polygon) for polygon in scene.polygons]
    if scene.grid is not None:
        document["grid"] = write_grid(scene.grid)
    return document


def _write_polygon(polygon: Polygon) -> dict[str, Any]:
    document: dict[str, Any] = {"type": "polygon", "vertices": polygon.outer.tolist()}
    if polygon.holes:
        document["holes"] = [hole.tolist() for hole in polygon.holes]
    return document
