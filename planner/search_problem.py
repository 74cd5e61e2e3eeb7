"""What the space-time search works on: the robots' needs, its memory, and who is where and when, compiled.

Conflicts are exact for straight moves at constant speed: the closest approach within a step, not the distance at its ends.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from maps.world import FAR
from planner.search_grid import Lattice, Links

BUCKETS = 4096  # of the queue, an eighth of a cell of cost each; the last one also takes what lies beyond
FINE = 2048  # buckets, those above are 64 times as wide
WAIT, START_LINK, GOAL_LINK, GOAL_LEAVE = 8, 16, 32, 48  # how a state was reached; 0 to 7 are the lattice's moves
FILLED, CLOSED = 64, 128  # flags: reached by waiting, its departures looked for already; taken from the queue
WAY = 63  # mask of how a state was reached
TAKEN = 257  # added to a reservation where a robot may not wait; 1 where only a move may come near
ALIKE = 1.0 + 1e-3  # m, costs that differ by less count as equal: ties are what keeps waiting here from being tried again there
HASTE = 0.92  # share of the time at own pace that a way takes at least


class Fleet(NamedTuple):
    """The robots as the search sees them; index N and up of `need` are moving obstacles."""

    start: np.ndarray  # (N, 2) m
    goal: np.ndarray  # (N, 2) m
    kind: np.ndarray  # (N,) int64, class of clearance
    need: np.ndarray  # (J, J) centre distance that two of them keep, m
    rate: np.ndarray  # (N,) steps per metre at a robot's own pace
    field: np.ndarray  # (N, M) float32 distance over the lattice to its goal, m
    lone: np.ndarray  # (N,) the same from its start, m
    start_links: Links
    goal_links: Links


class Memory(NamedTuple):
    """Room for one search and its reservations; `cost`, `origin` and `busy` are all zero between searches."""

    cost: np.ndarray  # (states,) float32, cost so far plus 1; 0: not reached
    origin: np.ndarray  # (states,) uint8, how it was reached, and flags
    busy: np.ndarray  # (K, M, steps) uint16, reservations of a node during a step
    barred: np.ndarray  # (K, M, steps / 64) uint64, a bit for each step during which a robot may not wait at a node
    queue: np.ndarray  # (entries, 2) int32, state of each entry, next entry of the same bucket
    head: np.ndarray  # (BUCKETS,) int32, first entry of each bucket
    cursor: np.ndarray  # (4,) int64, entries used, bucket in hand, step from which the goal stays free, moving obstacles reserved
    path: np.ndarray  # (steps + 1, 2, J) where everyone is at every step, FAR away while not planned, m


class Tuning(NamedTuple):
    """Costs of the search, in metres of path."""

    weight: float  # of a step in conflict, cells
    wait: float  # of waiting, as a share of the way not gone at own pace
    repairs: int  # groups planned again, at most
    group: int  # robots planned again together with the one in conflict, at most


class Query(NamedTuple):
    """All that one search needs."""

    fleet: Fleet
    lattice: Lattice
    memory: Memory
    tuning: Tuning


def make_memory(lattice: Lattice, steps: int, bodies: int) -> Memory:
    """Room for searches over `steps` steps; pages never touched cost nothing."""
    nodes = lattice.columns * lattice.rows
    states = (nodes + 3) * (steps + 1)
    entries = min(4 * states, 1 << 21)
    return Memory(
        np.zeros(states, dtype=np.float32),
        np.zeros(states, dtype=np.uint8),
        np.zeros((lattice.clearance.size, nodes, steps), dtype=np.uint16),
        np.zeros((lattice.clearance.size, nodes, (steps + 63) // 64), dtype=np.uint64),
        np.empty((entries, 2), dtype=np.int32),
        np.empty(BUCKETS, dtype=np.int32),
        np.zeros(4, dtype=np.int64),
        np.full((steps + 1, 2, bodies), FAR),
    )


@njit(cache=True, nogil=True, forceinline=True, error_model="numpy")
def conflicts(i, ax, ay, bx, by, t, path, need):
    """How many others come closer to i than they need while it moves from a to b during step t.

    The difference of two straight moves is straight: too close at its start, at its end, or at the foot of the normal
    between them. Written without division or jumps, so that it compiles to vector code.
    """
    count = 0
    here, then, reach = path[t], path[t + 1], need[i]
    for j in range(path.shape[2]):
        ux, uy = ax - here[0, j], ay - here[1, j]
        vx, vy = bx - then[0, j], by - then[1, j]
        wx, wy = vx - ux, vy - uy
        uw, vw, ww = ux * wx + uy * wy, vx * wx + vy * wy, wx * wx + wy * wy
        cross = ux * wy - uy * wx
        r2 = reach[j] * reach[j]
        hit = (ux * ux + uy * uy < r2) | (vx * vx + vy * vy < r2) | ((uw < 0.0) & (vw > 0.0) & (cross * cross < r2 * ww))
        count += np.int64(hit)
    return count


@njit(cache=True, nogil=True)
def path_conflicts(i, path, need):
    """Steps times others in conflict with i over its whole path."""
    total = 0
    for t in range(path.shape[0] - 1):
        total += conflicts(i, path[t, 0, i], path[t, 1, i], path[t + 1, 0, i], path[t + 1, 1, i], t, path, need)
    return total


@njit(cache=True, nogil=True)
def mark(j, sign, query):
    """Adds (+1) or takes away (-1) the reservations of j's path on every class's nodes."""
    fleet, lattice, path = query.fleet, query.lattice, query.memory.path
    for k in range(lattice.clearance.size):
        need = 0.0
        for i in range(fleet.kind.size):
            if fleet.kind[i] == k and i != j:
                need = max(need, fleet.need[i, j])
        for t in range(path.shape[0] - 1):
            _mark_step(path[t, :, j], path[t + 1, :, j], need, t, sign, k, query)


@njit(cache=True, nogil=True, forceinline=True, error_model="numpy")
def _mark_step(a, b, need, t, sign, kind, query):
    """Reservations of step t from a to b: TAKEN within `need`, 1 within half a move more."""
    lattice, place = query.lattice, query.lattice.place[kind]
    busy, barred = query.memory.busy[kind], query.memory.barred[kind]
    dx, dy = lattice.pitch
    near = need + lattice.half_move
    reach = near + lattice.push
    wx, wy = b[0] - a[0], b[1] - a[1]
    ww = wx * wx + wy * wy
    low_x, high_x = min(a[0], b[0]) - lattice.origin[0], max(a[0], b[0]) - lattice.origin[0]
    low_y, high_y = min(a[1], b[1]) - lattice.origin[1], max(a[1], b[1]) - lattice.origin[1]
    word, bit = t >> 6, np.uint64(1) << np.uint64(t & 63)
    for row in range(max(int(np.ceil((low_y - reach) / dy)), 0), min(int((high_y + reach) / dy), lattice.rows - 1) + 1):
        for column in range(max(int(np.ceil((low_x - reach) / dx)), 0), min(int((high_x + reach) / dx), lattice.columns - 1) + 1):
            node = row * lattice.columns + column
            ux, uy = place[node, 0] - a[0], place[node, 1] - a[1]
            share = min(max((ux * wx + uy * wy) / ww, 0.0), 1.0) if ww > 0.0 else 0.0
            ux, uy = ux - share * wx, uy - share * wy
            d2 = ux * ux + uy * uy
            if d2 < need * need:
                busy[node, t] += sign * TAKEN
                barred[node, word] = barred[node, word] | bit if busy[node, t] >= TAKEN - 1 else barred[node, word] & ~bit
            elif d2 < near * near:
                busy[node, t] += sign
