"""Curves of a fleet at the instants that are asked for."""

import numpy as np
import torch
from scipy.interpolate import BSpline

from planner.curve_tracks import CurveTracks
from safety_filter.timed_curve import TimedCurve


def _curve(degree: int, inner: list[float], seed: int) -> TimedCurve:
    knots = np.array([0.0] * (degree + 1) + inner + [4.0] * (degree + 1))
    return TimedCurve(degree, knots, np.random.default_rng(seed).normal(size=(len(knots) - degree - 1, 2)))


def test_curves_of_all_degrees_are_as_scipy_has_them() -> None:
    """Position, velocity and acceleration of fleets in which no two curves are alike."""
    curves = [_curve(1, [1.0, 2.5], 0), _curve(2, [], 1), _curve(3, [0.5, 2.0, 2.0], 2), _curve(5, [0.3, 1.0, 3.0, 3.5], 3)]
    time = np.linspace(0.01, 3.99, 57)
    found = CurveTracks.of_curves(curves).at(torch.from_numpy(time).expand(1, len(curves), -1))
    for k, curve in enumerate(curves):
        spline = BSpline(curve.knots, curve.control_points, curve.degree)
        for order, part in enumerate((found.position, found.velocity, found.acceleration)):
            expected = spline(time, nu=order) if order <= curve.degree else np.zeros((len(time), 2))
            assert np.abs(part[0, k].numpy() - expected).max() < 1e-5 * max(1.0, np.abs(expected).max())


def test_robots_stand_before_their_curve_and_after_it() -> None:
    curve = _curve(5, [1.0], 4)
    found = CurveTracks.of_curves([curve]).at(torch.tensor([[[-1.0, 4.0, 9.0]]]))
    ends = curve.control_points[[0, -1, -1]]
    assert np.abs(found.position[0, 0].numpy() - ends).max() < 1e-5
    assert float(found.velocity.abs().max()) == 0.0
    assert float(found.acceleration.abs().max()) == 0.0


def test_ends_may_be_met_more_often_than_they_need_to_be() -> None:
    """Knots repeated once too often at the end, which other tools write: fails if the last, empty piece is asked."""
    knots = np.array([0.0, 0.0, 0.0, 0.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0])
    curve = TimedCurve(3, knots, np.arange(12.0).reshape(6, 2))
    found = CurveTracks.of_curves([curve]).at(torch.tensor([[[1.0, 3.9, 4.0, 5.0]]]))
    assert bool(torch.isfinite(found.position).all())
    assert np.abs(found.position[0, 0, 0].numpy() - BSpline(knots, curve.control_points, 3)(1.0)).max() < 1e-9
