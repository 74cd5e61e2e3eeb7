"""What a joint plan is worth, which is best, and which differ."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from maps.curve import curve_basis
from maps.scenario import Scenario
from maps.scene import Scene
from planner.homotopy import Signature, sample_rows, signature
from planner.plan import Metrics, Source
from safety_filter.verify import Certificate

GAUSS = np.polynomial.legendre.leggauss(6)


@dataclass(frozen=True)
class Candidate:
    """A certified joint trajectory."""

    control_points: Float[np.ndarray, "N n 2"]  # m
    source: Source
    certificate: Certificate
    metrics: Metrics
    rounds: int  # filter rounds that led to it


def measure(control_points: Float[np.ndarray, "N n 2"], scenario: Scenario, horizon: float) -> Metrics:
    """Length, smoothness and cost of a joint trajectory; the integrals of squares are exact, lengths nearly so."""
    basis = curve_basis(control_points.shape[1])
    columns = control_points.transpose(1, 0, 2).reshape(control_points.shape[1], -1)
    columns = columns - columns[0]  # far from the origin, squares of places would drown those of accelerations
    squared = [float(np.vdot(columns, basis.gram[k] @ columns)) / len(control_points) for k in (2, 3)]
    rows, weights = speed_quadrature(basis.count)
    velocity = rows @ columns
    length = float((weights @ np.hypot(velocity[:, ::2], velocity[:, 1::2])).sum())
    way = scenario.goal.numpy() - scenario.start.numpy()
    ratio = length / max(float(np.hypot(way[:, 0], way[:, 1]).sum()), 1e-6)
    mean_sq_acc = squared[0] / horizon**4
    cost = ratio + 0.5 * mean_sq_acc / float(np.square(0.5 * scenario.fleet.a_max.numpy()).mean())
    return Metrics(length, ratio, mean_sq_acc, squared[1] / horizon**6, cost)


@lru_cache(maxsize=64)
def speed_quadrature(count: int) -> tuple[np.ndarray, np.ndarray]:
    """(Q, n) first derivatives by dimensionless time at Gauss points of every piece, and their weights (Q,)."""
    basis = curve_basis(count)
    nodes, weights = GAUSS
    u = ((np.arange(basis.pieces)[:, None] + 0.5 * (nodes + 1.0)) / basis.pieces).ravel()
    return basis.matrix(u, 1), np.tile(weights, basis.pieces) * 0.5 / basis.pieces


def squared_derivatives(count: int, order: int) -> Float[np.ndarray, "n n"]:
    """Q with c^T Q c = integral of a curve's squared derivative by dimensionless time."""
    return curve_basis(count).gram[order]


def best(candidates: list[Candidate]) -> Candidate:
    """The cheapest; of equals the first."""
    return min(candidates, key=lambda c: c.metrics.cost)


def different(candidates: list[Candidate], most: int, scene: Scene) -> list[Candidate]:
    """The cheapest candidates, best first, no two of which are the same up to bending.

    Two joint plans differ where two robots, or a robot and an obstacle, turn around each other by an angle that differs by
    more than half a turn: they pass on other sides.

    Args:
        candidates: plans of one scenario.
        most: how many to return.
        scene: the scenario's.
    """
    kept: list[Candidate] = []
    known: list[Signature] = []
    for candidate in sorted(candidates, key=lambda c: c.metrics.cost):
        if len(kept) == most:
            break
        sides = signature(candidate.control_points, scene)
        if all(sides.differs(other) for other in known):
            kept.append(candidate)
            known.append(sides)
    return kept


def count_homotopies(candidates: list[Candidate], scene: Scene) -> int:
    """How many of a scenario's plans are not the same up to bending, as `different` tells them apart."""
    return len(different(candidates, len(candidates), scene))


def mean_pairwise_distance(candidates: list[Candidate]) -> float:
    """How far plans of one scenario are from each other, m: the mean over robots, time and every two plans; 0 for fewer than two."""
    position = [sample_rows(c.control_points.shape[1]) @ c.control_points for c in candidates]
    apart = [_mean_distance(one, other) for k, one in enumerate(position) for other in position[:k]]
    return float(np.mean(apart)) if apart else 0.0


def _mean_distance(one: Float[np.ndarray, "N T 2"], other: Float[np.ndarray, "N T 2"]) -> float:
    """Mean over robots and time, by the trapezoidal rule, m."""
    distance = np.linalg.norm(one - other, axis=-1)
    return float(np.trapezoid(distance, axis=1).mean() / (distance.shape[1] - 1))
