import pytest
import torch

from models.policies.meanflow import meanflow_jump, meanflow_loss


def average(flow):
    """The exact average velocity of a Gaussian flow."""
    return lambda x, t, r: (flow.carried(x, t, r) - x) / (r - t)


@pytest.mark.parametrize("steps", [1, 3])
def test_jump_of_the_exact_average_is_the_flow(gaussian, steps):
    """Removed: the share of the time of each jump (1 in its place, or all jumps to the end): three jumps go too far."""
    flow, x = gaussian(0.3, 0.5), torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    assert torch.allclose(meanflow_jump(average(flow), x, steps), 0.3 + 0.5 * x)


@pytest.mark.parametrize(("place", "t", "r"), [(0.4, 0.2, 0.9), (-0.7, 0.0, 1.0), (1.1, 0.5, 0.6)])
def test_exact_average_is_a_minimum_of_the_loss(gaussian, place, t, r):
    """Two paths cross at one point, so that their mean velocity is the flow's.

    Removed: (r - t) du/dt in the target; removed: du/dt by t alone (a direction of 0 for t): the gradient is not 0.
    """
    flow, field = gaussian(0.3, 0.5), average(gaussian(0.3, 0.5))
    x = torch.full((2, 1), place, dtype=torch.float64)
    velocity = flow.velocity(x, t) + torch.tensor([[0.8], [-0.8]], dtype=torch.float64)
    noise, action = x - t * velocity, x + (1.0 - t) * velocity
    constant = torch.zeros((), dtype=torch.float64, requires_grad=True)
    times = torch.tensor([[t, r], [r, t]], dtype=torch.float64)  # in any order
    meanflow_loss(lambda x, t, r: field(x, t, r) + constant, action, noise, times).backward()
    assert float(constant.grad) == pytest.approx(0.0, abs=1e-9)


def test_no_gradient_flows_through_the_target(seeded):
    """With u = w x, du/dt = w v: the gradient by w is that of a fixed target. Removed: the detach."""
    g = seeded()
    action, noise = torch.randn(8, 1, generator=g), torch.randn(8, 1, generator=g)
    times = torch.rand(8, 2, generator=g)
    w = torch.tensor(0.7, requires_grad=True)
    meanflow_loss(lambda x, t, r: w * x, action, noise, times).backward()
    t, r = times.min(1, keepdim=True).values, times.max(1, keepdim=True).values
    x, velocity = (1 - t) * noise + t * action, action - noise
    expected = (2 * (0.7 * x - velocity - (r - t) * 0.7 * velocity) * x).mean()
    assert float(w.grad) == pytest.approx(float(expected), rel=1e-5)


def test_equal_times_match_the_velocity_and_weights_count(seeded):
    g = seeded()
    action, noise, t = torch.randn(8, 2, generator=g), torch.randn(8, 2, generator=g), torch.rand(8, 1, generator=g)
    weight = torch.rand(8, generator=g)
    field = lambda x, t, r: torch.sin(3 * x) * t + r  # noqa: E731
    loss = meanflow_loss(field, action, noise, torch.cat([t, t], -1), weight)
    x = (1 - t) * noise + t * action
    assert torch.allclose(loss, (weight * ((torch.sin(3 * x) * t + t - action + noise) ** 2).mean(-1)).mean())
