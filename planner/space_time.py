"""Space-time search: one robot's path over lattice and time steps among the others, compiled.

A state is a node and a step. It stands for all the time that a robot can wait there undisturbed, as in Phillips, Likhachev,
SIPP (ICRA 2011): departures are looked for within it, and what could also be reached by waiting further on is not followed.
Arrays are passed one by one: to take them out of a tuple in a loop costs more than the loop.
"""

import numpy as np
from numba import njit

from maps.world import FAR
from planner.search_grid import BLOCKED, COLUMN_STEP, LINKS, ROW_STEP
from planner.search_problem import (
    ALIKE,
    BUCKETS,
    CLOSED,
    FILLED,
    FINE,
    GOAL_LEAVE,
    GOAL_LINK,
    HASTE,
    START_LINK,
    WAIT,
    WAY,
    conflicts,
)


@njit(cache=True, nogil=True, forceinline=True, error_model="numpy")
def _duration(length, rate):
    """Steps of a move; a tenth of a step is rounded down."""
    return max(int(np.ceil(length * rate - 0.1)), 1)


@njit(cache=True, nogil=True, forceinline=True, error_model="numpy")
def _move_conflicts(i, ax, ay, bx, by, t, duration, path, need):
    """Conflicts of a straight move from a to b over several steps."""
    count = 0
    dx, dy = (bx - ax) / duration, (by - ay) / duration
    for k in range(duration):
        x, y = ax + k * dx, ay + k * dy
        count += conflicts(i, x, y, x + dx, y + dy, t + k, path, need)
    return count


@njit(cache=True, nogil=True, forceinline=True, error_model="numpy")
def _is_quiet(busy, node, other, t, duration):
    """Whether nobody comes near a move between two nodes."""
    for k in range(t, t + duration):  # noqa: SIM110 - compiled code has no all()
        if busy[node, k] != 0 or busy[other, k] != 0:
            return False
    return True


@njit(cache=True, nogil=True, forceinline=True, error_model="numpy")
def _offer(state, value, priority, way, cost, origin, queue, head, cursor):
    """Puts a state into the bucket `priority` of the queue if this is the cheapest way to it so far."""
    known, entry = cost[state], cursor[0]
    if (known > 0.0 and (known <= value + ALIKE or origin[state] >= CLOSED)) or entry == queue.shape[0]:
        return
    cost[state] = value + 1.0
    origin[state] = way
    if priority > FINE:
        priority = FINE + (priority - FINE) / 64.0
    bucket = min(max(int(priority), cursor[1]), BUCKETS - 1)
    queue[entry, 0], queue[entry, 1] = state, head[bucket]
    head[bucket] = entry
    cursor[0] += 1


@njit(cache=True, nogil=True, forceinline=True, error_model="numpy")
def _free_until(barred, node, t, steps):
    """First step from t on during which nobody may wait at a node, `steps` if none; one bit of `barred` a step."""
    word = t >> 6
    if word >= barred.shape[1]:
        return steps
    ahead = barred[node, word] >> np.uint64(t & 63)
    while ahead == 0:
        word += 1
        if word >= barred.shape[1]:
            return steps
        ahead, t = barred[node, word], word << 6
    while ahead & np.uint64(0xFF) == 0:
        ahead >>= np.uint64(8)
        t += 8
    while ahead & np.uint64(1) == 0:
        ahead >>= np.uint64(1)
        t += 1
    return t


@njit(cache=True, nogil=True, forceinline=True, error_model="numpy")
def _expand_node(state, last, self, columns, cost, origin, queue, head, cursor, busy, barred, place, move, field, path, need):
    """Offers the moves from a node, from now to step `last`: in each direction one for each time that the next node is free.

    A move into a conflict, or to where nobody may wait, is offered for now only.
    """
    i, rate, pause, weight, scale, base = self
    stride = path.shape[0]
    node, t = state // stride, state % stride
    value = cost[state] - 1.0
    for direction in range(8):
        length = move[node, direction]
        if length == BLOCKED:
            continue
        other = node + ROW_STEP[direction] * columns + COLUMN_STEP[direction]
        left, duration = field[other], _duration(length, rate)
        latest, leave = min(last, int(stride - 1 - HASTE * rate * left) - duration), t
        while leave <= latest:
            arrival = leave + duration
            if leave > t and arrival < stride - 1 and (barred[other, arrival >> 6] >> np.uint64(arrival & 63)) & np.uint64(1) != 0:
                leave += 1
                continue
            there, hits = value + (leave - t) * pause + length, 0
            known = cost[other * stride + arrival]
            if known == 0.0 or known > there + ALIKE:
                if not _is_quiet(busy, node, other, leave, duration):
                    hits = _move_conflicts(i, place[node, 0], place[node, 1], place[other, 0], place[other, 1], leave, duration, path, need)
                if hits == 0 or leave == t:
                    there += weight * hits
                    _offer(other * stride + arrival, there, (there + left - base) * scale, direction, cost, origin, queue, head, cursor)
            if hits == 0:
                leave = max(_free_until(barred, other, arrival, stride - 1) - duration, leave)
                if leave + duration >= stride - 1:
                    break
            leave += 1


@njit(cache=True, nogil=True, forceinline=True, error_model="numpy")
def _wait_at_node(state, end, self, cost, origin, queue, head, cursor, place, field, path, need):
    """Fills in the cost of waiting at a node until step `end`, and offers waiting on into a conflict.

    Returns:
        Last step from which departures are not known already.
    """
    i, rate, pause, weight, scale, base = self
    stride = path.shape[0]
    node, t = state // stride, state % stride
    value, left = cost[state] - 1.0, field[node]
    latest = int(stride - 1 - HASTE * rate * left)
    for k in range(1, min(end, latest) - t + 1):
        known, there = cost[state + k], value + k * pause
        if known > 0.0 and known <= there + ALIKE:
            return t + k - 1
        cost[state + k] = there + 1.0
        origin[state + k] = WAIT | FILLED
    if end < latest:
        x, y = place[node, 0], place[node, 1]
        there = value + (end + 1 - t) * pause + weight * conflicts(i, x, y, x, y, end, path, need)
        _offer(state + end + 1 - t, there, (there + left - base) * scale, WAIT, cost, origin, queue, head, cursor)
    return min(end, latest)


@njit(cache=True, nogil=True, forceinline=True, error_model="numpy")
def _arrive(state, last, self, goal, link, length, cost, origin, queue, head, cursor, place, path, need):
    """Offers the move from a node onto the goal: the first without conflict, and the first after which the goal stays free."""
    i, rate, pause, weight, scale, base = self
    stride, nodes = path.shape[0], place.shape[0]
    node, t = state // stride, state % stride
    duration = _duration(length, rate)
    for first in (t, max(cursor[2] - duration, t)):
        for leave in range(first, min(last, stride - 1 - duration) + 1):
            hits = _move_conflicts(i, place[node, 0], place[node, 1], goal[0], goal[1], leave, duration, path, need)
            there = cost[state] - 1.0 + (leave - t) * pause + length + weight * hits
            _offer(
                (nodes + 1) * stride + leave + duration, there, (there - base) * scale, GOAL_LINK + link, cost, origin, queue, head, cursor
            )
            if hits == 0:
                break


@njit(cache=True, nogil=True)
def _expand_end(state, self, query):
    """Offers waiting a step at the start or goal and the moves from it to the lattice."""
    i, rate, pause, weight, scale, base = self
    memory, fleet, place = query.memory, query.fleet, query.lattice.place[query.fleet.kind[i]]
    cost, origin, queue, head, cursor, path = memory.cost, memory.origin, memory.queue, memory.head, memory.cursor, memory.path
    stride, is_goal = path.shape[0], state // path.shape[0] == place.shape[0] + 1
    t, value = state % stride, cost[state] - 1.0
    links, left = (fleet.goal_links, 0.0) if is_goal else (fleet.start_links, fleet.lone[i])
    x, y = fleet.goal[i] if is_goal else fleet.start[i]
    if t < int(stride - 1 - HASTE * rate * left):
        there = value + pause + weight * conflicts(i, x, y, x, y, t, path, fleet.need)
        _offer(state + 1, there, (there + left - base) * scale, WAIT, cost, origin, queue, head, cursor)
    for k in range(LINKS):
        node = links.node[i, k]
        if node < 0 or fleet.field[i, node] >= FAR:
            continue
        length, left = links.length[i, k], fleet.field[i, node]
        duration = _duration(length, rate)
        if t + duration <= int(stride - 1 - HASTE * rate * left):
            hits = _move_conflicts(i, x, y, place[node, 0], place[node, 1], t, duration, path, fleet.need)
            way = (GOAL_LEAVE if is_goal else START_LINK) + k
            there = value + length + weight * hits
            _offer(node * stride + t + duration, there, (there + left - base) * scale, way, cost, origin, queue, head, cursor)


@njit(cache=True, nogil=True)
def _prepare(i, query):
    """Empties the queue; finds the step from which the goal stays free. Returns conflicts of standing there, (steps + 1,)."""
    memory, fleet = query.memory, query.fleet
    path, rest = memory.path, np.zeros(memory.path.shape[0])
    x, y = fleet.goal[i]
    for t in range(path.shape[0] - 2, -1, -1):
        rest[t] = rest[t + 1] + conflicts(i, x, y, x, y, t, path, fleet.need)
    memory.head[:] = -1
    memory.cursor[0], memory.cursor[1], memory.cursor[2] = 0, 0, 0
    while memory.cursor[2] < path.shape[0] - 1 and rest[memory.cursor[2]] > 0:
        memory.cursor[2] += 1
    return rest


@njit(cache=True, nogil=True, error_model="numpy")
def plan_one(i, weight, query):
    """Writes the cheapest path of robot i among everyone else's into memory.path.

    Returns:
        Whether there is one that arrives in time; if not, the path is left as it was.
    """
    memory, fleet, lattice = query.memory, query.fleet, query.lattice
    cost, origin, queue, head, cursor, path = memory.cost, memory.origin, memory.queue, memory.head, memory.cursor, memory.path
    kind, columns, stride = fleet.kind[i], lattice.columns, path.shape[0]
    busy, barred, place, move = memory.busy[kind], memory.barred[kind], lattice.place[kind], lattice.move[kind]
    field, need, goal = fleet.field[i], fleet.need, fleet.goal[i]
    link_node, link_length = fleet.goal_links.node[i], fleet.goal_links.length[i]
    nodes, scale = place.shape[0], 8.0 / lattice.pitch[0]
    self = (i, fleet.rate[i], query.tuning.wait / fleet.rate[i], weight, scale, fleet.lone[i])
    rest = _prepare(i, query)
    _offer(nodes * stride, 0.0, 0.0, WAIT, cost, origin, queue, head, cursor)
    arrival = -1
    while arrival < 0:
        state = _take(queue, origin, head, cursor)
        if state < 0:
            break
        node, t = state // stride, state % stride
        if node < nodes:
            end = _free_until(barred, node, t, stride - 1)
            last = _wait_at_node(state, end, self, cost, origin, queue, head, cursor, place, field, path, need)
            _expand_node(state, last, self, columns, cost, origin, queue, head, cursor, busy, barred, place, move, field, path, need)
            if field[node] < 6.0 * lattice.pitch[0]:
                for k in range(LINKS):
                    if link_node[k] == node:
                        _arrive(state, last, self, goal, k, link_length[k], cost, origin, queue, head, cursor, place, path, need)
        elif node < nodes + 2:
            if node == nodes + 1:
                there = cost[state] - 1.0 + weight * rest[t]
                _offer(state + stride, there, (there - fleet.lone[i]) * scale, WAIT, cost, origin, queue, head, cursor)
            _expand_end(state, self, query)
        else:
            arrival = t
    if arrival >= 0:
        _trace(i, arrival, query)
    _forget(memory, stride)
    return arrival >= 0


@njit(cache=True, nogil=True, forceinline=True, error_model="numpy")
def _take(queue, origin, head, cursor):
    """Takes the next state from the queue and closes it; -1: none is left."""
    while cursor[1] < BUCKETS:
        entry = head[cursor[1]]
        if entry < 0:
            cursor[1] += 1
            continue
        head[cursor[1]] = queue[entry, 1]
        state = np.int64(queue[entry, 0])
        if origin[state] < FILLED:
            origin[state] |= CLOSED
            return state
    return -1


@njit(cache=True, nogil=True)
def _forget(memory, stride):
    """Makes `cost` and `origin` zero again: the states offered, and those filled in after them."""
    for entry in range(memory.cursor[0]):
        state = memory.queue[entry, 0]
        if memory.cost[state] > 0.0:
            node_end = (state // stride + 1) * stride
            memory.cost[state] = 0.0
            memory.origin[state] = 0
            state += 1
            while state < node_end and memory.origin[state] == WAIT | FILLED:
                memory.cost[state] = 0.0
                memory.origin[state] = 0
                state += 1


@njit(cache=True, nogil=True)
def _trace(i, arrival, query):
    """Follows the search back from the arrival and writes the places at every step."""
    memory, fleet, lattice = query.memory, query.fleet, query.lattice
    path, stride = memory.path, memory.path.shape[0]
    nodes, place = lattice.columns * lattice.rows, lattice.place[fleet.kind[i]]
    for t in range(arrival, stride):
        path[t, :, i] = fleet.goal[i]
    node, t, here = nodes + 1, arrival, fleet.goal[i].copy()
    while t > 0:
        before, length = _came_from(i, node, memory.origin[node * stride + t] & WAY, query)
        duration = 1 if before == node else _duration(length, fleet.rate[i])
        there = place[before] if before < nodes else (fleet.start[i] if before == nodes else fleet.goal[i])
        for k in range(1, duration + 1):
            share = k / duration
            path[t - k, 0, i] = here[0] + share * (there[0] - here[0])
            path[t - k, 1, i] = here[1] + share * (there[1] - here[1])
        node, t = before, t - duration
        here = there.copy()


@njit(cache=True, nogil=True)
def _came_from(i, node, way, query):
    """The node before and the length of the move from it, by how a state was reached."""
    fleet, lattice = query.fleet, query.lattice
    nodes = lattice.columns * lattice.rows
    if way == WAIT:
        return node, 0.0
    if way < WAIT:
        before = node - ROW_STEP[way] * lattice.columns - COLUMN_STEP[way]
        return before, np.float64(lattice.move[fleet.kind[i], before, way])
    if way < GOAL_LINK:
        return nodes, fleet.start_links.length[i, way - START_LINK]
    if way < GOAL_LEAVE:
        return np.int64(fleet.goal_links.node[i, way - GOAL_LINK]), fleet.goal_links.length[i, way - GOAL_LINK]
    return nodes + 1, fleet.goal_links.length[i, way - GOAL_LEAVE]
