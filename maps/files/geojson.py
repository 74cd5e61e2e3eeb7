"""GeoJSON (RFC 7946) in metres instead of degrees.

Polygons and multipolygons are obstacles. A feature with the property `"kind": "boundary"` is the area that robots may use:
one polygon of any shape, whose holes are obstacles. A point with the property `"radius"` (m) is a disc.
"""

import json
from collections.abc import Iterator
from typing import Any

from maps.errors import InvalidInput, InvalidMapFile
from maps.files.shapes import FURTHEST, ShapeCaps, check_counts, check_text, checked_polygon, make_scene
from maps.scene import Scene

Found = tuple[str, dict[str, Any], dict[str, Any]]  # pointer, geometry, properties


def read_geojson(text: str | bytes, caps: ShapeCaps | None = None) -> Scene:
    """The scene of a GeoJSON document: a feature collection, a feature or a geometry.

    Args:
        text: the document; coordinates in metres, map frame.
        caps: how much it may hold.

    Returns:
        The scene; `maps.files.shapes.frame_warnings` tells whether its coordinates look like degrees after all.

    Raises:
        InvalidMapFile: no such document, a geometry that is no area, a polygon that is not simple; with a JSON pointer.
        LimitExceeded: over a cap.
    """
    caps = caps or ShapeCaps()
    try:
        document = json.loads(check_text(text, caps), parse_int=float)
        found = list(_geometries(document, "", {}))
    except json.JSONDecodeError as error:
        raise InvalidMapFile(f"the file is no JSON: {error.msg} at line {error.lineno}") from None
    except RecursionError:
        raise InvalidMapFile("the document is nested too deeply") from None
    polygons = [(f"{where}/coordinates{at}", rings, more) for where, shape, more in found for at, rings in _rings(shape, where)]
    points = [(where, shape, more) for where, shape, more in found if shape["type"] == "Point"]
    check_counts([_vertices(rings, where) for where, rings, _ in polygons], len(points), caps)
    try:
        made = [(where, checked_polygon(rings[0], rings[1:], where), more.get("kind") == "boundary") for where, rings, more in polygons]
    except InvalidInput as error:
        raise InvalidMapFile(error.message, pointer=error.pointer, code=error.code, value=error.value, limit=error.limit) from None
    boundaries = [(where, polygon) for where, polygon, is_boundary in made if is_boundary]
    if len(boundaries) > 1:
        raise InvalidMapFile("there is more than one boundary", pointer=boundaries[1][0], value=len(boundaries), limit=1)
    solid = [polygon for _, polygon, is_boundary in made if not is_boundary]
    return make_scene([_disc(*point) for point in points], solid, boundaries[0][1] if boundaries else None)


def _geometries(node: Any, where: str, properties: dict[str, Any]) -> Iterator[Found]:
    """Every simple geometry below a node, with the properties of its feature."""
    kind = node.get("type") if isinstance(node, dict) else None
    if kind == "FeatureCollection":
        for k, feature in enumerate(_listed(node, "features", where)):
            yield from _geometries(feature, f"{where}/features/{k}", properties)
    elif kind == "Feature":
        own = node.get("properties")
        if node.get("geometry") is not None:
            yield from _geometries(node["geometry"], f"{where}/geometry", own if isinstance(own, dict) else {})
    elif kind == "GeometryCollection":
        for k, geometry in enumerate(_listed(node, "geometries", where)):
            yield from _geometries(geometry, f"{where}/geometries/{k}", properties)
    elif kind in ("Polygon", "MultiPolygon", "Point"):
        _listed(node, "coordinates", where)
        yield where, node, properties
    else:
        raise InvalidMapFile(
            "only polygons, multipolygons and points with a radius can stand in a map", pointer=f"{where}/type", value=str(kind)[:40]
        )


def _listed(node: dict[str, Any], key: str, where: str) -> list[Any]:
    value = node.get(key)
    if not isinstance(value, list):
        raise InvalidMapFile(f"{key} must be a list", pointer=f"{where}/{key}")
    return value


def _rings(geometry: dict[str, Any], where: str) -> Iterator[tuple[str, list[Any]]]:
    """The rings of each polygon of a geometry, with the polygon's place in the coordinates."""
    coordinates = geometry["coordinates"]
    several = {"Polygon": [("", coordinates)], "MultiPolygon": [(f"/{k}", rings) for k, rings in enumerate(coordinates)]}
    for at, rings in several.get(geometry["type"], []):
        if not isinstance(rings, list) or not rings or not all(isinstance(ring, list) for ring in rings):
            raise InvalidMapFile("a polygon is a list of rings, at least one", pointer=f"{where}/coordinates{at}")
        yield at, rings


def _vertices(rings: list[Any], where: str) -> int:
    if not all(isinstance(point, list) and len(point) >= 2 for ring in rings for point in ring):
        raise InvalidMapFile("a ring is a list of coordinate pairs", pointer=where)
    return sum(map(len, rings))


def _disc(where: str, geometry: dict[str, Any], properties: dict[str, Any]) -> tuple[float, float, float]:
    place, radius = geometry["coordinates"], properties.get("radius")
    numbers = [*place[:2], radius]
    if len(numbers) != 3 or not all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) <= FURTHEST for v in numbers):
        raise InvalidMapFile("a point needs two coordinates and its feature the property radius, m", pointer=where)
    if not numbers[2] > 0:
        raise InvalidMapFile("the radius of a disc must be positive", pointer=where, value=float(numbers[2]), limit=0.0)
    return float(numbers[0]), float(numbers[1]), float(numbers[2])
