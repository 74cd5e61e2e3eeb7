"""Many scenes as padded tensors on one device, behind one signed distance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from maps.distance import FAR, GridRuns, disc_distance, grid_distance, polygons_distance

if TYPE_CHECKING:
    from maps.scene import Scene
    from maps.world import World

AT_ONCE = 4_000_000  # pairs of a place and an edge looked at in one go


@dataclass(frozen=True)
class SceneBatch:
    """S scenes, padded; what is not there is infinitely far."""

    bounds: Float[Tensor, "S 4"]  # xmin, ymin, xmax, ymax, m; -+FAR where the plane is open
    discs: Float[Tensor, "S K 3"]  # x, y, radius, m; padding has radius -FAR
    edges: Float[Tensor, "S E 4"]  # x0, y0, x1, y1 of the polygons' edges, m
    edge_owner: Int[Tensor, "S E"]  # number of the polygon in its scene; -1: padding
    polygons: int  # most polygons of a scene
    grids: GridRuns | None  # each different grid once
    grid_index: Int[Tensor, " S"]  # which of them is the scene's

    @classmethod
    def stack(cls, scenes: "Sequence[Scene]", device: str | torch.device = "cpu") -> "SceneBatch":
        """Pads scenes to one batch.

        Args:
            scenes: at least one. Discs that require gradients keep them; vertices of polygons can be given them by
                replacing `edges`.
            device: where the tensors are put.
        """
        worlds = [scene.world for scene in scenes]
        discs = [scene.discs.to(device) for scene in scenes]
        edges = [torch.from_numpy(world.edges).to(device) for world in worlds]
        owners = [torch.from_numpy(np.repeat(np.arange(len(w.polygon_box)), np.diff(w.polygon_start))).to(device) for w in worlds]
        blank = discs[0].new_tensor([0.0, 0.0, -FAR])
        grids, index = _stack_grids(worlds, device)
        return cls(
            torch.from_numpy(np.stack([world.bounds for world in worlds])).to(device),
            _padded(discs, blank),
            _padded(edges, edges[0].new_zeros(4)),
            _padded(owners, owners[0].new_tensor(-1)),
            max(len(world.polygon_box) for world in worlds),
            grids,
            index,
        )

    def __len__(self) -> int:
        return self.bounds.shape[0]

    def signed_distance(self, position: Float[Tensor, "S *more 2"], reach: float) -> Float[Tensor, "S *more"]:
        """Smallest signed distance to any obstacle of each place's scene (bounds not counted).

        Args:
            position: m.
            reach: m, positive; what lies further is not looked for.

        Returns:
            m, at most `reach`; negative inside an obstacle. Gradients are of length 1, or 0 where nothing is within reach.
        """
        flat = position.reshape(len(self), -1, 2)
        distance = torch.full_like(flat[..., 0], reach)
        if self.discs.shape[1]:
            distance = torch.minimum(distance, disc_distance(flat, self.discs[:, None]).min(-1).values)
        if self.polygons:
            step = max(1, AT_ONCE // (self.edges.shape[1] * len(self)))
            parts = [polygons_distance(part, self.edges[:, None], self.edge_owner[:, None], self.polygons) for part in flat.split(step, 1)]
            distance = torch.minimum(distance, torch.cat(parts, 1)) if parts else distance
        if self.grids is not None:
            distance = torch.minimum(distance, grid_distance(flat, self.grids, self.grid_index[:, None], reach))
        return distance.reshape(position.shape[:-1])

    def bounds_distance(self, position: Float[Tensor, "S *more 2"]) -> Float[Tensor, "S *more"]:
        """Distance to the nearest side of the bounds, m, negative outside."""
        flat = position.reshape(len(self), -1, 2)
        inside = torch.cat([flat - self.bounds[:, None, :2], self.bounds[:, None, 2:] - flat], -1)
        return inside.min(-1).values.reshape(position.shape[:-1])


def scene_distance(position: Float[Tensor, "*batch 2"], scene: "Scene", reach: float) -> Float[Tensor, "*batch"]:
    """`SceneBatch.signed_distance` in one scene.

    Args:
        position: m.
        scene: the scene.
        reach: m, positive; what lies further is not looked for.
    """
    return SceneBatch.stack([scene], position.device).signed_distance(position[None], reach)[0]


def _padded(rows: list[Tensor], blank: Tensor) -> Tensor:
    most = max(len(row) for row in rows)
    return torch.stack([torch.cat([row, blank.expand(most - len(row), *blank.shape).to(row.dtype)]) for row in rows])


def _stack_grids(worlds: "list[World]", device: str | torch.device) -> tuple[GridRuns | None, Tensor]:
    """Every different grid once, and which is whose; a scene without one gets a grid of no rows."""
    different = {id(world.grid_left): world for world in worlds}
    number = {key: k for k, key in enumerate(different)}
    index = torch.tensor([number[id(world.grid_left)] for world in worlds], device=device)
    shapes = [world.grid_left.shape for world in different.values()]
    rows, columns = max(shape[0] for shape in shapes), max(shape[1] for shape in shapes)
    if rows == 0:
        return None, index
    names = (("grid_left", -1), ("grid_right", columns), ("free_left", -1), ("free_right", columns))
    runs: list[Tensor] = []
    for name, blank in names:
        stacked = np.full((len(shapes), rows, columns), blank, dtype=np.int32)
        for k, world in enumerate(different.values()):
            run = getattr(world, name)
            stacked[k, : run.shape[0], : run.shape[1]] = run
        runs.append(torch.from_numpy(stacked).to(device))
    frame = torch.from_numpy(np.stack([world.grid_frame for world in different.values()])).to(device)
    left, right, free_left, free_right = runs
    return GridRuns(left, right, free_left, free_right, torch.tensor(shapes, device=device), frame), index
