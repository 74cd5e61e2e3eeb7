"""Plans as samples, and the order that robots keep."""

import numpy as np
import pytest
import torch

from maps.curve import DEGREE, curve_basis
from planner.fleet_tracks import INTERVAL, WAIT_EVERY, FleetTracks, free_until, paces, sample_curves
from safety_filter.timed_curve import TimedCurve


def _curve(start: tuple[float, float], goal: tuple[float, float], horizon: float) -> TimedCurve:
    share = np.array([0, 0, 0, 0.2, 0.5, 0.8, 1, 1, 1])[:, None]
    control = np.array(start) + share * (np.array(goal) - np.array(start))
    return TimedCurve(DEGREE, curve_basis(len(control)).knots * horizon, control)


def _tracks(*curves: TimedCurve) -> FleetTracks:
    motion = torch.from_numpy(sample_curves(curves).astype(np.float32))[None]
    return FleetTracks(motion, torch.tensor([curves[0].span[1]], dtype=torch.float32), torch.ones(1, len(curves)))


def test_samples_are_those_of_the_curve() -> None:
    """Between samples a straight line errs by a dt^2 / 8 at most; velocities are derivatives; after the end it stands."""
    curve = _curve((0.0, 1.0), (4.0, -2.0), 6.0)
    tracks, time = _tracks(curve), np.linspace(0.0, 6.0, 77)
    found = tracks.at(torch.from_numpy(time)[None, None].float())
    basis = curve_basis(len(curve.control_points))
    exact = [basis.matrix(time / 6.0, k) @ curve.control_points / 6.0**k for k in range(3)]
    for value, wanted, error in zip((found.position, found.velocity, found.acceleration), exact, (1e-3, 2e-3, 4e-2), strict=True):
        np.testing.assert_allclose(value[0, 0].numpy(), wanted, atol=error)
    after = tracks.at(torch.full((1, 1), 9.0))
    np.testing.assert_allclose(after.position[0, 0].numpy(), [4.0, -2.0], atol=1e-5)
    assert float(after.velocity.abs().max()) == 0.0


def test_curves_with_knots_of_their_own_are_sampled_too() -> None:
    """Knots that are not uniform give the same motion by differences."""
    even = _curve((0.0, 0.0), (3.0, 1.0), 5.0)
    knots = even.knots.copy()
    knots[6:-6] += 0.3
    uneven = TimedCurve(DEGREE, knots, even.control_points)
    motion = sample_curves([uneven])[0]
    np.testing.assert_allclose(np.cumsum(motion[:, 2:4], 0)[-1] * INTERVAL, [3.0, 1.0], atol=0.02)
    np.testing.assert_allclose(motion[-1], [3.0, 1.0, 0, 0, 0, 0], atol=1e-9)


@pytest.mark.parametrize("late", [0, 1])
def test_whoever_comes_second_by_the_plan_waits_for_the_first(late: int) -> None:
    """Two ways cross; the second may not enter the crossing before the first has passed, and the first never waits."""
    first, second = _curve((-3.0, 0.0), (3.0, 0.0), 6.0), _curve((0.0, -4.0), (0.0, 2.0), 8.0)
    tracks, radius = _tracks(first, second), torch.full((1, 2), 0.3)
    waits = tracks.waits(radius, 0.1)[0]
    assert waits[0, 1].max() == -1
    place = tracks.motion[0, :, ::WAIT_EVERY, :2].numpy()
    k = int(np.abs(place[1] - [0.0, 0.0]).sum(1).argmin())
    needed = int(waits[1, 0, k])
    assert np.linalg.norm(place[0, needed] - place[1, k]) < 0.7 <= np.linalg.norm(place[0, needed + 1] - place[1, k])
    along = np.array([[needed - 10.0, k - 1.0], [needed + 1.0, k - 1.0]][late])
    free = free_until(waits, along, along, 20)
    assert (free[1] > k) == bool(late)
    assert free[0] >= along[0] + 10


def test_whoever_is_furthest_behind_never_waits() -> None:
    """So there is no deadlock: in random crowded plans, with clocks anywhere, the one furthest behind may go on."""
    rng = np.random.default_rng(0)
    curves = [_curve(tuple(rng.uniform(-2, 2, 2)), tuple(rng.uniform(-2, 2, 2)), 6.0) for _ in range(8)]
    waits = _tracks(*curves).waits(torch.full((1, 8), 0.3), 0.2)[0]
    assert (waits >= 0).any()
    assert (waits <= np.arange(waits.shape[-1]) - 1).all()
    held = 0
    for _ in range(200):
        along = rng.uniform(0.0, 58.0, 8)
        free = free_until(waits, along, along, 10)
        last = int(along.argmin())
        assert free[last] >= np.floor(along[last]) + 1
        held += int((free < np.floor(along) + 1).any())
    assert held > 20


def test_robots_in_a_row_find_a_common_pace() -> None:
    """Five in a convoy, each two places behind the next, all at rest: fails if each takes the others to go on as slowly as they do."""
    waits = np.full((5, 5, 400), -1, np.int32)
    for i in range(1, 5):
        waits[i, i - 1] = np.arange(400) - 2
        waits[i - 1, i] = np.arange(400) - 2  # and the one before is near where the one behind was, two places earlier
    along, able, stopping = np.full(5, 40.0), np.ones(5), np.full(5, 10.0)
    np.testing.assert_allclose(paces(waits, along, able, stopping, 21), 1.0)
    held = able.copy()
    held[0] = 0.0
    slowed = paces(waits, along, held, stopping, 21)
    assert slowed[0] == 0.0
    assert slowed[1] == pytest.approx(0.2)  # two places ahead, of ten
    assert (np.diff(slowed[1:]) >= 0.0).all()


def test_nobody_goes_at_more_than_it_is_able_to() -> None:
    free = np.full((3, 3, 100), -1, np.int32)
    able = np.array([0.0, 0.4, 1.0])
    np.testing.assert_allclose(paces(free, np.full(3, 10.0), able, np.full(3, 10.0), 21), able)


def test_a_plan_that_is_slow_for_a_robot_is_gone_along_faster() -> None:
    """Within the limits: fails if the pace of all is that of the one with the longest way, or if accelerations grow by the pace alone."""
    tracks = _tracks(_curve((0.0, 0.0), (8.0, 0.0), 12.0), _curve((0.0, 2.0), (1.0, 2.0), 12.0), _curve((0.0, 4.0), (3.0, 4.0), 12.0))
    v_max, a_max = torch.ones(1, 3), torch.tensor([[1.0, 1.0, 0.25]])
    haste = tracks.hastened(v_max, a_max).haste
    speed, effort = (tracks.motion[..., 2 * k : 2 * k + 2].norm(dim=-1).amax(-1) for k in (1, 2))
    assert ((haste * speed <= 0.9 * v_max + 1e-5) | (haste == 1.0)).all()
    assert ((haste**2 * effort <= 0.8 * a_max + 1e-5) | (haste == 1.0)).all()
    assert float(haste[0, 0]) < 1.2
    assert float(haste[0, 1]) == 3.0
    assert 1.0 < float(haste[0, 2]) < 2.0
    assert torch.equal(tracks.haste, torch.ones(1, 3))
