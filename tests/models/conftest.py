"""Fleets on winding routes, padded batches of them, and small networks none of whose weights is zero."""

import math
from collections.abc import Callable
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from models.condition import Surveyed
from models.dit import DiT, DiTConfig
from models.normalizer import Normalizer
from models.path_frame import SAMPLES

SMALL = DiTConfig(modes=5, width=32, layers=2, heads=2, pair=8)
IDLE = {"v_max": 1.0, "a_max": 1.0}  # of padded robots; all else is 0


def _fleet(seed: int, robots: int) -> Surveyed:
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)

    u = torch.linspace(0.0, 1.0, SAMPLES, dtype=torch.float64)[:, None]
    eased = u**3 * (10.0 - 15.0 * u + 6.0 * u**2)
    start, goal = uniform(0.0, 8.0, 1, robots, 1, 2), uniform(0.0, 8.0, 1, robots, 1, 2)
    bend = sum(uniform(-0.6, 0.6, 1, robots, 1, 2) * (k * math.pi * u).sin() for k in (1, 2))
    return Surveyed(
        route=start + eased * (goal - start) + bend,
        room=uniform(-3.0, 6.0, 1, robots, 17, 5),
        radius=uniform(0.2, 0.5, 1, robots),
        v_max=uniform(0.8, 1.5, 1, robots),
        a_max=uniform(0.5, 2.0, 1, robots),
        start_velocity=uniform(-0.5, 0.5, 1, robots, 2),
        horizon=uniform(8.0, 20.0, 1),
        margin=uniform(0.0, 0.1, 1),
        mask=torch.ones(1, robots, dtype=torch.bool),
    )


def _padded(name: str, rows: Tensor, robots: int) -> Tensor:
    if rows.dim() == 1:
        return rows
    blank = rows.new_full((1, robots - rows.shape[1], *rows.shape[2:]), IDLE.get(name, 0))
    return torch.cat([rows, blank], dim=1)


def _stacked(fleets: list[Surveyed], robots: int = 0) -> Surveyed:
    most = max(robots, *(fleet.mask.shape[1] for fleet in fleets))
    return Surveyed(**{f.name: torch.cat([_padded(f.name, getattr(fleet, f.name), most) for fleet in fleets]) for f in fields(Surveyed)})


def _network(config: DiTConfig = SMALL, seed: int = 0) -> DiT:
    generator = torch.Generator().manual_seed(seed)
    phase = torch.linspace(0.0, math.pi, SAMPLES)
    waves = torch.stack([(phase.sin() ** 3) * ((k + 1) * phase).cos() / (k + 1) for k in range(config.modes + 3)])
    offset = torch.einsum("pkc,kt->ptc", torch.randn(200, len(waves), 2, generator=generator), waves)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = DiT(config, Normalizer.fit(offset, config.modes))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.15 * torch.randn(parameter.shape, generator=generator)
    return network.eval()


@pytest.fixture
def fleet() -> Callable[[int, int], Surveyed]:
    """`fleet(seed, robots)`: one scene, float64, m."""
    return _fleet


@pytest.fixture
def stacked() -> Callable[..., Surveyed]:
    """`stacked(fleets, robots=0)`: one batch, padded to the largest fleet or to `robots`."""
    return _stacked


@pytest.fixture
def network() -> Callable[..., DiT]:
    """`network(config=SMALL, seed=0)`: random weights, all of them noise, and modes fitted to random waves."""
    return _network


@pytest.fixture
def small() -> DiTConfig:
    """The size that `network` has unless told otherwise."""
    return SMALL
