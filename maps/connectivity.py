"""Which parts of a scene a disc can pass between: a proof that two places are apart, never the other way round.

The scene is cut into square cells. Signed distance changes by at most the way walked, so a disc cannot have its centre
anywhere in a cell if the distance at the cell's middle plus half its diagonal is less than what the disc needs. All other
cells may be passable; a path crosses neighbouring ones (by a side or a corner), so two places in different components
of them are truly apart. A passage that exists is therefore never called closed; a closed one may be missed.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int
from numba import njit
from scipy import ndimage

from maps.world import World, obstacle_distance

if TYPE_CHECKING:
    from maps.scene import Scene

CELLS = 60_000  # most cells of a scene of discs and polygons
GRID_CELLS = 200_000  # most cells of a scene with an occupancy grid, whose field is kept with the scene
FINENESS = 3.0  # cells to the clearance that the smallest robot needs
GRID_FINENESS = 2.0  # the same with an occupancy grid, whose distances take longer
KEPT = 8  # fields kept with a scene
FEW = 200  # obstacles up to which all pairs of them are looked at
ROUNDING = 1e-9  # m, a place this near to a cell counts as in it
_EIGHT = np.ones((3, 3), dtype=np.int8)


@dataclass(frozen=True)
class ClearanceField:
    """Signed distances at the middles of square cells, or more; none of them less than the truth."""

    distance: Float[np.ndarray, "H W"]  # m, to obstacles and bounds; at most the reach that it was made for
    origin: tuple[float, float]  # m, lower-left corner of cell (0, 0)
    cell: float  # m, side of a cell

    def index(self, places: Float[np.ndarray, "P 2"]) -> Int[np.ndarray, " P"]:
        """Flat indices of the cells that hold given places, m; of the nearest cell for places outside."""
        rows, columns = self.distance.shape
        column, row = np.floor((places - self.origin) / self.cell).astype(np.int64).T
        return np.clip(row, 0, rows - 1) * columns + np.clip(column, 0, columns - 1)

    def passable(self, clearance: float) -> Bool[np.ndarray, "H W"]:
        """Cells in which a centre may find `clearance`, m."""
        return self.distance + (self.cell * np.sqrt(0.5) + ROUNDING) >= clearance

    def apart(self, clearance: float, start: Int[np.ndarray, " P"], goal: Int[np.ndarray, " P"]) -> Bool[np.ndarray, " P"]:
        """Pairs of cells between which no centre that keeps `clearance` (m) can pass."""
        label = np.zeros(self.distance.shape, dtype=np.int32)
        ndimage.label(self.passable(clearance), structure=_EIGHT, output=label)
        return label.ravel()[start] != label.ravel()[goal]


def separated(
    scene: "Scene", clearance: Float[np.ndarray, " N"], start: Float[np.ndarray, "N 2"], goal: Float[np.ndarray, "N 2"]
) -> tuple[Bool[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Robots whose goal is proven to be out of reach.

    Args:
        scene: what stands still.
        clearance: what each centre has to keep from obstacles and bounds, m; starts and goals must have it.
        start: m.
        goal: m.

    Returns:
        Whether each goal is out of reach, and for those an upper bound of the clearance that the widest way has, m.
    """
    apart, widest = np.zeros(len(clearance), dtype=bool), np.full(len(clearance), np.inf)
    if len(clearance) == 0 or cannot_close(scene, float(clearance.max())):
        return apart, widest
    field = clearance_field(scene, float(clearance.max()), float(clearance.min()))
    a, b = field.index(start), field.index(goal)
    open_question = a != b
    for level in np.unique(clearance)[::-1]:  # what the widest robot can reach, narrower ones can too
        asked = np.flatnonzero(open_question & (clearance <= level))
        if len(asked) == 0:
            continue
        closed = field.apart(level, a[asked], b[asked])
        apart[asked[closed & (clearance[asked] == level)]] = True
        open_question[asked[~closed | (clearance[asked] == level)]] = False
    if apart.any():
        widest[apart] = _widest(field, clearance[apart], a[apart], b[apart])
    return apart, widest


def _widest(field: ClearanceField, clearance: np.ndarray, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The least of twelve levels below `clearance` at which each pair is still apart, m."""
    top = float(clearance.max())
    widest = clearance.copy()
    for level in np.linspace(0.0, top, 13)[:0:-1]:
        still = field.apart(level, start, goal) & (level <= widest)
        if not still.any():
            break
        widest[still] = level
    return widest


def cannot_close(scene: "Scene", clearance: float) -> bool:
    """Whether discs and convex polygons stand too far apart to cut the scene into parts.

    Grown by `clearance` they and the four sides of the bounds are convex sets; what their union leaves free falls apart
    only where the graph of those that meet has a cycle more than the one that the sides form (nerve theorem).

    Args:
        scene: what stands still.
        clearance: what a centre has to keep, m.

    Returns:
        True if nothing is cut off for certain; False if it has to be looked at closely.
    """
    world = scene.world
    count = len(world.discs) + len(world.polygon_box)
    if scene.grid is not None or count > FEW or not _all_convex(world):
        return False
    bounded, b = scene.bounds is not None, world.bounds
    if bounded and min(b[2] - b[0], b[3] - b[1]) < 2.0 * clearance:
        return False
    return bool(_cycles(world.discs, world.polygon_box, b, bounded, 2.0 * clearance) <= (1 if bounded else 0))


def _all_convex(world: World) -> bool:
    """Whether every polygon turns one way only, once around, and has no hole."""
    if len(world.polygon_box) == 0:
        return True
    first = world.polygon_start[:-1]
    after = np.arange(1, len(world.edges) + 1)
    after[world.polygon_start[1:] - 1] = first
    if (world.edges[:, 2:] != world.edges[after, :2]).any():  # a ring closes before the last edge: there are holes
        return False
    step = world.edges[:, 2:] - world.edges[:, :2]
    turn = step[:, 0] * step[after, 1] - step[:, 1] * step[after, 0]
    around = np.add.reduceat(np.arctan2(turn, (step * step[after]).sum(1)), first)
    one_way = (np.minimum.reduceat(turn, first) >= 0) | (np.maximum.reduceat(turn, first) <= 0)
    return bool(one_way.all() and (np.abs(around) < 6.5).all())


@njit(cache=True, nogil=True)
def _cycles(disc, polygon_box, bounds, bounded, width):
    """Independent cycles of the graph of obstacles and sides (a ring) that leave each other less than `width`, m.

    Polygons are taken for the boxes around them.
    """
    discs, count = len(disc), len(disc) + len(polygon_box)
    box = np.empty((count, 4))
    for k in range(count):
        if k < discs:
            box[k, 0], box[k, 1] = disc[k, 0] - disc[k, 2], disc[k, 1] - disc[k, 2]
            box[k, 2], box[k, 3] = disc[k, 0] + disc[k, 2], disc[k, 1] + disc[k, 2]
        else:
            box[k] = polygon_box[k - discs]
    root, cycles = np.arange(count + 4), 0
    for i in range(count):
        for j in range(i + 1, count):
            if j < discs:
                gap = np.hypot(disc[j, 0] - disc[i, 0], disc[j, 1] - disc[i, 1]) - disc[i, 2] - disc[j, 2]
            else:
                aside = max(box[i, 0] - box[j, 2], box[j, 0] - box[i, 2], 0.0)
                gap = np.hypot(aside, max(box[i, 1] - box[j, 3], box[j, 1] - box[i, 3], 0.0))
            if gap < width:
                cycles += _joined(root, i, j)
    if bounded:
        for i in range(count):
            for side in range(4):
                gap = box[i, side] - bounds[side] if side < 2 else bounds[side] - box[i, side]
                if gap < width:
                    cycles += _joined(root, i, count + side)
        for side in range(4):
            cycles += _joined(root, count + side, count + (side + 1) % 4)
    return cycles


@njit(cache=True, nogil=True)
def _joined(root, a, b):
    """Joins the trees of two nodes; 1 if they were one tree already, which closes a cycle."""
    while root[a] != a:
        root[a] = root[root[a]]
        a = root[a]
    while root[b] != b:
        root[b] = root[root[b]]
        b = root[b]
    root[a] = b
    return 1 if a == b else 0


def clearance_field(scene: "Scene", reach: float, smallest: float) -> ClearanceField:
    """The field of a scene, made once for each reach and size of cells.

    Args:
        scene: what stands still.
        reach: m, distances beyond it are not told apart.
        smallest: m, the least clearance that will be asked for; it sets the size of the cells.

    Returns:
        The field over the bounds, or over the obstacles and a free ring around them where that is smaller.
    """
    reach = 2.0 ** (np.ceil(2.0 * np.log2(reach)) / 2.0)  # few different ones, so that fields are used again
    box, cell = _domain(scene, reach, smallest)
    kept = scene.clearance_fields
    if (reach, cell) not in kept:
        while len(kept) >= KEPT:
            kept.pop(next(iter(kept)), None)
        kept[reach, cell] = _make_field(scene, reach, box, cell)
    return kept[reach, cell]


def _domain(scene: "Scene", reach: float, smallest: float) -> tuple[np.ndarray, float]:
    """Box of the field and side of its cells, m.

    Where the bounds lie far outside the obstacles (or there are none) the box ends with a ring of cells that no obstacle
    reaches: the ring joins all that lies outside, so nothing is lost.
    """
    world = scene.world
    boxes = [np.concatenate([world.discs[:, :2] - world.discs[:, 2:], world.discs[:, :2] + world.discs[:, 2:]], axis=1), world.polygon_box]
    boxes += [np.array([scene.grid.extent])] if scene.grid is not None else []
    held = np.concatenate(boxes) if sum(map(len, boxes)) else np.zeros((1, 4))
    held = np.clip(held, np.tile(world.bounds[:2], 2), np.tile(world.bounds[2:], 2))
    cell = smallest / (FINENESS if scene.grid is None else GRID_FINENESS)
    low, high = held[:, :2].min(0), held[:, 2:].max(0)
    for _ in range(2):  # the ring is as wide as a few cells, and the cells depend on the box
        ring = 2.0 * (reach + 2.0 * cell)
        low, high = held[:, :2].min(0) - ring, held[:, 2:].max(0) + ring
        low = np.where(low - ring < world.bounds[:2], world.bounds[:2], low)
        high = np.where(high + ring > world.bounds[2:], world.bounds[2:], high)
        cap = CELLS if scene.grid is None else GRID_CELLS
        cell = max(cell, float(np.sqrt(np.prod(high - low) / cap)), float((high - low).max()) / cap)
        if scene.grid is not None:
            share = cell / scene.grid.resolution  # whole cells of the grid, or whole parts of one
            cell = scene.grid.resolution * (np.ceil(share - ROUNDING) if share >= 1.0 else 1.0 / np.floor(1.0 / share + ROUNDING))
    return np.concatenate([low, high]), float(cell)


def _make_field(scene: "Scene", reach: float, box: np.ndarray, cell: float) -> ClearanceField:
    columns, rows = np.maximum(np.ceil((box[2:] - box[:2]) / cell - ROUNDING).astype(int), 1)
    frame = np.array([box[0], box[1], cell])
    field = np.full((rows, columns), reach)
    world = scene.world
    if len(world.polygon_box):
        _stamp_polygons(field, frame, world, reach)
    _stamp_discs(field, frame, world.discs, reach)
    if scene.grid is not None:
        none = np.zeros((0, 4))
        only = world._replace(discs=np.zeros((0, 3)), edges=none, polygon_start=np.zeros(1, dtype=np.int64), polygon_box=none)
        _stamp_grid(field, frame, only, reach)
    if scene.bounds is not None:
        x, y = frame[0] + (np.arange(columns) + 0.5) * cell, frame[1] + (np.arange(rows) + 0.5) * cell
        b = world.bounds
        field = np.minimum(field, np.minimum(x - b[0], b[2] - x))
        field = np.minimum(field, np.minimum(y - b[1], b[3] - y)[:, None])
    return ClearanceField(field, (float(box[0]), float(box[1])), cell)


@njit(cache=True, nogil=True)
def _span(low, high, origin, cell, count):
    """First and one past the last of `count` cells whose middles lie in [low, high]."""
    first = int(np.ceil(min(max((low - origin) / cell - 0.5, -1.0), count + 1.0)))
    last = int(np.floor(min(max((high - origin) / cell - 0.5, -2.0), count + 1.0))) + 1
    return max(first, 0), min(last, count)


@njit(cache=True, nogil=True)
def _stamp_discs(field, frame, discs, reach):
    rows, columns = field.shape
    for k in range(discs.shape[0]):
        far = discs[k, 2] + reach
        first, last = _span(discs[k, 1] - far, discs[k, 1] + far, frame[1], frame[2], rows)
        for row in range(first, last):
            dy = frame[1] + (row + 0.5) * frame[2] - discs[k, 1]
            half = np.sqrt(max(far * far - dy * dy, 0.0))
            left, right = _span(discs[k, 0] - half, discs[k, 0] + half, frame[0], frame[2], columns)
            for column in range(left, right):
                dx = frame[0] + (column + 0.5) * frame[2] - discs[k, 0]
                field[row, column] = min(field[row, column], np.sqrt(dx * dx + dy * dy) - discs[k, 2])


@njit(cache=True, nogil=True)
def _stamp_polygons(field, frame, world, reach):
    """Distances to the nearest edge of any polygon, negative inside: never less than the true signed distance."""
    inside = np.zeros(field.shape, dtype=np.bool_)
    for e in range(world.edges.shape[0]):
        _stamp_edge(field, frame, world.edges[e], reach)
    for q in range(world.polygon_box.shape[0]):
        _fill_polygon(inside, frame, world, q)
    for row in range(field.shape[0]):
        for column in range(field.shape[1]):
            if inside[row, column]:
                field[row, column] = -field[row, column]


@njit(cache=True, nogil=True)
def _stamp_edge(field, frame, edge, reach):
    rows, columns = field.shape
    x0, y0, dx, dy = edge[0], edge[1], edge[2] - edge[0], edge[3] - edge[1]
    length2 = max(dx * dx + dy * dy, 1e-300)
    first, last = _span(min(y0, y0 + dy) - reach, max(y0, y0 + dy) + reach, frame[1], frame[2], rows)
    for row in range(first, last):
        y = frame[1] + (row + 0.5) * frame[2]
        a, b = 0.0, 1.0  # the share of the edge that comes within reach of this row's height
        if abs(dy) > 1e-12:
            a, b = (y - reach - y0) / dy, (y + reach - y0) / dy
            a, b = min(max(min(a, b), 0.0), 1.0), min(max(max(a, b), 0.0), 1.0)
        left, right = _span(x0 + min(a * dx, b * dx) - reach, x0 + max(a * dx, b * dx) + reach, frame[0], frame[2], columns)
        for column in range(left, right):
            x = frame[0] + (column + 0.5) * frame[2]
            s = min(max(((x - x0) * dx + (y - y0) * dy) / length2, 0.0), 1.0)
            ex, ey = x - x0 - s * dx, y - y0 - s * dy
            field[row, column] = min(field[row, column], np.sqrt(ex * ex + ey * ey))


@njit(cache=True, nogil=True)
def _fill_polygon(inside, frame, world, q):
    rows, columns = inside.shape
    box, begin, end = world.polygon_box[q], world.polygon_start[q], world.polygon_start[q + 1]
    crossing = np.empty(end - begin)
    first, last = _span(box[1], box[3], frame[1], frame[2], rows)
    for row in range(first, last):
        y = frame[1] + (row + 0.5) * frame[2]
        count = 0
        for e in range(begin, end):
            x0, y0, x1, y1 = world.edges[e, 0], world.edges[e, 1], world.edges[e, 2], world.edges[e, 3]
            if (y0 > y) != (y1 > y):
                crossing[count] = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
                count += 1
        cuts = np.sort(crossing[:count])
        for k in range(0, count - 1, 2):
            left, right = _span(cuts[k], cuts[k + 1], frame[0], frame[2], columns)
            inside[row, left:right] = True


@njit(cache=True, nogil=True)
def _stamp_grid(field, frame, world, reach):
    for row in range(field.shape[0]):
        for column in range(field.shape[1]):
            x, y = frame[0] + (column + 0.5) * frame[2], frame[1] + (row + 0.5) * frame[2]
            field[row, column] = min(field[row, column], obstacle_distance(x, y, world, reach)[0])
