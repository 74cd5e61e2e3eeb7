"""Signed distances over tensors, with gradients: discs, polygons, grids, and the gaps between robots.

Exact, negative inside, and the same as the compiled ones of `maps.world`, which the tests compare with these. Differentiable
with respect to places, discs and polygon vertices: which edge or cell is nearest is settled without a gradient, then the
distance to that one is computed with it, so every gradient is a unit vector, also at distance zero.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

FAR = 1e9  # m, stands for "nothing there"
TOUCHING = 1e-12  # m, below it a direction is given by the shape, not by the place


class GridRuns(NamedTuple):
    """G occupancy grids by their runs, padded to one shape; see `maps.world.World`."""

    left: Int[Tensor, "G H W"]  # column of the nearest occupied cell at or left of each cell, -1: none
    right: Int[Tensor, "G H W"]  # the same at or right of it, the grid's width or more: none
    free_left: Int[Tensor, "G H W"]  # as left, for free cells
    free_right: Int[Tensor, "G H W"]  # as right, for free cells
    shape: Int[Tensor, "G 2"]  # rows and columns of each; 0 rows: no grid
    frame: Float[Tensor, "G 3"]  # x and y of the lower-left corner, side of a cell, m


def robot_gap(position: Float[Tensor, "*batch N T 2"], radius: Float[Tensor, "*#batch N"]) -> Float[Tensor, "*batch N N T"]:
    """Free space between every two robots at every step.

    Args:
        position: robot centres, m, map frame.
        radius: robot radii, m.

    Returns:
        Centre distance less both radii, m; negative where two robots overlap.
        A robot's gap to itself is +inf, so the fleet's smallest gap is `.amin()`.
    """
    between = safe_norm(position[..., :, None, :, :] - position[..., None, :, :, :])
    gap = between - (radius[..., :, None] + radius[..., None, :])[..., None]
    itself = torch.eye(position.shape[-3], dtype=torch.bool, device=position.device)[..., None]
    return gap.masked_fill(itself, torch.inf)


def safe_norm(vector: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    """Length of a vector; at length zero its gradient is (1, 0) and not NaN."""
    squared = vector.square().sum(-1)
    touching = squared <= TOUCHING**2
    return torch.where(touching, vector[..., 0], torch.where(touching, 1.0, squared).sqrt())


def disc_distance(position: Float[Tensor, "*batch 2"], discs: Float[Tensor, "*#batch K 3"]) -> Float[Tensor, "*batch K"]:
    """Signed distance to each disc, m.

    Args:
        position: m.
        discs: x, y, radius, m.
    """
    return safe_norm(position[..., None, :] - discs[..., :2]) - discs[..., 2]


def polygon_distance(position: Float[Tensor, "*batch 2"], edges: Float[Tensor, "*#batch E 4"]) -> Float[Tensor, "*batch"]:
    """Signed distance to one simple polygon with holes, m.

    Args:
        position: m.
        edges: x0, y0, x1, y1 of the edges of all its rings, m, in any orientation.
    """
    of_one = torch.zeros(edges.shape[:-1], dtype=torch.int64, device=edges.device)
    return polygons_distance(position, edges, of_one, 1)


def polygons_distance(
    position: Float[Tensor, "*batch 2"], edges: Float[Tensor, "*#batch E 4"], owner: Int[Tensor, "*#batch E"], count: int
) -> Float[Tensor, "*batch"]:
    """Smallest signed distance to several polygons, each counted by itself, m.

    Args:
        position: m.
        edges: x0, y0, x1, y1 of the edges of all polygons, m.
        owner: number of the polygon that each edge belongs to; -1: padding.
        count: number of polygons.

    Returns:
        Distances; FAR where there is no polygon.
    """
    if edges.shape[-2] == 0 or count == 0:
        return torch.full_like(position[..., 0], FAR)
    missing = (1,) * (position.dim() - edges.dim() + 1)
    edges, owner = edges.reshape(*missing, *edges.shape), owner.reshape(*missing, *owner.shape)
    with torch.no_grad():
        squared = _to_segment(position[..., None, :], edges).square().sum(-1).masked_fill(owner < 0, FAR**2)
        inside_polygon = _crossings(position, edges, owner, count) % 2 == 1
        inside_owner = torch.take_along_dim(inside_polygon, owner.clamp(min=0).expand(squared.shape), -1) & (owner >= 0)
        inside = inside_polygon.any(-1)
        nearest = _nearest_edge(squared, inside_owner, owner, count)
    chosen = torch.take_along_dim(edges, nearest[..., None, None], -2)[..., 0, :]
    empty = (owner < 0).all(-1)
    return torch.where(empty, FAR, _signed(position, chosen, inside))


def _nearest_edge(
    squared: Float[Tensor, "*batch E"], inside_owner: Bool[Tensor, "*batch E"], owner: Int[Tensor, "*#batch E"], count: int
) -> Tensor:
    """Edge that decides the smallest signed distance: outside the nearest, inside that of the polygon one is deepest in."""
    own = owner.clamp(min=0).expand(squared.shape)
    depth = torch.full((*squared.shape[:-1], count), FAR**2, dtype=squared.dtype, device=squared.device)
    depth = depth.scatter_reduce(-1, own, torch.where(inside_owner, squared, FAR**2), "amin")
    deepest = torch.where(depth < FAR**2, depth, -1.0).argmax(-1, keepdim=True)
    among_own = torch.where(inside_owner & (own == deepest), squared, torch.inf)
    return torch.where(inside_owner.any(-1), among_own.argmin(-1), squared.argmin(-1))


def _to_segment(position: Float[Tensor, "*#batch 2"], edge: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*batch 2"]:
    """Vector from the nearest point of a segment to a place."""
    begin, along = edge[..., :2], edge[..., 2:] - edge[..., :2]
    squared = along.square().sum(-1)
    share = ((position - begin) * along).sum(-1) / torch.where(squared > 0.0, squared, 1.0)
    return position - begin - share.clamp(0.0, 1.0)[..., None] * along


def _signed(
    position: Float[Tensor, "*batch 2"], edge: Float[Tensor, "*batch 4"], inside: Bool[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Signed distance to the nearest edge; on it the gradient is the edge's normal."""
    away = _to_segment(position, edge)
    squared = away.square().sum(-1)
    touching = squared <= TOUCHING**2
    length = torch.where(touching, 1.0, squared).sqrt()
    along = (edge[..., 2:] - edge[..., :2]).detach()
    normal = torch.stack([along[..., 1], -along[..., 0]], -1) / safe_norm(along).clamp(min=1e-300)[..., None]
    return torch.where(touching, (normal * (position - edge[..., :2])).sum(-1), torch.where(inside, -length, length))


def _crossings(
    position: Float[Tensor, "*batch 2"], edges: Float[Tensor, "*#batch E 4"], owner: Int[Tensor, "*#batch E"], count: int
) -> Tensor:
    """How often a ray to the right crosses the edges of each polygon, (*batch, count)."""
    x, y = position[..., 0, None], position[..., 1, None]
    x0, y0, x1, y1 = edges.unbind(-1)
    rise = y1 - y0
    hit = ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / torch.where(rise == 0.0, 1.0, rise)) & (owner >= 0)
    crossings = torch.zeros((*hit.shape[:-1], count), dtype=torch.int32, device=hit.device)
    return crossings.scatter_add(-1, owner.clamp(min=0).expand(hit.shape), hit.to(torch.int32))


def grid_distance(
    position: Float[Tensor, "*batch 2"], grid: GridRuns, which: Int[Tensor, "*#batch"], reach: float
) -> Float[Tensor, "*batch"]:
    """Signed distance to the occupied squares of a grid, m, from -reach to reach.

    Args:
        position: m.
        grid: the grids.
        which: number of the grid that each place is measured against.
        reach: m, positive; what lies further is not looked for.
    """
    which = which.expand(position.shape[:-1])
    frame, shape = grid.frame[which], grid.shape[which]
    with torch.no_grad():
        exists = shape.amin(-1) > 0
        at = (position - frame[..., :2]) / frame[..., 2:]
        cell = at.floor().long()
        within = ((cell >= 0) & (cell < shape.flip(-1))).all(-1) & exists
        row, column = (cell[..., k].clamp(min=0).minimum((shape[..., 1 - k] - 1).clamp(min=0)) for k in (1, 0))
        occupied = within & (grid.left[which, row, column] == column)
        rows = int(min(reach / float(grid.frame[:, 2].min()), max(grid.left.shape[1], 1))) + 1
        out, out_squared = _nearest_cell(at, row, column, (grid.left, grid.right, which, shape), rows)
        free, free_squared = _nearest_cell(at, row, column, (grid.free_left, grid.free_right, which, shape), rows)
        free = _or_leave(at, shape, free, free_squared)
        target = torch.where(occupied[..., None], free, out)
        found = exists & (occupied | (out_squared < torch.inf))
    corner, cells = frame[..., :2], frame[..., 2:]
    away = position - corner - torch.where(found[..., None], target, 0.0) * cells
    squared = away.square().sum(-1)
    usable = found & (squared > TOUCHING**2) & (squared < reach * reach)
    distance = torch.where(usable, squared, 1.0).sqrt() * torch.where(occupied, -1.0, 1.0)
    beyond = torch.where(occupied, -reach, reach)
    return torch.where(usable, distance, torch.where(found & (squared <= TOUCHING**2), 0.0, beyond))


def _nearest_cell(at: Tensor, row: Tensor, column: Tensor, runs: tuple[Tensor, Tensor, Tensor, Tensor], rows: int) -> tuple[Tensor, Tensor]:
    """Nearest point of the squares that runs index and its squared distance, in cells; inf if none lies within `rows` rows."""
    left, right, which, shape = runs
    best, target = torch.full_like(at[..., 0], torch.inf), at.clone()
    for offset in range(-rows, rows + 1):
        r = row + offset
        valid = (r >= 0) & (r < shape[..., 0])
        safe = torch.where(valid, r, row)
        y = torch.minimum(torch.maximum(at[..., 1], r.to(at.dtype)), r.to(at.dtype) + 1.0)
        for side in (left, right):
            c = side[which, safe, column]
            x = torch.minimum(torch.maximum(at[..., 0], c.to(at.dtype)), c.to(at.dtype) + 1.0)
            squared = (at[..., 0] - x).square() + (at[..., 1] - y).square()
            nearer = valid & (c >= 0) & (c < shape[..., 1]) & (squared < best)
            best = torch.where(nearer, squared, best)
            target = torch.where(nearer[..., None], torch.stack([x, y], -1), target)
    return target, best


def _or_leave(at: Tensor, shape: Tensor, target: Tensor, squared: Tensor) -> Tensor:
    """The nearest free point, or the nearest side of the whole grid where that is nearer: beyond it all is free."""
    x, y = at.unbind(-1)
    rows, columns = shape.to(at.dtype).unbind(-1)
    for depth, side in ((x, (torch.zeros_like(x), y)), (columns - x, (columns, y)), (y, (x, torch.zeros_like(y))), (rows - y, (x, rows))):
        nearer = (depth >= 0.0) & (depth * depth < squared)
        target = torch.where(nearer[..., None], torch.stack(side, -1), target)
        squared = torch.where(nearer, depth * depth, squared)
    return target
