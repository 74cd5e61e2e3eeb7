"""A peer: ORCA by RVO2, with and without acceleration clipped to the limit.

J. van den Berg, S. J. Guy, M. Lin and D. Manocha, Reciprocal n-body collision avoidance (ISRR 2011), through pyrvo.
It steps all robots in time, each towards its goal (around obstacles along a shortest grid path), and knows nothing of
horizons and accelerations. Plain, its velocities jump: a spline of degree 1. Clipped, the change of velocity in a step is cut
to what the robot can do and velocity goes there in a straight line: a spline of degree 2, which keeps the limit and may collide.
"""

from __future__ import annotations

import time

import numpy as np
import pyrvo
from problem import Problem, plan_of_curves
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from maps.world import bounds_distance, obstacle_distances

STEP = 0.05  # s
LOOK_AHEAD = 2.0  # s
MOST_NEIGHBORS = 12


def plan(problem: Problem, clipped: bool) -> dict:
    """A plan of the whole fleet, as it is: no check is made."""
    started = time.perf_counter()
    steps = round(problem.horizon / STEP)
    span = problem.horizon / steps
    velocity = _simulate(problem, steps, span, clipped)
    times = np.linspace(0.0, problem.horizon, steps + 1)
    if clipped:
        knots = np.concatenate([[0.0, 0.0], times, [problem.horizon] * 2])
        control = _integrate(problem.start, velocity, (knots[3:-1] - knots[1:-3]) / 2.0)
        return plan_of_curves(problem, 2, knots, control, time.perf_counter() - started)
    knots = np.concatenate([[0.0], times, [problem.horizon]])
    control = _integrate(problem.start, velocity[:, 1:], np.full(steps, span))
    return plan_of_curves(problem, 1, knots, control, time.perf_counter() - started)


def _integrate(start: np.ndarray, velocity: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(N, n, 2) control points of splines with given control points of their derivative."""
    return np.concatenate([start[:, None], start[:, None] + np.cumsum(velocity * weight[:, None], axis=1)], axis=1)


def _simulate(problem: Problem, steps: int, span: float, clipped: bool) -> np.ndarray:
    """(N, steps + 1, 2) velocities at the steps, at rest at first."""
    simulator = _simulator(problem, span)
    guide = _Guide(problem)
    count = len(problem.ids)
    position, velocity = problem.start.copy(), np.zeros((count, 2))
    out = np.zeros((count, steps + 1, 2))
    for k in range(steps):
        wanted = _wanted(problem, guide, position, span)
        for i in range(count):
            simulator.set_agent_position(i, tuple(position[i]))
            simulator.set_agent_velocity(i, tuple(velocity[i]))
            simulator.set_agent_pref_velocity(i, tuple(wanted[i]))
        simulator.do_step()
        chosen = np.array([simulator.get_agent_velocity(i).to_tuple() for i in range(count)])
        if clipped:
            change = chosen - velocity
            size = np.linalg.norm(change, axis=1, keepdims=True)
            chosen = velocity + change * np.minimum(1.0, problem.a_max[:, None] * span / np.maximum(size, 1e-12))
        position = position + (0.5 * (velocity + chosen) if clipped else chosen) * span
        velocity = chosen
        out[:, k + 1] = velocity
    return out


def _wanted(problem: Problem, guide: _Guide, position: np.ndarray, span: float) -> np.ndarray:
    """Preferred velocities: towards the guide's next place, slow enough to stop at the goal."""
    left = np.linalg.norm(problem.goal - position, axis=1)
    speed = np.minimum(np.minimum(0.95 * problem.v_max, np.sqrt(problem.a_max * left)), left / (3.0 * span))
    ahead = guide.ahead(position) - position
    return ahead / np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-12) * speed[:, None]


def _simulator(problem: Problem, span: float) -> pyrvo.RVOSimulator:
    reach = float(2.0 * problem.v_max.max() * LOOK_AHEAD)
    simulator = pyrvo.RVOSimulator()
    simulator.set_time_step(span)
    for i in range(len(problem.ids)):
        radius, top = float(problem.radius[i]) * 1.01, float(problem.v_max[i])
        simulator.add_agent(tuple(problem.start[i]), reach, MOST_NEIGHBORS, LOOK_AHEAD, 1.0, radius, top)
    for obstacle in problem.obstacles:
        simulator.add_obstacle([tuple(vertex) for vertex in _corners(obstacle)])
    if problem.scene.bounds is not None:
        x0, y0, x1, y1 = problem.scene.bounds
        simulator.add_obstacle([(x0, y0), (x0, y1), (x1, y1), (x1, y0)])  # clockwise: robots stay inside
    simulator.process_obstacles()
    return simulator


def _corners(obstacle: dict) -> np.ndarray:
    """Vertices, counter-clockwise; a disc becomes a polygon around it."""
    if obstacle["type"] == "circle":
        angle = 2.0 * np.pi * np.arange(16) / 16
        return np.array([obstacle["x"], obstacle["y"]]) + obstacle["radius"] / np.cos(np.pi / 16) * np.stack(
            [np.cos(angle), np.sin(angle)], axis=1
        )
    ring = np.array(obstacle["vertices"], dtype=float)
    after = np.roll(ring, -1, axis=0)
    area = (ring[:, 0] * after[:, 1] - ring[:, 1] * after[:, 0]).sum()
    return ring if area > 0 else ring[::-1]


class _Guide:
    """Shortest grid paths of lone robots: where each should head next."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        radius = float(problem.radius.max())
        x0, y0, x1, y1 = problem.scene.extent
        self.cell = radius / 2.0
        self.low = np.array([x0, y0])
        self.shape = (int((x1 - x0) / self.cell) + 1, int((y1 - y0) / self.cell) + 1)
        index = np.stack(np.meshgrid(*map(np.arange, self.shape), indexing="ij"), axis=-1).reshape(-1, 2)
        self.places = self.low + index * self.cell
        distance = obstacle_distances(self.places, problem.scene.world, 2.0 * radius)[0]
        inside = np.array([bounds_distance(x, y, problem.scene.world) for x, y in self.places])
        free = (np.minimum(distance, inside) > 1.05 * radius).reshape(self.shape)
        self.before = self._trees(free)

    def _trees(self, free: np.ndarray) -> np.ndarray:
        """(N, cells) the next cell on the way to each robot's goal."""
        index = np.arange(free.size).reshape(self.shape)
        rows, columns, costs = [], [], []
        for dx, dy in ((1, 0), (0, 1), (1, 1), (1, -1)):
            a = index[: self.shape[0] - dx, max(0, -dy) : self.shape[1] - max(0, dy)].ravel()
            b = index[dx:, max(0, dy) : self.shape[1] + min(0, dy)].ravel()
            passable = free.ravel()[a] & free.ravel()[b]
            rows.append(a[passable])
            columns.append(b[passable])
            costs.append(np.full(int(passable.sum()), np.hypot(dx, dy)))
        graph = sparse.coo_matrix((np.concatenate(costs), (np.concatenate(rows), np.concatenate(columns))), (free.size, free.size))
        self.nearest = ndimage.distance_transform_edt(~free, return_distances=False, return_indices=True)
        goals = [self._cell(goal) for goal in self.problem.goal]
        return csgraph.dijkstra(graph.tocsr(), directed=False, indices=goals, return_predecessors=True)[1]

    def _cell(self, place: np.ndarray) -> int:
        k = np.clip(np.rint((place - self.low) / self.cell).astype(int), 0, np.array(self.shape) - 1)
        x, y = self.nearest[:, k[0], k[1]]
        return int(x * self.shape[1] + y)

    def ahead(self, position: np.ndarray) -> np.ndarray:
        """(N, 2) the goal where it is in sight, else the place a few cells on."""
        out = self.problem.goal.copy()
        for i, place in enumerate(position):
            if self._in_sight(i, place):
                continue
            cell = self._cell(place)
            for _ in range(6):
                following = self.before[i, cell]
                if following < 0:
                    break
                cell = int(following)
            out[i] = self.places[cell]
        return out

    def _in_sight(self, i: int, place: np.ndarray) -> bool:
        goal = self.problem.goal[i]
        count = max(2, int(np.linalg.norm(goal - place) / self.cell) + 1)
        line = place + np.linspace(0.0, 1.0, count)[:, None] * (goal - place)
        radius = float(self.problem.radius[i])
        return bool(obstacle_distances(line, self.problem.scene.world, 2.0 * radius)[0].min() > 1.02 * radius)
