"""Scenes as grids of distances, for many questions at once: what robots sense of walls."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maps.scene import Scene
from maps.world import bounds_distance, obstacle_distances

MOST_CELLS = 400_000  # of a field; larger scenes have coarser cells
REACH = 4.0  # m at most that is told


@dataclass(frozen=True)
class DistanceFields:
    """Distances to the nearest wall or bound at the corners of square cells, S scenes side by side."""

    value: Float[Tensor, "S H W"]  # m
    origin: Float[Tensor, "S 2"]  # m, of the first corner
    cell: Float[Tensor, " S"]  # m

    @classmethod
    def of_scenes(cls, scenes: Sequence[Scene], cell: float) -> "DistanceFields":
        """Fields of scenes; the same scene is asked once.

        Args:
            scenes: each with bounds or obstacles.
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
        return cls(torch.from_numpy(np.stack(padded)), origin, torch.tensor([field[2] for field in fields]))

    def at(self, position: Float[Tensor, "S *more 2"]) -> Float[Tensor, "S *more"]:
        """Distances, m, bilinear within cells; outside of the field that of the nearest place in it, less how far that is."""
        shape, (_, rows, columns) = position.shape[:-1], self.value.shape
        flat = position.flatten(1, -2)
        place = (flat - self.origin[:, None]) / self.cell[:, None, None]
        most = torch.tensor([columns - 1.001, rows - 1.001])
        inside = torch.minimum(place.clamp_min(0.0), most)
        outside = (place - inside).norm(dim=-1) * self.cell[:, None]
        corner = inside.long()
        share = inside - corner
        first = (torch.arange(len(flat))[:, None] * rows + corner[..., 1]) * columns + corner[..., 0]
        value = self.value.view(-1)
        low = value[first] + share[..., 0] * (value[first + 1] - value[first])
        high = value[first + columns] + share[..., 0] * (value[first + columns + 1] - value[first + columns])
        return (low + share[..., 1] * (high - low) - outside).view(shape)


def _field(scene: Scene, cell: float) -> tuple[np.ndarray, np.ndarray, float]:
    xmin, ymin, xmax, ymax = scene.extent
    side = max(cell, float(np.sqrt((xmax - xmin) * (ymax - ymin) / MOST_CELLS)))
    columns, rows = (int(np.ceil(length / side)) + 2 for length in (xmax - xmin, ymax - ymin))
    x, y = np.meshgrid(xmin + side * np.arange(columns), ymin + side * np.arange(rows))
    corners = np.stack([x.ravel(), y.ravel()], 1)
    distance = obstacle_distances(corners, scene.world, REACH)[0]
    if scene.bounds is not None:
        distance = np.minimum(distance, [bounds_distance(px, py, scene.world) for px, py in corners])
    return distance.reshape(rows, columns).astype(np.float32), np.array([xmin, ymin]), side
