import math

import pytest
import torch

from models.policies.flow_steps import Solver, integrate
from models.policies.streaming import StreamingConfig, along_chunk, conditional_velocity, latent_target, stream, streaming_target


@pytest.fixture
def chunk(seeded):
    return torch.randn(4, 6, 2, generator=seeded(), dtype=torch.float64)


def test_chunk_is_straight_between_waypoints():
    waypoint = torch.tensor([[[0.0], [1.0], [-1.0]]]).expand(5, -1, -1)
    position, velocity = along_chunk(waypoint, torch.tensor([[0.0], [0.25], [0.5], [0.75], [1.0]]))
    assert position[:, 0].tolist() == [0.0, 0.5, 1.0, 0.0, -1.0]
    assert velocity[:, 0].tolist() == [2.0, 2.0, -4.0, -4.0, -4.0]
    with pytest.raises(ValueError, match="two waypoints"):
        along_chunk(waypoint[:, :1], torch.zeros(5, 1))


@pytest.mark.parametrize("k", [0.0, 2.5, 5.0])
def test_paths_fall_back_to_the_chunk_exponentially(chunk, k):
    """Removed: the pull, - k (a - xi): distances stay as they are."""
    aside = torch.ones(4, 2, dtype=torch.float64)
    end = integrate(lambda a, t: conditional_velocity(a, chunk, t, k), chunk[:, 0] + aside, Solver("midpoint", 1000))
    assert torch.allclose(end - chunk[:, -1], math.exp(-k) * aside, atol=1e-4)
    euler = integrate(lambda a, t: conditional_velocity(a, chunk, t, 5.0), chunk[:, 0] + aside, Solver("euler", 100))
    assert torch.allclose(euler - chunk[:, -1], torch.full_like(aside, 0.0059), atol=1e-4)


@pytest.mark.parametrize("k", [0.0, 2.5])
def test_targets_are_the_velocities_of_their_points(chunk, seeded, k):
    """Removed: - k aside in the slope; removed: the drift of the latent variant: not the derivative any more."""
    config = StreamingConfig(k=k, sigma0=0.2, sigma1=0.3)
    noise, latent = (torch.randn(4, 2, generator=seeded(s), dtype=torch.float64) for s in (1, 2))
    t = torch.tensor([[0.13], [0.5 + 1e-3], [0.71], [0.97]], dtype=torch.float64)
    for target in (lambda t: streaming_target(chunk, noise, t, config), lambda t: latent_target(chunk, noise, latent, t, config)):
        slope = (target(t + 1e-5)[0] - target(t - 1e-5)[0]) / 2e-5
        assert torch.allclose(target(t)[1], slope, atol=1e-7)


def test_target_is_the_conditional_velocity_at_its_point(chunk, seeded):
    noise, t = torch.randn(4, 2, generator=seeded(1), dtype=torch.float64), torch.full((4, 1), 0.3, dtype=torch.float64)
    point, velocity = streaming_target(chunk, noise, t, StreamingConfig())
    assert torch.allclose(velocity, conditional_velocity(point, chunk, t, 2.5))


def test_tube_has_its_spread(seeded):
    config, waypoint = StreamingConfig(k=2.5, sigma0=0.2, sigma1=0.3), torch.zeros(50_000, 2, 1)
    noise, latent = (torch.randn(50_000, 1, generator=seeded(s)) for s in (1, 2))
    for time in (0.0, 0.5, 1.0):
        t = torch.full((50_000, 1), time)
        assert float(streaming_target(waypoint, noise, t, config)[0].std()) == pytest.approx(0.2 * math.exp(-2.5 * time), rel=0.02)
    end = latent_target(waypoint, noise, latent, torch.ones(50_000, 1), config)[0]
    assert end.std(0).tolist() == pytest.approx([0.3, 0.3], rel=0.02)
    start = latent_target(waypoint, noise, latent, torch.zeros(50_000, 1), config)[0]
    assert start.std(0).tolist() == pytest.approx([0.2, 1.0], rel=0.02)
    with pytest.raises(ValueError, match="sigma1"):
        latent_target(waypoint, noise, latent, torch.ones(50_000, 1), StreamingConfig(k=0.0, sigma0=0.2, sigma1=0.1))


def two_demonstrations(k, sigma0=0.2):
    """The exact marginal field of the chunks +-t / 2, equally likely."""

    def field(a, t):
        chunks = [torch.tensor([[[0.0], [end]]], dtype=a.dtype).expand(len(a), -1, -1) for end in (0.5, -0.5)]
        width = sigma0 * torch.exp(-k * t)
        share = torch.softmax(torch.stack([-0.5 * ((a - along_chunk(chunk, t)[0]) / width) ** 2 for chunk in chunks]), 0)
        return sum(part * conditional_velocity(a, chunk, t, k) for part, chunk in zip(share, chunks, strict=True))

    return field


@pytest.mark.parametrize(("k", "spread"), [(0.0, 0.2), (2.5, 0.2 * math.exp(-2.5))])
def test_two_demonstrations_are_kept_apart(seeded, k, spread):
    """Removed: the pull: with k = 2.5, spread .2 about each, not .016."""
    start = 0.2 * torch.randn(20_000, 1, generator=seeded(), dtype=torch.float64)
    end = stream(two_demonstrations(k), start, 20, 20, Solver("midpoint", 10))[-1]
    assert float((end > 0).double().mean()) == pytest.approx(0.5, abs=0.015)
    assert float((end.abs() - 0.5).std() if k else ((end - 0.5 * end.sign()).square().mean()) ** 0.5) == pytest.approx(spread, rel=0.06)


def test_field_of_two_demonstrations_has_its_known_values():
    field, half = two_demonstrations(2.5), torch.full((1, 1), 0.5, dtype=torch.float64)
    assert float(field(torch.zeros(1, 1, dtype=torch.float64), half)) == pytest.approx(0.0, abs=1e-12)
    assert float(field(torch.full((1, 1), 0.1, dtype=torch.float64), half)) == pytest.approx(0.875, abs=1e-3)


def test_streamed_points_are_those_of_one_integration(chunk):
    field = lambda a, t: conditional_velocity(a, chunk, t, 2.5)  # noqa: E731
    points = stream(field, chunk[:, 0] + 0.3, 5, 5, Solver("euler", 4))
    assert points.shape == (5, 4, 2)
    assert torch.allclose(points[-1], integrate(field, chunk[:, 0] + 0.3, Solver("euler", 20)))
    assert torch.allclose(points[1], integrate(field, chunk[:, 0] + 0.3, Solver("euler", 8), 0.0, 0.4))
