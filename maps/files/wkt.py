"""Well-known text (ISO 19125) in metres: polygons, multipolygons and collections of them are obstacles."""

import numpy as np
import shapely

from maps.errors import InvalidInput, InvalidMapFile
from maps.files.shapes import ShapeCaps, check_counts, check_text, checked_polygon, make_scene
from maps.scene import Polygon, Scene


def read_wkt(text: str | bytes, boundary: str | bytes | None = None, caps: ShapeCaps | None = None) -> Scene:
    """The scene of one geometry.

    Args:
        text: POLYGON, MULTIPOLYGON or GEOMETRYCOLLECTION of such, m, map frame: the obstacles.
        boundary: POLYGON, the area that robots may use, of any shape; its holes are obstacles; None: everywhere.
        caps: how much each may hold.

    Returns:
        The scene; `maps.files.shapes.frame_warnings` tells whether its coordinates look like degrees.

    Raises:
        InvalidMapFile: no such text, a geometry that is no area, a polygon that is not simple.
        LimitExceeded: over a cap.
    """
    caps = caps or ShapeCaps()
    solid = _polygons(text, caps)
    around = [] if boundary is None else _polygons(boundary, caps)
    if boundary is not None and len(around) != 1:
        raise InvalidMapFile("the boundary must be one polygon", value=len(around), limit=1)
    return make_scene([], solid, around[0] if around else None)


def _polygons(text: str | bytes, caps: ShapeCaps) -> list[Polygon]:
    try:
        geometry = shapely.from_wkt(check_text(text, caps))
    except (shapely.errors.ShapelyError, ValueError) as error:
        raise InvalidMapFile(f"the text is no geometry: {str(error).splitlines()[0][:80]}") from None
    except RecursionError:
        raise InvalidMapFile("the geometry is nested too deeply") from None
    parts = _parts(geometry)
    check_counts([int(shapely.get_num_coordinates(part)) for part in parts], 0, caps)
    try:
        return [checked_polygon(*_rings(part), f"/{k}") for k, part in enumerate(parts)]
    except InvalidInput as error:
        raise InvalidMapFile(error.message, pointer=error.pointer, code=error.code, value=error.value, limit=error.limit) from None


def _parts(geometry: shapely.Geometry | None) -> list[shapely.Polygon]:
    """The polygons of a geometry, however deep in collections."""
    waiting, found = [geometry], []
    while waiting:
        part = waiting.pop()
        if isinstance(part, shapely.Polygon) and not part.is_empty:
            found.append(part)
        elif isinstance(part, shapely.MultiPolygon | shapely.GeometryCollection):
            waiting += list(part.geoms)[::-1]
        else:
            kind = "nothing" if part is None or shapely.is_empty(part) else type(part).__name__
            raise InvalidMapFile("only polygons can stand in a map", value=kind)
    return found


def _rings(part: shapely.Polygon) -> tuple[np.ndarray, list[np.ndarray]]:
    return shapely.get_coordinates(part.exterior), [shapely.get_coordinates(hole) for hole in part.interiors]
