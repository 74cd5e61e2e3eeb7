"""Scene: bounds, discs, polygons and an occupancy grid behind one signed distance."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maps.errors import InvalidScene
from maps.scene_batch import scene_distance
from maps.world import World, pack_world

if TYPE_CHECKING:
    from maps.connectivity import ClearanceField

Ring = np.ndarray  # (V, 2) vertices of a closed ring, m, without repeating the first


@dataclass(frozen=True)
class Polygon:
    """A simple polygon with holes; the solid part is what lies inside the outer ring and outside every hole."""

    outer: Ring  # (V, 2) vertices, m, either orientation
    holes: tuple[Ring, ...] = ()


@dataclass(frozen=True)
class Grid:
    """An occupancy grid of square cells, aligned with the axes."""

    occupied: Bool[np.ndarray, "H W"]  # row 0 is the lowest
    resolution: float  # m, side of a cell
    origin: tuple[float, float]  # m, lower-left corner of cell (0, 0)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """xmin, ymin, xmax, ymax, m."""
        rows, columns = self.occupied.shape
        x, y = self.origin
        return (x, y, x + columns * self.resolution, y + rows * self.resolution)


@dataclass(frozen=True)
class Scene:
    """The standing world of a plan: what every robot must keep out of, and the box it must stay in."""

    bounds: tuple[float, float, float, float] | None = None  # xmin, ymin, xmax, ymax, m; None: the grid's extent, else the whole plane
    discs: Float[Tensor, "K 3"] = field(default_factory=lambda: torch.zeros(0, 3, dtype=torch.float64))  # x, y, radius, m
    polygons: tuple[Polygon, ...] = ()
    grid: Grid | None = None

    def __post_init__(self) -> None:
        """Fills in the bounds of a grid; refuses an empty box and discs without a positive radius."""
        if self.bounds is None and self.grid is not None:
            object.__setattr__(self, "bounds", self.grid.extent)
        if self.bounds is not None and not (self.bounds[0] < self.bounds[2] and self.bounds[1] < self.bounds[3]):
            raise InvalidScene("bounds must be xmin < xmax and ymin < ymax", pointer="/bounds", code="EMPTY_BOUNDS")
        bad = ~(self.discs.isfinite().all(-1) & (self.discs[:, 2] > 0))
        if bool(bad.any()):
            k = int(bad.nonzero()[0, 0])
            raise InvalidScene(
                "a disc needs finite coordinates and a positive radius", pointer=f"/obstacles/{k}", value=float(self.discs[k, 2]), limit=0.0
            )

    @cached_property
    def world(self) -> World:
        """The scene as flat arrays for compiled code."""
        return pack_world(self)

    @cached_property
    def clearance_fields(self) -> "dict[tuple[float, float], ClearanceField]":
        """Distance fields made so far, by reach and size of cells; filled by `maps.connectivity`."""
        return {}

    def signed_distance(self, position: Float[Tensor, "*batch 2"], reach: float = 5.0) -> Float[Tensor, "*batch"]:
        """Distance to the nearest obstacle, negative inside one, with gradients; the bounds are not counted.

        Args:
            position: m.
            reach: m, positive; what lies further is not looked for.

        Returns:
            m, at most `reach`. Exact; gradients by position and by the discs are given.
        """
        return scene_distance(position, self, reach)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """A box that holds the bounds, or all obstacles where there are none, m."""
        if self.bounds is not None:
            return self.bounds
        low, high = np.full(2, np.inf), np.full(2, -np.inf)
        for disc in self.discs.numpy():
            low, high = np.minimum(low, disc[:2] - disc[2]), np.maximum(high, disc[:2] + disc[2])
        for polygon in self.polygons:
            low, high = np.minimum(low, polygon.outer.min(0)), np.maximum(high, polygon.outer.max(0))
        if not np.isfinite(low).all():
            return (0.0, 0.0, 0.0, 0.0)
        return (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
