"""The search's grid: places a disc may stand at, the straight moves between them, and distances to a goal, compiled.

A lattice of columns and rows spans the scene. A node too close to a wall is pushed away from it by up to half a cell, so
that passages narrower than a cell still hold nodes; a move is allowed if the straight segment is clear by exact distances.
Robots of different clearance have lattices of their own, with the same numbering.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from maps.world import FAR, World, bounds_distance, obstacle_distance

LINKS = 16  # nodes that a start or goal is joined to, at most
BLOCKED = np.float32(np.inf)  # length of a move that is not allowed
LONGEST_MOVE = 2.1  # cells, longest move between neighbours that were pushed apart
COLUMN_STEP = np.array([1, 1, 0, -1, -1, -1, 0, 1])  # of the eight moves, opposite ones four apart
ROW_STEP = np.array([0, 1, 1, 1, 0, -1, -1, -1])


class Lattice(NamedTuple):
    """Nodes and moves of K classes of clearance; node = row * columns + column."""

    origin: np.ndarray  # (2,) first node before any push, m
    pitch: np.ndarray  # (2,) distance of columns and of rows, m
    columns: int
    rows: int
    place: np.ndarray  # (K, M, 2) nodes, m
    move: np.ndarray  # (K, M, 8) float32 lengths, m; BLOCKED where not allowed
    clearance: np.ndarray  # (K,) least distance of a centre to walls and bounds, m
    half_move: float  # half the longest move, m
    push: float  # furthest that a node was pushed, m


class Links(NamedTuple):
    """How starts and goals, which lie off the lattice, are joined to it."""

    node: np.ndarray  # (N, LINKS) int32, -1: none
    length: np.ndarray  # (N, LINKS) m


def build_lattice(world: World, extent: tuple[float, float, float, float], clearance: np.ndarray, cell: float) -> Lattice:
    """The lattice of a scene.

    Args:
        world: the scene's arrays.
        extent: box of the centres, xmin, ymin, xmax, ymax, m.
        clearance: (K,) least distances of a centre to walls and bounds, m.
        cell: widest distance of neighbouring nodes, m.

    Returns:
        A lattice whose outermost nodes lie on the box.
    """
    width, height = max(extent[2] - extent[0], 0.0), max(extent[3] - extent[1], 0.0)
    columns, rows = int(np.ceil(width / cell - 1e-9)) + 1, int(np.ceil(height / cell - 1e-9)) + 1
    pitch = np.array([width / max(columns - 1, 1) or cell, height / max(rows - 1, 1) or cell])
    origin = np.array(extent[:2])
    place, move = _nodes_and_moves(world, origin, pitch, columns, rows, clearance)
    column, row = np.arange(columns * rows) % columns, np.arange(columns * rows) // columns
    push = np.abs(place - origin - pitch * np.stack([column, row], axis=-1)).max()
    half_move = 0.5 * float(np.where(move == BLOCKED, 0.0, move).max())
    return Lattice(origin, pitch, columns, rows, place, move, clearance, half_move, float(push))


@njit(cache=True, nogil=True)
def wall_clearance(x, y, world, reach):
    """Distance from a place to the nearest wall or side of the bounds and its gradient, at most `reach`."""
    best, gx, gy = obstacle_distance(x, y, world, reach)
    b = world.bounds
    if x - b[0] < best:
        best, gx, gy = x - b[0], 1.0, 0.0
    if b[2] - x < best:
        best, gx, gy = b[2] - x, -1.0, 0.0
    if y - b[1] < best:
        best, gx, gy = y - b[1], 0.0, 1.0
    if b[3] - y < best:
        best, gx, gy = b[3] - y, 0.0, -1.0
    return best, gx, gy


@njit(cache=True, nogil=True)
def segment_clear(ax, ay, bx, by, world, clearance):
    """Whether a disc's centre can go straight from a to b at `clearance` from walls and bounds.

    Marches by what the distance leaves free, at least by a quarter of the clearance, so what lies between two looks is
    nearer than `clearance` by at most 0.8 % of it. The bounds are convex: they are looked at from the ends alone.
    """
    if min(bounds_distance(ax, ay, world), bounds_distance(bx, by, world)) < clearance:
        return False
    return _march(ax, ay, bx, by, world, clearance, 0.0, 0.0)


@njit(cache=True, nogil=True)
def _march(ax, ay, bx, by, world, clearance, after, before):
    """`segment_clear` of obstacles; what lies less than `after` from a or `before` from b is known to be clear."""
    length = np.hypot(bx - ax, by - ay)
    least, done, reach = 0.25 * clearance, after, 2.0 * clearance
    most = 16.0 * clearance if world.grid_left.shape[0] > 0 else FAR  # looking further costs more where there is a grid
    while done <= length - before:
        share = done / length if length > 0.0 else 0.0
        d, _, _ = obstacle_distance(ax + share * (bx - ax), ay + share * (by - ay), world, reach)
        if d < clearance:
            return False
        if done >= length:
            break
        reach = min(2.0 * d, most) if d > reach - clearance else 2.0 * clearance
        done = min(done + max(d - clearance, least), length)
    return True


@njit(cache=True, nogil=True)
def _pushed(x, y, world, wanted, clearance, push):
    """A place near (x, y) with as much room as is wanted, else the roomiest one seen.

    Args:
        x, y: the lattice's own place, m.
        world: the scene's arrays.
        wanted: room to walls and bounds, m.
        clearance: places this much and both pushes short of `wanted` are given up, m.
        push: (2,) furthest along each axis, m.

    Returns:
        The place and its room to obstacles, m; -1 if the bounds leave less than the clearance.
    """
    px, py = x, y
    reach = wanted + 2.0 * max(push[0], push[1])
    d, gx, gy = wall_clearance(px, py, world, reach)
    for _ in range(4):
        if d >= wanted or d < clearance - 2.0 * (push[0] + push[1]):
            break
        qx = min(max(px + (wanted - d + 1e-6) * gx, x - push[0]), x + push[0])
        qy = min(max(py + (wanted - d + 1e-6) * gy, y - push[1]), y + push[1])
        there, hx, hy = wall_clearance(qx, qy, world, reach)
        if gx * hx + gy * hy < 0.0:  # beyond the middle between two walls, where room rises from both sides
            step = np.hypot(qx - px, qy - py)
            share = min(max(0.5 + 0.5 * (there - d) / step, 0.0), 1.0) if step > 0.0 else 0.0
            qx, qy = px + share * (qx - px), py + share * (qy - py)
            there, hx, hy = wall_clearance(qx, qy, world, reach)
        if there <= d + 1e-6:
            break
        px, py, d, gx, gy = qx, qy, there, hx, hy
    return px, py, d


@njit(cache=True, nogil=True)
def _nodes_and_moves(world, origin, pitch, columns, rows, clearance):
    """Places (K, M, 2) and lengths of moves (K, M, 8) of a lattice."""
    kinds, count = clearance.shape[0], columns * rows
    place = np.empty((kinds, count, 2))
    move = np.full((kinds, count, 8), BLOCKED, dtype=np.float32)
    room = np.empty(count)
    for k in range(kinds):
        need = clearance[k]
        wanted = np.sqrt(need * need + 0.25 * pitch[0] * pitch[1])  # then moves of one cell are clear of any corner
        for node in range(count):
            x = origin[0] + (node % columns) * pitch[0]
            y = origin[1] + (node // columns) * pitch[1]
            x, y, d = _pushed(x, y, world, wanted, need, 0.5 * pitch)
            place[k, node, 0], place[k, node, 1], room[node] = x, y, d
        longest = LONGEST_MOVE * max(pitch[0], pitch[1])
        _join_neighbours(place[k], room, move[k], columns, rows, world, need, longest)
        _open_doors(place[k], room, move[k], columns, rows, world, need, longest)
    return place, move


@njit(cache=True, nogil=True)
def _join_neighbours(place, room, move, columns, rows, world, need, longest):
    """Fills in the lengths of the allowed moves between free neighbours; `room` is what walls and bounds leave."""
    for node in range(columns * rows):
        if room[node] >= need:
            _join(node, 4, place, room, move, columns, rows, world, need, longest)


@njit(cache=True, nogil=True)
def _join(node, directions, place, room, move, columns, rows, world, need, longest):
    """Allows or bars the moves from a node in the first `directions` directions, and back."""
    step = 0.25 * need
    for direction in range(directions):
        c, r = node % columns + COLUMN_STEP[direction], node // columns + ROW_STEP[direction]
        if c < 0 or c >= columns or r < 0 or r >= rows:
            continue
        other = r * columns + c
        ax, ay, bx, by = place[node, 0], place[node, 1], place[other, 0], place[other, 1]
        length, back = np.hypot(bx - ax, by - ay), (direction + 4) % 8
        move[node, direction], move[other, back] = BLOCKED, BLOCKED
        if room[other] < need or length > longest:
            continue
        if _march(ax, ay, bx, by, world, need, max(room[node] - need, step), max(room[other] - need, step)):
            move[node, direction], move[other, back] = length, length


@njit(cache=True, nogil=True)
def _open_doors(place, room, move, columns, rows, world, need, longest):
    """Moves nodes into narrow openings that the straight moves past them miss.

    Two free neighbours in a row or column with something between them, and no way round it over a third, may lie on either
    side of a door: the roomiest place across the middle between them becomes the first one's, if it is free.
    """
    for node in range(columns * rows):
        for direction in (0, 2):
            c, r = node % columns + COLUMN_STEP[direction], node // columns + ROW_STEP[direction]
            other = r * columns + c
            if c >= columns or r >= rows or move[node, direction] != BLOCKED or min(room[node], room[other]) < need:
                continue
            if _has_way_round(node, other, direction, move, columns, rows):
                continue
            x, y, d = _roomiest_across(place[node], place[other], world, need)
            if d >= need:
                place[node, 0], place[node, 1], room[node] = x, y, d
                _join(node, 8, place, room, move, columns, rows, world, need, longest)


@njit(cache=True, nogil=True)
def _has_way_round(node, other, direction, move, columns, rows):
    """Whether one of the four nodes beside two neighbours is joined to both."""
    for turn in (1, 2, 6, 7):
        heading = (direction + turn) % 8
        c, r = node % columns + COLUMN_STEP[heading], node // columns + ROW_STEP[heading]
        if c < 0 or c >= columns or r < 0 or r >= rows:
            continue
        third = r * columns + c
        if move[node, heading] == BLOCKED:
            continue
        for onward in range(8):
            if move[third, onward] != BLOCKED and third + ROW_STEP[onward] * columns + COLUMN_STEP[onward] == other:
                return True
    return False


@njit(cache=True, nogil=True)
def _roomiest_across(a, b, world, need):
    """The place with most room on the middle normal of a and b, within half their distance, and its room."""
    x, y = 0.5 * (a[0] + b[0]), 0.5 * (a[1] + b[1])
    nx, ny = 0.5 * (a[1] - b[1]), 0.5 * (b[0] - a[0])
    centre, step, best = 0.0, 0.125, -1.0
    for look in range(4):
        here = centre
        for k in range(-8 if look == 0 else -2, 9 if look == 0 else 3):
            share = here + k * step
            d, _, _ = wall_clearance(x + share * nx, y + share * ny, world, 2.0 * need)
            if d > best:
                centre, best = share, d
        step *= 0.4
    return x + centre * nx, y + centre * ny, best


@njit(cache=True, nogil=True)
def link_places(points, kind, least, lattice, world):
    """Joins places off the lattice to nodes that straight clear segments lead to.

    Args:
        points: (N, 2) starts or goals, m.
        kind: (N,) class of clearance of each.
        least: (N,) clearance that counts where a place itself has less than its class asks for, m.
        lattice: the lattice.
        world: the scene's arrays.

    Returns:
        Nodes (N, LINKS) and lengths (N, LINKS) of the links.
    """
    count = points.shape[0]
    node = np.full((count, LINKS), -1, dtype=np.int32)
    length = np.zeros((count, LINKS))
    cell = max(lattice.pitch[0], lattice.pitch[1])
    for i in range(count):
        need = lattice.clearance[kind[i]]
        d, _, _ = wall_clearance(points[i, 0], points[i, 1], world, need)
        need = max(min(need, d), least[i]) - 1e-9
        for reach in (1.5, 3.0, 5.0):
            if _link(points[i], kind[i], need, reach * cell, lattice, world, node[i], length[i]) > 0:
                break
    return node, length


@njit(cache=True, nogil=True)
def _link(point, kind, need, reach, lattice, world, node, length):
    """Writes the nodes within reach of a place that it sees; returns how many."""
    place, move = lattice.place[kind], lattice.move[kind]
    found = 0
    span = int(reach / min(lattice.pitch[0], lattice.pitch[1])) + 1
    column = int(np.rint((point[0] - lattice.origin[0]) / lattice.pitch[0]))
    row = int(np.rint((point[1] - lattice.origin[1]) / lattice.pitch[1]))
    for r in range(max(row - span, 0), min(row + span + 1, lattice.rows)):
        for c in range(max(column - span, 0), min(column + span + 1, lattice.columns)):
            other = r * lattice.columns + c
            x, y = place[other, 0], place[other, 1]
            d = np.hypot(x - point[0], y - point[1])
            if found == LINKS or d > reach or not np.isfinite(move[other].min()):
                continue
            if segment_clear(point[0], point[1], x, y, world, need):
                node[found], length[found] = other, d
                found += 1
    return found


@njit(cache=True, nogil=True)
def goal_distances(goal_node, goal_length, start_node, start_length, move, columns, limit, cell):
    """Shortest distances over the lattice from every node to a goal.

    Settled in buckets of a quarter cell up to `limit`, and to half as much again as the start's own distance plus
    twelve cells.

    Returns:
        (M,) float32 distances, m, FAR where not settled, and the start's distance, FAR without a path.
    """
    count = move.shape[0]
    field = np.full(count, np.float32(FAR), dtype=np.float32)
    step = np.empty(8, dtype=np.int64)
    for direction in range(8):
        step[direction] = ROW_STEP[direction] * columns + COLUMN_STEP[direction]
    width = 0.25 * cell
    buckets = int(limit / width) + 2
    head = np.full(buckets, -1, dtype=np.int32)
    size = 4 * count + LINKS
    item, after = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.int32)
    reached = np.empty(size, dtype=np.float32)
    used = 0
    for k in range(LINKS):
        node = goal_node[k]
        if node >= 0 and goal_length[k] < min(limit, field[node]):
            field[node] = goal_length[k]
            bucket = int(goal_length[k] / width)
            item[used], reached[used], after[used] = node, field[node], head[bucket]
            head[bucket] = used
            used += 1
    start, bucket, last = FAR, 0, buckets - 1
    while bucket <= last:
        entry = head[bucket]
        if entry < 0:
            bucket += 1
            if start >= FAR:
                start = _linked_distance(field, start_node, start_length, bucket * width)
                if start < FAR:
                    last = min(last, int((1.5 * start + 12.0 * cell) / width))
            continue
        head[bucket] = after[entry]
        node = item[entry]
        here = reached[entry]
        if here > field[node]:
            continue
        for direction in range(8):
            there = here + move[node, direction]
            if there < limit:
                other = node + step[direction]
                if there < field[other] and used < size:
                    field[other] = there
                    place = int(there / width)
                    item[used], reached[used], after[used] = other, there, head[place]
                    head[place] = used
                    used += 1
    return field, start


@njit(cache=True, nogil=True)
def _linked_distance(field, node, length, settled):
    """Distance of a linked place once it is below `settled`, else FAR."""
    best = FAR
    for k in range(LINKS):
        if node[k] >= 0:
            best = min(best, field[node[k]] + length[k])
    return best if best <= settled else FAR


@njit(cache=True, nogil=True)
def all_goal_distances(goal_links, start_links, kind, lattice, limit):
    """`goal_distances` of every robot: fields (N, M) and the starts' distances (N,)."""
    count = kind.shape[0]
    field = np.empty((count, lattice.columns * lattice.rows), dtype=np.float32)
    start = np.empty(count)
    cell = max(lattice.pitch[0], lattice.pitch[1])
    for i in range(count):
        field[i], start[i] = goal_distances(
            goal_links.node[i],
            goal_links.length[i],
            start_links.node[i],
            start_links.length[i],
            lattice.move[kind[i]],
            lattice.columns,
            limit[i],
            cell,
        )
    return field, start
