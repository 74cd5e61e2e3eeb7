import dataclasses
import math
import time

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from scipy.optimize import minimize_scalar

from maps.curve import curve_basis, end_control_points
from maps.errors import InvalidInput
from maps.fleet import Fleet
from maps.scenario import MovingObstacle, Scenario
from maps.scene import Grid, Polygon, Scene
from maps.world import FAR, obstacle_distances
from safety_filter.verify import certify

HORIZON = 8.0
COUNT = 16
L_SHAPE = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 1.0], [1.0, 1.0], [1.0, 3.0], [0.0, 3.0]])


def tensor(values):
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)


def quintics(start, goal, seed, wobble=0.3, start_velocity=None):
    """Control points (N, n, 2) of minimum-jerk motions with random interior control points."""
    start, goal = tensor(start), tensor(goal)
    zero = torch.zeros_like(start)
    velocity = zero if start_velocity is None else tensor(start_velocity)
    control = end_control_points(
        curve_basis(COUNT), start, velocity, zero, goal, torch.full((len(start),), HORIZON, dtype=torch.float64)
    ).numpy()
    control[:, 3:-3] += np.random.default_rng(seed).normal(0.0, wobble, control[:, 3:-3].shape)
    return np.ascontiguousarray(control)


def scenario_of(control, radius=0.2, scene=None, limit=50.0, **more):
    count = len(control)
    fleet = Fleet(
        tuple(f"r{k}" for k in range(count)), tensor(np.zeros(count) + radius), tensor(np.full(count, limit)), tensor(np.full(count, limit))
    )
    ends = tensor(control[:, 0]), tensor(control[:, -1])
    more = {"start_velocity": torch.zeros(count, 2, dtype=torch.float64), **more}
    return Scenario(scene or Scene(), fleet, *ends, start_acceleration=torch.zeros(count, 2, dtype=torch.float64), **more)


def sampled(control, samples, derivative=0):
    """(N, T, 2) values by scipy, and the times."""
    times = np.linspace(0.0, HORIZON, samples)
    knots = curve_basis(control.shape[1]).knots * HORIZON
    return np.stack([BSpline(knots, c, 5)(times, nu=derivative) for c in control]), times


def sampled_figures(control, scenario, samples):
    """Smallest robot gap, obstacle gap and largest ratios at many times, by means that share nothing with the certificate."""
    place, times = sampled(control, samples)
    radius, world = scenario.fleet.radius.numpy(), scenario.scene.world
    robot = min(
        (np.linalg.norm(place[i] - place[j], axis=-1).min() - radius[i] - radius[j] for i in range(len(place)) for j in range(i)),
        default=math.inf,
    )
    wall = math.inf
    for i in range(len(place)):
        wall = min(wall, obstacle_distances(place[i], world, FAR)[0].min() - radius[i])
        wall = min(wall, (place[i] - world.bounds[:2]).min() - radius[i], (world.bounds[2:] - place[i]).min() - radius[i])
        for m in scenario.moving:
            at = np.stack([np.interp(times, m.time, m.position[:, c]) for c in range(2)], axis=-1)
            wall = min(wall, np.linalg.norm(place[i] - at, axis=-1).min() - radius[i] - m.radius)
    speed, bend = (np.linalg.norm(sampled(control, samples, k)[0], axis=-1).max(1) for k in (1, 2))
    return robot, wall, (speed / scenario.fleet.v_max.numpy()).max(), (bend / scenario.fleet.a_max.numpy()).max()


def random_control(seed, robots=5, size=6.0, wobble=0.3):
    rng = np.random.default_rng(seed)
    return quintics(rng.uniform(0, size, (robots, 2)), rng.uniform(0, size, (robots, 2)), seed, wobble)


def grid_scene(seed):
    cells = np.random.default_rng(seed).random((20, 25)) < 0.06
    cells[8:12, 10:14] = True
    return Scene(grid=Grid(cells, 0.25, (-0.3, 0.2)))


SCENES = {
    "discs": lambda seed: Scene((-2.0, -2.0, 8.0, 8.0), tensor([[1.0, 1.0, 0.4], [4.0, 3.0, 0.7]])),
    "polygons": lambda seed: Scene(
        None, polygons=(Polygon(L_SHAPE + 1.0), Polygon(L_SHAPE * 2 - 4.0, (np.array([[-3.8, -3.8], [-3.8, -3.0], [-3.0, -3.8]]),)))
    ),
    "grid": grid_scene,
}


@pytest.mark.parametrize("kind", SCENES)
@pytest.mark.parametrize("seed", range(6))
def test_figures_agree_with_dense_sampling(kind, seed):
    control = random_control(seed)
    moving = (MovingObstacle("cart", 0.3, tensor([1.0, 2.2, 5.1]), tensor([[0, 0], [3, 5], [5, 1]])),) if seed % 2 else ()
    scenario = scenario_of(control, 0.1 + 0.02 * np.arange(5), SCENES[kind](seed), moving=moving)
    robot, wall, speed, bend = sampled_figures(control, scenario, 20_000)
    certificate = certify(control, HORIZON, scenario)
    slack = 1e-4 + 0.011 * abs(wall)  # samples miss the instant; deep inside obstacles the bound is within 1 %
    assert robot - 1e-4 - 0.011 * abs(robot) <= certificate.min_robot_gap <= robot + 1e-9
    assert wall - slack <= certificate.min_obstacle_gap <= wall + 1e-9
    assert speed - 1e-9 <= certificate.max_speed_ratio <= speed + 1e-4 * max(speed, 1.0)
    assert bend - 1e-9 <= certificate.max_acceleration_ratio <= bend + 1e-4 * max(bend, 1.0)


def test_never_certifies_what_samples_fault():
    certified = refused = 0
    for seed in range(300):
        control = random_control(seed, robots=3, wobble=0.1)
        moving = (MovingObstacle("cart", 0.2, tensor([1.0, 4.0]), tensor([[0, 6], [6, 0]])),) if seed % 3 == 0 else ()
        scene = list(SCENES.values())[seed % 3](seed) if seed % 2 else Scene((-1.0, -1.0, 7.0, 7.0))
        scenario = dataclasses.replace(scenario_of(control, 0.05, scene, limit=3.0, moving=moving), margin=0.01 * (seed % 2))
        robot, wall, speed, bend = sampled_figures(control, scenario, 1500)
        holds = min(robot, wall) >= scenario.margin - 1e-6 and max(speed, bend) <= 1 + 1e-6
        safe = certify(control, HORIZON, scenario).safe
        assert holds or not safe, seed
        assert safe or not (holds and min(robot, wall) > scenario.margin + 1e-3 and max(speed, bend) < 0.999), seed
        certified, refused = certified + safe, refused + (not safe)
    assert certified > 50
    assert refused > 50


def crossing(phase):
    """Two robots that cross at right angles, the second one `phase` metres behind."""
    return quintics([[0.0, 3.0], [3.0, -phase]], [[6.0, 3.0], [3.0, 6.0 - phase]], 0, wobble=0.0)


def closest_approach(control):
    """The smallest centre distance of two curves and its instant, by minimisation from the best sample."""
    place, times = sampled(control, 20_001)
    k = int(np.linalg.norm(place[0] - place[1], axis=-1).argmin())
    knots = curve_basis(COUNT).knots * HORIZON
    apart = BSpline(knots, control[0] - control[1], 5)
    found = minimize_scalar(
        lambda t: float(apart(t) @ apart(t)), bounds=(times[max(k - 1, 0)], times[k + 1]), method="bounded", options={"xatol": 1e-12}
    )
    return math.sqrt(found.fun), found.x


@pytest.mark.parametrize("phase", [0.21, 0.37, 0.5])
@pytest.mark.parametrize(("gap", "safe"), [(-1e-3, False), (-2e-6, False), (-5e-7, True), (0.0, True), (1e-3, True)])
def test_touching_between_samples_is_told_from_passing(phase, gap, safe):
    control = crossing(phase)
    distance, instant = closest_approach(control)
    scenario = scenario_of(control, (distance - gap) / 2)
    certificate = certify(control, HORIZON, scenario)
    assert certificate.safe is safe
    assert certificate.min_robot_gap == pytest.approx(gap, abs=1e-6 + 0.011 * abs(gap))
    assert certificate.closest_pair == ("r0", "r1")
    assert certificate.closest_at == pytest.approx(instant, abs=0.02)
    assert [v.code for v in certificate.violations] == ([] if safe else ["ROBOT_COLLISION"])


def test_a_touch_that_a_hundred_samples_miss_is_refused():
    control = crossing(0.1)
    distance, _ = closest_approach(control)
    scenario = scenario_of(control, (distance + 1e-4) / 2)
    place, _ = sampled(control, 100)
    assert np.linalg.norm(place[0] - place[1], axis=-1).min() > distance + 1e-4  # the samples see room
    assert not certify(control, HORIZON, scenario).safe


@pytest.mark.parametrize("kind", ["disc", "edge", "cell", "cart", "bounds"])
@pytest.mark.parametrize(("gap", "safe"), [(-3e-6, False), (-5e-7, True), (0.0, True)])
def test_touching_obstacles(kind, gap, safe):
    control = quintics([[0.0, 0.0]], [[4.0, 0.0]], 0, wobble=0.0)
    control[0, 3:-3, 1] += 0.3 * np.sin(np.linspace(0, np.pi, COUNT - 6))  # an arch, highest in the middle
    top = sampled(control, 20_001)[0][0, :, 1].max()
    ceiling = float(top) + 0.2 + gap
    scenes = {
        "disc": Scene(discs=tensor([[2.0, ceiling + 0.5, 0.5]])),
        "edge": Scene(polygons=(Polygon(np.array([[0.0, ceiling], [4.0, ceiling], [4.0, 5.0], [2.0, 3.0], [0.0, 5.0]])),)),
        "cell": Scene((-2.0, -2.0, 6.0, 6.0), grid=Grid(np.ones((2, 9), dtype=bool), 0.5, (0.0, ceiling))),
        "cart": Scene(),
        "bounds": Scene((-2.0, -2.0, 6.0, ceiling)),
    }
    kinks = tensor([0.0, HORIZON / 2 - 0.05, HORIZON / 2 + 0.05, HORIZON])  # it stands there only as long as it takes
    path = tensor([[2.0, 5.0], [2.0, ceiling + 0.3], [2.0, ceiling + 0.3], [2.0, 5.0]])
    moving = (MovingObstacle("cart", 0.3, kinks, path),) if kind == "cart" else ()
    certificate = certify(control, HORIZON, scenario_of(control, 0.2, scenes[kind], moving=moving))
    assert certificate.min_obstacle_gap == pytest.approx(gap, abs=1e-6)
    assert certificate.safe is safe
    code = {"cart": "MOVING_OBSTACLE_COLLISION", "bounds": "OUT_OF_BOUNDS"}.get(kind, "OBSTACLE_COLLISION")
    assert [v.code for v in certificate.violations] == ([] if safe else [code])


def test_a_corridor_of_no_width_to_spare_is_decided_quickly():
    control = quintics([[0.0, 0.0]], [[12.0, 0.0]], 0, wobble=0.0)
    walls = tuple(Polygon(np.array([[-1.0, s * 0.2], [13.0, s * 0.2], [13.0, s * 0.5], [-1.0, s * 0.5]])) for s in (-1, 1))
    cells = np.ones((7, 40), dtype=bool)
    cells[3] = False
    upright = Grid(np.ascontiguousarray(cells.T), 0.4, (-1.4, -2.0))
    for scene, curves in (
        (Scene(polygons=walls), control),
        (Scene(grid=Grid(cells, 0.4, (-2.0, -1.4))), control),
        (Scene(grid=upright), control[..., ::-1]),
    ):
        scenario = scenario_of(curves.copy(), 0.2, scene)
        began = time.perf_counter()
        certificate = certify(curves, HORIZON, scenario)
        assert time.perf_counter() - began < 0.2
        assert certificate.safe
        assert certificate.min_obstacle_gap == pytest.approx(0.0, abs=1e-6)


def test_moving_obstacle_stands_before_and_after_its_path():
    control = quintics([[0.0, 0.0]], [[4.0, 0.0]], 0, wobble=0.0)
    for place, times in (([[0.0, 0.5], [9.0, 9.0]], [3.0, 3.1]), ([[9.0, 9.0], [4.0, 0.5]], [4.0, 4.1])):
        moving = (MovingObstacle("cart", 0.1, tensor(times), tensor(place)),)
        certificate = certify(control, HORIZON, scenario_of(control, 0.2, moving=moving))
        assert certificate.min_obstacle_gap == pytest.approx(0.2, abs=1e-5)


@pytest.mark.parametrize("derivative", [1, 2])
@pytest.mark.parametrize(("excess", "safe"), [(2e-6, False), (5e-7, True), (-1e-3, True)])
def test_limits_between_samples(derivative, excess, safe):
    control = random_control(3, robots=2)
    exact = np.linalg.norm(sampled(control, 400_001, derivative)[0], axis=-1).max(1)
    limits = [np.full(2, 50.0), np.full(2, 50.0)]
    limits[derivative - 1][1] = exact[1] / (1 + excess)
    scenario = scenario_of(control, 0.001)
    scenario = dataclasses.replace(scenario, fleet=dataclasses.replace(scenario.fleet, v_max=tensor(limits[0]), a_max=tensor(limits[1])))
    certificate = certify(control, HORIZON, scenario)
    ratio = certificate.max_speed_ratio if derivative == 1 else certificate.max_acceleration_ratio
    assert ratio == pytest.approx(1 + excess, abs=2e-6)
    assert ratio >= 1 + excess - 1e-9
    assert certificate.safe is safe
    code = ["SPEED_LIMIT", "ACCELERATION_LIMIT"][derivative - 1]
    assert [(v.code, v.robots) for v in certificate.violations] == ([] if safe else [(code, ("r1",))])


@pytest.mark.parametrize(
    ("name", "off", "code"),
    [
        ("start", 2e-4, "START_MISMATCH"),
        ("goal", 2e-4, "GOAL_MISMATCH"),
        ("start_velocity", 2e-3, "START_VELOCITY_MISMATCH"),
        ("horizon", 1e-3, "HORIZON_MISMATCH"),
    ],
)
def test_ends_and_horizon(name, off, code):
    control = crossing(1.5)
    scenario = dataclasses.replace(scenario_of(control, 0.1), horizon=HORIZON)
    assert certify(control, HORIZON, scenario).safe
    value = getattr(scenario, name)
    moved = value + off if name == "horizon" else value + tensor([[off, 0.0], [0.0, 0.0]])
    certificate = certify(control, HORIZON, dataclasses.replace(scenario, **{name: moved}))
    assert not certificate.safe
    (violation,) = certificate.violations
    assert violation.code == code
    assert violation.robots == (() if name == "horizon" else ("r0",))
    nearly = value + off / 1e6 if name == "horizon" else value + tensor([[off / 4, 0.0], [0.0, 0.0]])
    assert certify(control, HORIZON, dataclasses.replace(scenario, **{name: nearly})).safe


def test_goal_must_be_reached_at_rest_and_start_velocity_is_met():
    moving_start = np.array([[0.4, -0.2], [0.0, 0.3]])
    control = quintics([[0.0, 0.0], [5.0, 5.0]], [[3.0, 0.0], [5.0, 8.0]], 0, 0.0, moving_start)
    scenario = scenario_of(control, start_velocity=tensor(moving_start))
    assert certify(control, HORIZON, scenario).safe
    control[1, -2, 0] += 2e-3 * HORIZON / 5 / (COUNT - 5)
    assert [v.code for v in certify(control, HORIZON, scenario).violations] == ["NOT_AT_REST"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_what_is_not_finite_is_never_certified(bad):
    control = crossing(1.5)
    cart = MovingObstacle("cart", 0.1, tensor([0.0, 1.0]), tensor([[50.0, 50.0], [60.0, 60.0]]))
    scenario = dataclasses.replace(scenario_of(control, 0.1, SCENES["discs"](0)), moving=(cart,), margin=0.0)
    scenario = dataclasses.replace(scenario, scene=Scene(polygons=(Polygon(L_SHAPE + 20.0),)))
    assert certify(control, HORIZON, scenario).safe
    spoilt = control.copy()
    spoilt[1, 5, 0] = bad
    cases = [(spoilt, HORIZON, scenario), (control, bad, scenario), (control, HORIZON, dataclasses.replace(scenario, margin=bad))]
    for name in ("start", "goal", "start_velocity"):
        value = getattr(scenario, name).clone()
        value[0, 1] = bad
        cases.append((control, HORIZON, dataclasses.replace(scenario, **{name: value})))
    path = cart.position.clone()
    path[1, 0] = bad
    cases.append((control, HORIZON, dataclasses.replace(scenario, moving=(dataclasses.replace(cart, position=path),))))
    ring = L_SHAPE + 20.0
    ring[2, 0] = bad
    cases.append((control, HORIZON, dataclasses.replace(scenario, scene=Scene(polygons=(Polygon(ring),)))))
    for curves, horizon, asked in cases:
        certificate = certify(curves, horizon, asked)
        assert not certificate.safe
        assert certificate.violations
    assert [(v.code, v.robots, v.value) for v in certify(spoilt, HORIZON, scenario).violations] == [("NOT_FINITE", ("r1",), 1.0)]


def test_permuting_the_robots_changes_no_number():
    control = random_control(11, robots=7)
    scenario = scenario_of(control, 0.1 + 0.01 * np.arange(7), SCENES["discs"](0), limit=3.0)
    order = np.random.default_rng(0).permutation(7)
    fleet = scenario.fleet
    names = tuple(fleet.ids[k] for k in order)
    other = Fleet(names, fleet.radius[order], fleet.v_max[order], fleet.a_max[order])
    rows = {name: getattr(scenario, name)[order] for name in ("start", "goal", "start_velocity", "start_acceleration")}
    first = certify(control, HORIZON, scenario)
    second = certify(np.ascontiguousarray(control[order]), HORIZON, dataclasses.replace(scenario, fleet=other, **rows))
    assert set(first.closest_pair) == set(second.closest_pair)
    for name in ("min_robot_gap", "min_obstacle_gap", "max_speed_ratio", "max_acceleration_ratio"):
        assert getattr(first, name) == pytest.approx(getattr(second, name), rel=0.011, abs=1e-6)
    assert {(v.code, frozenset(v.robots)) for v in first.violations} == {(v.code, frozenset(v.robots)) for v in second.violations}


def test_a_lone_robot_in_the_open_has_nothing_to_measure():
    control = random_control(0, robots=1)
    certificate = certify(control, HORIZON, scenario_of(control))
    assert certificate.safe
    assert (certificate.min_robot_gap, certificate.closest_pair, certificate.closest_at, certificate.min_obstacle_gap) == (
        None,
        None,
        None,
        None,
    )


def test_every_pair_in_collision_is_named():
    start = np.array([[0.0, 0.0], [0.0, 0.1], [9.0, 9.0], [9.0, 9.1], [20.0, 0.0]])
    control = quintics(start, start + 0.5, 0, wobble=0.0)
    certificate = certify(control, HORIZON, scenario_of(control, 0.1))
    assert [v.robots for v in certificate.violations] == [("r0", "r1"), ("r2", "r3")]
    assert all(v.value == pytest.approx(-0.1, abs=2e-3) and v.limit == 0.0 for v in certificate.violations)


def test_the_number_of_curves_must_be_that_of_the_robots():
    control = random_control(0)
    with pytest.raises(InvalidInput, match="as many curves"):
        certify(control[:3], HORIZON, scenario_of(control))
