"""Lower bounds of the distance from a Bezier piece to the standing obstacles, compiled.

Every obstacle is taken apart into convex features: discs, polygon edges, and runs of occupied cells in a row of the
grid. A direction that separates a feature from the control points bounds the distance of the whole piece from it. The
direction is that of the shortest way from the feature to the piece's chord, so the bound is exact for straight motion,
along a wall as well as in the middle between two, and its error falls with the square of the piece's length.
"""

import numpy as np
from numba import njit

from maps.world import FAR, obstacle_distance

SLACK = 1e-9  # m, by which distances are looked for beyond what matters, so that rounding decides nothing


@njit(cache=True, nogil=True)
def midpoint(points, order):
    """The point of a Bezier curve at the middle of its parameter."""
    x, y = 0.0, 0.0
    weight = 0.5 ** (order - 1)
    for k in range(order):
        x += weight * points[k, 0]
        y += weight * points[k, 1]
        weight *= (order - 1 - k) / (k + 1)
    return x, y


@njit(cache=True, nogil=True)
def _to_segment(x, y, x0, y0, x1, y1):
    """Vector from the nearest point of a segment to a place."""
    dx, dy = x1 - x0, y1 - y0
    length2 = dx * dx + dy * dy
    share = ((x - x0) * dx + (y - y0) * dy) / length2 if length2 > 0.0 else 0.0
    share = min(max(share, 0.0), 1.0)
    return x - x0 - share * dx, y - y0 - share * dy


@njit(cache=True, nogil=True)
def _shorter(ax, ay, bx, by):
    if bx * bx + by * by < ax * ax + ay * ay:
        return bx, by
    return ax, ay


@njit(cache=True, nogil=True)
def _least_along(points, order, ux, uy):
    """Smallest component of the control points along a direction."""
    least = np.inf
    for k in range(order):
        least = min(least, ux * points[k, 0] + uy * points[k, 1])
    return least


@njit(cache=True, nogil=True)
def _disc_bound(points, order, cx, cy):
    """Lower bound of the distance to the centre of a disc."""
    last = order - 1
    wx, wy = _to_segment(cx, cy, points[0, 0], points[0, 1], points[last, 0], points[last, 1])
    length = np.sqrt(wx * wx + wy * wy)
    if length == 0.0:
        return -FAR
    ux, uy = -wx / length, -wy / length
    return _least_along(points, order, ux, uy) - (ux * cx + uy * cy)


@njit(cache=True, nogil=True)
def _discs_bound(points, order, ball, discs, lower):
    """As `_polygons_bound`, for the discs."""
    x, y, rho = ball
    for k in range(discs.shape[0]):
        cx, cy, radius = discs[k, 0], discs[k, 1], discs[k, 2]
        reach = lower + radius + rho
        d2 = (x - cx) * (x - cx) + (y - cy) * (y - cy)
        if d2 < reach * reach:
            lower = min(lower, max(np.sqrt(d2) - rho, _disc_bound(points, order, cx, cy)) - radius)
    return lower


@njit(cache=True, nogil=True)
def _edge_bound(points, order, edge):
    last = order - 1
    ax, ay, bx, by = points[0, 0], points[0, 1], points[last, 0], points[last, 1]
    wx, wy = _to_segment(ax, ay, edge[0], edge[1], edge[2], edge[3])
    vx, vy = _to_segment(bx, by, edge[0], edge[1], edge[2], edge[3])
    wx, wy = _shorter(wx, wy, vx, vy)
    for k in range(2):
        vx, vy = _to_segment(edge[2 * k], edge[2 * k + 1], ax, ay, bx, by)
        wx, wy = _shorter(wx, wy, -vx, -vy)
    length = np.sqrt(wx * wx + wy * wy)
    if length == 0.0:
        return -FAR
    ux, uy = wx / length, wy / length
    return _least_along(points, order, ux, uy) - max(ux * edge[0] + uy * edge[1], ux * edge[2] + uy * edge[3])


@njit(cache=True, nogil=True)
def _box_bound(points, order, x0, y0, x1, y1):
    last = order - 1
    ax, ay, bx, by = points[0, 0], points[0, 1], points[last, 0], points[last, 1]
    wx, wy = ax - min(max(ax, x0), x1), ay - min(max(ay, y0), y1)
    wx, wy = _shorter(wx, wy, bx - min(max(bx, x0), x1), by - min(max(by, y0), y1))
    for k in range(4):
        vx, vy = _to_segment(x0 if k < 2 else x1, y0 if k % 2 == 0 else y1, ax, ay, bx, by)
        wx, wy = _shorter(wx, wy, -vx, -vy)
    length = np.sqrt(wx * wx + wy * wy)
    if length == 0.0:
        return -FAR
    ux, uy = wx / length, wy / length
    support = max(ux * x0, ux * x1) + max(uy * y0, uy * y1)
    return _least_along(points, order, ux, uy) - support


@njit(cache=True, nogil=True)
def _polygons_bound(points, order, ball, world, lower):
    """The smaller of `lower` and a lower bound of the distance to all polygon edges; `ball` (x, y, radius) holds the piece."""
    x, y, rho = ball
    for q in range(world.polygon_box.shape[0]):
        ox = max(world.polygon_box[q, 0] - x, x - world.polygon_box[q, 2], 0.0)
        oy = max(world.polygon_box[q, 1] - y, y - world.polygon_box[q, 3], 0.0)
        if ox * ox + oy * oy >= (lower + rho) * (lower + rho):
            continue
        for e in range(world.polygon_start[q], world.polygon_start[q + 1]):
            dx, dy = _to_segment(x, y, world.edges[e, 0], world.edges[e, 1], world.edges[e, 2], world.edges[e, 3])
            reach = lower + rho
            d2 = dx * dx + dy * dy
            if d2 < reach * reach:
                lower = min(lower, max(np.sqrt(d2) - rho, _edge_bound(points, order, world.edges[e])))
    return lower


@njit(cache=True, nogil=True)
def _row_bound(points, order, ball, world, row, lower):
    """As `_polygons_bound`, for the runs of occupied cells in a row of the grid."""
    x, y, rho = ball
    left, bottom, size = world.grid_frame
    columns = world.grid_left.shape[1]
    reach = lower + rho
    column = max(int(np.floor((x - reach - left) / size)), 0)
    while column < columns:
        column = world.grid_right[row, column]
        if column >= columns:
            break
        begin, end = world.free_left[row, column] + 1, world.free_right[row, column]
        x0, x1, y0, y1 = left + begin * size, left + end * size, bottom + row * size, bottom + (row + 1) * size
        if x0 > x + reach:
            break
        dx, dy = x - min(max(x, x0), x1), y - min(max(y, y0), y1)
        d2 = dx * dx + dy * dy
        if d2 < (lower + rho) * (lower + rho):
            lower = min(lower, max(np.sqrt(d2) - rho, _box_bound(points, order, x0, y0, x1, y1)))
        column = end
    return lower


@njit(cache=True, nogil=True)
def _grid_bound(points, order, ball, world, lower):
    rows, size = world.grid_left.shape[0], world.grid_frame[2]
    reach = lower + ball[2]
    low = (ball[1] - reach - world.grid_frame[1]) / size
    high = (ball[1] + reach - world.grid_frame[1]) / size
    for row in range(max(int(np.floor(low)), 0), min(int(np.floor(high)), rows - 1) + 1):
        lower = _row_bound(points, order, ball, world, row, lower)
    return lower


@njit(cache=True, nogil=True)
def _features_bound(points, order, ball, world, target):
    """Lower bound, at most `target`, of the distance from a piece outside all obstacles to every feature."""
    lower = _discs_bound(points, order, ball, world.discs, target)
    if world.polygon_box.shape[0] > 0:
        lower = _polygons_bound(points, order, ball, world, lower)
    if world.grid_left.shape[0] > 0:
        lower = _grid_bound(points, order, ball, world, lower)
    return lower


@njit(cache=True, nogil=True)
def wall_bounds(points, order, world, target):
    """Bounds of the smallest signed distance between a piece and the standing obstacles.

    Args:
        points: (at least order, 2) Bezier control points, m.
        order: number of control points.
        world: the scene's arrays.
        target: m; a lower bound of this much is good enough.

    Returns:
        lower: m, never above the smallest distance or, where that is larger, never above about `target`.
        upper: m, the distance at the middle of the piece's parameter; +inf where it does not matter.
    """
    x, y = midpoint(points, order)
    rho2 = 0.0
    for k in range(order):
        dx, dy = points[k, 0] - x, points[k, 1] - y
        rho2 = max(rho2, dx * dx + dy * dy)
    rho = np.sqrt(rho2)
    reach = max(target, 0.0) + rho + SLACK
    distance, _, _ = obstacle_distance(x, y, world, reach)
    if distance >= reach:
        return reach - rho, np.inf
    if distance <= -reach:  # deep inside the grid, where the way out is looked for within reach only
        distance, _, _ = obstacle_distance(x, y, world, FAR)
    if distance <= rho or distance - rho >= target:  # the signed distance changes no faster than the place
        return distance - rho, distance
    return max(distance - rho, _features_bound(points, order, (x, y, rho), world, min(target, distance))), distance
