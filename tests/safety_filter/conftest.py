from dataclasses import replace

import numpy as np
import pytest
import torch

from maps.sampling import SamplingConfig, sample_scenario
from maps.scenario import MovingObstacle, Scenario, ScenarioBatch
from maps.scene_batch import SceneBatch


@pytest.fixture
def mixed_scenarios() -> list[Scenario]:
    """Fleets of different sizes, radii and limits among discs, polygons and a grid, some starting in motion, one with a cart."""
    rng = np.random.default_rng(13)
    config = SamplingConfig(size=6.0, moving=0.5, slack=(1.2, 1.5), pause=0.5)
    out = [
        sample_scenario(rng, robots, family, config, margin=0.02)
        for robots, family in ((5, "discs"), (4, "polygons"), (3, "grid"), (8, "open"))
    ]
    start = out[0].start.mean(0)
    cart = MovingObstacle("cart", 0.3, torch.tensor([1.0, 4.0, 6.0], dtype=torch.float64), torch.stack([start, start + 2.0, start]))
    return [replace(out[0], moving=(cart,)), *out[1:]]


@pytest.fixture
def mixed_batch(mixed_scenarios: list[Scenario]) -> tuple[ScenarioBatch, SceneBatch]:
    return ScenarioBatch.stack(mixed_scenarios), SceneBatch.stack([s.scene for s in mixed_scenarios])
