"""Which places of a scene hang together and how long the ways between them are, roughly, on coarse square cells."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numba import njit
from scipy import ndimage

from maps.scene import Scene
from maps.world import bounds_distance, obstacle_distance

SIDE = 96  # most cells along the longer side
DIRECT = 0.96  # share of a way over cells that is left once its corners are cut
_STEP = np.array([[0, 1, 5], [1, 0, 5], [0, -1, 5], [-1, 0, 5], [1, 1, 7], [1, -1, 7], [-1, 1, 7], [-1, -1, 7]])  # rows, columns, fifths
_FIFTHS = 8  # one more than the longest step


@dataclass(frozen=True)
class Ways:
    """The cells in which a robot has room."""

    part: Int[np.ndarray, "H W"]  # which of the connected parts each cell belongs to, 0: no room
    main: int  # the largest part
    frame: Float[np.ndarray, " 3"]  # x and y of the lower-left corner, side of a cell, m

    @classmethod
    def of(cls, scene: Scene, needed: float) -> "Ways":
        """The ways of a scene.

        Args:
            scene: with bounds or obstacles; what lies outside its extent is not looked at.
            needed: m, what a centre has to keep from obstacles and bounds.
        """
        x0, y0, x1, y1 = scene.extent
        cell = max(needed, max(x1 - x0, y1 - y0) / SIDE)
        columns, rows = (max(int(np.ceil(side / cell)), 1) for side in (x1 - x0, y1 - y0))
        frame = np.array([x0, y0, cell])
        # Half a cell less than needed: the middle line of a passage may run between the middles of two cells.
        room = clearance(frame[:2] + (np.indices((rows, columns)).reshape(2, -1).T[:, ::-1] + 0.5) * cell, scene, needed)
        part = np.zeros((rows, columns), dtype=np.int32)
        ndimage.label(room.reshape(rows, columns) >= needed - 0.5 * cell, output=part)
        return cls(part, int(np.bincount(part.ravel())[1:].argmax()) + 1 if part.any() else -1, frame)

    def index(self, places: Float[np.ndarray, "P 2"]) -> Int[np.ndarray, "P 2"]:
        """Row and column of the cells that hold places, or of the nearest."""
        cells = np.floor((places - self.frame[:2]) / self.frame[2]).astype(np.int64)[:, ::-1]
        return np.clip(cells, 0, np.array(self.part.shape) - 1)

    def reached(self, places: Float[np.ndarray, "P 2"]) -> Bool[np.ndarray, " P"]:
        """Whether places lie in the largest part."""
        row, column = self.index(places).T
        return self.part[row, column] == self.main

    def length(self, start: Float[np.ndarray, "N 2"], goal: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, " N"]:
        """About how long the shortest way from each start to its goal is, m; infinite where there is none."""
        straight = np.hypot(*(goal - start).T)
        fifths = _ways(self.part, self.index(start), self.index(goal))
        around = DIRECT * self.frame[2] * fifths / 5.0
        return np.where(fifths < 0, np.inf, np.where(fifths == 0, straight, np.maximum(straight, around)))


def clearance(places: Float[np.ndarray, "P 2"], scene: Scene, reach: float) -> Float[np.ndarray, " P"]:
    """Distances to the nearest obstacle or side of the bounds, m; obstacles further than `reach` are not looked for."""
    return _clearance(np.ascontiguousarray(places), scene.world, reach)


@njit(cache=True, nogil=True)
def _clearance(places, world, reach):
    room = np.empty(places.shape[0])
    for k in range(places.shape[0]):
        x, y = places[k, 0], places[k, 1]
        side = bounds_distance(x, y, world)
        room[k] = side if side <= 0.0 else min(side, obstacle_distance(x, y, world, min(reach, side))[0])
    return room


@njit(cache=True, nogil=True)
def _ways(part, start, goal):
    """Length of the way between each two cells, fifths of a cell; 0 where the straight line is free, -1: none."""
    found = np.zeros(start.shape[0], dtype=np.int64)
    for k in range(start.shape[0]):
        a, b = start[k], goal[k]
        if part[a[0], a[1]] == 0 or part[a[0], a[1]] != part[b[0], b[1]]:
            found[k] = -1
        elif not _sees(part, a, b):
            found[k] = _around(part, a, b)
    return found


@njit(cache=True, nogil=True)
def _sees(part, a, b):
    steps = 2 * max(abs(b[0] - a[0]), abs(b[1] - a[1]), 1)
    for k in range(steps + 1):
        row, column = a[0] + (b[0] - a[0]) * k / steps, a[1] + (b[1] - a[1]) * k / steps
        if part[int(np.floor(row + 0.5)), int(np.floor(column + 0.5))] == 0:
            return False
    return True


@njit(cache=True, nogil=True)
def _around(part, a, b):
    """Dial's algorithm: cells wait in one stack for each length that may come next, modulo the longest step."""
    rows, columns = part.shape
    length = np.full((rows, columns), -1, dtype=np.int64)
    waiting = np.empty((_FIFTHS, 8 * rows * columns), dtype=np.int32)
    count = np.zeros(_FIFTHS, dtype=np.int64)
    waiting[0, 0], count[0], now, idle = a[0] * columns + a[1], 1, 0, 0
    length[a[0], a[1]] = 0
    while idle <= _FIFTHS:
        stack = now % _FIFTHS
        idle = idle + 1 if count[stack] == 0 else 0
        while count[stack] > 0:
            count[stack] -= 1
            row, column = waiting[stack, count[stack]] // columns, waiting[stack, count[stack]] % columns
            if length[row, column] != now:
                continue
            if row == b[0] and column == b[1]:
                return now
            for s in range(_STEP.shape[0]):
                r, c, new = row + _STEP[s, 0], column + _STEP[s, 1], now + _STEP[s, 2]
                if r < 0 or c < 0 or r >= rows or c >= columns or part[r, c] == 0 or part[r, column] == 0 or part[row, c] == 0:
                    continue
                if length[r, c] < 0 or new < length[r, c]:
                    length[r, c] = new
                    waiting[new % _FIFTHS, count[new % _FIFTHS]] = r * columns + c
                    count[new % _FIFTHS] += 1
        now += 1
    return -1
