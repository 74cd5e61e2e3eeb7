"""Small problems that touch every compiled path, for loading or compiling kernels before the first request."""

import numpy as np
import torch

from maps.fleet import Fleet
from maps.scenario import MovingObstacle, Scenario
from maps.scene import Grid, Polygon, Scene


def small_scenarios() -> list[Scenario]:
    """Two robots that change places, among a disc, a polygon, a grid and a moving obstacle."""
    cells = np.zeros((40, 40), dtype=bool)
    cells[0] = True
    square = Polygon(np.array([[1.4, 2.8], [2.6, 2.8], [2.6, 3.4], [1.4, 3.4]]))
    scene = Scene((0.0, 0.0, 4.0, 4.0), torch.tensor([[2.0, 2.0, 0.3]], dtype=torch.float64), (square,), Grid(cells, 0.1, (0.0, 0.0)))
    ends = torch.tensor([[0.6, 2.0], [3.4, 2.0]], dtype=torch.float64)
    rest, two = torch.zeros(2, 2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    cart = MovingObstacle(
        "cart", 0.2, torch.tensor([0.0, 8.0], dtype=torch.float64), torch.tensor([[0.5, 0.6], [3.5, 0.6]], dtype=torch.float64)
    )
    return [Scenario(scene, Fleet(("a", "b"), 0.2 * two, two, two), ends, ends.flip(0), rest, rest, 8.0, 0.0, (cart,))]
