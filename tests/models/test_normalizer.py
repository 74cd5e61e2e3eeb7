"""Principal modes: orthogonal, at rest at both ends, and the best of their number."""

import numpy as np
import pytest
import torch
from torch import Tensor

from maps.curve import END_POINTS, curve_basis
from models.normalizer import BASIS, Normalizer
from models.path_frame import KNOTS, SAMPLES, sample_times

SPREAD = torch.tensor([[3.0, 1.0], [0.5, 2.0], [0.2, 0.4], [0.1, 0.05]], dtype=torch.float64)  # radii, forward and left


def planted(paths: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Offsets (P, T, 2) made of four orthogonal shapes, and the shapes (4, T)."""
    rng = np.random.default_rng(seed)
    splines = curve_basis(BASIS).matrix(sample_times())[:, END_POINTS:-END_POINTS]
    shapes = torch.from_numpy(np.sqrt(SAMPLES) * np.linalg.qr(splines @ rng.normal(size=(BASIS - 2 * END_POINTS, 4)))[0].T.copy())
    coefficients = SPREAD * torch.from_numpy(rng.normal(size=(paths, 4, 2)))
    return shapes.T @ coefficients, shapes


def any_offsets(paths: int) -> Tensor:
    return torch.randn(paths, SAMPLES, 2, generator=torch.Generator().manual_seed(4)).cumsum(1)


def test_fit_recovers_what_was_planted():
    offset, shapes = planted(4000)
    normalizer = Normalizer.fit(offset.float(), 4)
    overlap = normalizer.modes.double() @ shapes.T / SAMPLES
    assert torch.allclose(overlap.abs(), torch.eye(4, dtype=torch.float64), atol=0.1)  # in the order of their size
    assert torch.allclose(overlap @ overlap.T, torch.eye(4, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(normalizer.scale.double(), SPREAD, rtol=0.1)
    assert torch.allclose(normalizer.decode(normalizer.encode(offset.float())), offset.float(), atol=1e-4)


@pytest.mark.parametrize("count", [1, 7, BASIS - 2 * END_POINTS])
def test_modes_are_orthogonal_with_mean_square_one(count: int):
    normalizer = Normalizer.fit(any_offsets(300), count)
    assert normalizer.modes.shape == (count, SAMPLES)
    assert normalizer.scale.shape == (count, 2)
    assert torch.allclose(normalizer.modes @ normalizer.modes.T / SAMPLES, torch.eye(count), atol=1e-5)


def test_modes_vanish_with_two_derivatives_at_both_ends():
    modes = Normalizer.fit(any_offsets(300), 10).modes.double().numpy().T
    basis = curve_basis(BASIS)
    control = np.linalg.lstsq(basis.matrix(sample_times()), modes)[0]
    assert basis.matrix(sample_times()) @ control == pytest.approx(modes, abs=1e-5)  # they are such splines
    ends = np.array([0.0, 1.0])
    for derivative, unit in ((0, 1.0), (1, 20.0), (2, 400.0)):
        assert np.abs(basis.matrix(ends, derivative) @ control).max() < 1e-4 * unit
    assert np.abs(basis.matrix(ends, 3) @ control).max() > 100.0  # but not with three


def test_coefficients_survive_decoding_and_encoding():
    normalizer = Normalizer.fit(any_offsets(300), 6)
    coefficients = torch.randn(2, 3, 6, 2, generator=torch.Generator().manual_seed(1))
    offset = normalizer.decode(coefficients)
    assert torch.allclose(normalizer.encode(offset), coefficients, atol=1e-5)
    assert torch.allclose(normalizer.decode_at_knots(coefficients), offset[..., KNOTS, :], atol=1e-6)


def test_no_other_modes_lose_less():
    offset = any_offsets(300)
    splines = np.linalg.qr(curve_basis(BASIS).matrix(sample_times())[:, END_POINTS:-END_POINTS])[0]
    flat = offset.double().transpose(1, 2).reshape(-1, SAMPLES).numpy()
    singular = np.linalg.svd(flat @ splines, compute_uv=False)
    outside = (flat**2).sum() - (singular**2).sum()
    for count in (2, 5, 9):
        normalizer = Normalizer.fit(offset, count)
        lost = (normalizer.decode(normalizer.encode(offset)) - offset).double().square().sum()
        assert float(lost) == pytest.approx(outside + (singular[count:] ** 2).sum(), rel=1e-4)


def test_scale_is_the_spread_of_the_coefficients_and_never_nothing():
    offset = any_offsets(300) * torch.tensor([1.0, 0.0])
    normalizer = Normalizer.fit(offset, 6)
    assert torch.allclose(normalizer.scale[:, 0], normalizer.encode(offset)[..., 0].square().mean(0).sqrt(), rtol=1e-4)
    assert torch.equal(normalizer.scale[:, 1], torch.full((6,), 1e-3))


def test_blank_has_room_for_a_fitted_one():
    fitted, blank = Normalizer.fit(any_offsets(50), 6), Normalizer.blank(6)
    blank.load_state_dict(fitted.state_dict())
    assert torch.equal(blank.modes, fitted.modes)
    assert torch.equal(blank.scale, fitted.scale)
