"""The generator's loss: nothing for who is right, least at the conditional mean, and what is weighed how."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.condition import Surveyed
from models.dit import DiT
from models.training.generator import FlowLossConfig, flow_loss

EVEN = FlowLossConfig(tolerance=math.inf)


def single(surveyed: Surveyed) -> Surveyed:
    """As batches for training are: float32."""
    return Surveyed(**{name: value.float() if value.is_floating_point() else value for name, value in vars(surveyed).items()})


def certain(net: DiT, coefficients: Tensor) -> DiT:
    """The network that gives one answer (K, 2), radii, whatever it sees."""
    with torch.no_grad():
        net.last.weight.zero_()
        net.last.bias.copy_((coefficients / net.normalizer.scale).flatten())
    return net


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def told(net: DiT, surveyed: Surveyed, path: Tensor, seed: int, config: FlowLossConfig) -> dict[str, float]:
    return {name: float(value) for name, value in flow_loss(net, surveyed, path, drawn(seed), config).items()}


def random_ends(net: DiT, scenes: int, robots: int) -> Tensor:
    return 2.0 * net.normalizer.scale * torch.randn(scenes, robots, net.config.modes, 2, generator=drawn(8))


@pytest.mark.parametrize("config", [FlowLossConfig(), replace(EVEN, noise=0.5, draws=3), FlowLossConfig(flow=False)])
def test_who_is_right_loses_nothing(fleet, stacked, network, config: FlowLossConfig):
    net, batch = network(), single(stacked([fleet(1, 3), fleet(2, 3)]))
    known = random_ends(net, 1, 1)[0, 0]
    path = net.normalizer.decode(known).expand(2, 3, -1, 2)
    right = told(certain(net, known), batch, path, 0, config)
    assert right["total"] < 1e-8
    assert right["end"] < 1e-4
    wrong = told(certain(net, known + 0.1), batch, path, 0, config)
    assert wrong["end"] == pytest.approx(0.1 * math.sqrt(2 * net.config.modes), rel=1e-3)
    assert wrong["total"] >= 0.99 * wrong["end"] ** 2


@pytest.mark.parametrize("tolerance", [math.inf, 3.0])
def test_least_at_the_mean_of_what_is_possible(fleet, network, tolerance: float):
    # of a network that cannot tell robots apart, the best answer is the mean of their experts, strays counting less
    net, config = network(), replace(EVEN, tolerance=tolerance)
    batch, end = single(fleet(3, 6)), random_ends(net, 1, 6)
    path = net.normalizer.decode(end)
    weight = 1.0 / (1.0 + end.square().sum((-1, -2), keepdim=True) / tolerance**2)
    mean = (weight * end).sum(1)[0] / weight.sum(1)[0]

    def slope(answer: Tensor) -> tuple[float, float]:
        certain(net, answer).zero_grad()
        total = flow_loss(net, batch, path, drawn(), config)["total"]
        total.backward()
        assert net.last.bias.grad is not None
        return float(total.detach()), float(net.last.bias.grad.norm())

    least, flat = slope(mean)
    assert flat < 1e-4 * slope(end[0, 0])[1]
    assert least < slope(mean + 0.1)[0]
    assert least < slope(mean - 0.1)[0]
    if math.isfinite(tolerance):
        assert slope(end[0].mean(0))[1] > 1e-2


def test_plain_regression_is_the_weighted_mean_square_of_the_end(fleet, network):
    net, batch = network(), single(fleet(4, 5))
    end = random_ends(net, 1, 5)
    found = told(certain(net, torch.zeros_like(end[0, 0])), batch, net.normalizer.decode(end), 0, FlowLossConfig(flow=False))
    square = end.square().sum((-1, -2))
    weight = 1.0 / (1.0 + square / 16.0)
    assert found["total"] == pytest.approx(float((weight * square).sum() / weight.sum()), rel=1e-4)
    assert found["end"] == pytest.approx(found["total"] ** 0.5, rel=1e-5)


def test_padding_counts_nothing(fleet, stacked, network):
    net, config = network(), FlowLossConfig(flow=False)
    batch, path = single(fleet(5, 3)), net.normalizer.decode(random_ends(net, 1, 3))
    padded = torch.cat([path, torch.full((1, 4, *path.shape[2:]), 50.0)], 1)
    alone = told(net, batch, path, 0, config)
    assert alone["total"] > 0.1
    assert told(net, stacked([batch], 7), padded, 0, config) == pytest.approx(alone, rel=1e-4)


def test_draws_come_from_the_generator_alone(fleet, network):
    net, batch = network(), single(fleet(6, 4))
    path = net.normalizer.decode(random_ends(net, 1, 4))
    first, again, other = (told(net, batch, path, seed, EVEN)["total"] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_noise_is_in_spreads_of_the_training_data(fleet, network):
    # of a network that looks at nothing else, data twice as wide lose four times as much
    net, batch = network(), single(fleet(10, 4))
    with torch.no_grad():
        for layer in (net.walls, net.pair_moving):
            layer.weight.zero_()
    path = net.normalizer.decode(random_ends(net, 1, 4))
    narrow, quiet = (told(net, batch, path, 0, replace(EVEN, noise=noise))["total"] for noise in (1.0, 0.2))
    net.normalizer.scale *= 2.0
    wide = told(net, batch, 2.0 * path, 0, EVEN)["total"]
    assert wide == pytest.approx(4.0 * narrow, rel=1e-4)
    assert abs(quiet - narrow) > 1e-3


def test_many_draws_are_the_mean_of_single_ones(fleet, network):
    net, batch = network(), single(fleet(7, 4))
    path = net.normalizer.decode(random_ends(net, 1, 4))
    many = told(net, batch, path, 0, replace(EVEN, draws=2000))["total"]
    singles = torch.tensor([told(net, batch, path, seed, EVEN)["total"] for seed in range(1, 151)])
    assert many == pytest.approx(float(singles.mean()), abs=4.0 * float(singles.std()) / math.sqrt(150))


def test_every_weight_learns(fleet, stacked, network):
    net, batch = network().train(), single(stacked([fleet(8, 3), fleet(9, 3)]))
    flow_loss(net, batch, net.normalizer.decode(random_ends(net, 2, 3)), drawn(), FlowLossConfig())["total"].backward()
    idle = [name for name, weight in net.named_parameters() if weight.grad is None or not bool(weight.grad.abs().sum() > 0)]
    assert idle == []
