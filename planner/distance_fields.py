"""Scenes as grids of distances, for many questions at once: what robots sense of walls."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maps.scene import Scene
from maps.world import obstacle_distances

MOST_CELLS = 400_000  # of a field; larger scenes have coarser cells
REACH = 4.0  # m at most that is told


@dataclass(frozen=True)
class DistanceFields:
    """Distances to the nearest wall or bound at the corners of square cells, S scenes side by side."""

    value: Float[Tensor, "S H W"]  # m
    origin: Float[Tensor, "S 2"]  # m, of the first corner
    cell: Float[Tensor, " S"]  # m
    corners: Float[Tensor, "S 2"]  # along x and y; what lies beyond is only there to fill up
    closed: Float[Tensor, " S"]  # 1: what lies outside of the field is out of bounds, 0: it is open floor

    @classmethod
    def of_scenes(cls, scenes: Sequence[Scene], cell: float) -> "DistanceFields":
        """Fields of scenes.

        Args:
            scenes: the same scene is asked once.
            cell: m, side of a cell where the scene is not too large for that.
        """
        made: dict[int, tuple[np.ndarray, np.ndarray, float]] = {}
        for scene in scenes:
            if id(scene) not in made:
                made[id(scene)] = _field(scene, cell)
        fields = [made[id(scene)] for scene in scenes]
        rows, columns = (max(field[0].shape[axis] for field in fields) for axis in (0, 1))
        padded = [np.pad(f, ((0, rows - f.shape[0]), (0, columns - f.shape[1])), mode="edge") for f, _, _ in fields]
        origin = torch.from_numpy(np.stack([field[1] for field in fields])).float()
        closed = torch.tensor([float(scene.bounds is not None) for scene in scenes])
        cells, corners = torch.tensor([side for _, _, side in fields]), torch.tensor([f.shape[::-1] for f, _, _ in fields])
        return cls(torch.from_numpy(np.stack(padded)), origin, cells, corners.float(), closed)

    def at(self, position: Float[Tensor, "S *more 2"]) -> Float[Tensor, "S *more"]:
        """Distances, m, at most REACH, bilinear within cells; out of bounds negative, by how far."""
        shape, (_, rows, columns) = position.shape[:-1], self.value.shape
        flat = position.flatten(1, -2)
        place = (flat - self.origin[:, None]) / self.cell[:, None, None]
        inside = torch.minimum(place.clamp_min(0.0), self.corners[:, None] - 1.001)
        outside = (place - inside).norm(dim=-1) * (self.cell * self.closed)[:, None]
        corner = torch.minimum(inside.long(), self.corners[:, None].long() - 2)  # rounding may reach the last one in long fields
        share = inside - corner
        first = (torch.arange(len(flat))[:, None] * rows + corner[..., 1]) * columns + corner[..., 0]
        value = self.value.view(-1)
        low = value[first] + share[..., 0] * (value[first + 1] - value[first])
        high = value[first + columns] + share[..., 0] * (value[first + columns + 1] - value[first + columns])
        return (low + share[..., 1] * (high - low) - outside).view(shape)


def _field(scene: Scene, cell: float) -> tuple[np.ndarray, np.ndarray, float]:
    rim = 0.0 if scene.bounds is not None else REACH  # beyond it, nothing is near
    low, high = np.array(scene.extent).reshape(2, 2) + np.array([[-rim], [rim]])
    side = max(cell, float(np.sqrt(np.prod(high - low) / MOST_CELLS)))
    columns, rows = (int(np.ceil(length / side)) + 2 for length in high - low)
    x, y = np.meshgrid(low[0] + side * np.arange(columns), low[1] + side * np.arange(rows))
    distance = obstacle_distances(np.stack([x.ravel(), y.ravel()], 1), scene.world, REACH)[0].reshape(rows, columns)
    if scene.bounds is not None:
        distance = np.minimum(distance, np.minimum(np.minimum(x - low[0], high[0] - x), np.minimum(y - low[1], high[1] - y)))
    return distance.astype(np.float32), low, side
