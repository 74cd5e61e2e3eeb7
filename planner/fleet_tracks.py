"""The plans that fleets follow, as samples on one clock, and the order in which robots pass where their ways meet.

A robot that is late must not be run into by those on time. So each follows its plan on a clock of its own, and may not go where,
by the plan, another was before it, until that one has been there. Nobody waits for a later part of a plan than its own, so the
robot that is furthest behind never waits, and all go on. Source of the idea: the action dependency graph of Hoenig et al.,
Persistent and Robust Execution of MAPF Schedules in Warehouses (2019), here for curves in place of cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import njit
from torch import Tensor

from maps.curve import DEGREE, curve_basis
from planner.plan import Plan
from planner.tracks import places
from safety_filter.timed_curve import TimedCurve

INTERVAL = 0.05  # s between samples
WAIT_EVERY = 2  # samples from place to place of the order
ROUNDS = 5  # in which robots that wait for each other find a common pace
CREEP = 0.2  # of the pace of its plan, at which a robot goes at least towards where it must wait
HASTE = 3.0  # times the pace of its plan, at which a robot goes at most
OF_LIMITS = (0.9, 0.8)  # shares of v_max and a_max that a hastened plan may need: the rest is for keeping to it
NEARLY = 0.02  # places by which a robot counts as there: times are rounded


@dataclass(frozen=True)
class Reference:
    """Where plans are at given times."""

    position: Float[Tensor, "*batch 2"]  # m
    velocity: Float[Tensor, "*batch 2"]  # m/s
    acceleration: Float[Tensor, "*batch 2"]  # m/s^2


@dataclass(frozen=True)
class FleetTracks:
    """Plans of S fleets of N robots; after its horizon a robot stands."""

    motion: Float[Tensor, "S N T 6"]  # position m, velocity m/s, acceleration m/s^2, every INTERVAL
    horizon: Float[Tensor, " S"]  # s
    haste: Float[Tensor, "S N"]  # s of its plan that a robot does in a second where nothing holds it up

    @classmethod
    def of_plans(cls, plans: Sequence[Plan]) -> "FleetTracks":
        """Samples of whole plans of fleets of one size; ValueError if a robot has no curve."""
        sampled = [sample_curves([_curve(robot.control_points, robot.knots, plan.horizon) for robot in plan.robots]) for plan in plans]
        motion = _even(sampled)
        return cls(motion, torch.tensor([plan.horizon or 0.0 for plan in plans], dtype=torch.float32), torch.ones(motion.shape[:2]))

    def hastened(self, v_max: Float[Tensor, "S N"], a_max: Float[Tensor, "S N"]) -> "FleetTracks":
        """The same plans, gone along as fast as limits, m/s and m/s^2, allow each robot: none need be slow for one that has far to go.

        The order in which robots pass stays that of the plans, so nobody is run into by those that hurry.
        """
        speed, effort = (self.motion[..., 2 * k : 2 * k + 2].norm(dim=-1).amax(-1).clamp_min(1e-6) for k in (1, 2))
        most = torch.minimum(OF_LIMITS[0] * v_max / speed, (OF_LIMITS[1] * a_max / effort).sqrt())
        return FleetTracks(self.motion, self.horizon, most.clamp(1.0, HASTE))

    def at(self, time: Float[Tensor, "S N *more"]) -> Reference:
        """Linear between samples; at rest at its end after it.

        Args:
            time: s, on the clock of each robot's plan.
        """
        last = self.motion.shape[2] - 1
        place = (time / INTERVAL).clamp(0.0, last)
        left = place.floor().clamp_max(last - 1)
        flat, share = left.long().view(*time.shape[:2], -1), (place - left).view(*time.shape[:2], -1, 1)
        rows = torch.arange(flat.shape[0])[:, None, None], torch.arange(flat.shape[1])[None, :, None]
        before, after = self.motion[(*rows, flat)], self.motion[(*rows, flat + 1)]
        value = (before + share * (after - before)).view(*time.shape, 6)
        return Reference(value[..., :2], value[..., 2:4], value[..., 4:])

    def waits(self, radius: Float[Tensor, "S N"], room: float) -> Int[np.ndarray, "S N N W"]:
        """For each robot, other robot and place of its way: how far along the other must be (in places), or -1.

        Args:
            radius: m.
            room: m, that ways are further apart where nobody waits.
        """
        position = self.motion[:, :, ::WAIT_EVERY, :2].double().numpy()
        return np.stack([_waits(np.ascontiguousarray(p), r.double().numpy(), room) for p, r in zip(position, radius, strict=True)])


def sample_curves(curves: Sequence[TimedCurve]) -> Float[np.ndarray, "N T 6"]:
    """Position, velocity and acceleration of curves every INTERVAL until the last one ends, with a sample of rest after it."""
    end = max(curve.span[1] for curve in curves)
    time = np.arange(int(np.ceil(end / INTERVAL)) + 2) * INTERVAL
    out = np.zeros((len(curves), len(time), 6))
    for k, curve in enumerate(curves):
        out[k, :, :2] = places(curve, np.minimum(time, curve.span[1]))
        if _is_uniform(curve):
            basis, u = curve_basis(len(curve.control_points)), np.clip(time / curve.span[1], 0.0, 1.0)
            for order in (1, 2):
                out[k, :, 2 * order : 2 * order + 2] = basis.matrix(u, order) @ curve.control_points / curve.span[1] ** order
        else:
            out[k, :, 2:4] = np.gradient(out[k, :, :2], INTERVAL, axis=0)
            out[k, :, 4:] = np.gradient(out[k, :, 2:4], INTERVAL, axis=0)
        out[k, time >= curve.span[1], 2:] = 0.0
    return out


def _is_uniform(curve: TimedCurve) -> bool:
    if curve.degree != DEGREE or curve.span[0] != 0.0:
        return False
    return np.allclose(curve.knots, curve_basis(len(curve.control_points)).knots * curve.span[1], rtol=0.0, atol=1e-6)


def _curve(control_points: np.ndarray | None, knots: np.ndarray | None, horizon: float | None) -> TimedCurve:
    if control_points is None or not horizon:
        raise ValueError("a fleet can only follow a plan in which every robot has a curve")
    own = curve_basis(len(control_points)).knots * horizon if knots is None else knots
    return TimedCurve(DEGREE, own, control_points)


def _even(sampled: Sequence[np.ndarray]) -> Float[Tensor, "S N T 6"]:
    most = max(one.shape[1] for one in sampled)
    return torch.from_numpy(
        np.stack([np.concatenate([one, np.repeat(one[:, -1:], most - one.shape[1], 1)], 1) for one in sampled]).astype(np.float32)
    )


@njit(cache=True, nogil=True)
def _waits(position, radius, room):
    robots, count = position.shape[:2]
    out = np.full((robots, robots, count), -1, dtype=np.int32)
    for i in range(robots):
        for j in range(robots):
            if i == j:
                continue
            near = radius[i] + radius[j] + room
            latest = -1
            for k in range(count):
                x, y = position[i, k, 0], position[i, k, 1]
                for m in range(k - 1, latest, -1):
                    dx, dy = position[j, m, 0] - x, position[j, m, 1] - y
                    if dx * dx + dy * dy < near * near:
                        latest = m
                        break
                out[i, j, k] = latest
    return out


@njit(cache=True, nogil=True)
def free_until(waits, along, others, ahead):
    """How far each robot of a fleet may go by the order.

    Args:
        waits: (N, N, W) of `FleetTracks.waits`.
        along: (N,) places reached, whole numbers and between.
        others: (N,) the same of those that are waited for.
        ahead: places looked at.

    Returns:
        (N,) places; at least where a robot is.
    """
    robots, count = waits.shape[0], waits.shape[2]
    out = np.empty(robots)
    for i in range(robots):
        first = int(along[i]) + 1
        free = float(min(int(along[i]) + ahead, count + ahead))
        for k in range(first, min(first + ahead, count)):
            blocked = False
            for j in range(robots):
                if waits[i, j, k] > others[j] + NEARLY:
                    blocked = True
                    break
            if blocked:
                free = float(k - 1)
                break
        out[i] = max(free, along[i])
    return out


@njit(cache=True, nogil=True)
def paces(waits, along, able, stopping, ahead):
    """How fast the clocks of a fleet may go so that nobody is stopped short by the order, as shares of the pace of their plans.

    Robots that move together wait for each other, so each one's pace depends on the others'. Of all paces that fit together these are
    the largest: all begin with what they are able to, and slow down, round by round, where others will not be far enough by then.

    Args:
        waits: (N, N, W) of `FleetTracks.waits`.
        along: (N,) places reached, whole numbers and between.
        able: (N,) paces without the order.
        stopping: (N,) places that a robot needs to stop from its full pace.
        ahead: places looked at.

    Returns:
        (N,) shares, at most `able`.
    """
    pace = able.copy()
    for _ in range(ROUNDS):
        free = free_until(waits, along, along + pace * stopping, ahead)
        slower = np.minimum(able, np.minimum(np.maximum((free - along) / stopping, CREEP), 1.0))
        if np.max(np.abs(slower - pace)) < 1e-3:
            break
        pace = slower
    return pace
