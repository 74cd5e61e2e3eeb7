"""What a robot that follows a plan is told: itself, its plan, walls and neighbours, in its own frame.

The frame's first axis points along the plan, or towards the goal where the plan stands. Lengths are in radii of the robot,
speeds in its v_max and accelerations in its a_max, so that one policy serves robots of all sizes; turning or shifting the world
changes nothing. Neighbours are a set: their order means nothing, and whoever is absent is zeros.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from planner.distance_fields import DistanceFields
from planner.fleet_tracks import Reference
from planner.view_kernel import FEATURES, NEIGHBORS, RING, tell

AHEAD = (0.5, 1.0, 2.0)  # times of the plan that are told, stopping times (v_max / a_max) ahead
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
    """Where plans are at given times, and how fast robots go along them."""

    @property
    def haste(self) -> Float[Tensor, "S N"]:
        """Seconds of its plan that a robot does in a second where nothing holds it up."""
        ...

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
    rate: Float[Tensor, "S N"]  # share of the pace that it could have, at the moment


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


def view(state: FleetState, tracks: Tracks, goal: Float[Tensor, "S N 2"], around: tuple[FleetBodies, DistanceFields, Discs]) -> View:
    """What every robot of every fleet is told.

    Args:
        state: where they are.
        tracks: their plans.
        goal: m.
        around: the robots themselves, the walls, and strangers.
    """
    bodies, fields, discs = around
    stopping = bodies.v_max / bodies.a_max
    haste = tracks.haste[..., None]
    reference, pace = tracks.at(state.along[..., None] + haste * stopping[..., None] * torch.tensor([0.0, *AHEAD])), haste[..., None]
    motion = reference.position, pace * reference.velocity, pace * pace * reference.acceleration
    told = np.concatenate([part.double().numpy() for part in motion], -1)
    out = tuple(np.empty((*state.along.shape, width)) for width in (OBSERVATION, 2, 2))
    tell(
        _exact(state.position, state.velocity, state.last, state.late, state.rate),
        told,
        _exact(goal)[0],
        _exact(bodies.radius, bodies.v_max, bodies.a_max),
        _exact(discs.position, discs.velocity, discs.radius),
        (fields.value.numpy(), *_exact(fields.origin, fields.cell, fields.corners, fields.closed)),
        out,
    )
    return View(*(torch.from_numpy(part).to(state.position.dtype) for part in out))


def _exact(*parts: Tensor) -> tuple[np.ndarray, ...]:
    return tuple(part.double().contiguous().numpy() for part in parts)
