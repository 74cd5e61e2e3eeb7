"""Sizes, checked on the parsed document before anything is built from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

from maps.errors import LimitExceeded

if TYPE_CHECKING:
    from api.settings import Settings


def check_request(document: Any, settings: Settings) -> None:
    """Refuses a planning request with more of anything than the caps allow; what has the wrong type is left to the schema.

    Raises:
        LimitExceeded: with a pointer into the request.
    """
    if not isinstance(document, dict):
        return
    _count(document, "robots", settings.max_robots, "")
    _count(document, "moving_obstacles", settings.max_moving_obstacles, "")
    for k, obstacle in enumerate(_listed(document, "moving_obstacles")):
        for key in ("t", "x", "y"):
            _count(obstacle, key, settings.max_moving_points, f"/moving_obstacles/{k}")
    _amount(document, "horizon_s", settings.max_horizon_s, "")
    options = document.get("options")
    _amount(options, "candidates", settings.max_candidates, "/options")
    _amount(options, "alternatives", settings.max_alternatives, "/options")
    _amount(options, "deadline_ms", settings.max_deadline_ms, "/options")
    _check_samples(document.get("horizon_s"), options, settings)
    check_map(document.get("map"), settings, "/map")


def check_fleet(document: Any, settings: Settings) -> None:
    """Refuses a fleet that is to act with more of anything than the caps allow.

    Raises:
        LimitExceeded: with a pointer into the request.
    """
    if not isinstance(document, dict):
        return
    _count(document, "others", settings.max_moving_obstacles, "")
    check_map(document.get("map"), settings, "/map")
    check_plan(document, settings)


def _check_samples(horizon: Any, options: Any, settings: Settings) -> None:
    step = options.get("samples_dt") if isinstance(options, dict) else None
    if _is_number(horizon) and _is_number(step) and step > 0 and horizon / step > settings.max_samples:
        raise LimitExceeded(
            f"samples_dt asks for more than {settings.max_samples} samples of a curve",
            pointer="/options/samples_dt",
            value=step,
            limit=horizon / settings.max_samples,
        )


def check_map(document: Any, settings: Settings, where: str = "") -> None:
    """Refuses an inline map with more of anything than the caps allow.

    Args:
        document: the map as it came.
        settings: the caps.
        where: JSON pointer to the map.

    Raises:
        LimitExceeded: with a pointer.
    """
    if not isinstance(document, dict):
        return
    _count(document, "obstacles", settings.max_obstacles, where)
    total = 0
    for k, obstacle in enumerate(_listed(document, "obstacles")):
        total += _check_polygon(obstacle, settings.max_polygon_vertices, f"{where}/obstacles/{k}")
    if total > settings.max_map_vertices:
        raise _exceeded(
            f"a map may have {settings.max_map_vertices} vertices in all", f"{where}/obstacles", total, settings.max_map_vertices
        )
    grid = document.get("grid")
    shape = grid.get("shape") if isinstance(grid, dict) else None
    if isinstance(shape, list) and len(shape) == 2 and all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in shape):
        cells, most = shape[0] * shape[1], settings.max_grid_cells
        if cells > most:
            raise _exceeded(f"a grid may have {most} cells", f"{where}/grid/shape", cells, most)


def check_plan(document: Any, settings: Settings) -> None:
    """Refuses a plan to be judged with more robots than a request may have, or curves that are too long.

    Raises:
        LimitExceeded: with a pointer into the plan.
    """
    _count(document, "robots", settings.max_robots, "")
    for k, robot in enumerate(_listed(document, "robots")):
        for part, keys in (("curve", ("knots_s", "control_points")), ("samples", ("t", "x", "y"))):
            for key in keys if isinstance(robot, dict) else ():
                _count(robot.get(part), key, settings.max_samples, f"/robots/{k}/{part}")


def _check_polygon(obstacle: Any, limit: int, where: str) -> int:
    """Number of vertices of a polygon, holes included."""
    rings = [(f"{where}/vertices", r) for r in [obstacle.get("vertices")] if isinstance(r, list)] if isinstance(obstacle, dict) else []
    rings += [(f"{where}/holes/{k}", r) for k, r in enumerate(_listed(obstacle, "holes")) if isinstance(r, list)]
    count = 0
    for place, ring in rings:
        count += len(ring)
        if count > limit:
            raise _exceeded(f"a polygon may have {limit} vertices", place, count, limit)
    return count


def _listed(document: Any, key: str) -> list[Any]:
    value = document.get(key) if isinstance(document, dict) else None
    return value if isinstance(value, list) else []


def _count(document: Any, key: str, limit: int, where: str) -> None:
    found = len(_listed(document, key))
    if found > limit:
        raise _exceeded(f"at most {limit} {key.replace('_', ' ')} are allowed", f"{where}/{key}", found, limit)


def _amount(document: Any, key: str, limit: float, where: str) -> None:
    value = document.get(key) if isinstance(document, dict) else None
    if _is_number(value) and value > limit:
        raise _exceeded(f"{key} may be {limit:g} at most", f"{where}/{key}", value, limit)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _exceeded(message: str, where: str, value: float, limit: float) -> LimitExceeded:
    return LimitExceeded(message, pointer=where, value=value, limit=limit)
