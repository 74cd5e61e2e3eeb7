"""What a joint plan is worth, which is best, and which differ."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from maps.curve import curve_basis
from maps.scenario import Scenario
from planner.plan import Metrics, Source
from safety_filter.verify import Certificate

GAUSS = np.polynomial.legendre.leggauss(6)
DIFFERENT_TURN = np.pi  # rad, difference of swept angles beyond which two robots pass each other on other sides


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
    squared = [float((columns * (basis.gram[k] @ columns)).sum()) / len(control_points) for k in (2, 3)]
    rows, weights = speed_quadrature(basis.count)
    speed = np.linalg.norm((rows @ columns).reshape(len(rows), -1, 2), axis=-1)
    length = float(weights @ speed.sum(1))
    straight = float(np.linalg.norm(scenario.goal.numpy() - scenario.start.numpy(), axis=1).sum())
    ratio = length / max(straight, 1e-6)
    mean_sq_acc = squared[0] / horizon**4
    cost = ratio + 0.5 * mean_sq_acc / float(((scenario.fleet.a_max / 2) ** 2).mean())
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


def different(candidates: list[Candidate], most: int) -> list[Candidate]:
    """The cheapest candidates, best first, no two of which are the same up to bending.

    Two joint plans differ where some pair of robots turns around each other by an angle that differs by more than half
    a turn: they pass on other sides.
    """
    kept: list[Candidate] = []
    turns: list[np.ndarray] = []
    for candidate in sorted(candidates, key=lambda c: c.metrics.cost):
        turn = swept_angles(candidate.control_points)
        if all(np.abs(turn - other).max(initial=0.0) > DIFFERENT_TURN for other in turns):
            kept.append(candidate)
            turns.append(turn)
        if len(kept) == most:
            break
    return kept


def swept_angles(control_points: Float[np.ndarray, "N n 2"], samples: int = 200) -> Float[np.ndarray, " pairs"]:
    """Angle by which each robot's bearing from each other turns over the whole plan, rad; one entry a pair."""
    position = curve_basis(control_points.shape[1]).matrix(np.linspace(0.0, 1.0, samples)) @ control_points
    first, second = np.triu_indices(len(position), 1)
    between = position[second] - position[first]
    angle = np.arctan2(between[..., 1], between[..., 0])
    return (np.unwrap(angle, axis=1)[:, -1] - angle[:, 0]) if len(first) else np.zeros(0)
