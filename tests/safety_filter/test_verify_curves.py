import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline, make_interp_spline

from maps.curve import curve_basis
from maps.errors import InvalidInput
from maps.fleet import Fleet
from maps.scenario import MovingObstacle, Scenario
from maps.scene import Scene
from maps.world import FAR, obstacle_distances
from safety_filter.verify import TimedCurve, certify, certify_curves


def tensor(values):
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)


def scenario_of(curves, radius=0.1, limit=500.0, **more):
    """A scenario that asks for the ends that the curves have."""
    count = len(curves)
    fleet = Fleet(
        tuple(f"r{k}" for k in range(count)), tensor(np.zeros(count) + radius), tensor(np.full(count, limit)), tensor(np.full(count, limit))
    )
    splines = [BSpline(c.knots, c.control_points, c.degree) for c in curves]
    start = tensor([s(c.span[0]) for s, c in zip(splines, curves, strict=True)])
    goal = tensor([c.control_points[-1] for c in curves])
    velocity = tensor([s(c.span[0], nu=1) for s, c in zip(splines, curves, strict=True)])
    return Scenario(more.pop("scene", Scene()), fleet, start, goal, velocity, torch.zeros_like(start), **more)


def random_curve(rng, degree, start=0.0, end=6.0):
    """A clamped curve with random knots and places, at rest at its end."""
    inner = np.sort(rng.uniform(start, end, 6))
    knots = np.concatenate([np.full(degree + 1, start), inner, np.full(degree + 1, end)])
    control = np.cumsum(rng.normal(0.0, 1.0, (6 + degree + 1, 2)), axis=0)
    control[-2] = control[-1]
    return TimedCurve(degree, knots, control)


def largest_derivative(curve, order):
    """Largest norm of a derivative, from many times in every span between knots, both ends of it from within."""
    spline = BSpline(curve.knots, curve.control_points, curve.degree)
    spans = zip(curve.breaks[:-1], curve.breaks[1:], strict=True)
    times = np.concatenate([np.append(np.linspace(a, b, 3000, endpoint=False), np.nextafter(b, a)) for a, b in spans])
    return np.linalg.norm(spline(times, nu=order), axis=-1).max()


def ramp(samples, horizon=6.0):
    """Samples of a motion with smooth ends: s(t) from 0 to 1."""
    t = np.linspace(0.0, horizon, samples)
    u = t / horizon
    return t, u**3 * (10 - 15 * u + 6 * u * u)


@pytest.mark.parametrize("seed", range(8))
def test_curves_of_other_degrees_and_knots_agree_with_sampling(seed):
    rng = np.random.default_rng(seed)
    curves = [random_curve(rng, degree) for degree in (3, 3, 2, 5, 4)]
    moving = (MovingObstacle("cart", 0.3, tensor([1.0, 2.5, 5.0]), tensor([[0, 0], [3, 2], [-2, 4]])),)
    scene = Scene((-30.0, -30.0, 30.0, 30.0), tensor([[1.0, 1.0, 0.5], [-2.0, 1.0, 0.8]]))
    scenario = scenario_of(curves, 0.05 * np.arange(1, 6), moving=moving, scene=scene)
    times = np.linspace(0.0, 6.0, 20_000)
    splines = [BSpline(c.knots, c.control_points, c.degree) for c in curves]
    place = np.stack([s(times) for s in splines])
    radius = scenario.fleet.radius.numpy()
    robot = min(np.linalg.norm(place[i] - place[j], axis=-1).min() - radius[i] - radius[j] for i in range(5) for j in range(i))
    cart = np.stack([np.interp(times, moving[0].time, moving[0].position[:, c]) for c in range(2)], axis=-1)
    wall = min(obstacle_distances(place[i], scene.world, FAR)[0].min() - radius[i] for i in range(5))
    wall = min(wall, min(np.linalg.norm(place[i] - cart, axis=-1).min() - radius[i] - 0.3 for i in range(5)))
    certificate = certify_curves(curves, scenario)
    assert robot - 1e-2 <= certificate.min_robot_gap <= robot + 1e-9
    assert wall - 1e-2 <= certificate.min_obstacle_gap <= wall + 1e-9
    for derivative, ratio in ((1, certificate.max_speed_ratio), (2, certificate.max_acceleration_ratio)):
        top = max(largest_derivative(c, derivative) for c in curves) / 500.0
        assert top * (1 - 1e-9) <= ratio <= top + 1e-5 + 0.011 * max(top - 1.0, 0.0)
    assert certificate.continuous == all(v.code != "DISCONTINUOUS" for v in certificate.violations)


def test_our_own_curves_are_judged_alike_by_both_doors():
    basis = curve_basis(20)
    rng = np.random.default_rng(4)
    control = np.cumsum(rng.normal(0.0, 0.3, (6, 20, 2)), axis=1) + rng.uniform(0, 5, (6, 1, 2))
    curves = [TimedCurve(5, basis.knots * 7.0 + 3.0, c) for c in control]
    scenario = scenario_of(curves, 0.2, 3.0, scene=Scene((0.0, 0.0, 5.0, 5.0), tensor([[2.0, 2.0, 0.5]])))
    ours, theirs = certify(control, 7.0, scenario), certify_curves(curves, scenario)
    for name in ("min_robot_gap", "min_obstacle_gap", "closest_at", "max_speed_ratio", "max_acceleration_ratio"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-9, abs=1e-9)
    assert ours.closest_pair == theirs.closest_pair
    assert [(v.code, v.robots) for v in ours.violations] == [(v.code, v.robots) for v in theirs.violations]


def test_samples_of_a_smooth_motion_are_certified_and_of_a_jerky_one_not():
    t, s = ramp(121)
    curves = [TimedCurve.from_samples(t, 3 * s, 0 * s), TimedCurve.from_samples(t, 3 * s, 0 * s + 1.0)]
    scenario = scenario_of(curves, 0.4, 1.0, horizon=6.0)
    scenario = dataclasses.replace(scenario, start_velocity=torch.zeros_like(scenario.start))
    certificate = certify_curves(curves, scenario)
    assert certificate.safe
    assert certificate.min_robot_gap == pytest.approx(0.2, abs=1e-5)
    assert certificate.max_speed_ratio == pytest.approx(3 * 1.875 / 6.0, rel=1e-3)
    assert certificate.max_acceleration_ratio == pytest.approx(3 * 5.7735 / 36.0, rel=1e-2)
    bent = TimedCurve.from_samples(t, 3 * s, np.where(t == t[60], 0.01, 0.0))
    refused = certify_curves([bent, curves[1]], scenario)
    assert [(v.code, v.robots) for v in refused.violations] == [("ACCELERATION_LIMIT", ("r0",))]
    assert refused.violations[0].time == pytest.approx(t[60])


def test_samples_that_arrive_at_speed_are_not_at_rest():
    t = np.linspace(0.0, 4.0, 41)
    curve = TimedCurve.from_samples(t, t, 0 * t)
    scenario = dataclasses.replace(scenario_of([curve], 0.1, 2.0), start_velocity=tensor([[0.0, 0.0]]))
    codes = [v.code for v in certify_curves([curve], scenario).violations]
    assert codes == ["START_VELOCITY_MISMATCH", "NOT_AT_REST"]


def test_a_collision_between_two_samples_is_seen():
    t = np.array([0.0, 1.0, 2.0])
    curves = [
        TimedCurve.from_samples(t, t, 0 * t),
        TimedCurve.from_samples(t, 2 - t, 0 * t + np.array([0.0, 0.3, 0.3])),
        TimedCurve.from_samples(t, t, t - 0.5),
    ]
    scenario = scenario_of(curves, 0.05)
    certificate = certify_curves(curves, scenario)
    pairs = {v.robots: v for v in certificate.violations if v.code == "ROBOT_COLLISION"}
    assert set(pairs) == {("r0", "r2")}
    assert pairs["r0", "r2"].time == pytest.approx(0.5, abs=0.02)


def test_jumps_of_position_and_velocity():
    knots = np.array([0.0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])
    smooth = np.array([[0.0, 0], [0, 0], [0.5, 0], [1, 0], [1, 0], [1.5, 0], [2, 0], [2, 0]])
    certified = certify_curves([TimedCurve(3, knots, smooth)], scenario_of([TimedCurve(3, knots, smooth)]))
    assert certified.safe
    assert certified.continuous
    for k, shift, value in ((5, 0.01, 0.03), (4, 1e-5, 1e-5)):
        control = smooth.copy()
        control[k, 0] += shift
        certificate = certify_curves([TimedCurve(3, knots, control)], scenario_of([TimedCurve(3, knots, control)]))
        assert not certificate.safe
        assert not certificate.continuous
        (violation,) = certificate.violations
        assert (violation.code, violation.time) == ("DISCONTINUOUS", 1.0)
        assert violation.value == pytest.approx(value)


def test_spans_must_agree():
    rng = np.random.default_rng(1)
    curves = [random_curve(rng, 3, 2.0, 8.0), random_curve(rng, 3, 2.0, 8.0 + 1e-7)]
    scenario = scenario_of(curves, 1e-3)
    assert not [v for v in certify_curves(curves, scenario).violations if v.code == "HORIZON_MISMATCH"]
    assert not [v for v in certify_curves(curves, dataclasses.replace(scenario, horizon=6.0)).violations if v.code == "HORIZON_MISMATCH"]
    wrong = certify_curves(curves, dataclasses.replace(scenario, horizon=8.0))
    assert [(v.robots, v.value, v.limit) for v in wrong.violations if v.code == "HORIZON_MISMATCH"] == [((), 6.0, 8.0)]
    late = [curves[0], random_curve(rng, 3, 2.0, 8.1)]
    found = certify_curves(late, scenario_of(late, 1e-3)).violations
    assert [v.robots for v in found if v.code == "HORIZON_MISMATCH"] == [("r1",)]


def test_a_curve_that_ends_early_stands_at_its_end():
    t = np.array([0.0, 1.0, 4.0])
    first = TimedCurve.from_samples(t[:2], t[:2], 0 * t[:2])
    second = TimedCurve.from_samples(t, np.array([1.0, 1.0, 1.0]), np.array([2.0, 2.0, 0.1]))
    certificate = certify_curves([first, second], scenario_of([first, second], 0.1))
    assert certificate.min_robot_gap == pytest.approx(-0.1, abs=2e-3)
    assert certificate.closest_at == pytest.approx(4.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_never_certified(bad):
    t, s = ramp(21)
    good = TimedCurve.from_samples(t, s, 0 * s)
    scenario = scenario_of([good], limit=2.0)
    assert certify_curves([good], scenario).safe
    places, times = s.copy(), t.copy()
    places[4], times[-1] = bad, bad
    for curve in (TimedCurve.from_samples(t, places, s), TimedCurve.from_samples(times, s, s)):
        certificate = certify_curves([curve], scenario)
        assert (certificate.safe, certificate.continuous) == (False, False)
        assert [(v.code, v.robots) for v in certificate.violations] == [("NOT_FINITE", ("r0",))]


def test_nearly_coincident_knots_do_not_hide_what_lies_between():
    spline = make_interp_spline(np.linspace(0.0, 5.0, 12), np.random.default_rng(0).normal(size=(12, 2)), k=3)
    knots = spline.t.copy()
    knots[6] = np.nextafter(knots[5], 6.0)
    curve = TimedCurve(3, knots, spline.c)
    certificate = certify_curves([curve], scenario_of([curve], limit=1e6))
    assert not certificate.safe  # the velocity turns within a femtosecond
    assert certificate.max_acceleration_ratio > 1.0


def test_curves_that_are_none_are_refused_on_sight():
    square = np.zeros((4, 2))
    for degree, knots, code in (
        (0, np.arange(5.0), "BAD_CURVE"),
        (3, np.arange(7.0), "BAD_CURVE"),
        (5, np.arange(10.0), "BAD_CURVE"),
        (1, np.array([0.0, 0, 2, 1, 3, 3]), "TIMES_NOT_INCREASING"),
        (3, np.zeros(8), "TIMES_NOT_INCREASING"),
    ):
        with pytest.raises(InvalidInput) as caught:
            TimedCurve(degree, knots, square)
        assert caught.value.code == code
    with pytest.raises(InvalidInput, match="strictly increasing"):
        TimedCurve.from_samples(np.array([0.0, 1.0, 1.0]), np.zeros(3), np.zeros(3))
