"""Gradients through the unrolled rounds, against central differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from maps.fleet import Fleet
from maps.scenario import Scenario, ScenarioBatch
from maps.scene import Polygon, Scene
from maps.scene_batch import SceneBatch
from safety_filter.gradient import unroll
from safety_filter.problem import FilterConfig

CONFIG = FilterConfig(penalty=0.3, proposal_weight=0.05)
ROUNDS = 6
STEP = 1e-6


def small_scenario() -> Scenario:

    wall = Polygon(np.array([[1.7, 0.6], [2.3, 0.7], [2.2, 1.4]]))
    scene = Scene((0.0, 0.0, 4.0, 4.0), torch.tensor([[2.0, 2.15, 0.3]], dtype=torch.float64), (wall,))
    start = torch.tensor([[0.5, 2.0], [3.5, 1.9]], dtype=torch.float64)
    rest, two = torch.zeros(2, 2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    return Scenario(scene, Fleet(("a", "b"), 0.2 * two, 1.5 * two, 2 * two), start, start.flip(0), rest, rest, 6.0)


def weights(like: torch.Tensor) -> torch.Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(3), dtype=like.dtype)


@pytest.fixture
def given():
    scenario = small_scenario()
    batch, scenes = ScenarioBatch.stack([scenario]), SceneBatch.stack([scenario.scene])
    bend = 0.15 * weights(batch.minimum_jerk(24))
    bend[:, :, :3] = 0
    bend[:, :, -3:] = 0
    return batch, scenes, batch.minimum_jerk(24) + bend


def outcome(batch, scenes, proposal, save_memory=False):
    out = unroll(proposal, batch, scenes, ROUNDS, CONFIG, save_memory)
    return (weights(out.control_points) * out.control_points).sum() + out.fixed_point_residual.sum() + out.gap_violation.sum()


def central(function, value, direction):
    return float(((function(value + STEP * direction) - function(value - STEP * direction)) / (2 * STEP)).detach())


def test_gradient_by_the_proposal(given):
    batch, scenes, proposal = given
    proposal = proposal.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(outcome(batch, scenes, proposal), proposal)
    direction = torch.zeros_like(proposal)
    direction[..., 3:-3, :] = weights(proposal)[..., 3:-3, :]
    expected = central(lambda p: outcome(batch, scenes, p.detach()), proposal.detach(), direction)
    assert abs(float((slope * direction).sum()) - expected) < 1e-4 * max(1.0, abs(expected))
    assert abs(expected) > 1e-2


@pytest.mark.parametrize("name", ["discs", "edges", "bounds"])
def test_gradient_by_the_scene(given, name):
    batch, scenes, proposal = given
    value = getattr(scenes, name).clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(outcome(batch, replace(scenes, **{name: value}), proposal), value)
    direction = weights(value)
    if name == "edges":  # corners move, so that both edges at a corner do
        direction = torch.cat([direction[..., :2], direction[..., :2].roll(-1, dims=1)], dim=-1)
    expected = central(lambda v: outcome(batch, replace(scenes, **{name: v.detach()}), proposal), value.detach(), direction)
    assert abs(float((slope * direction).sum()) - expected) < 1e-4 * max(1.0, abs(expected))
    assert name == "bounds" or abs(expected) > 1e-3


@pytest.mark.parametrize("name", ["radius", "v_max", "a_max", "margin"])
def test_gradient_by_the_fleet(given, name):
    batch, scenes, proposal = given
    value = getattr(batch, name).clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(outcome(replace(batch, **{name: value}), scenes, proposal), value, allow_unused=True)
    direction = weights(value)
    expected = central(lambda v: outcome(replace(batch, **{name: v.detach()}), scenes, proposal), value.detach(), direction)
    found = 0.0 if slope is None else float((slope * direction).sum())
    assert abs(found - expected) < 1e-4 * max(1.0, abs(expected))
    assert name in ("v_max", "a_max") or abs(expected) > 1e-3


def test_saving_memory_changes_no_gradient(given):
    batch, scenes, proposal = given
    slopes = []
    for save_memory in (False, True):
        value = proposal.clone().requires_grad_(True)
        slopes.append(torch.autograd.grad(outcome(batch, scenes, value, save_memory), value)[0])
    assert torch.allclose(slopes[0], slopes[1], atol=1e-12)
