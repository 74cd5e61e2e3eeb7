"""One step of the filter by a general convex solver: the oracle that the linear algebra is tested against.

With the corrections of a round fixed, the step minimises a convex quadratic. Here it is written out term by term, over
all robots at once and without any of the structure that the filter uses, and handed to cvxpy.
"""

import cvxpy as cp
import numpy as np
from jaxtyping import Float
from torch import Tensor

from maps.curve import END_POINTS
from safety_filter.rounds import BatchIterate, BatchProblem, look, tighten


def reference_step(problem: BatchProblem, iterate: BatchIterate, solver: str = cp.CLARABEL) -> Float[np.ndarray, "N n 2"]:
    """The control points after one round without growth of the penalty.

    Args:
        problem: exactly one problem.
        iterate: where it stands.
        solver: a solver of cvxpy's.

    Returns:
        New control points, m.

    Raises:
        ValueError: more than one problem.
        RuntimeError: the solver found no optimum.
    """
    if problem.step.shape[0] != 1:
        raise ValueError(f"the reference takes one problem, got {problem.step.shape[0]}")
    step = cp.Variable((problem.mask.shape[1] * 2, problem.value.shape[1]))  # x of all robots, then y
    control = _columns(iterate.control)
    held: list[cp.Constraint] = [step[:, :END_POINTS] == 0, step[:, -END_POINTS:] == 0]
    cost = (
        _smoothness(step, control, problem)
        + _length(step, control, tighten(problem, iterate))
        - cp.sum(cp.multiply(_pull(problem, iterate), step))
        + _movement(step, problem, iterate)
    )
    task = cp.Problem(cp.Minimize(cost), held)
    task.solve(solver=solver)
    if task.status != cp.OPTIMAL or step.value is None:
        raise RuntimeError(f"{solver} ended with {task.status}")
    after = control + step.value
    return np.stack(np.split(after, 2), axis=-1)


def _columns(control: Tensor) -> np.ndarray:
    """(2 N, n) rows of the only problem's control points, x of all robots, then y."""
    points = control[0].detach().numpy()
    return np.concatenate([points[..., 0], points[..., 1]])


def _root(matrix: np.ndarray) -> np.ndarray:
    """R with R^T R = matrix, for a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0.0))).T


def _smoothness(step: cp.Variable, control: np.ndarray, problem: BatchProblem) -> cp.Expression:
    return 0.5 * cp.sum_squares((control + step) @ _root(problem.smoothness[0].numpy()).T)


def _length(step: cp.Variable, control: np.ndarray, taut: Tensor) -> cp.Expression:
    """The quadratics on the robots' lengths."""
    roots = [_root(matrix) for matrix in taut[0].detach().numpy()] * 2
    cost = cp.Constant(0.0)
    for k, root in enumerate(roots):
        cost = cost + 0.5 * cp.sum_squares(root @ (control[k] + step[k]))
    return cost


def _pull(problem: BatchProblem, iterate: BatchIterate) -> np.ndarray:
    """(2 N, n) multipliers after the round's update plus the penalty's pull towards the projections."""
    fixed, pairs, speed, bend = look(problem, iterate)
    schedule, rho = problem.schedules[0], float(iterate.penalty[0])
    lack = _columns((fixed.force + pairs.force).detach()) @ problem.value.numpy()
    lack = lack + schedule.speed_weight * (_columns(speed.force.detach()) @ problem.velocity[0].numpy())
    lack = lack + schedule.acceleration_weight * (_columns(bend.force.detach()) @ problem.acceleration[0].numpy())
    multiplier = _columns(iterate.multiplier)
    if rho >= schedule.wall_penalty:
        multiplier = schedule.multiplier_keep * multiplier + rho * lack
    near = problem.value.numpy().T @ problem.value.numpy()
    return multiplier + rho * lack + schedule.proposal_weight * (_columns(problem.proposal) - _columns(iterate.control)) @ near


def _movement(step: cp.Variable, problem: BatchProblem, iterate: BatchIterate) -> cp.Expression:
    """Half the penalty times the squared movement of every constrained sample."""
    schedule, rho = problem.schedules[0], float(iterate.penalty[0])
    value, velocity, acceleration = problem.value.numpy(), problem.velocity[0].numpy(), problem.acceleration[0].numpy()
    if schedule.two_mode:
        own = [(value, 1.0), (velocity, schedule.speed_weight), (acceleration, schedule.acceleration_weight)]
        cost = cp.sum(cp.hstack([0.5 * rho * weight * cp.sum_squares(step @ rows.T) for rows, weight in own]))
        robots = problem.mask.shape[1]
        for i in range(robots):
            for j in range(i + 1, robots):
                for axis in (0, robots):
                    cost = cost + 0.5 * rho * cp.sum_squares((step[axis + i] - step[axis + j]) @ value.T)
        return cost + 0.5 * schedule.proposal_weight * cp.sum_squares(step @ value.T)
    fixed, pairs, speed, bend = look(problem, iterate)
    active = schedule.pair_weight * pairs.weight + fixed.weight + schedule.proximal + schedule.proposal_weight / rho
    terms = [(value, active), (velocity, schedule.speed_weight * speed.weight), (acceleration, schedule.acceleration_weight * bend.weight)]
    twice = [(rows, np.concatenate([weight[0].detach().numpy()] * 2)) for rows, weight in terms]
    cost = cp.Constant(0.0)
    for rows, weight in twice:
        cost = cost + 0.5 * rho * cp.sum_squares(cp.multiply(np.sqrt(weight), step @ rows.T))
    return cost
