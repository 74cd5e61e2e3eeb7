"""On which sides robots pass each other and what stands in the way, as angles that plans of the same ends can be compared by."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.ndimage
import shapely
from jaxtyping import Float, Int

from maps.curve import curve_basis
from maps.scene import Grid, Scene

SAMPLES = 200  # of a curve; the polygon through them must pass every obstacle on the curve's side
CHUNK = 1 << 15  # most samples of bearings compared at once; few enough to stay in the cache
MOST_BLOBS = 256  # connected parts of a grid that are told apart, the largest
DIFFERENT_TURN = np.pi  # rad; swept angles of two plans with the same ends differ by whole turns, so this parts none from some

_blobs_of: dict[int, np.ndarray] = {}
_points_of: dict[int, np.ndarray] = {}


@dataclass(frozen=True)
class Signature:
    """By how much bearings turn over a whole plan, counterclockwise."""

    pairs: Float[np.ndarray, " pairs"]  # rad, of a robot seen from another of lower index
    obstacles: Float[np.ndarray, "N K"]  # rad, of a robot seen from a point inside an obstacle

    def differs(self, other: "Signature") -> bool:
        """Whether a pair of robots, or a robot and an obstacle, pass on other sides, or once more around each other.

        Args:
            other: of a plan of the same scenario.
        """
        turns = (self.pairs - other.pairs, self.obstacles - other.obstacles)
        return any(bool((np.abs(turn) > DIFFERENT_TURN).any()) for turn in turns)


def signature(control_points: Float[np.ndarray, "N n 2"], scene: Scene) -> Signature:
    """Swept angles of a joint plan; plans of the same ends that can be bent into each other have the same.

    The converse holds for one robot and one obstacle only: angles do not tell in which order obstacles are gone around.

    Args:
        control_points: of a plan that meets no obstacle, m.
        scene: what stands in the way; its bounds are not counted, nor are moving obstacles.

    Returns:
        Angles of each two robots and of each robot and obstacle, rad. Each grows by a full turn with each time around.
    """
    points = obstacle_points(scene)
    robots = len(control_points)
    position = sample_rows(control_points.shape[1]) @ control_points
    standing = np.broadcast_to(points[:, None], (len(points), SAMPLES, 2))
    track = np.concatenate((position, standing)).transpose(2, 0, 1).copy()
    first, second = np.triu_indices(robots, 1)
    robot, obstacle = np.divmod(np.arange(robots * len(points)), max(len(points), 1))
    swept = _swept(track, np.concatenate((first, obstacle + robots)), np.concatenate((second, robot)))
    return Signature(swept[: len(first)], swept[len(first) :].reshape(robots, len(points)))


def obstacle_points(scene: Scene) -> Float[np.ndarray, "K 2"]:
    """A point inside each disc, each polygon and each connected part of the grid, m; made once for a scene."""
    return _once(_points_of, scene, lambda: _make_points(scene))


@lru_cache(maxsize=64)
def sample_rows(count: int) -> Float[np.ndarray, "T n"]:
    """Takes control points to positions at equal steps, both ends included."""
    return curve_basis(count).matrix(np.linspace(0.0, 1.0, SAMPLES))


def _swept(track: Float[np.ndarray, "2 A T"], first: Int[np.ndarray, " P"], second: Int[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    """The angle by which the bearing of `second` from `first` turns, rad: the ends' difference and whole turns."""
    ends = track[:, :, (0, -1)]
    x, y = ends[:, second] - ends[:, first]
    begin, end = np.arctan2(y, x).T
    step = max(CHUNK // track.shape[2], 1)
    parts = [slice(k, k + step) for k in range(0, len(first), step)]
    turns = [_turns(track, first[part], second[part]) for part in parts]
    return end - begin + 2.0 * np.pi * np.concatenate((*turns, np.zeros(0, dtype=np.int64)))


def _turns(track: Float[np.ndarray, "2 A T"], first: Int[np.ndarray, " P"], second: Int[np.ndarray, " P"]) -> Int[np.ndarray, " P"]:
    """How often bearings cross the negative x axis, where arctan2 jumps, downwards less upwards.

    Only the few steps on which y changes its sign are looked at; unwrapping angles gives the same, ten times slower.
    """
    above = track[1, second] >= track[1, first]
    row, step = np.divmod(np.flatnonzero(above[:, 1:] != above[:, :-1]), track.shape[2] - 1)
    down = above[row, step]
    x, y = track[:, second[row], step] - track[:, first[row], step]
    next_x, next_y = track[:, second[row], step + 1] - track[:, first[row], step + 1]
    left = (x * next_y > next_x * y) == down
    return np.bincount(row[left & down], minlength=len(first)) - np.bincount(row[left & ~down], minlength=len(first))


def _make_points(scene: Scene) -> Float[np.ndarray, "K 2"]:
    solid = [shapely.Polygon(p.outer, p.holes).representative_point() for p in scene.polygons]
    inside = np.array([(point.x, point.y) for point in solid]).reshape(-1, 2)
    grid = scene.grid
    blobs = np.zeros((0, 2)) if grid is None else _once(_blobs_of, grid, lambda: _make_blobs(grid))
    return np.concatenate((scene.discs[:, :2].numpy().astype(np.float64), inside, blobs))


def _make_blobs(grid: Grid) -> Float[np.ndarray, "K 2"]:
    """The centre of one cell of each of the largest connected parts; cells that share a corner are connected."""
    label = np.empty(grid.occupied.shape, dtype=np.int32)
    scipy.ndimage.label(grid.occupied, np.ones((3, 3)), label)
    cells = np.flatnonzero(grid.occupied)
    of_cell = label.ravel()[cells] - 1
    size = np.bincount(of_cell)
    some_cell = np.zeros(len(size), dtype=np.int64)
    some_cell[of_cell] = cells
    largest = np.argsort(-size, kind="stable")[:MOST_BLOBS]
    row, column = np.divmod(some_cell[largest], grid.occupied.shape[1])
    return np.stack((column, row), -1) * grid.resolution + np.asarray(grid.origin) + 0.5 * grid.resolution


def _once(known: dict[int, np.ndarray], owner: Scene | Grid, make: Callable[[], np.ndarray]) -> np.ndarray:
    """What is made of an object that never changes, for as long as the object lives."""
    key = id(owner)
    if key not in known:
        known[key] = make()
        weakref.finalize(owner, known.pop, key, None)
    return known[key]
