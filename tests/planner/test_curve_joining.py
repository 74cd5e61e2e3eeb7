"""Cutting and joining curves: closed against scipy's splines, finite differences and the planner's own metrics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from maps.fleet import Fleet
from maps.scenario import MovingObstacle, Scenario
from maps.scene import Scene
from planner.choose import measure
from planner.curve_joining import join, joined, measure_curves, standing, state_at_end, state_at_start, uniform_curve, until
from planner.tracks import Track, moving_obstacles, places
from safety_filter.timed_curve import TimedCurve


def drawn(seed: int, count: int, begin: float, end: float) -> TimedCurve:
    """A random curve that ends at rest."""
    control = np.random.default_rng(seed).uniform(-3.0, 3.0, (count, 2))
    control[-3:] = control[-1]
    return uniform_curve(control, begin, end)


def at(curve: TimedCurve, times, order: int = 0) -> np.ndarray:
    return BSpline(curve.knots, curve.control_points, curve.degree)(times, nu=order)


CURVES = st.builds(drawn, st.integers(0, 99), st.integers(6, 30), st.just(0.0), st.sampled_from([2.0, 7.5]))


@settings(max_examples=40, deadline=None)
@given(CURVES, st.floats(0.001, 1.0))
def test_a_cut_curve_is_the_curve_up_to_there(curve, share) -> None:
    end = share * curve.span[1]
    part = until(curve, end)
    times = np.linspace(0.0, end, 50)
    assert part.span == pytest.approx((0.0, end))
    assert np.abs(at(part, times) - at(curve, times)).max() < 1e-12
    untouched = int(np.sum(curve.knots < end)) - 6  # control points whose knots all lie before the cut
    assert (part.control_points[:untouched] == curve.control_points[:untouched]).all()


@settings(max_examples=40, deadline=None)
@given(CURVES, st.floats(0.05, 1.0), st.integers(0, 99), st.integers(6, 20))
def test_a_joint_has_two_continuous_derivatives_and_changes_neither_side(curve, share, seed, count) -> None:
    left = until(curve, share * curve.span[1])
    meet = left.span[1]
    right = drawn(seed, count, meet, meet + 4.0)
    whole = joined(left, right)
    before = np.linspace(0.0, meet, 40)[:-1]
    assert np.abs(at(whole, before) - at(curve, before)).max() < 1e-9
    for order, state in enumerate(state_at_end(left)):
        scale = 1.0 + np.abs(state).max()
        from_right = at(whole, meet, order)  # scipy's splines are continuous from the right
        from_left = at(whole, np.nextafter(meet, 0.0), order)
        assert np.abs(from_right - state).max() < 1e-9 * scale
        assert np.abs(from_left - from_right).max() < 1e-9 * scale
    behind = joined(left, right).control_points[-(count - 3) :]
    assert (behind == right.control_points[3:]).all()
    assert (np.diff(whole.knots) >= 0.0).all()
    assert np.sum(whole.knots == meet) == 3
    assert whole.jump() is None


def test_the_states_at_both_ends_are_the_derivatives_there() -> None:
    curve = drawn(3, 12, 0.0, 6.0)
    for order in range(3):
        assert np.allclose(state_at_start(curve)[order], at(curve, 0.0, order), atol=1e-9)
        assert np.allclose(state_at_end(until(curve, 2.3))[order], at(curve, 2.3, order), atol=1e-9)


def test_behind_its_end_a_curve_stands() -> None:
    curve = drawn(4, 9, 0.0, 3.0)
    longer = until(curve, 5.0)
    assert longer.span == (0.0, 5.0)
    assert np.abs(at(longer, np.linspace(0, 3, 30)) - at(curve, np.linspace(0, 3, 30))).max() < 1e-12
    assert np.abs(at(longer, np.linspace(3, 5, 30)) - curve.control_points[-1]).max() < 1e-12
    assert until(curve, 3.0) is curve


def test_two_standing_robots_joined_stand() -> None:
    whole = join(standing(np.array([1.0, 2.0]), 0.0, 1.0), standing(np.array([1.0, 2.0]), 1.0, 4.0))
    assert (whole.control_points == [1.0, 2.0]).all()


def scenario_of(count: int) -> Scenario:
    ones, zero = torch.ones(count, dtype=torch.float64), torch.zeros(count, 2, dtype=torch.float64)
    fleet = Fleet(tuple(f"r{k}" for k in range(count)), 0.2 * ones, 1.5 * ones, 2.0 * ones)
    return Scenario(Scene((-9.0, -9.0, 9.0, 9.0)), fleet, zero + 1.0, zero - 2.0, zero, zero, 6.0)


def test_metrics_are_those_of_the_planner_whatever_the_knots() -> None:
    curves = [drawn(seed, 16, 0.0, 6.0) for seed in (5, 6, 7)]
    known = measure(np.stack([curve.control_points for curve in curves]), scenario_of(3), 6.0)
    cut = [join(until(curve, 2.0), _rest(curve, 2.0)) for curve in curves]
    for found in (measure_curves(curves, scenario_of(3)), measure_curves(cut, scenario_of(3))):
        for name in ("path_length", "length_ratio", "mean_sq_acc", "mean_sq_jerk", "cost"):
            assert getattr(found, name) == pytest.approx(getattr(known, name), rel=1e-4), name


def _rest(curve: TimedCurve, begin: float) -> TimedCurve:
    """The curve from `begin` on: the mirror image in time of a cut."""
    end = curve.span[1]
    mirrored = TimedCurve(5, end - curve.knots[::-1], curve.control_points[::-1])
    part = until(mirrored, end - begin)
    return TimedCurve(5, end - part.knots[::-1], part.control_points[::-1])


@settings(max_examples=40, deadline=None)
@given(st.lists(CURVES, min_size=1, max_size=4), st.sampled_from([0.0, 0.4, 3.1, 9.0]), st.sampled_from([0.01, 0.3, 20.0]))
def test_who_keeps_out_of_a_track_keeps_out_of_the_robot(curves, begin, radius) -> None:
    obstacles = moving_obstacles([Track(f"f{k}", radius, curve) for k, curve in enumerate(curves)], begin, radius)
    times = np.linspace(0.0, 9.0, 3000)
    for curve, obstacle in zip(curves, obstacles, strict=True):
        off = np.linalg.norm(obstacle.at(torch.from_numpy(times)).numpy() - places(curve, times + begin), axis=1)
        assert (off <= obstacle.radius - radius + 1e-12).all()
        assert isinstance(obstacle, MovingObstacle)
        assert float(obstacle.time[0]) == 0.0


def test_the_track_of_a_smooth_curve_is_close_with_few_points() -> None:
    control = np.repeat([[0.0, 0.0], [8.0, 1.0]], 3, axis=0)  # a minimum-jerk motion
    (obstacle,) = moving_obstacles([Track("f", 0.3, uniform_curve(control, 0.0, 12.0))], 2.0, 0.3)
    assert 0.3 < obstacle.radius <= 0.3 * 1.0005
    assert len(obstacle.time) < 400
    assert float(obstacle.time[-1]) == 10.0
    assert obstacle.position[-1].tolist() == [8.0, 1.0]
