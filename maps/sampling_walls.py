"""Random scenes of walls and blocks: rooms, mazes, racks, corridors and crossings."""

import numpy as np

from maps.sampling_site import Site, box
from maps.scene import Grid, Polygon, Scene


def rooms(rng: np.random.Generator, site: Site) -> Scene:
    """Two to four columns and rows of rooms, uneven, with doors between enough of them that every room can be reached."""
    counts = [max(min(int(rng.integers(2, 5)), int(side / (3.0 * site.passage))), 1) for side in site.size]
    wall = rng.uniform(0.005, 0.03) * site.least
    lines = [_cuts(rng, side, count) for side, count in zip(site.size, counts, strict=True)]
    across, along = _openings(rng, (counts[0], counts[1]), rng.uniform(0.4, 1.0))
    walls = _door_walls(rng, (lines[0], lines[1]), across, (wall, site))
    walls += [ring[:, ::-1] for ring in _door_walls(rng, (lines[1], lines[0]), along.T, (wall, site))]
    return _scene(site, walls)


def mazes(rng: np.random.Generator, site: Site) -> Scene:
    """A maze of three to eight cells a side, with some loops; of thin walls or as an occupancy grid."""
    finest = 2.0 ** rng.uniform(0, 1.6) * 1.15 * site.passage  # m, side of the smallest cell
    columns, rows = (int(np.clip(side / finest, 2, 8)) for side in site.size)
    across, along = _openings(rng, (columns, rows), rng.uniform(0.05, 0.4))
    if rng.random() < 0.5:
        return _maze_grid(rng, site, across, along)
    pitch = site.size / (columns, rows)
    wall = min(rng.uniform(0.04, 0.3) * pitch.min(), max(pitch.min() - site.passage, 0.02 * pitch.min()))
    walls = _runs(~across, pitch, wall) + [ring[:, ::-1] for ring in _runs(~along.T, pitch[::-1], wall)]
    return _scene(site, walls)


def racks(rng: np.random.Generator, site: Site) -> Scene:
    """Rows of shelves with aisles between them and two to four cross aisles, along x or along y."""
    sideways = rng.random() < 0.5
    site = site.turned if sideways else site
    depth = rng.uniform(0.04, 0.1) * site.least
    aisle = max(rng.uniform(0.1, 0.2) * site.least, site.passage)
    count = int(rng.integers(1, 4))
    cross = max(rng.uniform(0.1, 0.2) * site.width / max(count - 1, 1), site.passage)
    count = max(min(count, int((site.width - cross) / (2.0 * cross))), 1)
    length = (site.width - (count + 1) * cross) / count
    y, shelves = aisle, []
    while y + depth + aisle <= site.height and length > 0:
        lefts = cross + (cross + length) * np.arange(count)
        shelves += [box(x, y, x + length, y + depth) for x in lefts if rng.random() < 0.9]
        y += depth + aisle
    return _either(site, shelves, sideways)


def corridors(rng: np.random.Generator, site: Site) -> Scene:
    """One to four parallel corridors between blocks, open at both ends, at times crossed by one or two more."""
    sideways = rng.random() < 0.5
    site = site.turned if sideways else site
    end = max(rng.uniform(0.06, 0.22) * site.width, site.passage)
    rows = _solid(site.height, _streets(rng, site, int(rng.integers(1, 5)), (0.0, site.height)))
    crossing = _streets(rng, site, int(rng.integers(0, 3)), (end, site.width - end))
    columns = _solid(site.width, [(0.0, end), *crossing, (site.width - end, site.width)])
    return _either(site, _blocks(columns, rows), sideways)


def crossings(rng: np.random.Generator, site: Site) -> Scene:
    """Two streets between blocks: a cross, a T, or a cross whose arms are offset; along x or along y."""
    sideways, mirrored, kind = rng.random() < 0.5, rng.random() < 0.5, rng.random()
    site = site.turned if sideways else site
    low, high = _streets(rng, site, 1, (0.15 * site.height, 0.85 * site.height))[0]
    below = _streets(rng, site, 1, (0.1 * site.width, 0.9 * site.width))
    above = below if kind < 0.4 else []
    if kind >= 0.7:
        above = _streets(rng, site, 1, (0.1 * site.width, 0.9 * site.width))
    blocks = _blocks(_solid(site.width, below), [(0.0, low)]) + _blocks(_solid(site.width, above), [(high, site.height)])
    if mirrored:
        blocks = [np.array([0.0, site.height]) + ring * (1.0, -1.0) for ring in blocks]
    return _either(site, blocks, sideways)


def _scene(site: Site, rings: list[np.ndarray]) -> Scene:
    return Scene(site.bounds, polygons=tuple(Polygon(np.ascontiguousarray(ring)) for ring in rings))


def _either(site: Site, rings: list[np.ndarray], sideways: bool) -> Scene:
    """The scene as made, or with x and y exchanged."""
    return _scene(site.turned, [ring[:, ::-1] for ring in rings]) if sideways else _scene(site, rings)


def _cuts(rng: np.random.Generator, side: float, count: int) -> np.ndarray:
    """`count` + 1 places that cut a side into uneven parts, m."""
    inner = np.arange(1, count) + rng.uniform(-0.2, 0.2, count - 1)
    return side * np.concatenate([[0.0], inner, [count]]) / count


def _openings(rng: np.random.Generator, counts: tuple[int, int], extra: float) -> tuple[np.ndarray, np.ndarray]:
    """Which neighbouring cells are joined: a random spanning tree and a share of all other pairs.

    Args:
        rng: where all randomness comes from.
        counts: columns and rows of cells.
        extra: share of the pairs outside the tree that are joined too.

    Returns:
        (columns - 1, rows) for cells side by side, and (columns, rows - 1) for cells one above the other.
    """
    columns, rows = counts
    across, along = rng.random((columns - 1, rows)) < extra, rng.random((columns, rows - 1)) < extra
    straight = rng.uniform(0.0, 0.9)  # share of steps that go on from the newest cell: long ways, else many short ones
    seen, ends = {(0, 0)}, [(0, 0)]
    while ends:
        at = -1 if rng.random() < straight else int(rng.integers(len(ends)))
        x, y = ends[at]
        near = [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)]
        free = [(a, b) for a, b in near if 0 <= a < columns and 0 <= b < rows and (a, b) not in seen]
        if not free:
            ends.pop(at)
            continue
        a, b = free[int(rng.integers(len(free)))]
        if a != x:
            across[min(a, x), y] = True
        else:
            along[x, min(b, y)] = True
        seen.add((a, b))
        ends.append((a, b))
    return across, along


def _door_walls(
    rng: np.random.Generator, lines: tuple[np.ndarray, np.ndarray], opened: np.ndarray, how: tuple[float, Site]
) -> list[np.ndarray]:
    """Upright walls between columns of rooms, with a door where neighbours are joined."""
    (at, cut), (wall, site) = (lines[0].tolist(), lines[1].tolist()), how
    walls = []
    for column, row in np.ndindex(opened.shape[0], opened.shape[1]):
        x0, x1, low, high = at[column + 1] - wall / 2, at[column + 1] + wall / 2, cut[row] - wall / 2, cut[row + 1] + wall / 2
        if not opened[column, row]:
            walls.append(box(x0, low, x1, high))
            continue
        span = cut[row + 1] - cut[row] - wall
        door = min(max(rng.uniform(0.08, 0.16) * site.least, site.passage), 0.9 * span)
        begin = cut[row] + wall / 2 + rng.uniform(0.05, 0.95) * (span - door)
        walls += [box(x0, low, x1, begin), box(x0, begin + door, x1, high)]
    return walls


def _runs(closed: np.ndarray, pitch: np.ndarray, wall: float) -> list[np.ndarray]:
    """Upright walls of a maze; neighbours in a line are one."""
    walls = []
    for column, line in enumerate(closed):
        edge = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
        x = (column + 1) * pitch[0]
        for low, high in edge.reshape(-1, 2):
            walls.append(box(x - wall / 2, low * pitch[1] - wall / 2, x + wall / 2, high * pitch[1] + wall / 2))
    return walls


def _maze_grid(rng: np.random.Generator, site: Site, across: np.ndarray, along: np.ndarray) -> Scene:
    """A maze as an occupancy grid; its cells are square, so one side may come out shorter than the site's."""
    columns, rows = along.shape[0], across.shape[1]
    pitch = float((site.size / (columns, rows)).min())
    cells = max(int(np.ceil(pitch / site.robot * rng.uniform(1.5, 3.0))), 4)  # of the grid to a side of the maze's
    spare = int(cells * (1.0 - site.passage / pitch))
    wall = int(np.clip(rng.integers(1, max(cells // 4, 1) + 1), 1, max(spare, 1)))
    before, after = wall // 2, wall - wall // 2
    occupied = np.zeros((rows * cells, columns * cells), dtype=bool)
    for column, row in np.argwhere(~across):
        x = (column + 1) * cells
        occupied[max(row * cells - before, 0) : (row + 1) * cells + after, x - before : x + after] = True
    for column, row in np.argwhere(~along):
        y = (row + 1) * cells
        occupied[y - before : y + after, max(column * cells - before, 0) : (column + 1) * cells + after] = True
    return Scene(grid=Grid(occupied, pitch / cells, (0.0, 0.0)))


def _streets(rng: np.random.Generator, site: Site, count: int, span: tuple[float, float]) -> list[tuple[float, float]]:
    """Up to `count` streets across a span, apart from each other: where each begins and ends, m, in order."""
    low, high = span
    count = max(min(count, int((high - low) / (1.6 * site.passage))), min(count, 1))
    streets = []
    for k in range(count):
        share = (high - low) / count
        width = min(max(rng.uniform(0.07, 0.3) * site.least, site.passage), max(0.8 * share, site.passage))
        begin = low + k * share + rng.uniform(0.1, 0.9) * max(share - width, 0.0)
        streets.append((begin, begin + width))
    return streets


def _solid(side: float, streets: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """What streets leave of a side, m."""
    ends = [0.0, *(end for street in streets for end in street), side]
    return [(a, b) for a, b in zip(ends[::2], ends[1::2], strict=True) if b - a > 1e-3 * side]


def _blocks(columns: list[tuple[float, float]], rows: list[tuple[float, float]]) -> list[np.ndarray]:
    return [box(x0, y0, x1, y1) for x0, x1 in columns for y0, y1 in rows]
