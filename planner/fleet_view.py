"""What a robot that follows a plan is told: itself, its plan, walls and neighbours, in its own frame.

The frame's first axis points along the plan, or towards the goal where the plan stands. Lengths are in radii of the robot,
speeds in its v_max and accelerations in its a_max, so that one policy serves robots of all sizes; turning or shifting the world
changes nothing. Neighbours are a set: their order means nothing, and whoever is absent is zeros.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from planner.distance_fields import DistanceFields
from planner.fleet_tracks import Reference

NEIGHBORS = 6  # nearest ones that are told
FEATURES = 9  # of a neighbour
AHEAD = (0.5, 1.0, 2.0)  # times of the plan that are told, stopping times (v_max / a_max) ahead
RING = 8  # directions in which walls are felt
FEEL = 4.0  # radii from the middle, where they are felt
SELF = 4
PLAN = 2 + 2 + 2 + 2 * len(AHEAD) + 3 + 2
WALLS = 1 + RING
FIRST = SELF + PLAN + WALLS  # column of the first neighbour
OBSERVATION = FIRST + NEIGHBORS * FEATURES
LAST_ACTION = 2  # column of the last acceleration


@dataclass(frozen=True)
class FleetBodies:
    """S fleets of N robots and what they can do."""

    radius: Float[Tensor, "S N"]  # m
    v_max: Float[Tensor, "S N"]  # m/s
    a_max: Float[Tensor, "S N"]  # m/s^2


@runtime_checkable
class Tracks(Protocol):
    """Where plans are at given times."""

    def at(self, time: Float[Tensor, "S N *more"]) -> Reference:
        """On the clock of each robot's plan, s."""
        ...


@dataclass(frozen=True)
class Discs:
    """What else moves: K discs for each fleet, known by sight alone."""

    position: Float[Tensor, "S K 2"]  # m
    velocity: Float[Tensor, "S K 2"]  # m/s
    radius: Float[Tensor, "S K"]  # m; 0: not there


@dataclass(frozen=True)
class FleetState:
    """Where S fleets of N robots are, and how far in their plans."""

    position: Float[Tensor, "S N 2"]  # m
    velocity: Float[Tensor, "S N 2"]  # m/s
    last: Float[Tensor, "S N 2"]  # m/s^2, acceleration of the tick before
    along: Float[Tensor, "S N"]  # s, on the clock of each robot's plan
    late: Float[Tensor, "S N"]  # s behind the clock of the wall
    rate: Float[Tensor, "S N"]  # s of its plan a second, at the moment


@dataclass(frozen=True)
class View:
    """What robots are told, and the frames that it is told in."""

    observation: Float[Tensor, "S N O"]
    axis: Float[Tensor, "S N 2"]  # first axis of the frame, of length 1, map frame
    nominal: Float[Tensor, "S N 2"]  # m/s^2, map frame: what follows the plan, others ignored


def into_frame(vector: Float[Tensor, "*batch 2"], axis: Float[Tensor, "*#batch 2"]) -> Float[Tensor, "*batch 2"]:
    """Components along the axis and to its left; one axis may serve many vectors."""
    x, y = vector.unbind(-1)
    ax, ay = axis.unbind(-1)
    return torch.stack([ax * x + ay * y, ax * y - ay * x], -1)


def out_of_frame(vector: Float[Tensor, "*#batch 2"], axis: Float[Tensor, "*#batch 2"]) -> Float[Tensor, "*more 2"]:
    """The inverse of `into_frame`; vectors and axes are broadcast."""
    x, y = vector.unbind(-1)
    ax, ay = axis.unbind(-1)
    return torch.stack([ax * x - ay * y, ay * x + ax * y], -1)


def nominal_acceleration(state: FleetState, tracks: Tracks, bodies: FleetBodies) -> Float[Tensor, "S N 2"]:
    """What follows the plan: its acceleration, and a critically damped pull to where it should be, cut to the limit, m/s^2."""
    at, rate = tracks.at(state.along), state.rate[..., None]
    pace = (2.0 * bodies.a_max / bodies.v_max)[..., None]  # 1/s
    pull = pace * pace * (at.position - state.position) + 2.0 * pace * (rate * at.velocity - state.velocity)
    wanted = rate * rate * at.acceleration + pull
    return wanted * (bodies.a_max / wanted.norm(dim=-1).clamp_min(1e-9)).clamp_max(1.0)[..., None]


def view(state: FleetState, tracks: Tracks, goal: Float[Tensor, "S N 2"], around: tuple[FleetBodies, DistanceFields, Discs]) -> View:
    """What every robot of every fleet is told.

    Args:
        state: where they are.
        tracks: their plans.
        goal: m.
        around: the robots themselves, the walls, and strangers.
    """
    bodies, fields, discs = around
    size, speed = bodies.radius[..., None], bodies.v_max[..., None]
    stopping = bodies.v_max / bodies.a_max
    times = state.along[..., None] + stopping[..., None] * torch.tensor([0.0, *AHEAD])
    reference = tracks.at(times)
    way = reference.position - state.position[..., None, :]
    axis = _axis(reference.velocity[..., 0, :], way[..., 1, :], goal - state.position, bodies)
    nominal = nominal_acceleration(state, tracks, bodies)
    wide = axis[..., None, :]
    home = goal - state.position
    far = home.norm(dim=-1, keepdim=True)
    ahead = into_frame(way[..., 1:, :], wide) / (speed * stopping[..., None])[..., None]
    parts = [
        into_frame(state.velocity, axis) / speed,
        into_frame(state.last, axis) / bodies.a_max[..., None],
        (into_frame(way[..., 0, :], axis) / (4.0 * size)).clamp(-1.0, 1.0),
        into_frame(reference.velocity[..., 0, :], axis) / speed,
        into_frame(nominal, axis) / bodies.a_max[..., None],
        ahead.clamp(-3.0, 3.0).flatten(-2),
        (far / (20.0 * size)).clamp_max(1.0),
        into_frame(home, axis) / far.clamp_min(size),
        (state.late / 5.0).clamp(0.0, 1.0)[..., None],
        state.rate[..., None],
        _walls(state.position, axis, bodies.radius, fields),
        _neighbors(state, axis, bodies, discs),
    ]
    return View(torch.cat(parts, -1), axis, nominal)


def _axis(velocity: Tensor, ahead: Tensor, home: Tensor, bodies: FleetBodies) -> Tensor:
    moving = velocity.norm(dim=-1, keepdim=True) > 0.05 * bodies.v_max[..., None]
    leading = ahead.norm(dim=-1, keepdim=True) > 0.25 * bodies.radius[..., None]
    chosen = torch.where(moving, velocity, torch.where(leading, ahead, home))
    length = chosen.norm(dim=-1, keepdim=True)
    return torch.where(length > 1e-6, chosen / length.clamp_min(1e-6), torch.tensor([1.0, 0.0]))


def _walls(position: Tensor, axis: Tensor, radius: Tensor, fields: DistanceFields) -> Tensor:
    angle = 2.0 * torch.pi * torch.arange(RING) / RING
    ring = torch.stack([angle.cos(), angle.sin()], -1) * (FEEL * radius)[..., None, None]
    felt = torch.cat([position[..., None, :], position[..., None, :] + out_of_frame(ring, axis[..., None, :])], -2)
    return ((fields.at(felt) - radius[..., None]) / (FEEL * radius)[..., None]).clamp(-1.0, 1.0)


def _neighbors(state: FleetState, axis: Tensor, bodies: FleetBodies, discs: Discs) -> Tensor:
    count = state.position.shape[1]
    place, velocity = (torch.cat([a, b], 1) for a, b in ((state.position, discs.position), (state.velocity, discs.velocity)))
    size = torch.cat([bodies.radius, discs.radius], 1)
    between = place[:, None] - state.position[:, :, None]
    moving = velocity[:, None] - state.velocity[:, :, None]
    apart = between.norm(dim=-1).clamp_min(1e-6)
    room = apart - bodies.radius[..., None] - size[:, None]
    closing = -(between * moving).sum(-1) / apart
    meeting = torch.where(closing > 1e-3, room.clamp_min(0.0) / closing.clamp_min(1e-3), torch.full_like(room, 1e3))
    gone = torch.eye(count, size.shape[1], dtype=torch.bool) | (size[:, None] <= 0.0)
    stopping = (bodies.v_max / bodies.a_max)[..., None]
    urgency = torch.where(gone, torch.inf, torch.minimum(meeting, 4.0 * stopping) * bodies.v_max[..., None] + room)
    most = min(NEIGHBORS, urgency.shape[-1])
    nearest = urgency.topk(most, dim=-1, largest=False).indices
    present = ~gone.expand_as(urgency).gather(-1, nearest)
    own, limit = bodies.radius[..., None], bodies.v_max[..., None]

    def of(value: Tensor) -> Tensor:
        return value.gather(-1, nearest)

    def vectors(value: Tensor, scale: Tensor) -> Tensor:
        chosen = value.gather(2, nearest[..., None].expand(*nearest.shape, 2))
        return (into_frame(chosen, axis[..., None, :]) / scale[..., None]).clamp(-3.0, 3.0)

    rest = [
        of(size[:, None].expand_as(room)) / own,
        (of(room) / (4.0 * own)).clamp(-1.0, 2.0),
        torch.exp(-of(meeting) / stopping),
        (nearest < count).float(),
        torch.ones_like(nearest, dtype=torch.float32),
    ]
    told = torch.cat([vectors(between, 8.0 * own), vectors(moving, limit), torch.stack(rest, -1)], -1)
    told = torch.where(present[..., None], told, 0.0)
    lacking = NEIGHBORS - most
    return torch.nn.functional.pad(told, (0, 0, 0, lacking)).flatten(-2)
