"""A peer: joint sequential convex programming over the control points of all robots at once.

After F. Augugliaro, A. P. Schoellig and R. D'Andrea, Generation of collision-free trajectories for a quadrocopter fleet:
a sequential convex programming approach (IROS 2012): straight lines as the start, every pair and wall linearised about
the last iterate, one sparse quadratic program a round for the whole fleet, solved by Clarabel's interior points.
Slow, and good: what it costs in length and smoothness is the mark for quality.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import clarabel
import numpy as np
from problem import Problem, failed_plan, plan_of_curves
from scipy import sparse

from maps.curve import curve_basis
from maps.world import FAR, obstacle_distances

ENDS = 3  # control points at each end that rest at start and goal determines


@dataclass(frozen=True)
class ScpConfig:
    """Settings of the joint planner."""

    control_points: int = 26
    samples: int = 120
    checks: int = 2000  # times at which a settled iterate is looked at; what overlaps there is added to the room
    rounds: int = 40
    trust: float = 0.06  # of the world's size, first trust region on control points
    shrink: float = 0.8  # of the trust region, each round
    still: float = 5e-4  # of the world's size: control points that move less have settled
    room: float = 0.02  # of the smallest radius, kept so that little touches between samples
    slack_price: float = 1e3  # per metre of violation, in units of the straight lines' mean cost per sample
    tolerance: float = 3e-4  # of the smallest radius, overlap that passes
    time_limit: float = 300.0  # s


class JointScp:
    """One problem's matrices and rounds."""

    def __init__(self, problem: Problem, config: ScpConfig) -> None:
        self.problem, self.config = problem, config
        self.count = len(problem.ids)
        basis = curve_basis(config.control_points)
        self.basis = basis
        self.free = config.control_points - 2 * ENDS
        u = np.linspace(0.0, 1.0, config.samples)
        self.matrix = [basis.matrix(u, k) / problem.horizon**k for k in range(3)]
        bounds = problem.scene.extent
        self.size = max(bounds[2] - bounds[0], bounds[3] - bounds[1])
        self.room = config.room * problem.radius.min()
        self.fine = basis.matrix(np.linspace(0.0, 1.0, config.checks))

    def plan(self) -> dict:
        """Rounds until the control points settle without overlap, the rounds are used up or the time is."""
        started = time.perf_counter()
        control, trust = self._straight(), self.config.trust * self.size
        small = self.problem.radius.min()
        for _ in range(self.config.rounds):
            if time.perf_counter() - started > self.config.time_limit:
                break
            following = self._round(control, trust)
            if following is None:
                break
            moved, control = np.abs(following - control).max(), following
            trust *= self.config.shrink
            if moved < self.config.still * self.size:
                overlap = self._overlap(control)
                if overlap <= self.config.tolerance * small:
                    return self._answer(control, started)
                self.room += min(1.2 * overlap, 0.1 * small)
                trust = 0.25 * small
        return failed_plan(self.problem, time.perf_counter() - started)

    def _answer(self, control: np.ndarray, started: float) -> dict:
        seconds = time.perf_counter() - started
        return plan_of_curves(self.problem, self.basis.degree, self.basis.knots * self.problem.horizon, control, seconds)

    def _straight(self) -> np.ndarray:
        """(N, n, 2) minimum-jerk lines, each bent a little to its right, so that robots head-on have a side to pass on."""
        p = self.problem
        control = p.start[:, None] * self.basis.ends[:, :1] + p.goal[:, None] * self.basis.ends[:, 3:4]
        control[:, :ENDS], control[:, -ENDS:] = p.start[:, None], p.goal[:, None]
        bump = np.zeros(self.config.control_points)
        bump[ENDS:-ENDS] = np.sin(np.linspace(0.0, np.pi, self.free)) ** 2
        way = p.goal - p.start
        right = np.stack([way[:, 1], -way[:, 0]], axis=1) / np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-9)
        return control + 0.05 * p.radius[:, None, None] * bump[:, None] * right[:, None]

    def _overlap(self, control: np.ndarray) -> float:
        """Deepest overlap at many times, m."""
        position = self.fine @ control
        p, worst = self.problem, 0.0
        for i in range(self.count - 1):
            gap = np.linalg.norm(position[i + 1 :] - position[i], axis=2) - (p.radius[i + 1 :] + p.radius[i])[:, None]
            worst = max(worst, float(-gap.min()))
        for i in range(self.count):
            for part in p.parts:
                worst = max(worst, float(p.radius[i] - obstacle_distances(position[i], part, FAR)[0].min()))
        return worst

    def _round(self, control: np.ndarray, trust: float) -> np.ndarray | None:
        """The next control points, or None where the program could not be solved."""
        rows = _Rows(self.matrix, self.free)
        position = self.matrix[0] @ control
        self._add_pairs(rows, position, trust)
        self._add_walls(rows, position, trust)
        self._add_limits(rows, control)
        elastic = rows.count
        self._add_bounds(rows, position, trust)
        matrix, offset = rows.matrix(self.count), rows.offset(control)
        return _solve(self._cost(control), (matrix, offset, elastic), control, trust)

    def _cost(self, control: np.ndarray) -> tuple:
        """Hessian and gradient of the mean squared acceleration and the price of violations."""
        gram = self.basis.gram[2] / self.problem.horizon**4
        inner = sparse.kron(sparse.identity(self.count), sparse.kron(sparse.csc_matrix(gram[ENDS:-ENDS, ENDS:-ENDS]), sparse.identity(2)))
        gradient = (gram[ENDS:-ENDS] @ control).ravel()
        straight = self._straight()
        scale = float(np.einsum("inx,nm,imx->", straight, gram, straight)) / self.config.samples
        return inner.tocsc(), gradient, self.config.slack_price * scale / self.problem.radius.min()

    def _add_pairs(self, rows: _Rows, position: np.ndarray, trust: float) -> None:
        p = self.problem
        for i in range(self.count - 1):
            apart = position[i] - position[i + 1 :]
            distance = np.linalg.norm(apart, axis=2)
            least = (p.radius[i + 1 :] + p.radius[i])[:, None] + self.room
            other, t = np.nonzero(distance < least + 2.0 * trust)
            if len(t):
                normal = apart[other, t] / np.maximum(distance[other, t], 1e-9)[:, None]
                gap = distance[other, t] - np.broadcast_to(least, distance.shape)[other, t]
                rows.add(np.full(len(t), i), other + i + 1, t, normal, gap)

    def _add_walls(self, rows: _Rows, position: np.ndarray, trust: float) -> None:
        p = self.problem
        for i in range(self.count):
            for part in p.parts:
                distance, normal = obstacle_distances(position[i], part, p.radius[i] + self.room + trust)
                t = np.flatnonzero((distance < p.radius[i] + self.room + trust) & (np.abs(normal).sum(1) > 0))
                rows.add(np.full(len(t), i), None, t, normal[t], distance[t] - p.radius[i] - self.room)

    def _add_limits(self, rows: _Rows, control: np.ndarray) -> None:
        """Cuts that touch the discs of allowed speeds and accelerations where the last iterate is near or outside them."""
        for order, limit in ((1, self.problem.v_max), (2, self.problem.a_max)):
            value = self.matrix[order] @ control
            norm = np.linalg.norm(value, axis=2)
            i, t = np.nonzero(norm > 0.7 * limit[:, None])
            rows.add(i, None, t, -value[i, t] / norm[i, t][:, None], 0.997 * limit[i] - norm[i, t], order)

    def _add_bounds(self, rows: _Rows, position: np.ndarray, trust: float) -> None:
        bounds = self.problem.scene.bounds
        if bounds is None:
            return
        for side, normal in enumerate(((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))):
            value = position @ np.array(normal)
            gap = value - (bounds[side] * sum(normal)) - self.problem.radius[:, None]
            i, t = np.nonzero(gap < trust)
            rows.add(i, None, t, np.tile(normal, (len(t), 1)), gap[i, t])


class _Rows:
    """Rows  normal . (x_i - x_j)(t) >= bound, collected as triplets over the free control points' steps."""

    def __init__(self, matrix: list[np.ndarray], free: int) -> None:
        self.inner = [m[:, ENDS : ENDS + free] for m in matrix]
        self.free = free
        self.count = 0
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.gaps: list[np.ndarray] = []

    def add(self, i: np.ndarray, j: np.ndarray | None, t: np.ndarray, normal: np.ndarray, gap: np.ndarray, order: int = 0) -> None:
        """Adds rows that allow a step of at most `gap` against `normal` at sample t of robot i, less that of robot j."""
        own = self.count + np.arange(len(t))
        weight = self.inner[order][t]
        for robot, sign in ((i, 1.0), (j, -1.0)):
            if robot is None:
                continue
            k, column = np.nonzero(np.abs(weight) > 1e-12)
            for axis in range(2):
                index = (robot[k] * self.free + column) * 2 + axis
                self.parts.append((own[k], index, sign * weight[k, column] * normal[k, axis]))
        self.gaps.append(gap)
        self.count += len(t)

    def matrix(self, robots: int) -> sparse.csc_matrix:
        """(rows, N * free * 2)."""
        row, column, value = (np.concatenate([p[k] for p in self.parts]) for k in range(3)) if self.parts else (np.zeros(0),) * 3
        return sparse.csc_matrix((value, (row.astype(int), column.astype(int))), shape=(self.count, robots * self.free * 2))

    def offset(self, control: np.ndarray) -> np.ndarray:
        """(rows,) room that each row leaves at `control` itself; negative where it is violated."""
        return np.concatenate(self.gaps) if self.gaps else np.zeros(0)


def _solve(cost: tuple, rows: tuple, control: np.ndarray, trust: float) -> np.ndarray | None:
    """One quadratic program over steps; the first `elastic` rows may be violated at a price."""
    hessian, gradient, price = cost
    matrix, gap, elastic = rows
    steps = matrix.shape[1]
    loose = sparse.vstack([sparse.identity(elastic), sparse.csc_matrix((matrix.shape[0] - elastic, elastic))])
    box = sparse.hstack([sparse.identity(steps), sparse.csc_matrix((steps, elastic))])
    slack = sparse.hstack([sparse.csc_matrix((elastic, steps)), -sparse.identity(elastic)])
    left = sparse.vstack([sparse.hstack([-matrix, -loose]), box, -box, slack]).tocsc()
    right = np.concatenate([gap, np.full(2 * steps, trust), np.zeros(elastic)])
    quadratic = sparse.triu(sparse.block_diag([hessian, sparse.csc_matrix((elastic, elastic))])).tocsc()
    linear = np.concatenate([gradient, np.full(elastic, price)])
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_iter = 60
    solution = clarabel.DefaultSolver(quadratic, linear, left, right, [clarabel.NonnegativeConeT(len(right))], settings).solve()
    if solution.status not in (clarabel.SolverStatus.Solved, clarabel.SolverStatus.AlmostSolved):
        return None
    following = control.copy()
    following[:, ENDS:-ENDS] += np.array(solution.x[:steps]).reshape(len(control), -1, 2)
    return following


def plan(problem: Problem, config: ScpConfig | None = None) -> dict:
    """A plan of the whole fleet, or a failed one."""
    return JointScp(problem, config or ScpConfig()).plan()
