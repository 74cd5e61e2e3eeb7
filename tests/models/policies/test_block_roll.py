import math

import pytest
import torch

from models.policies.block_roll import block_roll, block_step
from models.policies.flow_steps import Solver, integrate


@pytest.mark.parametrize("size", [1, 2, 5])
def test_log_determinant_is_that_of_the_jacobian(seeded, size):
    """Removed: the width before the Jacobian: every size fails."""
    mix = torch.randn(size, size, generator=seeded(), dtype=torch.float64)
    x = torch.randn(3, size, generator=seeded(1), dtype=torch.float64)
    field = lambda x, t: torch.tanh(x @ mix) * (1.0 + t)  # noqa: E731
    after, change = block_step(field, x, 0.4, 0.3)
    whole = torch.func.vmap(torch.func.jacrev(lambda row: row + 0.3 * field(row, 0.4)))(x)
    assert torch.allclose(change, torch.linalg.det(whole).abs().log(), atol=1e-10)
    assert torch.allclose(after, x + 0.3 * field(x, 0.4))


def test_roll_of_a_gaussian_has_the_density_of_an_euler_roll(gaussian):
    flow, x = gaussian(0.3, 0.5), torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    roll = block_roll([flow.velocity] * 10, x)
    assert torch.allclose(roll.end, integrate(flow.velocity, x, Solver("euler", 10)))
    assert roll.path.shape == (11, 5, 1)
    assert torch.allclose(roll.log_determinant.sum(0), torch.full((5,), 0.5 * math.log(0.186), dtype=torch.float64), atol=2e-3)


def test_density_at_the_end_sums_to_one(seeded):
    x = torch.linspace(-6, 6, 4001, dtype=torch.float64)[:, None]
    field = lambda x, t: torch.sin(2.0 * x) * 0.4 + t  # noqa: E731
    roll = block_roll([field] * 5, x)
    density = (-0.5 * x[:, 0] ** 2 - 0.5 * math.log(2 * math.pi) - roll.log_determinant.sum(0)).exp()
    assert float(torch.trapezoid(density, roll.end[:, 0]).detach()) == pytest.approx(1.0, abs=1e-5)


def test_entropy_gradient_is_that_of_finite_differences():
    x = torch.tensor([[0.3, -0.2], [1.0, 0.5]], dtype=torch.float64)

    def entropy(w):
        return block_roll([lambda x, t: torch.tanh(w * x) + x.flip(-1) * t] * 3, x).log_determinant.sum()

    w = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(entropy(w), w)
    slope = (entropy(w + 1e-5) - entropy(w - 1e-5)).detach() / 2e-5
    assert float(found) == pytest.approx(float(slope), rel=1e-6)


def test_without_gradients_nothing_is_kept():
    w = torch.tensor(0.8, requires_grad=True)
    with torch.no_grad():
        roll = block_roll([lambda x, t: w * x**2] * 2, torch.ones(2, 1))
    assert not roll.end.requires_grad
    assert not roll.log_determinant.requires_grad
    assert torch.allclose(roll.log_determinant[0], torch.full((2,), math.log(1.8)))
