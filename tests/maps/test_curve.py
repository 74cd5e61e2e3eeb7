import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.interpolate import BSpline

from maps.curve import curve_basis, end_control_points, fit_control_points
from maps.trajectory import TrajectoryBatch

COUNTS = [6, 7, 12, 24]


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random_ends(rng: np.random.Generator, batch: tuple[int, ...]) -> list[torch.Tensor]:
    """Position, velocity, acceleration, goal and horizon."""
    return [*(tensor(rng.normal(size=(*batch, 2))) for _ in range(4)), tensor(rng.uniform(2.0, 9.0, batch))]


@pytest.mark.parametrize("count", [0, 5])
def test_too_few_control_points_are_refused(count):
    with pytest.raises(ValueError, match="at least 6"):
        curve_basis(count)


@pytest.mark.parametrize("count", COUNTS)
def test_the_basis_is_scipys_clamped_spline(count):
    basis, u = curve_basis(count), np.linspace(0, 1, 101)
    control = np.random.default_rng(0).normal(size=count)
    np.testing.assert_allclose(basis.matrix(u) @ control, BSpline(basis.knots, control, 5)(u), atol=1e-12)
    np.testing.assert_allclose(basis.matrix(u).sum(1), 1.0, atol=1e-12)
    assert (basis.matrix(u) >= -1e-12).all()
    assert basis.knots[[0, 5, -6, -1]].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("derivative", [1, 2, 3])
def test_derivatives_are_those_of_finite_differences(count, derivative):
    basis, step = curve_basis(count), 1e-5
    u = np.random.default_rng(1).uniform(0.01, 0.99, 50)
    lower = (basis.matrix(u + step, derivative - 1) - basis.matrix(u - step, derivative - 1)) / (2 * step)
    found = basis.matrix(u, derivative)
    assert np.abs(lower - found).max() <= 1e-5 * np.abs(found).max()


@pytest.mark.parametrize("count", COUNTS)
def test_bezier_pieces_are_the_curve(count):
    basis = curve_basis(count)
    control = np.random.default_rng(2).normal(size=count)
    pieces = basis.bezier @ control
    assert pieces.shape == (basis.pieces, 6)
    s = np.linspace(0, 1, 13)
    bernstein = np.stack([math.comb(5, k) * s**k * (1 - s) ** (5 - k) for k in range(6)], 1)
    for k, piece in enumerate(pieces):
        np.testing.assert_allclose(bernstein @ piece, basis.matrix((k + s) / basis.pieces) @ control, atol=1e-10)
    np.testing.assert_allclose(pieces[1:, 0], pieces[:-1, -1], atol=1e-10)


@pytest.mark.parametrize("count", [6, 12])
@pytest.mark.parametrize("derivative", [0, 1, 2, 3])
def test_gram_matrices_are_integrals(count, derivative):
    basis = curve_basis(count)
    rows = [(0, 0), (2, 4), (count - 1, count - 2), (count // 2, count // 2)]
    breaks = np.linspace(0, 1, basis.pieces + 1)

    def product(u: float, i: int, j: int) -> float:
        return float(np.prod(basis.matrix(np.array([u]), derivative)[0, [i, j]]))

    for i, j in rows:
        expected = sum(quad(product, a, b, args=(i, j))[0] for a, b in pairwise(breaks))
        assert basis.gram[derivative][i, j] == pytest.approx(expected, rel=1e-8, abs=1e-9)
    np.testing.assert_allclose(basis.gram, basis.gram.transpose(0, 2, 1), atol=1e-9 * np.abs(basis.gram).max())


@pytest.mark.parametrize("count", COUNTS)
def test_end_conditions_hold(count):
    position, velocity, acceleration, goal, horizon = random_ends(np.random.default_rng(3), (4, 3))
    control = end_control_points(curve_basis(count), position, velocity, acceleration, goal, horizon)
    for s in range(4):
        for n in range(3):
            curve = TrajectoryBatch(control[s, n : n + 1], horizon[s, n])
            ends = [curve.sample(np.array([0.0, 1.0]), k)[0] for k in range(3)]
            expected = [(position, goal), (velocity, 0 * goal), (acceleration, 0 * goal)]
            for found, (begin, end) in zip(ends, expected, strict=True):
                np.testing.assert_allclose(found.numpy(), torch.stack([begin[s, n], end[s, n]]).numpy(), atol=1e-8)


def test_rest_to_rest_is_the_known_minimum_jerk_motion():
    zero, goal = tensor([[0.0, 0.0]]), tensor([[3.0, -1.0]])
    control = end_control_points(curve_basis(24), zero, zero, zero, goal, tensor([5.0]))
    u = np.linspace(0, 1, 50)
    expected = (10 * u**3 - 15 * u**4 + 6 * u**5)[:, None] * goal.numpy()
    np.testing.assert_allclose(TrajectoryBatch(control, tensor(5.0)).position(u)[0].numpy(), expected, atol=1e-10)


def test_no_other_curve_with_these_ends_has_less_jerk():
    basis, rng = curve_basis(16), np.random.default_rng(4)
    control = end_control_points(basis, *random_ends(rng, (1,)))[0].numpy()
    jerk = np.einsum("nd,nm,md->", control, basis.gram[3], control)
    for _ in range(20):
        other = control.copy()
        other[3:-3] += 0.1 * rng.normal(size=(10, 2))
        assert np.einsum("nd,nm,md->", other, basis.gram[3], other) > jerk


def test_fitting_gives_back_a_curve_and_keeps_its_ends():
    basis, rng = curve_basis(20), np.random.default_rng(5)
    ends = end_control_points(basis, *random_ends(rng, (3,)))
    curve = ends.clone()
    curve[:, 3:-3] += tensor(rng.normal(size=(3, 14, 2)))
    position = torch.as_tensor(basis.matrix(np.linspace(0, 1, 120))) @ curve
    fitted = fit_control_points(position, ends)
    assert torch.equal(fitted[:, :3], ends[:, :3])
    assert torch.equal(fitted[:, -3:], ends[:, -3:])
    again = torch.as_tensor(basis.matrix(np.linspace(0, 1, 120))) @ fitted
    assert (again - position).abs().max() < 1e-2
    straight = torch.as_tensor(basis.matrix(np.linspace(0, 1, 120))) @ ends
    np.testing.assert_allclose(fit_control_points(straight, ends).numpy(), ends.numpy(), atol=1e-4)
