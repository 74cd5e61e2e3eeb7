"""Ways that give way: each robot's shortest, where going against those before it costs extra, compiled.

Robots that would meet head-on in an aisle too narrow for two take another one, if that is not much longer.
Source of the idea: prices on moves against the traffic, after Chen, Harabor, Li, Stuckey, Traffic Flow Optimisation for
Lifelong Multi-Agent Path Finding (AAAI 2024).
"""

import numpy as np
from numba import njit

from maps.world import FAR
from planner.search_grid import BLOCKED, goal_distances
from planner.search_timing import against, descend, even_way

TOLL = 2.0  # price of a metre straight against the traffic, in metres, beyond the metre itself


@njit(cache=True, nogil=True)
def traffic_routes(order, limit, reach, fleet, lattice, steps):
    """Every robot's way, planned in turn, each against the traffic of those before it.

    Args:
        order: (N,) robots, first to choose first.
        limit: (N,) longest way, m; a robot without one this short goes its own way.
        reach: (N,) how far aside of its way a robot counts as traffic, m.
        fleet: the robots.
        lattice: the lattice.
        steps: of the result.

    Returns:
        Ways at even speed, (steps + 1, 2, N), m.
    """
    flow = np.zeros((lattice.columns * lattice.rows, 2))
    out = np.empty((steps + 1, 2, order.size))
    cell = max(lattice.pitch[0], lattice.pitch[1])
    for i in order:
        kind = fleet.kind[i]
        field, start = goal_distances(
            fleet.goal_links.node[i],
            fleet.goal_links.length[i],
            fleet.start_links.node[i],
            fleet.start_links.length[i],
            _priced(lattice.move[kind], flow),
            lattice.columns,
            (1.0 + TOLL) * limit[i],
            cell,
        )
        corner = descend(i, field, flow, TOLL, fleet, lattice) if start < FAR else np.empty((0, 2))
        if corner.shape[0] == 0 or _length(corner) > limit[i]:
            corner = descend(i, fleet.field[i], np.zeros_like(flow), 0.0, fleet, lattice)
        even_way(corner, out[:, :, i])
        _add_traffic(corner, reach[i], lattice, flow)
    return out


@njit(cache=True, nogil=True)
def _priced(move, flow):
    """Costs (M, 8) of coming to each node from its neighbours: move [k, d] is gone backwards, from the neighbour to k."""
    out = move.copy()
    for node in range(move.shape[0]):
        if flow[node, 0] == 0.0 and flow[node, 1] == 0.0:
            continue
        for d in range(8):
            if move[node, d] < BLOCKED:
                out[node, d] *= against((d + 4) % 8, flow[node], TOLL)
    return out


@njit(cache=True, nogil=True)
def _length(corner):
    total = 0.0
    for k in range(1, corner.shape[0]):
        total += np.hypot(corner[k, 0] - corner[k - 1, 0], corner[k, 1] - corner[k - 1, 1])
    return total


@njit(cache=True, nogil=True)
def _add_traffic(corner, reach, lattice, flow):
    """Adds the direction of a way to the nodes beside it."""
    columns, rows = int(reach / lattice.pitch[0]), int(reach / lattice.pitch[1])
    for k in range(1, corner.shape[0] - 1):
        dx, dy = corner[k + 1, 0] - corner[k - 1, 0], corner[k + 1, 1] - corner[k - 1, 1]
        length = max(np.hypot(dx, dy), 1e-9)
        column = int(np.rint((corner[k, 0] - lattice.origin[0]) / lattice.pitch[0]))
        row = int(np.rint((corner[k, 1] - lattice.origin[1]) / lattice.pitch[1]))
        for r in range(max(row - rows, 0), min(row + rows + 1, lattice.rows)):
            for c in range(max(column - columns, 0), min(column + columns + 1, lattice.columns)):
                flow[r * lattice.columns + c, 0] += dx / length
                flow[r * lattice.columns + c, 1] += dy / length
