import math

import pytest
import torch

from models.policies.flow_steps import Solver, flow_matching_loss, integrate, interpolate


def law(flow, solver):
    """Mean and variance, as the solver carries a Gaussian by an affine map."""
    x = integrate(flow.velocity, torch.tensor([[0.0], [1.0]], dtype=torch.float64), solver)
    return float(x[0]), float((x[1] - x[0]) ** 2)


@pytest.mark.parametrize(("steps", "expected"), [(5, 0.136), (10, 0.186), (20, 0.216), (50, 0.236), (100, 0.243)])
def test_euler_narrows_a_gaussian_as_known(gaussian, steps, expected):
    """Its mean stays. Removed: the growing time (t = 0 at every step): variance 0 at once."""
    assert law(gaussian(0.3, 0.5), Solver("euler", steps)) == (pytest.approx(0.3), pytest.approx(expected, abs=6e-4))


@pytest.mark.parametrize(
    ("method", "steps", "expected"),
    [
        ("midpoint", 2, (0.244, 0.087, 0.002)),
        ("midpoint", 3, (0.247, 0.097, 0.004)),
        ("midpoint", 5, (0.249, 0.099, 0.008)),
        ("heun", 5, (0.254, 0.105, 0.018)),
        ("euler", 10, (0.186, 0.069, 0.004)),
    ],
)
def test_solvers_have_their_known_variances(gaussian, method, steps, expected):
    """Removed: the midpoint's half step (velocity at the start of the step): an Euler step, and all midpoint rows fail."""
    found = [law(gaussian(-0.4, spread**0.5), Solver(method, steps)) for spread in (0.25, 0.1, 0.01)]
    assert found == [(pytest.approx(-0.4), pytest.approx(variance, abs=6e-4)) for variance in expected]


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_errors_shrink_by_the_order_of_the_method(method, order):
    """On dx/dt = x^2 cos t, whose solution is 1 / (1 / x_0 - sin t).

    Removed: the half step, of place or of time; removed: Heun's first one: order 1.
    """
    x = torch.linspace(-0.9, 0.9, 8, dtype=torch.float64)[:, None]
    exact = 1.0 / (1.0 / x - math.sin(0.7))
    error = [float((integrate(lambda x, t: x**2 * t.cos(), x, Solver(method, n), 0.0, 0.7) - exact).abs().max()) for n in (200, 400)]
    assert error[0] / error[1] == pytest.approx(2**order, rel=0.05)


def test_flow_runs_between_any_two_times_and_back(gaussian):
    flow, x = gaussian(0.3, 0.5), torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    there = integrate(flow.velocity, x, Solver("midpoint", 200), 0.2, 0.7)
    assert torch.allclose(there, flow.carried(x, 0.2, 0.7), atol=1e-5)
    assert torch.allclose(integrate(flow.velocity, there, Solver("midpoint", 200), 0.7, 0.2), x, atol=1e-5)


def test_no_steps_are_refused(gaussian):
    with pytest.raises(ValueError, match="at least 1 step"):
        integrate(gaussian(0, 1).velocity, torch.zeros(1, 1), Solver("euler", 0))


@pytest.mark.parametrize(("place", "time"), [(0.3, 0.4), (-0.8, 0.7), (0.05, 0.5)])
def test_minimiser_on_three_points_is_the_posterior_mean(place, time):
    """Removed: the weight (None in its place): the minimiser is the plain mean."""
    action = torch.tensor([[-1.0], [0.2], [0.9]], dtype=torch.float64)
    t = torch.full((3, 1), time, dtype=torch.float64)
    noise = (place - t * action) / (1.0 - t)  # all three paths cross here
    assert torch.allclose(interpolate(noise, action, t), torch.full_like(t, place))
    posterior = torch.softmax(-0.5 * ((place - time * action[:, 0]) / (1.0 - time)) ** 2, 0)
    expected = (posterior @ action[:, 0] - place) / (1.0 - time)
    constant = expected.clone().requires_grad_()
    density = torch.exp(-0.5 * noise[:, 0] ** 2)
    flow_matching_loss(lambda x, t: constant + 0.0 * x, action, noise, t, density).backward()
    assert float(constant.grad) == pytest.approx(0.0, abs=1e-9)
    assert float(posterior.max()) < 0.999  # all of them count


def test_loss_is_a_mean_over_numbers_and_scales_with_weights(seeded):
    g = seeded()
    action, noise, t = torch.randn(8, 3, generator=g), torch.randn(8, 3, generator=g), torch.rand(8, 1, generator=g)
    field = lambda x, t: torch.sin(x) * t  # noqa: E731
    plain = flow_matching_loss(field, action, noise, t)
    expected = ((torch.sin((1 - t) * noise + t * action) * t - action + noise) ** 2).mean()
    assert torch.allclose(plain, expected)
    assert torch.allclose(flow_matching_loss(field, action, noise, t, torch.full((8,), 3.0)), 3.0 * plain)
