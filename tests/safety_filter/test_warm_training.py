"""The loss of the learned initialisation: its gradient, its terms, and that it can be learned from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from maps.sampling import SamplingConfig, sample_scenario
from maps.scenario import ScenarioBatch
from maps.scene_batch import SceneBatch
from models.condition import survey_along
from planner.proposals import straight_lines
from safety_filter.problem import FilterConfig
from safety_filter.sine_modes import to_modes
from safety_filter.solver import cold_run
from safety_filter.training import Unrolling, WarmBatch, WarmLossConfig, warm_start_loss
from safety_filter.warm_start import WarmSchedule, WarmStartConfig, WarmStartNetwork

SMALL = WarmStartConfig(width=16, layers=1, heads=2, pair=8)
CONFIG = WarmLossConfig(rounds=4, schedule=WarmSchedule(penalty=3.0))


@pytest.fixture(scope="module")
def batch() -> WarmBatch:
    """Two tiny scenes, with the ends of long runs to learn from."""
    rng = np.random.default_rng(5)
    scenarios = tuple(sample_scenario(rng, n, "discs", SamplingConfig(size=4.0)) for n in (3, 2))
    stacked = ScenarioBatch.stack(scenarios)
    proposal = straight_lines(stacked, 24)[:, 0]
    surveyed = survey_along(scenarios, proposal)
    change, multiplier = torch.zeros_like(proposal), torch.zeros_like(proposal)
    for k, scenario in enumerate(scenarios):
        _, control, force = cold_run(scenario, proposal[k, : len(scenario)].numpy(), FilterConfig())
        change[k, : len(scenario)] = torch.from_numpy(control) - proposal[k, : len(scenario)]
        multiplier[k, : len(scenario)] = torch.from_numpy(force)
    aim = torch.cat([to_modes(change, surveyed, 18), to_modes(multiplier, surveyed, 18)], dim=2).float()
    unrolling = Unrolling(scenarios, SceneBatch.stack([s.scene for s in scenarios]), stacked, proposal)
    return WarmBatch(surveyed, aim, torch.tensor([True, True]), unrolling)


def network(seed: int = 0) -> WarmStartNetwork:
    torch.manual_seed(seed)
    net = WarmStartNetwork(SMALL)
    with torch.no_grad():
        net.last.weight.normal_(std=0.1)
        net.spread.fill_(0.2)
    return net


def test_gradient_through_network_and_rounds_against_finite_differences(batch):
    net = network()
    terms = ("residual", "proposal", "primal", "control", "multiplier")
    weights = {"residual": 1.0, "proposal": 0.3, "primal": 2.0, "clearance": 0.0}

    def loss(value: torch.Tensor) -> torch.Tensor:
        net.last.bias.data = value
        return warm_start_loss(net, batch, replace(CONFIG, **weights))["total"]

    at = 0.1 * torch.randn(net.last.bias.shape, generator=torch.Generator().manual_seed(2))
    direction = torch.randn(at.shape, generator=torch.Generator().manual_seed(3))
    out = loss(at)
    (slope,) = torch.autograd.grad(out, net.last.bias)
    step = 3e-4  # the network computes in float32
    expected = float((loss(at + step * direction) - loss(at - step * direction)).detach()) / (2 * step)
    assert abs(expected) > 1e-2
    assert float(slope @ direction) == pytest.approx(expected, rel=0.02)
    assert set(terms) <= set(warm_start_loss(net, batch, CONFIG))


def test_less_memory_gives_the_same_gradient(batch):
    slopes = []
    for save in (False, True):
        net = network()
        warm_start_loss(net, batch, replace(CONFIG, save_memory=save))["total"].backward()
        slopes.append(net.last.weight.grad.clone())
    assert slopes[0].abs().max() > 0
    assert torch.allclose(*slopes, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("term", ["residual", "proposal", "primal", "clearance", "imitation"])
def test_every_term_counts(batch, term):
    net = network()
    with torch.no_grad():
        full = warm_start_loss(net, batch, CONFIG)
        without = warm_start_loss(net, batch, replace(CONFIG, **{term: 0.0}))
    own = full["control"] + full["multiplier"] if term == "imitation" else full[term]
    assert float(own) > 0
    assert float(full["total"] - without["total"]) == pytest.approx(getattr(CONFIG, term) * float(own), rel=1e-4)


def test_problems_that_long_runs_did_not_solve_teach_nothing_by_imitation(batch):
    config = replace(CONFIG, residual=0.0, proposal=0.0, primal=0.0, clearance=0.0)
    unsolved = replace(batch, solved=torch.tensor([False, False]), unrolling=None)
    net = network()
    warm_start_loss(net, unsolved, config)["total"].backward()
    assert not net.last.weight.grad.any()
    net.zero_grad()
    warm_start_loss(net, replace(unsolved, solved=torch.tensor([True, False])), config)["total"].backward()
    assert net.last.weight.grad.any()


def test_rounds_alone_teach_a_better_start(batch):
    config = replace(CONFIG, imitation=0.0)
    net = network(1)
    torch.nn.init.zeros_(net.last.weight)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = warm_start_loss(net, batch, config)["total"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.7 * losses[0]
