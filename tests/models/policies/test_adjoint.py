import pytest
import torch

from models.policies.adjoint import adjoint_matching_loss, lean_adjoint, memoryless_path, noise_scale, value_gradient
from models.policies.flow_steps import Solver, integrate


def paths(flow, fast, steps, count, generator):
    start = torch.randn(count, 1, generator=generator, dtype=torch.float64)
    noise = torch.randn(steps - 1, count, 1, generator=generator, dtype=torch.float64)
    return memoryless_path(fast, flow.velocity, start, noise, steps)


def test_lean_adjoint_of_a_gaussian_has_its_closed_form(gaussian, seeded):
    """Removed: the 2 of 2 v; removed: x / t: the adjoint is off by a factor at every time."""
    flow, steps = gaussian(0.4, 0.5), 400
    path = paths(flow, flow.velocity, steps, 3, seeded())
    terminal = torch.tensor([[-1.0], [0.5], [2.0]], dtype=torch.float64)
    found = lean_adjoint(flow.velocity, path, terminal)
    t = torch.arange(steps, dtype=torch.float64)[:, None, None] / steps
    expected = terminal * t * 0.25 / flow.scale(t) ** 2
    assert torch.allclose(found, expected, atol=0.015)
    assert found[0].abs().max() < 0.015


def test_lean_adjoint_is_the_derivative_of_the_recursion(seeded):
    """g_0 is the derivative of the last point of x_{i+1} = x_i + h (2 v(x_i, t_i + h) - x_i / (t_i + h)) by the first one.

    Removed: the Jacobian of the field; removed: x / t: g_0 is off.
    """
    steps, width = 6, 1.0 / 6.0
    mix = torch.randn(3, 3, generator=seeded(), dtype=torch.float64)
    field = lambda x, t: torch.tanh(x @ mix) + t * x  # noqa: E731
    start = torch.randn(2, 3, generator=seeded(1), dtype=torch.float64, requires_grad=True)
    terminal = torch.randn(2, 3, generator=seeded(2), dtype=torch.float64)
    path = [start]
    for i in range(steps):
        t = (i + 1) * width
        path.append(path[-1] + width * (2.0 * field(path[-1], torch.full((2, 1), t, dtype=torch.float64)) - path[-1] / t))
    (expected,) = torch.autograd.grad(path[-1], start, terminal)
    assert torch.allclose(lean_adjoint(field, torch.stack(path).detach(), terminal)[0], expected, atol=1e-10)


@pytest.mark.parametrize(("steps", "mean", "variance"), [(5, 0.563, 0.136), (10, 0.521, 0.186), (20, 0.504, 0.216), (100, 0.494, 0.242)])
def test_linear_value_shifts_a_gaussian_to_its_known_fixed_point(gaussian, seeded, steps, mean, variance):
    """Value 2 a on N(0, .25): the tilted law is N(.5, .25). Removed: sigma in the loss (2 u + g): the shift is far off."""
    flow = gaussian(0.0, 0.5)
    path = paths(flow, flow.velocity, steps, 4, seeded())
    terminal = -value_gradient(lambda a: 2.0 * a[:, 0], path[-1], clip=False)
    correction = torch.zeros(steps, 1, 1, dtype=torch.float64, requires_grad=True)
    adjoint = lean_adjoint(flow.velocity, path, terminal)
    loss = adjoint_matching_loss(lambda x, t: correction.expand(x.shape), path, adjoint)
    (slope,) = torch.autograd.grad(loss, correction, create_graph=True)
    curvature = torch.autograd.grad(slope.sum(), correction)[0]
    best = (-slope / curvature).detach()  # quadratic: one Newton step
    assert adjoint_matching_loss(lambda x, t: best.expand(x.shape), path, adjoint) < 1e-20
    tilted = lambda x, t: flow.velocity(x, t) + best[(t[0, 0] * steps).round().long()]  # noqa: E731
    end = integrate(tilted, torch.tensor([[0.0], [1.0]], dtype=torch.float64), Solver("euler", steps))
    assert float(end[0]) == pytest.approx(mean, rel=0.01)
    assert float((end[1] - end[0]) ** 2) == pytest.approx(variance, abs=1.5e-3)


@pytest.mark.parametrize(("steps", "mean", "variance"), [(10, 0.497, 0.084), (20, 0.486, 0.105), (50, 0.489, 0.116)])
def test_quadratic_value_sharpens_a_gaussian_to_its_known_fixed_point(gaussian, seeded, steps, mean, variance):
    """Value -2 (a - 1)^2 on N(0, .25): the tilted law is N(.5, .125).

    The fields are affine, fitted by least squares to what the loss asks for on paths of the last fit. Removed: the division by
    t + h in the simulated drift: the law at the end is another one, and so is the fit.
    """
    flow, generator = gaussian(0.0, 0.5), seeded()
    slope = offset = torch.zeros(steps, 1, dtype=torch.float64)
    index = lambda t: (t.reshape(-1)[0] * steps).round().long()  # noqa: E731
    for _ in range(30):
        fast = lambda x, t: flow.velocity(x, t) + slope[index(t)] * x + offset[index(t)]  # noqa: B023, E731
        path = paths(flow, fast, steps, 20_000, generator)
        adjoint = lean_adjoint(flow.velocity, path, -value_gradient(lambda a: -2.0 * (a[:, 0] - 1.0) ** 2, path[-1], clip=False))
        wanted = -0.5 * noise_scale(steps, path) ** 2 * adjoint
        design = torch.cat([path[:-1], torch.ones_like(path[:-1])], -1)
        fit = torch.linalg.lstsq(design, wanted).solution
        slope, offset = fit[:, 0], fit[:, 1]
    end = integrate(fast, torch.tensor([[0.0], [1.0]], dtype=torch.float64), Solver("euler", steps))
    assert float(end[0]) == pytest.approx(mean, rel=0.03)
    assert float((end[1] - end[0]) ** 2) == pytest.approx(variance, rel=0.05)


def test_memoryless_path_forgets_its_start_and_ends_on_the_base_flow(gaussian, seeded):
    flow, steps = gaussian(0.2, 0.5), 50
    fast = lambda x, t: flow.velocity(x, t) + 1.0  # noqa: E731
    path = paths(flow, fast, steps, 50_000, seeded())
    assert path.shape == (steps + 1, 50_000, 1)
    step = path[-2] + flow.velocity(path[-2], torch.full((50_000, 1), 1 - 1 / steps, dtype=torch.float64)) / steps
    assert torch.allclose(path[-1], step)
    assert float(torch.corrcoef(torch.stack([path[0, :, 0], path[-1, :, 0]]))[0, 1]) == pytest.approx(0.0, abs=0.02)
    plain = paths(flow, flow.velocity, steps, 50_000, seeded(1))
    assert float(plain[-1].mean()) == pytest.approx(0.2, abs=0.02)
    assert float(plain[-1].std()) == pytest.approx(0.5, abs=0.03)


def test_loss_is_as_written_and_moves_the_fast_field_alone(seeded):
    g = seeded()
    path, adjoint = torch.randn(4, 5, 2, generator=g), torch.randn(3, 5, 2, generator=g)
    fast, base = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    loss = adjoint_matching_loss(lambda x, t: fast(x) + t, path, adjoint, lambda x, t: base(x) - t)
    expected = 0.0
    for i in range(3):
        sigma = (2 * (1 - i / 3 + 1 / 3) / (i / 3 + 1 / 3)) ** 0.5
        change = fast(path[i]) - base(path[i]) + 2 * i / 3
        expected = expected + ((2 / sigma * change + sigma * adjoint[i]) ** 2).sum(-1).mean()
    assert torch.allclose(loss, expected)
    loss.backward()
    assert fast.weight.grad is not None
    assert base.weight.grad is None


def test_value_gradient_stops_at_the_box():
    action = torch.tensor([[0.5], [1.5]])
    assert value_gradient(lambda a: 3.0 * a[:, 0], action).tolist() == [[3.0], [0.0]]
    assert value_gradient(lambda a: 3.0 * a[:, 0], action, clip=False).tolist() == [[3.0], [3.0]]
    with torch.no_grad():
        assert value_gradient(lambda a: a[:, 0] ** 2, action).tolist() == [[1.0], [0.0]]
