"""Rings and polygons from outside: what is refused, and how a boundary of any shape becomes a scene."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
import torch

from maps.errors import InvalidMapFile, InvalidScene, LimitExceeded
from maps.scene import Polygon, Scene

FURTHEST = 1e6  # m, largest coordinate
COLLAR = 1.0  # m, width of the frame that stands for what lies outside a boundary
SHORT_TEXT = 80  # characters of a reason that are passed on


@dataclass(frozen=True)
class ShapeCaps:
    """How much a file of shapes may hold."""

    polygons: int = 5_000  # polygons and discs
    vertices: int = 20_000  # vertices in all
    polygon_vertices: int = 5_000  # vertices of one polygon, holes included
    characters: int = 8_000_000  # size of the text


def checked_ring(points: Any, pointer: str = "") -> np.ndarray:
    """A ring of vertices without repetitions.

    Args:
        points: sequence of coordinate pairs, m; a third coordinate is left out; the first may be repeated at the end.
        pointer: where the ring stands in the document, for errors.

    Returns:
        (V, 2) vertices, m.

    Raises:
        InvalidScene: not pairs of finite numbers within reach, or fewer than three different ones.
    """
    try:
        ring = np.array([(float(p[0]), float(p[1])) for p in points], dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError, LookupError, OverflowError):
        raise InvalidScene("a ring is a list of coordinate pairs", pointer=pointer, code="INVALID_POLYGON") from None
    if not (np.abs(ring) <= FURTHEST).all():
        raise InvalidScene("coordinates must be finite and within reach", pointer=pointer, code="OUT_OF_RANGE", limit=FURTHEST)
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    if len(ring) < 3:
        message = "a ring needs three different vertices"
        raise InvalidScene(message, pointer=pointer, code="INVALID_POLYGON", value=len(ring), limit=3)
    return ring


def checked_polygon(outer: Any, holes: Sequence[Any] = (), pointer: str = "") -> Polygon:
    """A simple polygon with holes inside it that do not overlap; either orientation.

    Raises:
        InvalidScene: naming what is wrong, such as a self-intersection and where.
    """
    polygon = Polygon(checked_ring(outer, pointer), tuple(checked_ring(ring, pointer) for ring in holes))
    shape = shapely.Polygon(polygon.outer, polygon.holes)
    if not shape.is_valid or shape.area == 0.0:
        reason = shapely.is_valid_reason(shape)[:SHORT_TEXT] if not shape.is_valid else "no area"
        message = f"the polygon is not simple: {reason}"
        raise InvalidScene(message, pointer=pointer, code="INVALID_POLYGON", value=reason)
    return polygon


def check_text(text: str | bytes, caps: ShapeCaps) -> str:
    """The text of a file, decoded from UTF-8.

    Raises:
        LimitExceeded: too long.
        InvalidMapFile: no UTF-8.
    """
    if len(text) > caps.characters:
        raise LimitExceeded(f"a file may have {caps.characters} characters", value=len(text), limit=caps.characters)
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidMapFile("the file is no UTF-8 text") from None


def check_counts(rings: Sequence[int], others: int, caps: ShapeCaps) -> None:
    """Refuses too many shapes or vertices, before any of them is made.

    Args:
        rings: vertices of each polygon, holes included.
        others: discs.
        caps: the limits.

    Raises:
        LimitExceeded: naming the cap.
    """
    for found, limit, what in (
        (len(rings) + others, caps.polygons, "shapes in a map"),
        (max(rings, default=0), caps.polygon_vertices, "vertices of one polygon"),
        (sum(rings), caps.vertices, "vertices in a map"),
    ):
        if found > limit:
            raise LimitExceeded(f"at most {limit} {what} are allowed", value=found, limit=limit)


def make_scene(discs: Sequence[tuple[float, float, float]], polygons: Sequence[Polygon], boundary: Polygon | None = None) -> Scene:
    """A scene inside a boundary of any shape.

    The bounds are the boundary's box. Where it is no upright rectangle, a frame around it stands for what lies outside;
    its holes are obstacles.

    Args:
        discs: x, y, radius of each, m.
        polygons: obstacles.
        boundary: where robots may be; None: everywhere.
    """
    solid, bounds = list(polygons), None
    if boundary is not None:
        low, high = boundary.outer.min(0), boundary.outer.max(0)
        bounds = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        if not _is_upright_rectangle(boundary.outer, low, high):
            x0, y0, x1, y1 = bounds[0] - COLLAR, bounds[1] - COLLAR, bounds[2] + COLLAR, bounds[3] + COLLAR
            solid.append(Polygon(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), (boundary.outer,)))
        solid += [Polygon(hole) for hole in boundary.holes]
    return Scene(bounds, torch.tensor(discs, dtype=torch.float64).reshape(-1, 3), tuple(solid))


def _is_upright_rectangle(ring: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    following = np.roll(ring, -1, axis=0)
    upright = ((ring == following).any(axis=1)).all()
    on_box = ((ring == low) | (ring == high)).any(axis=1).all()
    return bool(upright and on_box)


def frame_warnings(scene: Scene) -> tuple[str, ...]:
    """Signs that coordinates are no metres: a map of a few centimetres' extent, as degrees of longitude and latitude give.

    Args:
        scene: a scene read from a file of shapes.
    """
    x0, y0, x1, y1 = scene.extent
    size = math.hypot(x1 - x0, y1 - y0)
    on_the_globe = max(abs(x0), abs(x1)) <= 180.0 and max(abs(y0), abs(y1)) <= 90.0
    if 0.0 < size < 0.2 and on_the_globe and math.hypot(x0, y0) > 5.0 * size:
        return (f"the map is only {size:.3g} m across: its coordinates look like degrees, and metres are expected",)
    return ()
