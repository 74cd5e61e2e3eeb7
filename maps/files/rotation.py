"""An occupancy grid that stands at an angle, brought into the frame's axes without freeing anything."""

import math

import numpy as np

from maps.errors import LimitExceeded
from maps.scene import Grid

OVERLAP = 1e-6  # cells by which two squares must overlap to count, so that quarter turns stay exact
BAND = 256  # rows worked on at once


def rotated(grid: Grid, yaw: float, max_cells: int) -> Grid:
    """A grid of upright cells over a grid turned about its lower-left corner.

    A cell is blocked if it overlaps a blocked cell of the turned grid or reaches beyond it, so what is free is free in both.

    Args:
        grid: the cells before the turn; its origin is the corner that stays.
        yaw: rad, counter-clockwise.
        max_cells: most cells of the result.

    Returns:
        A grid of the same resolution over the turned one's bounding box.

    Raises:
        LimitExceeded: too many cells.
    """
    c, s = math.cos(yaw), math.sin(yaw)
    rows, columns = grid.occupied.shape
    corner = np.array([[0, 0], [columns, 0], [0, rows], [columns, rows]]) @ np.array([[c, s], [-s, c]])  # in cells
    low = corner.min(0)
    width, height = np.ceil(corner.max(0) - low - OVERLAP).astype(int).tolist()
    if width * height > max_cells:
        raise LimitExceeded(f"a grid may have {max_cells} cells", pointer="/origin/2", value=width * height, limit=max_cells)
    blocked = np.concatenate([_band(grid.occupied, (c, s), low, width, range(k, min(k + BAND, height))) for k in range(0, height, BAND)])
    x, y = grid.origin[0] + low[0] * grid.resolution, grid.origin[1] + low[1] * grid.resolution
    return Grid(blocked, grid.resolution, (float(x), float(y)))


def _band(occupied: np.ndarray, turn: tuple[float, float], low: np.ndarray, width: int, rows: range) -> np.ndarray:
    """Some rows of the result: every cell against the 25 turned cells around it, by the separating axes of two squares."""
    c, s = turn
    y, x = np.meshgrid(low[1] + np.array(rows) + 0.5, low[0] + np.arange(width) + 0.5, indexing="ij")
    u, v = c * x + s * y, c * y - s * x  # in cells of the turned grid
    column, row = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    half = 0.5 * (1.0 + abs(c) + abs(s)) - OVERLAP
    blocked = np.zeros(u.shape, dtype=bool)
    for i in range(-2, 3):
        for j in range(-2, 3):
            a, b = u - (column + j + 0.5), v - (row + i + 0.5)
            apart = np.maximum(np.maximum(np.abs(a), np.abs(b)), np.maximum(np.abs(c * a - s * b), np.abs(s * a + c * b)))
            blocked |= (apart < half) & _occupied(occupied, row + i, column + j)
    return blocked


def _occupied(occupied: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Cells by index; those beyond the grid count as occupied."""
    rows, columns = occupied.shape
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    return ~inside | occupied[np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)]
