"""What a random scene is made for: the floor, and the robots that have to pass."""

from dataclasses import dataclass

import numpy as np

from maps.scene import Grid

PASSAGE = 2.4  # radii of the largest robot, the least width of a passage


@dataclass(frozen=True)
class Site:
    """The floor of a scene, from (0, 0)."""

    width: float  # m
    height: float  # m
    robot: float  # m, radius of the largest robot, its margin included
    grids: tuple[Grid, ...] = ()  # occupancy maps to cut pieces from, beside the built-in ones
    rescaled: bool = False  # whether pieces of maps are shrunk or grown to the robots

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """xmin, ymin, xmax, ymax, m."""
        return (0.0, 0.0, self.width, self.height)

    @property
    def size(self) -> np.ndarray:
        """Width and height (2,), m."""
        return np.array([self.width, self.height])

    @property
    def least(self) -> float:
        """The shorter side, m."""
        return min(self.width, self.height)

    @property
    def passage(self) -> float:
        """The least width of a passage, m."""
        return PASSAGE * self.robot

    @property
    def turned(self) -> "Site":
        """The same floor with x and y exchanged."""
        return Site(self.height, self.width, self.robot, self.grids, self.rescaled)


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """The corners (4, 2) of an upright rectangle, m."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
