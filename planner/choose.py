"""What a joint plan is worth, which is best, and which differ."""

from dataclasses import dataclass

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
    """Length, smoothness and cost of a joint trajectory; the integrals of squares are exact, lengths to about 1e-9."""
    basis = curve_basis(control_points.shape[1])
    squared = [np.einsum("ina,nm,ima->", control_points, basis.gram[k], control_points) / len(control_points) for k in (2, 3)]
    nodes, weights = GAUSS
    u = ((np.arange(basis.pieces)[:, None] + 0.5 * (nodes + 1.0)) / basis.pieces).ravel()
    speed = np.linalg.norm(np.einsum("tn,ina->ita", basis.matrix(u, 1), control_points), axis=-1)
    length = float(speed.sum(0) @ np.tile(weights, basis.pieces) * 0.5 / basis.pieces)
    straight = float(np.linalg.norm(scenario.goal.numpy() - scenario.start.numpy(), axis=1).sum())
    ratio = length / max(straight, 1e-6)
    mean_sq_acc = float(squared[0]) / horizon**4
    cost = ratio + 0.5 * mean_sq_acc / float(((scenario.fleet.a_max / 2) ** 2).mean())
    return Metrics(length, ratio, mean_sq_acc, float(squared[1]) / horizon**6, cost)


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
    position = np.einsum("tn,ina->ita", curve_basis(control_points.shape[1]).matrix(np.linspace(0.0, 1.0, samples)), control_points)
    first, second = np.triu_indices(len(position), 1)
    between = position[second] - position[first]
    angle = np.arctan2(between[..., 1], between[..., 0])
    return (np.unwrap(angle, axis=1)[:, -1] - angle[:, 0]) if len(first) else np.zeros(0)
