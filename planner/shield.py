"""The filter between a policy and the wheels: the acceleration nearest to the wanted one after which every robot can still stop.

A fleet is safe if all its robots, braking straight and as hard as they can from now on, keep apart and out of walls. Robots choose in turn;
each takes an acceleration for one tick such that its own way, this tick and then braking, keeps clear of the ways of those that have chosen
and of those that have not, which can still brake. So whoever comes later can brake at least, and a fleet that was safe stays safe: by
induction, for all robots, without knowing what any of them wants next. The ways are compared tick by tick, exactly as they
would be driven, with what may lie between two ticks added to the room that is kept.

Strangers, which do not brake for us, are taken to go straight on or to stop, at once or after turning to us for a moment: among what
is safe for the fleet, an acceleration is taken that also keeps clear of them while the robot stops and a little longer. Where there is
none, the robot first sees to it that it does not run into one that stands, and then keeps clear as far as it can. That is no guarantee:
a stranger that runs into a standing robot cannot be helped.

Source of the idea: Fraichard and Asama, Inevitable collision states (2004); braking manoeuvres as in Bekris, Avoiding inevitable collision
states (2010).
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float
from numba import njit

from maps.world import World, bounds_distance, obstacle_distance

FIRST = 1e6  # m: before anything else, a robot does not run into who stands
MOST_TICKS = 400  # of braking that are looked at; whoever takes longer is told not to be safe


@dataclass(frozen=True)
class ShieldConfig:
    """How careful the filter is."""

    tick: float = 0.1  # s, that an acceleration is held
    margin: float = 0.005  # m, room kept from robots and walls beyond what may lie between two ticks
    stranger_margin: float = 0.12  # m, the same from strangers
    surprise: float = 0.25  # s that a stranger may turn to us before it stands
    foresight: float = 0.5  # s after a robot stands, in which strangers still count
    directions: int = 16  # of accelerations that are tried
    strengths: tuple[float, ...] = (1.0, 0.5)  # of them, as shares of the limit
    blends: int = 4  # between the wanted acceleration and braking


@dataclass(frozen=True)
class Bodies:
    """Discs in motion."""

    position: Float[np.ndarray, "N 2"]  # m
    velocity: Float[np.ndarray, "N 2"]  # m/s
    radius: Float[np.ndarray, " N"]  # m

    @classmethod
    def none(cls) -> "Bodies":
        """Nobody."""
        return cls(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))


@dataclass(frozen=True)
class Limits:
    """What robots can do."""

    v_max: Float[np.ndarray, " N"]  # m/s
    a_max: Float[np.ndarray, " N"]  # m/s^2


@dataclass(frozen=True)
class Filtered:
    """What the filter lets through."""

    acceleration: Float[np.ndarray, "N 2"]  # m/s^2
    changed: Bool[np.ndarray, " N"]  # other than wanted, limits apart
    safe: Bool[np.ndarray, " N"]  # keeps clear of everything; False: it does what is least bad, or takes MOST_TICKS and more to brake


@dataclass(frozen=True)
class Shield:
    """Filters accelerations of fleets in a world."""

    world: World
    config: ShieldConfig = field(default_factory=ShieldConfig)

    def filter(
        self,
        robots: Bodies,
        limits: Limits,
        wanted: Float[np.ndarray, "N 2"],
        strangers: Bodies | None = None,
        chosen: Bool[np.ndarray, " N"] | None = None,
        turn: np.ndarray | None = None,
    ) -> Filtered:
        """Accelerations for the next tick.

        Args:
            robots: where they are and how they move.
            limits: of each.
            wanted: accelerations, m/s^2, map frame; longer ones are cut to the limit, and to what the speed limit allows.
            strangers: discs that are taken to go straight on, or to stop.
            chosen: robots to choose for; None: all. Others are taken to brake.
            turn: the order in which robots choose, indices; None: as they come.

        Returns:
            What is safe, for the chosen ones; the others brake.
        """
        strangers = strangers or Bodies.none()
        count = len(robots.radius)
        asked = np.ones(count, dtype=np.bool_) if chosen is None else np.asarray(chosen, dtype=np.bool_)
        order = np.arange(count) if turn is None else np.asarray(turn, dtype=np.int64)
        config = self.config
        given = (robots.position, robots.velocity, robots.radius, limits.v_max, limits.a_max, wanted)
        others = (strangers.position, strangers.velocity, strangers.radius)
        settings = (config.tick, config.margin, config.foresight)
        careful = (config.stranger_margin, config.surprise)
        fleet, away = (tuple(np.ascontiguousarray(part, dtype=np.float64) for part in parts) for parts in (given, others))
        return Filtered(*_filter(fleet, away, self.world, order, asked, settings, careful, _directions(config), config.blends))


def _directions(config: ShieldConfig) -> Float[np.ndarray, "D 2"]:
    angle = 2.0 * np.pi * np.arange(config.directions) / config.directions
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.concatenate([np.zeros((1, 2)), *(strength * ring for strength in config.strengths)])


@njit(cache=True, nogil=True)
def _braking(vx, vy, a_max, tick):
    """The acceleration that brakes for one tick."""
    speed = np.hypot(vx, vy)
    if speed < 1e-12:
        return 0.0, 0.0
    strength = min(a_max, speed / tick) / speed
    return -vx * strength, -vy * strength


@njit(cache=True, nogil=True)
def _way(x, y, vx, vy, ax, ay, a_max, tick, out):
    """Places after one tick of an acceleration and then braking, until the robot stands; returns how many ticks that takes."""
    ticks = out.shape[0]
    for k in range(ticks):
        x += vx * tick + 0.5 * ax * tick * tick
        y += vy * tick + 0.5 * ay * tick * tick
        vx += ax * tick
        vy += ay * tick
        out[k, 0], out[k, 1] = x, y
        if abs(vx) + abs(vy) < 1e-9:
            for later in range(k + 1, ticks):
                out[later, 0], out[later, 1] = x, y
            return k + 1
        ax, ay = _braking(vx, vy, a_max, tick)
    return ticks


@njit(cache=True, nogil=True)
def _within(ax, ay, vx, vy, v_max, a_max, tick):
    """An acceleration cut to the limits; braking is always within them."""
    size = np.hypot(ax, ay)
    if size > a_max:
        ax, ay = ax * a_max / size, ay * a_max / size
    nx, ny = vx + ax * tick, vy + ay * tick
    speed = np.hypot(nx, ny)
    if speed > v_max:
        ax, ay = (nx * v_max / speed - vx) / tick, (ny * v_max / speed - vy) / tick
        size = np.hypot(ax, ay)
        if size > a_max:  # too fast already: slower by as much as can be
            ax, ay = _braking(vx, vy, a_max, tick)
    return ax, ay


@njit(cache=True, nogil=True)
def _wall_room(x, y, radius, world, reach):
    distance, _, _ = obstacle_distance(x, y, world, reach + radius)
    return min(distance, bounds_distance(x, y, world)) - radius


@njit(cache=True, nogil=True)
def _keeps(i, way, ticks, ways, stops, near, count, needed, radius, world, wall_needed):
    """Whether a way keeps clear of walls and of the ways of the near ones."""
    for n in range(count):
        j = near[n]
        least = radius[i] + radius[j] + needed[j]
        if least <= 0.0:
            continue
        least *= least
        for k in range(max(ticks, stops[j])):
            dx, dy = way[k, 0] - ways[j, k, 0], way[k, 1] - ways[j, k, 1]
            if dx * dx + dy * dy < least:
                return False
    skip = 0.0  # m of way that cannot reach a wall
    for k in range(ticks):
        if k > 0:
            skip -= np.hypot(way[k, 0] - way[k - 1, 0], way[k, 1] - way[k - 1, 1])
        if skip > 0.0:
            continue
        room = _wall_room(way[k, 0], way[k, 1], radius[i], world, 2.0 * radius[i] + 1.0)
        if room < wall_needed:
            return False
        skip = room - wall_needed
    return True


@njit(cache=True, nogil=True)
def _stranger_room(x, y, way, ticks, radius, ahead, strangers, tick, careful):
    """Room kept from strangers while the robot stops and `ahead` ticks more, less what is to be kept, m.

    Returns:
        Should they stand, and should they go straight on.
    """
    position, velocity, size = strangers
    margin, surprise = careful
    standing, walking = np.inf, np.inf
    for s in range(position.shape[0]):
        touching = radius + size[s]
        now = np.hypot(x - position[s, 0], y - position[s, 1]) - touching - 1e-9  # nearer already: no nearer still
        apart = touching + min(margin, now)
        turned = touching + min(margin + surprise * np.hypot(velocity[s, 0], velocity[s, 1]), now)
        for k in range(ticks + ahead):
            at = min(k, way.shape[0] - 1)
            t = (k + 1) * tick
            dx, dy = way[at, 0] - position[s, 0], way[at, 1] - position[s, 1]
            standing = min(standing, np.hypot(dx, dy) - turned)  # after turning to us for a moment
            walking = min(walking, np.hypot(dx - velocity[s, 0] * t, dy - velocity[s, 1] * t) - apart)
    return standing, walking


@njit(cache=True, nogil=True)
def _brake_all(fleet, tick):
    """What braking is for every robot: accelerations (N, 2), ways (N, T, 2), ticks until it stands (N,), and who stands in time (N,)."""
    position, velocity, _, _, a_max, _ = fleet
    robots, longest = position.shape[0], 1
    stands = np.ones(robots, dtype=np.bool_)
    for i in range(robots):
        speed = np.hypot(velocity[i, 0], velocity[i, 1]) + a_max[i] * tick
        ticks = np.ceil(speed / (a_max[i] * tick)) + 2.0
        stands[i] = ticks <= MOST_TICKS
        longest = max(longest, int(min(ticks, float(MOST_TICKS))))
    brakes, ways, stops = np.zeros((robots, 2)), np.empty((robots, longest, 2)), np.empty(robots, dtype=np.int64)
    for i in range(robots):
        x, y, vx, vy = position[i, 0], position[i, 1], velocity[i, 0], velocity[i, 1]
        brakes[i, 0], brakes[i, 1] = _braking(vx, vy, a_max[i], tick)
        stops[i] = _way(x, y, vx, vy, brakes[i, 0], brakes[i, 1], a_max[i], tick, ways[i])
    return brakes, ways, stops, stands


@njit(cache=True, nogil=True)
def _find_near(i, fleet, ways, stops, settings, near, needed):
    """Whom a robot might meet in this tick or while braking, and the room to keep from each; returns how many.

    That room is less where braking alone keeps less: a fleet that is not quite safe may not get worse.
    """
    position, velocity, radius, _, a_max, _ = fleet
    tick, margin, _ = settings
    last = ways.shape[1] - 1
    faster = (np.hypot(velocity[i, 0], velocity[i, 1]) + a_max[i] * tick) * 2.0 * tick  # by which a tick lengthens the way
    reach = np.hypot(ways[i, last, 0] - position[i, 0], ways[i, last, 1] - position[i, 1]) + faster
    count = 0
    for j in range(position.shape[0]):
        if j == i:
            continue
        apart = np.hypot(position[j, 0] - position[i, 0], position[j, 1] - position[i, 1]) - radius[i] - radius[j]
        span = np.hypot(ways[j, last, 0] - position[j, 0], ways[j, last, 1] - position[j, 1])
        between = 0.125 * (a_max[i] + a_max[j]) * tick * tick  # what a chord may miss
        if apart > reach + span + margin + between:
            continue
        needed[j] = min(margin + between, apart - 1e-9)
        for k in range(max(stops[i], stops[j])):
            dx, dy = ways[i, k, 0] - ways[j, k, 0], ways[i, k, 1] - ways[j, k, 1]
            needed[j] = min(needed[j], np.hypot(dx, dy) - radius[i] - radius[j] - 1e-9)
        near[count] = j
        count += 1
    return count


@njit(cache=True, nogil=True)
def _wall_needed(i, fleet, ways, stops, settings, world):
    """The room that a robot keeps from walls, m; less where braking alone keeps less."""
    position, _, radius, v_max, _, _ = fleet
    tick, margin, _ = settings
    step = v_max[i] * tick
    needed = margin + step * step / (8.0 * radius[i])  # a corner may reach in between two ticks
    needed = min(needed, _wall_room(position[i, 0], position[i, 1], radius[i], world, 1.0) - 1e-9)
    for k in range(stops[i]):
        needed = min(needed, _wall_room(ways[i, k, 0], ways[i, k, 1], radius[i], world, 1.0) - 1e-9)
    return needed


@njit(cache=True, nogil=True)
def _option(number, want, brake, a_max, directions, blends):
    """The accelerations that are tried: what is wanted, blends of it with braking, a fan of directions, and at last braking."""
    if number <= blends:
        share = 1.0 - number / (blends + 1.0)
        return brake[0] + share * (want[0] - brake[0]), brake[1] + share * (want[1] - brake[1])
    if number > blends + directions.shape[0]:
        return brake[0], brake[1]
    return directions[number - blends - 1, 0] * a_max, directions[number - blends - 1, 1] * a_max


@njit(cache=True, nogil=True)
def _filter(fleet, strangers, world, order, asked, settings, careful, directions, blends):
    position, velocity, radius, v_max, a_max, wanted = fleet
    tick, _, foresight = settings
    robots = position.shape[0]
    result, ways, stops, safe = _brake_all(fleet, tick)
    changed = np.zeros(robots, dtype=np.bool_)
    way, kept = np.empty_like(ways[0]), np.empty_like(ways[0])
    near, needed = np.empty(robots, dtype=np.int64), np.zeros(robots)
    ahead, last = int(np.ceil(foresight / tick)), blends + directions.shape[0] + 1
    for i in order:
        if not asked[i]:
            continue
        x, y, vx, vy = position[i, 0], position[i, 1], velocity[i, 0], velocity[i, 1]
        count = _find_near(i, fleet, ways, stops, settings, near, needed)
        wall_needed = _wall_needed(i, fleet, ways, stops, settings, world)
        brake, want = (result[i, 0], result[i, 1]), _within(wanted[i, 0], wanted[i, 1], vx, vy, v_max[i], a_max[i], tick)
        nearest, most_room, found, ticks_kept = np.inf, -np.inf, False, stops[i]
        for number in range(last + 1):
            ax, ay = _option(number, want, brake, a_max[i], directions, blends)
            ax, ay = _within(ax, ay, vx, vy, v_max[i], a_max[i], tick)
            off = (ax - want[0]) ** 2 + (ay - want[1]) ** 2
            if found and off >= nearest:
                continue
            ticks = _way(x, y, vx, vy, ax, ay, a_max[i], tick, way)
            standing, walking = _stranger_room(x, y, way, ticks, radius[i], ahead, strangers, tick, careful)
            good = standing >= 0.0 and walking >= 0.0
            room = walking + FIRST if standing >= 0.0 else standing  # rather run into than running into
            if not good and (found or room <= most_room):
                continue
            if number < last and not _keeps(i, way, ticks, ways, stops, near, count, needed, radius, world, wall_needed):
                continue
            found, nearest, most_room, ticks_kept = found or good, off, room, ticks
            result[i, 0], result[i, 1] = ax, ay
            kept[:] = way
            if number == 0 and good:
                break
        ways[i], stops[i] = kept, ticks_kept
        changed[i] = nearest > 1e-12
        safe[i] = safe[i] and found
    return result, changed, safe
