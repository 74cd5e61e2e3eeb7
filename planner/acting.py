"""One tick of a fleet that somebody else moves: its states in, accelerations out, as a policy chooses and the filter lets through."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maps.scene import Scene
from models.policies.draws import Draws
from models.policies.sfp import SFP
from planner.curve_tracks import CurveTracks
from planner.distance_fields import DistanceFields
from planner.fleet_policy import FleetPolicy
from planner.fleet_view import Discs, FleetBodies, FleetState, View, out_of_frame, view
from planner.shield import Bodies, Limits, Shield, ShieldConfig


@dataclass(frozen=True)
class Ground:
    """A map as acting needs it; made once for a map and robots of a size."""

    scene: Scene
    fields: DistanceFields

    @classmethod
    def of_scene(cls, scene: Scene, radius: float) -> "Ground":
        """For robots no smaller than `radius`, m."""
        return cls(scene, DistanceFields.of_scenes([scene], 0.25 * radius))


@dataclass(frozen=True)
class Instant:
    """A fleet of N robots at one moment; all tensors have a first axis of 1, and are float64: maps may lie far from the origin."""

    ground: Ground
    bodies: FleetBodies
    state: FleetState
    tracks: CurveTracks
    goal: Float[Tensor, "1 N 2"]  # m
    others: Discs  # whoever else moves: taken to go straight on, or to stop


@dataclass(frozen=True)
class Acted:
    """What robots should do for one tick."""

    wanted: Float[np.ndarray, "N 2"]  # m/s^2, map frame: of the policy, cut to a_max
    acceleration: Float[np.ndarray, "N 2"]  # m/s^2, map frame: to be done
    changed: Bool[np.ndarray, " N"]  # by the filter
    safe: Bool[np.ndarray, " N"]  # what is done keeps clear of everything; without the filter always False: nobody looked


def act(policy: FleetPolicy, instant: Instant, generator: torch.Generator, config: ShieldConfig | None = None) -> Acted:
    """One tick.

    Args:
        policy: of fleets.
        instant: now.
        generator: of the noise that actions come from.
        config: of the filter; None: nothing is kept to but a_max.
    """
    seen = look(instant)
    return filtered(policy.act(seen.observation[0].float(), generator), seen, instant, config)


def stream(policy: FleetPolicy, instant: Instant, generator: torch.Generator, tick: float, config: ShieldConfig | None) -> Iterator[Acted]:
    """The ticks of a chunk one by one, each as soon as it is integrated, from one look; leave off early to look anew.

    The filter sees where robots will be if they do as they are told and others go straight on.

    Args:
        policy: a streaming flow policy.
        instant: now.
        generator: of the noise that actions come from.
        tick: s that an acceleration is held.
        config: of the filter; None: nothing is kept to but a_max.

    Raises:
        TypeError: the policy does not stream.
    """
    if not isinstance(policy.policy, SFP):
        raise TypeError(f"{policy.agent} does not stream")
    seen = look(instant)
    observation = policy.policy.scaled(seen.observation[0].float())
    for action in policy.policy.stream(observation, Draws(generator, None, policy.policy.device)):
        acted = filtered(action, seen, instant, config)
        yield acted
        instant = after(instant, acted, tick)
        seen = look(instant)


def look(instant: Instant) -> View:
    """What robots are told, and in which frames."""
    return view(instant.state, instant.tracks, instant.goal, (instant.bodies, instant.ground.fields, instant.others))


def filtered(action: Float[Tensor, "N 2"], seen: View, instant: Instant, config: ShieldConfig | None) -> Acted:
    """The accelerations of chosen actions, of a_max in the frames of the view."""
    bodies = instant.bodies
    asked = out_of_frame(action, seen.axis[0])
    wanted = (asked * bodies.a_max[0][:, None] / asked.norm(dim=-1, keepdim=True).clamp_min(1.0)).double().numpy()
    if config is None:
        return Acted(wanted, wanted, *(np.zeros(len(wanted), dtype=np.bool_) for _ in range(2)))
    state, others = instant.state, instant.others
    robots = Bodies(*(part[0].double().numpy() for part in (state.position, state.velocity, bodies.radius)))
    strangers = Bodies(*(part[0].double().numpy() for part in (others.position, others.velocity, others.radius)))
    limits = Limits(bodies.v_max[0].double().numpy(), bodies.a_max[0].double().numpy())
    turn = state.along[0].argsort(stable=True).numpy()  # whoever is furthest behind chooses first
    done = Shield(instant.ground.scene.world, config).filter(robots, limits, wanted, strangers, turn=turn)
    return Acted(wanted, done.acceleration, done.changed, done.safe)


def after(instant: Instant, acted: Acted, tick: float) -> Instant:
    """Where the fleet should be a tick later if it does as it is told and others go straight on."""
    state, others = instant.state, instant.others
    acceleration = torch.from_numpy(acted.acceleration)[None]
    position = state.position + tick * state.velocity + 0.5 * tick * tick * acceleration
    moved = replace(state, position=position, velocity=state.velocity + tick * acceleration, last=acceleration, along=state.along + tick)
    return replace(instant, state=moved, others=replace(others, position=others.position + tick * others.velocity))
