"""The filter: fleets that were safe stay safe, whatever is wanted."""

import numpy as np
import pytest
import torch

from maps.scene import Polygon, Scene
from planner.shield import Bodies, Limits, Shield, ShieldConfig

TICK = 0.1
ROOM = Scene(
    (0.0, 0.0, 8.0, 8.0),
    torch.tensor([[4.0, 4.0, 0.8]], dtype=torch.float64),
    (Polygon(np.array([[1.5, 1.5], [2.5, 1.5], [2.5, 2.5], [1.5, 2.5]])),),
)


def _limits(count: int, v_max: float = 1.0, a_max: float = 1.0) -> Limits:
    return Limits(np.full(count, v_max), np.full(count, a_max))


def _apart(position: np.ndarray, radius: np.ndarray) -> float:
    gap = np.linalg.norm(position[:, None] - position[None], axis=-1) - radius[:, None] - radius
    return float((gap + 1e9 * np.eye(len(radius))).min())


def _to_walls(position: np.ndarray, radius: np.ndarray) -> float:
    inside = np.minimum(position, 8.0 - position).min(1)
    disc = np.linalg.norm(position - 4.0, axis=1) - 0.8
    box = np.maximum(np.abs(position - 2.0) - 0.5, 0.0)
    return float((np.minimum(np.minimum(inside, disc), np.linalg.norm(box, axis=1)) - radius).min())


def _scattered(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    radius = rng.uniform(0.2, 0.35, count)
    while True:
        position = rng.uniform(0.4, 7.6, (count, 2))
        if _apart(position, radius) > 0.02 and _to_walls(position, radius) > 0.02:
            return position, radius


@pytest.mark.parametrize("seed", range(6))
def test_a_safe_fleet_stays_safe_whatever_is_wanted(seed: int) -> None:
    """Robots are urged at each other and at walls for 150 ticks; nothing ever touches, at 20 instants a tick, and limits hold."""
    rng = np.random.default_rng(seed)
    position, radius = _scattered(rng, 12)
    limits, velocity, shield = Limits(rng.uniform(0.5, 1.5, 12), rng.uniform(0.5, 2.0, 12)), np.zeros((12, 2)), Shield(ROOM.world)
    aim, moved = rng.uniform(0.0, 8.0, (12, 2)), 0.0
    for tick in range(150):
        if tick % 30 == 0:
            aim = position[rng.permutation(12)]
        found = shield.filter(Bodies(position, velocity, radius), limits, 5.0 * (aim - position), turn=rng.permutation(12))
        assert (np.linalg.norm(found.acceleration, axis=1) <= limits.a_max * (1 + 1e-9)).all()
        for share in np.linspace(0.05, 1.0, 20):
            t = share * TICK
            place = position + t * velocity + 0.5 * t * t * found.acceleration
            assert _apart(place, radius) > 0.0
            assert _to_walls(place, radius) > 0.0
        moved += float(np.linalg.norm(velocity, axis=1).sum()) * TICK
        position = position + TICK * velocity + 0.5 * TICK * TICK * found.acceleration
        velocity = velocity + TICK * found.acceleration
        assert (np.linalg.norm(velocity, axis=1) <= limits.v_max * (1 + 1e-9)).all()
    assert moved > 12.0  # they do go: a filter that always brakes would be safe as well


def test_what_is_safe_passes_unchanged() -> None:
    """Alone on an open floor, what is wanted within the limits is done."""
    wanted = np.array([[0.3, -0.4]])
    found = Shield(Scene().world).filter(Bodies(np.zeros((1, 2)), np.zeros((1, 2)), np.array([0.3])), _limits(1), wanted)
    np.testing.assert_allclose(found.acceleration, wanted)
    assert not found.changed.any()
    assert found.safe.all()


def test_what_is_wanted_is_cut_to_the_limits() -> None:
    """An acceleration beyond a_max keeps its direction; at full speed, no more speed is gained."""
    still = Bodies(np.zeros((1, 2)), np.zeros((1, 2)), np.array([0.3]))
    found = Shield(Scene().world).filter(still, _limits(1), np.array([[30.0, 40.0]]))
    np.testing.assert_allclose(found.acceleration, [[0.6, 0.8]])
    fast = Bodies(np.zeros((1, 2)), np.array([[1.0, 0.0]]), np.array([0.3]))
    np.testing.assert_allclose(Shield(Scene().world).filter(fast, _limits(1), np.array([[1.0, 0.0]])).acceleration, 0.0, atol=1e-9)


@pytest.mark.parametrize("moving", [False, True])
def test_a_robot_stops_before_a_stranger(moving: bool) -> None:
    """Driving at a stranger that stands or comes towards it, a robot in a corridor comes to rest before they touch."""
    corridor = Scene((0.0, -0.4, 12.0, 0.4))
    shield, place, speed = Shield(corridor.world), np.array([[1.0, 0.0]]), np.array([[0.8, 0.0]])
    other, towards = np.array([[6.0, 0.0]]), np.array([[-0.4 if moving else 0.0, 0.0]])
    for _ in range(60):
        strangers = Bodies(other, towards, np.array([0.3]))
        found = shield.filter(Bodies(place, speed, np.array([0.3])), _limits(1), np.array([[1.0, 0.0]]), strangers)
        place = place + TICK * speed + 0.5 * TICK * TICK * found.acceleration
        speed = speed + TICK * found.acceleration
        other = other + TICK * towards
        if moving and other[0, 0] - place[0, 0] < 1.2:
            break  # from here on the stranger would run into a robot that stands
    assert abs(speed[0, 0]) < (0.5 if moving else 1e-6)
    assert other[0, 0] - place[0, 0] - 0.6 > 0.1
    assert place[0, 0] > 1.5


def test_a_robot_that_cannot_get_clear_brakes() -> None:
    """Too close to a stranger to stop in time, it is told not to be safe and does not speed up."""
    robots = Bodies(np.zeros((1, 2)), np.array([[1.0, 0.0]]), np.array([0.3]))
    found = Shield(Scene().world).filter(
        robots, _limits(1), np.array([[1.0, 0.0]]), Bodies(np.array([[0.75, 0.0]]), np.zeros((1, 2)), np.array([0.3]))
    )
    assert not found.safe[0]
    assert found.acceleration[0, 0] < 0.0


def test_only_the_chosen_are_chosen_for() -> None:
    """Others are taken to brake, and their accelerations say so."""
    robots = Bodies(np.array([[0.0, 0.0], [5.0, 0.0]]), np.array([[0.5, 0.0], [0.5, 0.0]]), np.array([0.3, 0.3]))
    found = Shield(Scene().world).filter(robots, _limits(2), np.full((2, 2), 0.5), chosen=np.array([True, False]))
    np.testing.assert_allclose(found.acceleration, [[0.5, 0.5], [-1.0, 0.0]])


def test_who_chooses_first_goes_first() -> None:
    """Two robots want the same place; whoever has the first turn gets nearer to what it wants."""
    robots = Bodies(np.array([[0.0, 0.0], [1.05, 0.0]]), np.zeros((2, 2)), np.array([0.3, 0.3]))
    wanted, shield = np.array([[1.0, 0.0], [-1.0, 0.0]]), Shield(Scene().world, ShieldConfig(tick=0.5))
    first = shield.filter(robots, _limits(2), wanted, turn=np.array([0, 1]))
    second = shield.filter(robots, _limits(2), wanted, turn=np.array([1, 0]))
    assert first.acceleration[0, 0] > -first.acceleration[1, 0]
    assert second.acceleration[0, 0] < -second.acceleration[1, 0]


@pytest.mark.parametrize(
    ("place_of_stranger", "wish", "walks"),
    [((4.28, 3.12), (0.24, 0.08), 12), ((4.23, 3.30), (0.28, 0.33), 9), ((4.19, 3.26), (0.65, 0.59), 5), ((4.21, 3.28), (0.82, 0.49), 7)],
)
def test_a_robot_does_not_run_into_a_stranger_that_turns_back_and_stops(
    place_of_stranger: tuple[float, float], wish: tuple[float, float], walks: int
) -> None:
    """It follows one that walks away, which then turns to it for three ticks and stands.

    Fails if the filter, where nothing keeps clear of all that a stranger may do, would rather dodge at full speed than brake.
    """
    shield, limits, size = Shield(Scene((0.0, 0.0, 20.0, 6.0)).world), _limits(1), np.array([0.25])
    place, velocity, stranger = np.array([[3.0, 3.0]]), np.array([[0.6, 0.0]]), np.array([place_of_stranger])
    for tick in range(40):
        way = np.array([[0.6 if tick < walks else -0.6 if tick < walks + 3 else 0.0, 0.0]])
        done = shield.filter(Bodies(place, velocity, size), limits, np.array([wish]), Bodies(stranger, way, size)).acceleration
        place, velocity = place + TICK * velocity + 0.5 * TICK * TICK * done, velocity + TICK * done
        stranger = stranger + TICK * way
        assert float(np.linalg.norm(place - stranger)) > 0.5
