"""What can be proven impossible before any solving: a typed reason for each robot that no plan can serve.

Every proof is sound: a robot with a reason has no plan that the certificate would accept. The reverse does not hold.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from numba import njit

from maps.connectivity import separated
from maps.reason import Reason, ReasonCode
from maps.world import obstacle_distances

if TYPE_CHECKING:
    from maps.scenario import Scenario
    from maps.scene import Scene

GAP_TOLERANCE = 1e-6  # m, as in the certificate
RATIO_TOLERANCE = 1e-6  # share of a limit, as in the certificate
END_TOLERANCE = 1e-4  # m, how far a certified curve may start from its start
REST_TOLERANCE = 1e-3  # m/s, the same for its velocity
INSTANTS = 32  # times at which a moving start is looked at
DIRECTIONS = 8  # directions along which the least time is worked out


@dataclass(frozen=True)
class _Question:
    """A scenario as arrays."""

    scenario: "Scenario"
    start: Float[np.ndarray, "N 2"]  # m
    goal: Float[np.ndarray, "N 2"]  # m
    velocity: Float[np.ndarray, "N 2"]  # m/s
    radius: Float[np.ndarray, " N"]  # m
    v_max: Float[np.ndarray, " N"]  # m/s
    a_max: Float[np.ndarray, " N"]  # m/s^2

    @cached_property
    def needed(self) -> Float[np.ndarray, " N"]:
        """What each centre has to keep from obstacles and bounds, m."""
        return self.radius + self.scenario.margin

    @cached_property
    def moving(self) -> Bool[np.ndarray, " N"]:
        """Robots that do not start from rest."""
        return (self.velocity != 0.0).any(1)

    def clearance(self, places: Float[np.ndarray, "P 2"]) -> Float[np.ndarray, " P"]:
        """Distances to the nearest obstacle, m, told apart up to what the widest robot needs."""
        return obstacle_distances(places, self.scenario.scene.world, float(self.needed.max()) + 1.0)[0]

    def room(self, places: Float[np.ndarray, "P 2"]) -> Float[np.ndarray, " P"]:
        """Distances to the nearest side of the bounds, m, negative outside."""
        b = self.scenario.scene.world.bounds
        return np.minimum(places - b[:2], b[2:] - places).min(1)

    def name(self, robot: int | np.integer) -> str:
        """How messages call a robot."""
        return f"robot {self.scenario.fleet.ids[robot]!r}"


Proof = Callable[[_Question, np.ndarray], Iterator[tuple[int, Reason]]]


def impossibilities(scenario: "Scenario") -> tuple[Reason | None, ...]:
    """For each robot the first proven reason why it has no plan.

    Args:
        scenario: the planning problem.

    Returns:
        A reason or None for each robot, in the fleet's order. `value` and `limit` of a reason are in m, m/s or s, as its
        message says: what a centre has and what it needs, the speed and its limit, the horizon and its lower bound.
    """
    fleet = scenario.fleet
    columns = (scenario.start, scenario.goal, scenario.start_velocity, fleet.radius, fleet.v_max, fleet.a_max)
    question = _Question(scenario, *(column.detach().cpu().numpy() for column in columns))
    reasons: list[Reason | None] = [None] * len(scenario)
    for proof in _PROOFS:
        unsettled = np.array([reason is None for reason in reasons])
        for robot, reason in proof(question, unsettled):
            reasons[robot] = reasons[robot] or reason
    return tuple(reasons)


def scene_warnings(scene: "Scene") -> tuple[str, ...]:
    """What is odd about a scene though no fault: obstacles wholly outside the bounds.

    Args:
        scene: the standing world.

    Returns:
        One sentence for each such obstacle; discs and polygons are counted apart, from 0.
    """
    world = scene.world
    disc, b = world.discs, world.bounds
    outside = np.maximum(b[:2] - disc[:, :2], disc[:, :2] - b[2:])
    far = np.hypot(*np.maximum(outside, 0.0).T) >= disc[:, 2]
    beyond = (world.polygon_box[:, 2:] <= b[:2]).any(1) | (world.polygon_box[:, :2] >= b[2:]).any(1)
    named = [("disc", k) for k in np.flatnonzero(far)] + [("polygon", k) for k in np.flatnonzero(beyond)]
    return tuple(f"{kind} {k} lies wholly outside the bounds and has no effect" for kind, k in named)


def _outside(question: _Question, _: np.ndarray) -> Iterator[tuple[int, Reason]]:
    if question.scenario.scene.bounds is None:
        return
    ends = (("start", ReasonCode.START_OUTSIDE_MAP, question.start), ("goal", ReasonCode.GOAL_OUTSIDE_MAP, question.goal))
    for end, code, places in ends:
        room = question.room(places)
        for k in np.flatnonzero(room < question.needed - GAP_TOLERANCE):
            text = f"the {end} of {question.name(k)} lies {room[k]:.6g} m inside the bounds and needs {question.needed[k]:.6g} m"
            yield int(k), Reason(code, text, value=float(room[k]), limit=float(question.needed[k]))


def _occupied(question: _Question, _: np.ndarray) -> Iterator[tuple[int, Reason]]:
    clearance = question.clearance(np.concatenate([question.start, question.goal])).reshape(2, -1)
    ends = (("start", ReasonCode.START_OCCUPIED), ("goal", ReasonCode.GOAL_OCCUPIED))
    for (end, code), has in zip(ends, clearance, strict=True):
        for k in np.flatnonzero(has < question.needed - GAP_TOLERANCE):
            text = f"the {end} of {question.name(k)} is {has[k]:.6g} m from an obstacle and needs {question.needed[k]:.6g} m"
            yield int(k), Reason(code, text, value=float(has[k]), limit=float(question.needed[k]))


def _occupied_by_moving(question: _Question, _: np.ndarray) -> Iterator[tuple[int, Reason]]:
    horizon = question.scenario.horizon
    for obstacle in question.scenario.moving:
        standing = bool((obstacle.position == obstacle.position[0]).all())
        last = horizon if horizon is not None else 0.0
        begin, end = obstacle.at(torch.tensor([0.0, last], dtype=obstacle.time.dtype)).detach().cpu().numpy()
        ends = [("start", ReasonCode.START_OCCUPIED, question.start, begin)]
        if horizon is not None or standing:
            ends.append(("goal", ReasonCode.GOAL_OCCUPIED, question.goal, end))
        for which, code, places, there in ends:
            has, needed = np.hypot(*(places - there).T), question.needed + obstacle.radius
            for k in np.flatnonzero(has < needed - GAP_TOLERANCE):
                who = f"the {which} of {question.name(k)}"
                text = f"{who} is {has[k]:.6g} m from moving obstacle {obstacle.id!r} then, and needs {needed[k]:.6g} m"
                yield int(k), Reason(code, text, obstacle.id, float(has[k]), float(needed[k]))


def _overlapping(question: _Question, _: np.ndarray) -> Iterator[tuple[int, Reason]]:
    needed = question.radius[:, None] + question.radius + question.scenario.margin
    ends = (("starts", ReasonCode.START_OVERLAP, question.start), ("goals", ReasonCode.GOAL_OVERLAP, question.goal))
    for end, code, places in ends:
        worst, lack = _closest(places, needed)
        for k in np.flatnonzero(lack < -GAP_TOLERANCE):
            other = int(worst[k])
            value, limit = float(lack[k] + needed[k, other]), float(needed[k, other])
            text = f"the {end} of {question.name(k)} and {question.name(other)} are {value:.6g} m apart and need {limit:.6g} m"
            yield int(k), Reason(code, text, question.scenario.fleet.ids[other], value, limit)


def _too_fast(question: _Question, _: np.ndarray) -> Iterator[tuple[int, Reason]]:
    speed = np.hypot(*question.velocity.T)
    for k in np.flatnonzero(speed > question.v_max * (1.0 + RATIO_TOLERANCE)):
        text = f"{question.name(k)} starts at {speed[k]:.6g} m/s and may drive at most {question.v_max[k]:.6g} m/s"
        yield int(k), Reason(ReasonCode.START_SPEED_EXCEEDS_LIMIT, text, value=float(speed[k]), limit=float(question.v_max[k]))


def _unstoppable(question: _Question, unsettled: np.ndarray) -> Iterator[tuple[int, Reason]]:
    """Moving starts whose every reachable place at some instant is too near to something.

    With at most a_max a robot is at time t within a_max t^2 / 2 of where it would coast to, and distances change by at
    most the way walked.
    """
    robots = np.flatnonzero(question.moving & unsettled)
    if len(robots) == 0:
        return
    speed, reach = np.hypot(*question.velocity[robots].T), question.a_max[robots] * (1.0 + RATIO_TOLERANCE)
    span = np.minimum(2.0 * speed / reach, np.inf if question.scenario.horizon is None else question.scenario.horizon)
    time = span[:, None] * np.linspace(0.0, 1.0, INSTANTS + 1)[1:]
    coast = question.start[robots, None] + question.velocity[robots, None] * time[..., None]
    freedom = 0.5 * reach[:, None] * time**2 + END_TOLERANCE + REST_TOLERANCE * time + GAP_TOLERANCE
    for other, has, needed in _met(question, robots, time, coast):
        best = has + freedom
        worst = (best - needed).argmin(1)
        rows = np.arange(len(robots))
        for k in np.flatnonzero((best < needed)[rows, worst]):
            robot, value, limit, when = int(robots[k]), float(best[k, worst[k]]), float(needed[k, worst[k]]), time[k, worst[k]]
            what = "an obstacle or the bounds" if other is None else f"moving obstacle {other!r}"
            found = f"{when:.4g} s on it can be at most {value:.6g} m from {what}, and needs {limit:.6g} m"
            text = f"{question.name(robot)} moves too fast to stop: {found}"
            yield robot, Reason(ReasonCode.CANNOT_STOP_IN_TIME, text, other, value, limit)


def _met(
    question: _Question, robots: np.ndarray, time: np.ndarray, places: np.ndarray
) -> Iterator[tuple[str | None, np.ndarray, np.ndarray]]:
    """What coasting robots meet: its name, their distances to it and what they need, m."""
    flat = places.reshape(-1, 2)
    needed = np.broadcast_to(question.needed[robots, None], time.shape)
    yield None, np.minimum(question.clearance(flat), question.room(flat)).reshape(time.shape), needed
    for obstacle in question.scenario.moving:
        there = obstacle.at(torch.as_tensor(time.ravel(), dtype=obstacle.time.dtype)).detach().cpu().numpy()
        yield obstacle.id, np.hypot(*(flat - there).T).reshape(time.shape), needed + obstacle.radius


def _disconnected(question: _Question, unsettled: np.ndarray) -> Iterator[tuple[int, Reason]]:
    robots = np.flatnonzero(unsettled)
    clearance = question.needed[robots] - GAP_TOLERANCE
    apart, widest = separated(question.scenario.scene, clearance, question.start[robots], question.goal[robots])
    for k in np.flatnonzero(apart):
        robot = int(robots[k])
        limit = float(question.needed[robot])
        found = f"the widest has less than {widest[k]:.6g} m of clearance, and it needs {limit:.6g} m"
        text = f"no way leads {question.name(robot)} from its start to its goal: {found}"
        yield robot, Reason(ReasonCode.GOAL_DISCONNECTED, text, value=float(widest[k]), limit=limit)


def _too_short(question: _Question, _: np.ndarray) -> Iterator[tuple[int, Reason]]:
    horizon = question.scenario.horizon
    if horizon is None:
        return
    least = least_time(question.goal - question.start, question.velocity, question.v_max, question.a_max)
    for k in np.flatnonzero(horizon < least * (1.0 - 2.0 * RATIO_TOLERANCE)):
        text = f"{question.name(k)} needs at least {least[k]:.6g} s to its goal and has {horizon:.6g} s"
        yield int(k), Reason(ReasonCode.HORIZON_TOO_SHORT, text, value=float(horizon), limit=float(least[k]))


@njit(cache=True, nogil=True)
def least_time(
    way: Float[np.ndarray, "N 2"], velocity: Float[np.ndarray, "N 2"], v_max: Float[np.ndarray, " N"], a_max: Float[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """A lower bound of the time from a moving start to rest at a goal, whatever stands between.

    Along any fixed direction the motion is one of a point on a line with the same limits, whose least time is that of
    full acceleration, top speed and full braking. The bound is the longest over several directions.

    Args:
        way: from start to goal, m.
        velocity: at the start, m/s.
        v_max: m/s.
        a_max: m/s^2.

    Returns:
        s.
    """
    least = np.zeros(len(way))
    for k in range(len(way)):
        straight = np.arctan2(way[k, 1], way[k, 0])
        for d in range(DIRECTIONS):
            angle = straight + np.pi * d / DIRECTIONS
            c, s = np.cos(angle), np.sin(angle)
            far, fast = c * way[k, 0] + s * way[k, 1], c * velocity[k, 0] + s * velocity[k, 1]
            if far < 0.5 * fast * np.abs(fast) / a_max[k]:  # to the other side of where braking would end
                far, fast = -far, -fast
            top = np.sqrt(max(a_max[k] * far + 0.5 * fast**2, 0.0))  # speed at which to turn from acceleration to braking
            below = min(top, v_max[k])
            time = (2.0 * below - fast) / a_max[k]
            if top > v_max[k]:
                time += max(far - (2.0 * below**2 - fast**2) / (2.0 * a_max[k]), 0.0) / v_max[k]
            least[k] = max(least[k], time)
    return least


@njit(cache=True, nogil=True)
def _closest(places, needed):
    """For each place (N, 2) the other one that leaves least of what is needed (N, N), and what it leaves, m."""
    worst, lack = np.zeros(len(places), np.int64), np.full(len(places), np.inf)
    for i in range(len(places)):
        for j in range(len(places)):
            if i != j:
                left = np.hypot(places[j, 0] - places[i, 0], places[j, 1] - places[i, 1]) - needed[i, j]
                if left < lack[i]:
                    worst[i], lack[i] = j, left
    return worst, lack


_PROOFS: tuple[Proof, ...] = (_outside, _occupied, _occupied_by_moving, _overlapping, _too_fast, _unstoppable, _disconnected, _too_short)
