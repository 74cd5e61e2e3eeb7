"""Random starts and goals: free of obstacles, apart from each other, and arranged as robots meet."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float
from numba import njit

from maps.sampling_ways import Ways, clearance
from maps.scene import Scene

Placement = Literal["scattered", "swap", "opposed", "streams", "exchange"]
PLACEMENTS: tuple[Placement, ...] = get_args(Placement)
DRAWS = 4_000  # places tried for the starts or goals of a fleet
CHUNK = 250  # places looked at together
NEAR = 600  # places tried where robots have places to be near to


@dataclass(frozen=True)
class Ground:
    """Where a fleet may stand."""

    scene: Scene
    needed: Float[np.ndarray, " N"]  # m, what each centre has to keep from obstacles and bounds
    spare: float  # m, room kept beyond that
    ways: Ways | None = None  # None: places need not hang together

    def room(self, places: Float[np.ndarray, "P 2"]) -> Float[np.ndarray, " P"]:
        """Distances to obstacles and bounds, m, as far as they matter; -inf where places do not hang together."""
        room = clearance(places, self.scene, float(self.needed.max()) + self.spare + 1.0)
        return room if self.ways is None else np.where(self.ways.reached(places), room, -np.inf)

    def fits(self, robot: int, places: np.ndarray, room: np.ndarray, taken: np.ndarray) -> Bool[np.ndarray, " P"]:
        """At which places a robot has room; `taken` (N, 2) are the other robots' places, NaN where not placed yet."""
        return _fits(places, room, taken, self.needed, (robot, self.spare))


def place_fleet(
    rng: np.random.Generator, ground: Ground, placement: Placement
) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "N 2"]] | None:
    """Starts and goals, m.

    Args:
        rng: where all randomness comes from.
        ground: where the fleet may stand.
        placement: `scattered` anywhere; `swap` across a circle; `opposed` two facing sides exchange; `streams` one or two
            groups, each from one side to the side across; `exchange` the goals are the starts of others. All but
            `scattered` are kept to as far as there is room.

    Returns:
        None where there is no room.
    """
    if placement == "exchange":
        return _exchange(rng, ground)
    if placement == "scattered":
        start, goal = scatter(rng, ground), scatter(rng, ground)
    else:
        wishes = {"swap": _swap, "opposed": _opposed, "streams": _streams}[placement](rng, ground)
        start, goal = (_near(rng, ground, wish) for wish in wishes)
    return None if start is None or goal is None else (start, goal)


def scatter(rng: np.random.Generator, ground: Ground, kept: Float[np.ndarray, "N 2"] | None = None) -> Float[np.ndarray, "N 2"] | None:
    """A free place for every robot, apart from each other; those of `kept` that are not NaN stay."""
    place = np.full((len(ground.needed), 2), np.nan) if kept is None else kept.copy()
    low, high = np.array(ground.scene.extent).reshape(2, 2)
    drawn = rng.uniform(low, high, (DRAWS, 2))
    waiting = [int(k) for k in np.argsort(-ground.needed) if np.isnan(place[k, 0])]
    for chunk in drawn.reshape(-1, CHUNK, 2):
        if not waiting:
            break
        room, first = ground.room(chunk), 0
        while waiting and first < CHUNK:
            fits = ground.fits(waiting[0], chunk[first:], room[first:], place)
            if not fits.any():
                break
            first += int(fits.argmax())
            place[waiting.pop(0)] = chunk[first]
            first += 1
    return None if waiting else place


def _exchange(rng: np.random.Generator, ground: Ground) -> tuple[np.ndarray, np.ndarray] | None:
    """Places that suit every robot; goals go around random rings of robots, so none keeps its place."""
    slots = scatter(rng, Ground(ground.scene, np.full_like(ground.needed, ground.needed.max()), ground.spare, ground.ways))
    if slots is None:
        return None
    ring = rng.permutation(len(slots))
    if len(slots) == 1:
        goal = scatter(rng, ground)
        return None if goal is None else (slots, goal)
    after, cut = np.roll(ring, -1), int(rng.integers(2, len(ring) + 1))
    if 2 <= cut <= len(ring) - 2:  # two rings
        after = np.concatenate([np.roll(ring[:cut], -1), np.roll(ring[cut:], -1)])
    goal = np.empty_like(slots)
    goal[ring] = slots[after]
    return slots, goal


def _near(rng: np.random.Generator, ground: Ground, wish: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 2"] | None:
    """For every robot, the widest first, the free place that lies nearest to the wished one."""
    low, high = np.array(ground.scene.extent).reshape(2, 2)
    drawn = np.concatenate([wish, rng.uniform(low, high, (NEAR, 2))])
    room, place = ground.room(drawn), np.full_like(wish, np.nan)
    for robot in np.argsort(-ground.needed, kind="stable"):
        fits = ground.fits(int(robot), drawn, room, place)
        if not fits.any():
            return None
        place[robot] = drawn[np.where(fits, np.hypot(*(drawn - wish[robot]).T), np.inf).argmin()]
    return place


def _swap(rng: np.random.Generator, ground: Ground) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.array(ground.scene.extent).reshape(2, 2)
    count, widest = len(ground.needed), (high - low).min() / 2 - ground.needed.max() - ground.spare
    smallest = count * (ground.needed.max() + ground.spare) / np.pi  # on which all stand side by side
    radius = rng.uniform(min(max(1.3 * smallest, 0.3 * widest), widest), widest)
    turn = 2 * np.pi * (rng.permutation(count) + rng.uniform(-0.15, 0.15, count) + rng.random()) / count
    arm = radius * np.stack([np.cos(turn), np.sin(turn)], 1)
    slack = (high - low) / 2 - radius - ground.needed.max() - ground.spare
    middle = (low + high) / 2 + rng.uniform(-1, 1, 2) * slack
    jitter = rng.uniform(0.0, 0.1) * radius
    return middle + arm + rng.normal(0, 0.5, (count, 2)) * jitter, middle - arm + rng.normal(0, 0.5, (count, 2)) * jitter


def _opposed(rng: np.random.Generator, ground: Ground) -> tuple[np.ndarray, np.ndarray]:
    quarter = int(rng.integers(4))
    return _across(rng, ground, quarter + 2 * (rng.permutation(len(ground.needed)) % 2))


def _streams(rng: np.random.Generator, ground: Ground) -> tuple[np.ndarray, np.ndarray]:
    count, quarter = len(ground.needed), int(rng.integers(4))
    groups = rng.permutation(count) % 2 if rng.random() < 0.5 else np.zeros(count, dtype=int)
    return _across(rng, ground, quarter + groups)


def _across(rng: np.random.Generator, ground: Ground, quarter: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From a side to the one across: `quarter` (N,) says by how many quarter turns from left to right each robot goes."""
    low, high = np.array(ground.scene.extent).reshape(2, 2)
    count, depth, straying = len(quarter), rng.uniform(0.06, 0.25), rng.uniform(0.0, 0.5) if rng.random() < 0.7 else 1.0
    lane = rng.uniform(0.05, 0.95, count)
    other = (1 - straying) * lane + straying * rng.uniform(0.05, 0.95, count)
    start = np.stack([rng.uniform(0, depth, count), lane], 1)
    goal = np.stack([1 - rng.uniform(0, depth, count), other], 1)
    angle = quarter * np.pi / 2
    c, s = np.round(np.cos(angle)), np.round(np.sin(angle))
    edge = (ground.needed.max() + ground.spare) / (high - low)

    def turned(share: np.ndarray) -> np.ndarray:
        x, y = (share - 0.5).T
        around = 0.5 + np.stack([c * x - s * y, s * x + c * y], 1)
        return low + np.clip(around, edge, np.maximum(1 - edge, edge)) * (high - low)

    return turned(start), turned(goal)


@njit(cache=True, nogil=True)
def _fits(places, room, taken, needed, which):
    """At which places a robot has room and is apart from those taken; a comparison with NaN is false."""
    robot, spare = which
    fits = np.empty(places.shape[0], dtype=np.bool_)
    for k in range(places.shape[0]):
        fits[k] = room[k] >= needed[robot] + spare
        for other in range(taken.shape[0]):
            apart = needed[robot] + needed[other] + spare
            dx, dy = places[k, 0] - taken[other, 0], places[k, 1] - taken[other, 1]
            if dx * dx + dy * dy < apart * apart:
                fits[k] = False
                break
    return fits
