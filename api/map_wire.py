"""The wire form of a map, to a Scene; `maps.files.inline` writes it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import shapely
import torch
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from maps.errors import InvalidInput, InvalidScene
from maps.files.inline_grid import decode_cells
from maps.files.shapes import checked_polygon
from maps.scene import Grid, Polygon, Scene

FURTHEST = 1e6  # m, coordinates beyond are refused
SMALLEST = 1e-6  # m, s, m/s or m/s^2: radii, horizons and limits below are refused

STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)
Coordinate = Annotated[float, Field(ge=-FURTHEST, le=FURTHEST)]
Size = Annotated[float, Field(ge=SMALLEST, le=FURTHEST)]
Place = Annotated[list[Coordinate], Field(min_length=2, max_length=2)]
Ring = Annotated[list[Place], Field(min_length=3, fail_fast=True)]


class Circle(BaseModel):
    """A disc that robots keep out of."""

    model_config = STRICT

    type: Literal["circle"]
    x: Coordinate = Field(description="m")
    y: Coordinate = Field(description="m")
    radius: Size = Field(description="m")


class SimplePolygon(BaseModel):
    """Any simple polygon, not only convex; robots keep out of what is inside of `vertices` and outside of every hole."""

    model_config = STRICT

    type: Literal["polygon"]
    vertices: Ring = Field(description="m, either orientation; the first is not repeated")
    holes: Annotated[list[Ring], Field(fail_fast=True)] = Field(default=[], description="m")


class OccupancyGrid(BaseModel):
    """Square cells, 1 = occupied; bits packed over the flattened grid, the most significant first, row 0 is the lowest."""

    model_config = STRICT

    resolution: Size = Field(description="m, side of a cell")
    origin: Place = Field(description="m, lower-left corner")
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)] = Field(description="rows, columns")
    encoding: Literal["packbits+zlib+base64"]
    data: str


class InlineMap(BaseModel):
    """A map within the request: bounds, obstacles and a grid, any of them together."""

    model_config = STRICT

    bounds: Annotated[list[Coordinate], Field(min_length=4, max_length=4)] | None = Field(
        default=None, description="xmin, ymin, xmax, ymax, m; every disc stays wholly inside; the grid's extent by default"
    )
    obstacles: list[Annotated[Circle | SimplePolygon, Field(discriminator="type")]] = []
    grid: OccupancyGrid | None = None


class MapReference(BaseModel):
    """A map that is built in or registered with the server."""

    model_config = STRICT

    id: Annotated[str, Field(min_length=1, max_length=64)]


def _kind(value: Any) -> str:
    return "reference" if isinstance(value, MapReference) or (isinstance(value, dict) and "id" in value) else "inline"


AnyMap = Annotated[Annotated[MapReference, Tag("reference")] | Annotated[InlineMap, Tag("inline")], Discriminator(_kind)]


def to_scene(wire: InlineMap) -> Scene:
    """The scene of an inline map.

    Raises:
        InvalidScene: with a pointer into the map: an outline that crosses itself, data that are no grid, an empty box.
    """
    discs = [(o.x, o.y, o.radius) for o in wire.obstacles if isinstance(o, Circle)]
    polygons = [_to_polygon(o, f"/obstacles/{k}") for k, o in enumerate(wire.obstacles) if isinstance(o, SimplePolygon)]
    bounds = wire.bounds
    return Scene(
        bounds=None if bounds is None else (bounds[0], bounds[1], bounds[2], bounds[3]),
        discs=torch.from_numpy(np.array(discs, dtype=np.float64).reshape(-1, 3)),
        polygons=tuple(polygons),
        grid=None if wire.grid is None else _to_grid(wire.grid),
    )


def _to_polygon(wire: SimplePolygon, where: str) -> Polygon:
    alone = checked_polygon(wire.vertices, (), f"{where}/vertices")
    return checked_polygon(alone.outer, wire.holes, f"{where}/holes") if wire.holes else alone


def _to_grid(wire: OccupancyGrid) -> Grid:
    rows, columns = wire.shape
    try:
        cells = decode_cells(wire.data, rows, columns)
    except InvalidInput as error:
        raise error.under("/grid") from None
    grid = Grid(cells, wire.resolution, (wire.origin[0], wire.origin[1]))
    furthest = max(abs(v) for v in grid.extent)
    if furthest > FURTHEST:
        raise InvalidScene("the grid reaches too far", pointer="/grid", code="OUT_OF_RANGE", value=furthest, limit=FURTHEST)
    return grid


def outside_bounds(scene: Scene) -> list[str]:
    """Warnings about obstacles that lie wholly outside of the bounds, where no robot can be."""
    if scene.bounds is None:
        return []
    box = shapely.box(*scene.bounds)
    discs = scene.discs.numpy()
    away = shapely.distance(shapely.points(discs[:, :2]), box) > discs[:, 2] if len(discs) else np.zeros(0, dtype=bool)
    out = [f"the disc at ({x:g}, {y:g}) lies wholly outside of the bounds" for x, y, _ in discs[away]]
    for polygon in scene.polygons:
        if not shapely.intersects(shapely.Polygon(polygon.outer, polygon.holes), box):
            x, y = polygon.outer.mean(0)
            out.append(f"the polygon around ({x:g}, {y:g}) lies wholly outside of the bounds")
    return out


def scene_bytes(scene: Scene) -> int:
    """Memory that a scene takes once it is packed for the compiled code, bytes, roughly."""
    cells = 0 if scene.grid is None else scene.grid.occupied.size
    vertices = sum(len(ring) for p in scene.polygons for ring in (p.outer, *p.holes))
    return 2_000 + 17 * cells + 64 * vertices + 500 * len(scene.polygons) + 48 * len(scene.discs)
