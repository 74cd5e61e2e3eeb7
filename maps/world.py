"""A scene as flat arrays, and the nearest obstacle to a place, compiled.

The distances are exact: to discs, to simple polygons with holes, and to the union of a grid's occupied squares.
The sign is negative inside an obstacle; overlapping obstacles count one by one and the smallest distance is taken.
Compiled code (the filter's kernel, the search, the certificate) reads this; `maps.distance` holds the same functions
over tensors, with gradients, and the tests compare the two with each other and with shapely.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from maps.scene import Grid, Scene

FAR = 1e9  # m, stands for "nothing there"


class World(NamedTuple):
    """A scene as flat arrays."""

    bounds: np.ndarray  # (4,) xmin, ymin, xmax, ymax, m; -+FAR where the plane is open
    discs: np.ndarray  # (K, 3) x, y, radius, m
    edges: np.ndarray  # (E, 4) x0, y0, x1, y1 of every polygon edge, polygon after polygon, m
    polygon_start: np.ndarray  # (Q + 1,) int64, first edge of each polygon
    polygon_box: np.ndarray  # (Q, 4) xmin, ymin, xmax, ymax, m
    grid_left: np.ndarray  # (H, W) int32, column of the nearest occupied cell at or left of each cell, -1: none
    grid_right: np.ndarray  # (H, W) int32, the same at or right of it, W: none
    free_left: np.ndarray  # (H, W) int32, as grid_left for free cells
    free_right: np.ndarray  # (H, W) int32, as grid_right for free cells
    grid_frame: np.ndarray  # (3,) x and y of the grid's lower-left corner, side of a cell, m


def pack_world(scene: Scene) -> World:
    """The flat arrays of a scene."""
    bounds = np.array(scene.bounds if scene.bounds is not None else (-FAR, -FAR, FAR, FAR), dtype=np.float64)
    edges, start, boxes = [np.zeros((0, 4))], [0], [np.zeros((0, 4))]
    for polygon in scene.polygons:
        rings = [np.asarray(ring, dtype=np.float64) for ring in (polygon.outer, *polygon.holes)]
        own = [np.concatenate([ring, np.roll(ring, -1, axis=0)], axis=1) for ring in rings]
        edges += own
        start.append(start[-1] + sum(len(e) for e in own))
        boxes.append(np.concatenate([rings[0].min(0), rings[0].max(0)])[None])
    return World(
        bounds,
        np.ascontiguousarray(scene.discs.detach().cpu().numpy(), dtype=np.float64),
        np.concatenate(edges),
        np.array(start, dtype=np.int64),
        np.concatenate(boxes),
        *_pack_grid(scene.grid),
    )


def _pack_grid(grid: Grid | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    if grid is None:
        none = np.zeros((0, 0), dtype=np.int32)
        return none, none, none, none, np.array([0.0, 0.0, 1.0])
    frame = np.array([*grid.origin, grid.resolution], dtype=np.float64)
    return (*_runs(grid.occupied), *_runs(~grid.occupied), frame)


def _runs(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column of the nearest true cell at or left of, and at or right of, every cell of its row."""
    columns = np.arange(cells.shape[1], dtype=np.int32)
    left = np.maximum.accumulate(np.where(cells, columns, np.int32(-1)), axis=1)
    right = np.minimum.accumulate(np.where(cells, columns, np.int32(cells.shape[1]))[:, ::-1], axis=1)[:, ::-1]
    return np.ascontiguousarray(left), np.ascontiguousarray(right)


@njit(cache=True, nogil=True)
def _nearest_cell(x, y, left, right, frame, reach):
    """Distance to, and nearest point of, the union of the squares that `left` and `right` index; reach if none is nearer."""
    rows, columns = left.shape
    size = frame[2]
    gx, gy = (x - frame[0]) / size, (y - frame[1]) / size
    column = min(max(int(np.floor(gx)), 0), columns - 1)
    row = min(max(int(np.floor(gy)), 0), rows - 1)
    best, bx, by = reach / size, gx, gy
    best2 = best * best
    for side in range(2):
        r = row if side == 0 else row + 1
        step = -1 if side == 0 else 1
        while 0 <= r < rows:
            py = min(max(gy, float(r)), r + 1.0)
            dy = gy - py
            if dy * dy >= best2:
                break
            for which in range(2):
                c = left[r, column] if which == 0 else right[r, column]
                if c < 0 or c >= columns:
                    continue
                px = min(max(gx, float(c)), c + 1.0)
                d2 = (gx - px) * (gx - px) + dy * dy
                if d2 < best2:
                    best2, bx, by = d2, px, py
            r += step
    return np.sqrt(best2) * size, frame[0] + bx * size, frame[1] + by * size


@njit(cache=True, nogil=True)
def _grid_distance(x, y, world, reach):
    """Signed distance to the occupied squares and its gradient; `reach` and no gradient if none is nearer."""
    rows, columns = world.grid_left.shape
    frame = world.grid_frame
    column, row = int(np.floor((x - frame[0]) / frame[2])), int(np.floor((y - frame[1]) / frame[2]))
    inside = 0 <= column < columns and 0 <= row < rows and world.grid_left[row, column] == column
    if not inside:
        d, px, py = _nearest_cell(x, y, world.grid_left, world.grid_right, frame, reach)
        if d >= reach:
            return reach, 0.0, 0.0
        if d > 1e-12:
            return d, (x - px) / d, (y - py) / d
    depth, px, py = _nearest_cell(x, y, world.free_left, world.free_right, frame, reach)
    # the way out of the whole grid counts as free too
    gx, gy = x - frame[0], y - frame[1]
    for d, qx, qy in (
        (gx, frame[0], y),
        (columns * frame[2] - gx, frame[0] + columns * frame[2], y),
        (gy, x, frame[1]),
        (rows * frame[2] - gy, x, frame[1] + rows * frame[2]),
    ):
        if 0.0 <= d < depth:
            depth, px, py = d, qx, qy
    if depth > 1e-12:
        return -depth, (px - x) / depth, (py - y) / depth
    return 0.0, 0.0, 0.0


@njit(cache=True, nogil=True)
def _polygon_distance(x, y, world, q, reach):
    """Signed distance to polygon q and its gradient; `reach` and no gradient if it is not nearer.

    Inside or outside is told by counting the edges that a ray to the right crosses.
    """
    box = world.polygon_box[q]
    ox, oy = max(box[0] - x, x - box[2], 0.0), max(box[1] - y, y - box[3], 0.0)
    if ox * ox + oy * oy >= reach * reach:
        return reach, 0.0, 0.0
    best2, px, py, inside, ex, ey = FAR, 0.0, 0.0, False, 0.0, 0.0
    for e in range(world.polygon_start[q], world.polygon_start[q + 1]):
        x0, y0, x1, y1 = world.edges[e, 0], world.edges[e, 1], world.edges[e, 2], world.edges[e, 3]
        dx, dy = x1 - x0, y1 - y0
        length2 = dx * dx + dy * dy
        s = ((x - x0) * dx + (y - y0) * dy) / length2 if length2 > 0.0 else 0.0
        s = min(max(s, 0.0), 1.0)
        qx, qy = x0 + s * dx, y0 + s * dy
        d2 = (x - qx) * (x - qx) + (y - qy) * (y - qy)
        if d2 < best2:
            best2, px, py, ex, ey = d2, qx, qy, dx, dy
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * dx / dy:
            inside = not inside
    d = np.sqrt(best2)
    if d <= 1e-12:  # on the edge: any normal of it will do
        length = max(np.hypot(ex, ey), 1e-300)
        return 0.0, ey / length, -ex / length
    if inside:
        return -d, (px - x) / d, (py - y) / d
    if d >= reach:
        return reach, 0.0, 0.0
    return d, (x - px) / d, (y - py) / d


@njit(cache=True, nogil=True)
def obstacle_distance(x, y, world, reach):
    """Signed distance from a place to the nearest obstacle (bounds not counted) and its gradient.

    Args:
        x, y: the place, m.
        world: the scene's arrays.
        reach: m, positive; what lies further is not looked for.

    Returns:
        distance, m, at most `reach`; gradient x and y, of length 1, or 0 where nothing is within reach.
    """
    best, gx, gy = reach, 0.0, 0.0
    for k in range(world.discs.shape[0]):
        dx, dy = x - world.discs[k, 0], y - world.discs[k, 1]
        r = world.discs[k, 2]
        far = best + r
        d2 = dx * dx + dy * dy
        if far > 0.0 and d2 < far * far:
            d = np.sqrt(d2)
            best = d - r
            if d > 1e-12:
                gx, gy = dx / d, dy / d
            else:
                gx, gy = 1.0, 0.0
    for q in range(world.polygon_box.shape[0]):
        d, ax, ay = _polygon_distance(x, y, world, q, reach)
        if d < best:
            best, gx, gy = d, ax, ay
    if world.grid_left.shape[0] > 0:
        d, ax, ay = _grid_distance(x, y, world, reach)
        if d < best:
            best, gx, gy = d, ax, ay
    return best, gx, gy


@njit(cache=True, nogil=True)
def bounds_distance(x, y, world):
    """Distance from a place to the nearest side of the bounds, negative outside, m."""
    b = world.bounds
    return min(min(x - b[0], b[2] - x), min(y - b[1], b[3] - y))


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _nearer_disc(x, y, count, disc_x, disc_y, radius, distance, gradient_x, gradient_y):
    """Lowers the distances of places to one disc's, all places in vector instructions."""
    for k in range(count):
        dx, dy = x[k] - disc_x, y[k] - disc_y
        d = np.sqrt(dx * dx + dy * dy)
        scale = 1.0 / max(d, 1e-12)
        nearer = d - radius < distance[k]
        distance[k] = d - radius if nearer else distance[k]
        gradient_x[k] = (dx * scale if d > 1e-12 else 1.0) if nearer else gradient_x[k]
        gradient_y[k] = dy * scale if nearer else gradient_y[k]


@njit(cache=True, nogil=True, error_model="numpy")
def _nearer_polygon(x, y, reach, count, edges, box, distance, gradient_x, gradient_y):
    """Lowers the distances of places to one polygon's; see `_polygon_distance`."""
    for k in range(count):
        px, py = x[k], y[k]
        ox, oy = max(box[0] - px, px - box[2], 0.0), max(box[1] - py, py - box[3], 0.0)
        if ox * ox + oy * oy >= reach[k] * reach[k]:
            continue
        best, qx, qy, inside, nx, ny = FAR, 0.0, 0.0, False, 0.0, 0.0
        for e in range(edges.shape[0]):
            x0, y0 = edges[e, 0], edges[e, 1]
            dx, dy = edges[e, 2] - x0, edges[e, 3] - y0
            s = ((px - x0) * dx + (py - y0) * dy) / max(dx * dx + dy * dy, 1e-300)
            s = min(max(s, 0.0), 1.0)
            ax, ay = px - x0 - s * dx, py - y0 - s * dy
            d2 = ax * ax + ay * ay
            if d2 < best:
                best, qx, qy, nx, ny = d2, ax, ay, dy, -dx
            if (y0 > py) != (edges[e, 3] > py) and px < x0 + (py - y0) * dx / dy:
                inside = not inside
        d = np.sqrt(best)
        signed = -d if inside else d
        if signed >= distance[k]:
            continue
        distance[k] = signed
        if d > 1e-12:
            gradient_x[k], gradient_y[k] = qx / signed, qy / signed
        else:  # on the edge: any normal of it will do
            length = max(np.hypot(nx, ny), 1e-300)
            gradient_x[k], gradient_y[k] = nx / length, ny / length


@njit(cache=True, nogil=True, error_model="numpy")
def nearest_obstacles(x, y, reach, count, world, distance, gradient_x, gradient_y):
    """`obstacle_distance` of the first `count` of many places, each with its own reach, into given arrays (P,)."""
    for k in range(count):
        distance[k], gradient_x[k], gradient_y[k] = reach[k], 0.0, 0.0
    for d in range(world.discs.shape[0]):
        disc_x, disc_y, radius = world.discs[d, 0], world.discs[d, 1], world.discs[d, 2]
        _nearer_disc(x, y, count, disc_x, disc_y, radius, distance, gradient_x, gradient_y)
    for q in range(world.polygon_box.shape[0]):
        edges = world.edges[world.polygon_start[q] : world.polygon_start[q + 1]]
        _nearer_polygon(x, y, reach, count, edges, world.polygon_box[q], distance, gradient_x, gradient_y)
    if world.grid_left.shape[0] > 0:
        for k in range(count):
            found, ax, ay = _grid_distance(x[k], y[k], world, reach[k])
            if found < distance[k]:
                distance[k], gradient_x[k], gradient_y[k] = found, ax, ay


@njit(cache=True, nogil=True)
def obstacle_distances(points, world, reach):
    """`obstacle_distance` of many places (P, 2) -> distances (P,) and gradients (P, 2)."""
    distance, gradient = np.empty(points.shape[0]), np.empty((points.shape[0], 2))
    for k in range(points.shape[0]):
        distance[k], gradient[k, 0], gradient[k, 1] = obstacle_distance(points[k, 0], points[k, 1], world, reach)
    return distance, gradient
