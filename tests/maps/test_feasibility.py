import dataclasses
import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage

from maps.connectivity import cannot_close, clearance_field, separated
from maps.feasibility import least_time, scene_warnings
from maps.fleet import Fleet
from maps.reason import ReasonCode
from maps.scenario import MovingObstacle, Scenario
from maps.scene import Grid, Polygon, Scene
from maps.trajectory import TrajectoryBatch
from maps.world import bounds_distance, obstacle_distances

HALL = (0.0, 0.0, 10.0, 10.0)


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def box(x0: float, y0: float, x1: float, y1: float) -> Polygon:
    return Polygon(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]))


def scenario(start, goal, scene=None, radius=0.3, velocity=None, **more) -> Scenario:
    n = len(start)
    fleet = Fleet(tuple(f"r{k}" for k in range(n)), tensor(np.broadcast_to(radius, n).copy()), tensor([1.5] * n), tensor([1.0] * n))
    still = torch.zeros(n, 2, dtype=torch.float64)
    moving = still if velocity is None else tensor(velocity)
    return Scenario(scene or Scene(HALL), fleet, tensor(start), tensor(goal), moving, still, **more)


def codes(problem: Scenario) -> list[ReasonCode | None]:
    return [None if reason is None else reason.code for reason in problem.check()]


def test_nothing_is_wrong_with_an_easy_problem():
    problem = scenario([[1, 1], [9, 9]], [[9, 8], [1, 2]], horizon=20.0, scene=Scene(HALL, tensor([[5, 5, 1.0]])))
    assert problem.check() == (None, None)


@pytest.mark.parametrize(
    ("change", "code", "value", "limit"),
    [
        ({"start": [[0.2, 5.0]]}, ReasonCode.START_OUTSIDE_MAP, 0.2, 0.3),
        ({"goal": [[5.0, 10.4]]}, ReasonCode.GOAL_OUTSIDE_MAP, -0.4, 0.3),
        ({"start": [[5.0, 6.2]]}, ReasonCode.START_OCCUPIED, 0.2, 0.3),
        ({"goal": [[5.0, 5.5]]}, ReasonCode.GOAL_OCCUPIED, -0.5, 0.3),
        ({"margin": 1.5}, ReasonCode.START_OUTSIDE_MAP, 1.0, 1.8),
        ({"velocity": [[1.6, 0.0]]}, ReasonCode.START_SPEED_EXCEEDS_LIMIT, 1.6, 1.5),
        ({"horizon": 6.0}, ReasonCode.HORIZON_TOO_SHORT, 6.0, np.hypot(8, 8) / 1.5 + 1.5),
    ],
)
def test_each_reason_names_value_and_limit(change, code, value, limit):
    usual = {"start": [[1.0, 1.0]], "goal": [[9.0, 9.0]], "scene": Scene(HALL, tensor([[5.0, 5.0, 1.0]]))}
    (reason,) = scenario(**{**usual, **change}).check()
    assert reason is not None
    assert reason.code == code
    assert reason.value == pytest.approx(value)
    assert reason.limit == pytest.approx(limit)
    assert "'r0'" in reason.message


def test_overlaps_name_each_other():
    reasons = scenario([[1, 1], [1.5, 1], [5, 5]], [[9, 9], [5, 1], [9, 8.5]]).check()
    assert [r and (r.code, r.other) for r in reasons] == [
        (ReasonCode.START_OVERLAP, "r1"),
        (ReasonCode.START_OVERLAP, "r0"),
        (ReasonCode.GOAL_OVERLAP, "r0"),
    ]
    assert reasons[0].value == pytest.approx(0.5)
    assert reasons[0].limit == pytest.approx(0.6)


def test_touching_is_allowed():
    touching = scenario([[0.3, 0.3], [0.9, 0.3]], [[9.7, 9.7], [9.1, 9.7]], Scene(HALL, tensor([[0.3, 1.1, 0.5]])))
    assert codes(touching) == [None, None]


def test_a_moving_obstacle_occupies_where_it_is_at_the_start_and_at_the_horizon():
    cart = MovingObstacle("cart", 0.5, tensor([0.0, 10.0]), tensor([[1.0, 1.0], [9.0, 9.0]]))
    reasons = scenario([[1, 1.2], [5, 5]], [[1, 9], [9, 9]], horizon=20.0, moving=(cart,)).check()
    assert [(r.code, r.other) for r in reasons if r] == [(ReasonCode.START_OCCUPIED, "cart"), (ReasonCode.GOAL_OCCUPIED, "cart")]
    assert codes(scenario([[5, 5]], [[9, 9]], moving=(cart,))) == [None]  # it may arrive and be done before the cart is there
    assert codes(scenario([[5, 5]], [[9, 9]], moving=(cart,), horizon=7.0)) == [None]


@pytest.mark.parametrize("width", [0.6, 0.600001, 0.65])
def test_a_door_of_the_exact_width_stays_open(width):
    walls = (box(5, -1, 5.2, 5), box(5, 5 + width, 5.2, 11))
    assert codes(scenario([[2, 2]], [[8, 8]], Scene(HALL, polygons=walls))) == [None]
    narrow = Scene(HALL, polygons=(box(5, -1, 5.2, 5), box(5, 5.3, 5.2, 11)))
    (reason,) = scenario([[2, 2]], [[8, 8]], narrow).check()
    assert reason.code == ReasonCode.GOAL_DISCONNECTED
    assert 0.15 <= reason.value <= reason.limit


@pytest.mark.parametrize("columns", [4, 5])
def test_a_grid_passage_of_the_exact_width_stays_open(columns):
    occupied = np.zeros((40, 80), dtype=bool)
    occupied[:, 40] = True
    occupied[20 : 20 + columns, 40] = False
    scene = Scene(grid=Grid(occupied, 0.125, (0.0, 0.0)))
    wide = columns * 0.125 / 2
    assert codes(scenario([[1, 2]], [[9, 3]], scene, radius=wide)) == [None]
    assert codes(scenario([[1, 2]], [[9, 3]], scene, radius=wide + 0.3)) == [ReasonCode.GOAL_DISCONNECTED]


def test_a_wide_robot_is_cut_off_where_a_narrow_one_is_not():
    walls = (box(5, -1, 5.2, 5), box(5, 5.6, 5.2, 11))
    problem = scenario([[2, 2], [2, 5], [2, 8]], [[8, 2], [8, 5], [1, 5]], Scene(HALL, polygons=walls), radius=[0.25, 0.6, 0.6])
    assert codes(problem) == [None, ReasonCode.GOAL_DISCONNECTED, None]


def test_a_ring_of_discs_encloses_in_the_open_plane():
    angle = np.linspace(0, 2 * np.pi, 13)[:-1]
    ring = np.stack([3 * np.cos(angle), 3 * np.sin(angle), np.full(12, 0.7)], 1)
    inside_out = ([[0.0, 0.0], [500.0, 3.0]], [[100.0, 0.0], [0.0, -400.0]])
    assert codes(scenario(*inside_out, Scene(discs=tensor(ring)))) == [ReasonCode.GOAL_DISCONNECTED, None]
    assert codes(scenario(*inside_out, Scene(discs=tensor(ring[1:])))) == [None, None]


def random_scene(rng: np.random.Generator) -> Scene:
    discs = np.concatenate([rng.uniform(0, 10, (rng.integers(0, 25), 2)), np.zeros((0, 2))])
    discs = np.concatenate([discs, rng.uniform(0.2, 1.0, (len(discs), 1))], 1)
    boxes = [box(x, y, x + w, y + h) for x, y, w, h in rng.uniform([0, 0, 0.1, 0.1], [9, 9, 5, 1], (rng.integers(0, 8), 4))]
    bounds = HALL if rng.random() < 0.7 else None
    grid = None
    if rng.random() < 0.3:
        grid = Grid(ndimage.binary_dilation(rng.random((40, 40)) < 0.03), 0.25, (0.0, 0.0))
    return Scene(bounds, tensor(discs), tuple(boxes), grid)


def surely_connected(scene: Scene, needed: float, step: float = 0.05):
    """Labels of lattice places joined by straight moves that are clear all along, and the lattice."""
    x, y = np.meshgrid(np.arange(-3, 13, step), np.arange(-3, 13, step))
    places = np.stack([x.ravel(), y.ravel()], 1)
    clear = obstacle_distances(places, scene.world, 5.0)[0]
    clear = np.minimum(clear, [bounds_distance(px, py, scene.world) for px, py in places])
    return ndimage.label((clear >= needed + step / 2).reshape(x.shape))[0].ravel(), places


@pytest.mark.parametrize("seed", range(25))
def test_no_goal_that_can_be_reached_is_called_cut_off(seed):
    rng = np.random.default_rng(seed)
    scene, needed = random_scene(rng), float(rng.uniform(0.15, 0.6))
    label, places = surely_connected(scene, needed)
    free = np.flatnonzero(label)
    if len(free) == 0:
        return
    start, goal = rng.choice(free, (2, 200))
    apart, widest = separated(scene, np.full(200, needed), places[start], places[goal])
    assert not (apart & (label[start] == label[goal])).any()
    assert (widest[apart] <= needed).all()
    if cannot_close(scene, needed):
        assert not apart.any()
        field = clearance_field(scene, needed, needed)
        assert not field.apart(needed, field.index(places[start]), field.index(places[goal])).any()


@pytest.mark.parametrize("seed", range(8))
def test_the_field_is_never_less_than_the_distance(seed):
    scene = random_scene(np.random.default_rng(100 + seed))
    field = clearance_field(scene, 0.5, 0.2)
    rows, columns = field.distance.shape
    x, y = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    places = np.stack([x.ravel(), y.ravel()], 1) * field.cell + field.origin
    true = np.minimum(obstacle_distances(places, scene.world, 5.0)[0], [bounds_distance(*p, scene.world) for p in places])
    reach = field.distance.max()
    assert (field.distance.ravel() >= np.minimum(true, reach) - 1e-12).all()
    outside = true > 0
    np.testing.assert_allclose(field.distance.ravel()[outside], np.minimum(true, reach)[outside], atol=1e-12)


def test_a_robot_that_cannot_stop_before_a_wall_says_so():
    fast = {"goal": [[1, 1]], "velocity": [[1.5, 0.0]]}
    assert codes(scenario([[9.0, 5.0]], **fast)) == [ReasonCode.CANNOT_STOP_IN_TIME]  # 0.7 m of room, braking takes 1.125 m
    assert codes(scenario([[8.55, 5.0]], **fast)) == [None]  # 1.15 m
    wall = Scene(HALL, polygons=(box(6, 0, 7, 9.0),))
    (reason,) = scenario([[5.0, 4.0]], scene=wall, **fast).check()
    assert reason.code == ReasonCode.CANNOT_STOP_IN_TIME
    assert reason.value < reason.limit == pytest.approx(0.3)


def test_a_robot_may_pass_by_a_disc_that_it_cannot_stop_before():
    pillar = Scene(HALL, tensor([[6.0, 5.2, 0.05]]))
    assert codes(scenario([[4.8, 4.7]], [[9, 9]], pillar, velocity=[[1.5, 0.0]])) == [None]


def test_it_says_which_moving_obstacle_it_cannot_evade():
    cart = MovingObstacle("cart", 1.0, tensor([0.0, 4.0]), tensor([[8.0, 5.0], [0.0, 5.0]]))
    (reason,) = scenario([[6.0, 5.0]], [[1, 1]], velocity=[[1.5, 0.0]], moving=(cart,)).check()
    assert (reason.code, reason.other) == (ReasonCode.CANNOT_STOP_IN_TIME, "cart")


def test_least_time_is_that_of_bang_bang_motion():
    way, limits = tensor([[3.0, 4.0]]).numpy(), (np.array([1.0]), np.array([1.0]))
    assert least_time(way, np.zeros((1, 2)), *limits) == pytest.approx(6.0)
    assert least_time(way, np.array([[0.6, 0.8]]), *limits) == pytest.approx(5.5)
    assert least_time(way, np.array([[-0.6, -0.8]]), *limits) == pytest.approx(7.5)
    assert least_time(np.zeros((1, 2)), np.zeros((1, 2)), *limits) == pytest.approx(0.0)
    assert least_time(np.array([[0.1, 0.0]]), np.array([[1.0, 0.0]]), *limits) == pytest.approx(1 + 2 * np.sqrt(0.4))  # overshoots


@pytest.mark.parametrize("seed", range(5))
def test_no_real_motion_is_faster_than_least_time(seed):
    rng = np.random.default_rng(seed)
    a_max, v_max, step = 1.0, 1.2, 0.01
    velocity, place = [rng.uniform(-0.8, 0.8, 2)], [np.zeros(2)]
    for _ in range(200):  # a random drive, then full braking
        velocity.append(np.clip(velocity[-1] + step * rng.uniform(-0.7, 0.7, 2), -0.84, 0.84))
    while np.linalg.norm(velocity[-1]) > 1e-12:
        speed = np.linalg.norm(velocity[-1])
        velocity.append(velocity[-1] * max(0.0, 1.0 - step * a_max / speed))
    for a, b in itertools.pairwise(velocity):
        place.append(place[-1] + step * (a + b) / 2)
    least = least_time(place[-1][None], velocity[0][None], np.array([v_max]), np.array([a_max]))
    assert least <= step * (len(velocity) - 1) + 1e-9


def test_order_of_robots_does_not_matter():
    rng = np.random.default_rng(3)
    scene = random_scene(rng)
    places = rng.uniform(0.5, 9.5, (2, 12, 2))
    order = rng.permutation(12)
    forward = codes(scenario(places[0], places[1], scene, radius=0.2, horizon=6.0))
    shuffled = codes(scenario(places[0][order], places[1][order], dataclasses.replace(scene), radius=0.2, horizon=6.0))
    assert shuffled == [forward[k] for k in order]


def test_obstacles_wholly_outside_are_warned_of():
    scene = Scene(HALL, tensor([[5, 5, 1], [-1, 5, 0.9], [-1, 5, 1.1]]), (box(9, 9, 12, 12), box(11, 0, 12, 1)))
    assert [w.split(" lies")[0] for w in scene_warnings(scene)] == ["disc 1", "polygon 1"]
    assert scene_warnings(Scene(discs=tensor([[5, 5, 1]]))) == ()


@pytest.mark.parametrize("seed", range(60))
def test_what_a_robot_demonstrably_does_is_never_called_impossible(seed):
    rng = np.random.default_rng(seed)
    control = rng.uniform(1.0, 9.0, (1, int(rng.integers(7, 20)), 2))
    control[:, -3:] = control[:, -1:]
    horizon, u = float(rng.uniform(1.0, 10.0)), np.linspace(0.0, 1.0, 4001)
    curve = TrajectoryBatch(tensor(control), tensor(horizon))
    path, velocity, acceleration = (curve.sample(u, k)[0] for k in range(3))
    scene = random_scene(rng)
    discs = scene.discs[((path[:, None] - scene.discs[:, :2]).norm(dim=-1).amin(0) - scene.discs[:, 2]) > 0.1]
    scene = Scene(scene.bounds, discs)
    places = path.numpy().astype(np.float64)
    clearance = np.minimum(obstacle_distances(places, scene.world, 50.0)[0], [bounds_distance(*p, scene.world) for p in places])
    radius, limits = tensor([clearance.min()]), (velocity.norm(dim=-1).amax(), acceleration.norm(dim=-1).amax())
    fleet = Fleet(("r0",), radius, limits[0][None], limits[1][None])
    room = float(path.norm(dim=-1).amin() - radius)
    moving = (MovingObstacle("post", room, tensor([0.0]), tensor([[0.0, 0.0]])),) if room > 0.0 else ()
    problem = Scenario(scene, fleet, path[:1], path[-1:], velocity[:1], acceleration[:1], horizon, moving=moving)
    assert problem.check() == (None,)
