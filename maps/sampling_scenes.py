"""Seeded random scenes, one maker a family.

Makers that mean to leave passages leave them wide enough for the site's robots; what is strewn at random may still close
a corner off.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import torch

from maps.library import load_map, map_ids
from maps.sampling_site import Site, box
from maps.sampling_walls import corridors, crossings, mazes, racks, rooms
from maps.scene import Grid, Polygon, Scene

Family = Literal["open", "discs", "boxes", "polygons", "rooms", "racks", "grid", "corridors", "crossings", "mazes", "dense", "lattice"]
FAMILIES: tuple[Family, ...] = get_args(Family)
CELLS_OF_A_RADIUS = (2.0, 8.0)  # cells of a map to a robot's radius where pieces are rescaled
SMALLEST_PIECE = 40  # cells of a side
PILLARS = 8  # most pillars of a lattice along a side


def sample_scene(rng: np.random.Generator, family: Family, size: float | Site = 10.0) -> Scene:
    """A random scene.

    Args:
        rng: where all randomness comes from.
        family: `open` nothing, `discs` pillars, `boxes` turned boxes, `polygons` non-convex outlines, `rooms` walls with
            doors, `racks` rows of shelves, `grid` a piece of an occupancy map, turned and mirrored, `corridors` parallel
            and crossing ones between blocks, `crossings` of two streets, `mazes` of walls or of cells, `dense` many boxes
            or discs with room to pass between them, `lattice` regular pillars.
        size: the floor; or the side of a square from (0, 0), m, for robots of 0.035 of it. A grid has the size of its cells.
    """
    site = size if isinstance(size, Site) else Site(size, size, 0.035 * size)
    return _MAKERS[family](rng, site)


def _open(_: np.random.Generator, site: Site) -> Scene:
    return Scene(site.bounds)


def _discs(rng: np.random.Generator, site: Site) -> Scene:
    count = rng.integers(4, 17)
    middle = rng.uniform(0.08 * site.size, 0.92 * site.size, (count, 2))
    discs = np.concatenate([middle, rng.uniform(0.03, 0.06, (count, 1)) * site.least], 1)
    return Scene(site.bounds, torch.from_numpy(discs))


def _boxes(rng: np.random.Generator, site: Site) -> Scene:
    polygons = []
    for _ in range(rng.integers(3, 11)):
        half = rng.uniform(0.02, 0.08, 2) * site.least
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
        polygons.append(Polygon(_turned(corners, rng.uniform(0, np.pi)) + rng.uniform(0.1 * site.size, 0.9 * site.size)))
    return Scene(site.bounds, polygons=tuple(polygons))


def _polygons(rng: np.random.Generator, site: Site) -> Scene:
    polygons = []
    for _ in range(rng.integers(2, 7)):
        count = rng.integers(5, 12)
        angle = 2 * np.pi * (np.arange(count) + rng.uniform(0, 0.8, count)) / count
        radius = rng.uniform(0.03, 0.13, count) * site.least
        ring = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
        polygons.append(Polygon(ring + rng.uniform(0.15 * site.size, 0.85 * site.size)))
    return Scene(site.bounds, polygons=tuple(polygons))


def _dense(rng: np.random.Generator, site: Site) -> Scene:
    """Draws many middles and takes, in turn, those that leave a passage to all taken before."""
    drawn, most = 120, int(rng.integers(8, 26))
    radius = np.maximum(rng.uniform(0.02, 0.07) * site.least, 0.3 * site.robot) * rng.uniform(0.6, 1.4, drawn)
    middle = rng.uniform(0.06 * site.size, 0.94 * site.size, (drawn, 2))
    gap = np.hypot(*(middle[:, None] - middle).transpose(2, 0, 1)) - radius[:, None] - radius
    clash = gap < site.passage * rng.uniform(1.0, 1.3)
    taken: list[int] = []
    for k in range(drawn):
        if len(taken) < most and not clash[k, taken].any():
            taken.append(k)
    return _pillars(rng, site, middle[taken], radius[taken])


def _lattice(rng: np.random.Generator, site: Site) -> Scene:
    radius = rng.uniform(0.3, 2.0) * site.robot
    pitch = max(2.0 * radius + rng.uniform(1.0, 2.2) * site.passage, float(site.size.max()) / PILLARS)
    counts = np.maximum((site.size / pitch).astype(int), 1)
    column, row = np.meshgrid(np.arange(counts[0]), np.arange(counts[1]), indexing="ij")
    middle = np.stack([column, row], -1) + 0.5 + rng.uniform(-0.2, 0.2, 2)
    if rng.random() < 0.4:
        middle[:, 1::2, 0] += 0.5
    middle = middle.reshape(-1, 2) * pitch + (site.size - counts * pitch) / 2
    middle = middle[((middle > radius) & (middle < site.size - radius)).all(1)]
    return _pillars(rng, site, middle, np.full(len(middle), radius))


def _pillars(rng: np.random.Generator, site: Site, middle: np.ndarray, radius: np.ndarray) -> Scene:
    """Discs, or boxes that fit in them: upright ones or each turned its own way."""
    kind = rng.random()
    if kind < 0.5:
        return Scene(site.bounds, torch.from_numpy(np.concatenate([middle, radius[:, None]], 1)))
    angle = np.zeros(len(radius)) if kind < 0.75 else rng.uniform(0, np.pi, len(radius))
    slope = rng.uniform(0.5, 1.1, len(radius))
    polygons = []
    for place, half, turn, share in zip(middle, radius, angle, slope, strict=True):
        corner = half * np.array([np.cos(share), np.sin(share)])
        polygons.append(Polygon(_turned(box(-corner[0], -corner[1], *corner), turn) + place))
    return Scene(site.bounds, polygons=tuple(polygons))


def _cut_out(rng: np.random.Generator, site: Site) -> Scene:
    grids = _own_grids() + site.grids
    grid = grids[int(rng.integers(len(grids)))]
    wanted = (site.size[::-1] if site.rescaled and rng.random() < 0.5 else site.size) / grid.resolution
    if site.rescaled:
        longest = rng.uniform(*CELLS_OF_A_RADIUS) * site.size.max() / site.robot
        wanted *= max(longest, SMALLEST_PIECE) / wanted.max()
    shape = np.array(grid.occupied.shape)
    cells = np.maximum(wanted[::-1] * min(1.0, (shape / wanted[::-1]).min()), 1).astype(int)
    row, column = (int(rng.integers(0, side - cut + 1)) for side, cut in zip(shape, cells, strict=True))
    piece = grid.occupied[row : row + cells[0], column : column + cells[1]]
    piece = np.rot90(piece, int(rng.integers(4)))
    piece = piece[:, ::-1] if rng.random() < 0.5 else piece
    resolution = float(site.size.max() / max(piece.shape)) if site.rescaled else grid.resolution
    return Scene(grid=Grid(np.ascontiguousarray(piece), resolution, (0.0, 0.0)))


@lru_cache(maxsize=1)
def _own_grids() -> tuple[Grid, ...]:
    grids = (load_map(name).grid for name in map_ids())
    return tuple(grid for grid in grids if grid is not None)


_MAKERS: dict[Family, Callable[[np.random.Generator, Site], Scene]] = {
    "open": _open,
    "discs": _discs,
    "boxes": _boxes,
    "polygons": _polygons,
    "rooms": rooms,
    "racks": racks,
    "grid": _cut_out,
    "corridors": corridors,
    "crossings": crossings,
    "mazes": mazes,
    "dense": _dense,
    "lattice": _lattice,
}


def _turned(points: np.ndarray, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, s], [-s, c]])
