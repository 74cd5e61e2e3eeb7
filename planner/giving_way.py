"""Making way for a stranger that one stands before: neither waits for the other for ever.

A stranger halts before a robot, and the robot before the stranger; or a stranger is shut in by robots that have arrived, and stands
in the way of one that has not. Whoever has stood so for a while goes to a free place beside the line on which the stranger was seen
to walk, whatever its pilot says, waits there, and then follows its plan again. Waits differ from robot to robot, so that two in a row
do not step back into each other at once.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from planner.fleet_view import Discs, into_frame
from planner.pilots import Pilot
from planner.rollout import FleetSimulation


@dataclass(frozen=True)
class GivingWayConfig:
    """When and how robots make way."""

    near: float = 2.5  # radii of room to a stranger, within which a robot stands before it
    others: float = 5.0  # radii likewise, within which it is in the way of a robot that is held up: then others make way too
    stands: float = 1.5  # radii that a robot moves at most, if it stands
    off: float = 0.3  # radii that it is off its plan at least, or it has arrived
    patience: tuple[float, float] = (3.0, 6.0)  # s that it stands so first, drawn anew each time
    still: float = 0.05  # of a robot's v_max, below which a stranger stands: those that have arrived make way for no other
    away: float = 6.0  # s that it makes way
    speed: float = 0.6  # of v_max, meanwhile
    directions: int = 16  # in which it looks for a place
    reach: tuple[float, float] = (2.0, 4.0)  # radii from here, of places
    beside: float = 0.6  # radii of room beside the stranger's line
    line: float = 1.0  # worth of being beside that line, against a radius of room to walls and robots
    apart: float = 0.3  # worth of going straight away from the stranger, likewise


class GivingWay:
    """A pilot whose robots make way, and else do what another pilot says."""

    def __init__(self, pilot: Pilot, config: GivingWayConfig | None = None, seed: int = 0) -> None:
        """Around a pilot; `seed`: of the patience."""
        self.pilot, self.config = pilot, config or GivingWayConfig()
        self._generator = torch.Generator().manual_seed(seed)
        self._simulation: FleetSimulation | None = None
        self._stood = self._patience = self._until = torch.zeros(0, 0)  # s
        self._anchor = self._place = torch.zeros(0, 0, 2)  # m, where robots stand, and where they make way to
        self._heading = torch.zeros(0, 0, 2)  # of strangers when they last moved; 0: never

    def act(self, simulation: FleetSimulation) -> Float[Tensor, "S N 2"]:
        """Actions of all robots."""
        action, seen = self.pilot.act(simulation), simulation.seen_strangers()
        if seen.radius.shape[1] == 0:
            return action
        config, state, bodies = self.config, simulation.state, simulation.bodies
        if simulation is not self._simulation:
            self._meet(simulation)
        speed = seen.velocity.norm(dim=-1, keepdim=True)
        moves = speed > config.still * bodies.v_max.mean(1)[:, None, None]
        self._heading = torch.where(moves, seen.velocity / speed.clamp_min(1e-9), self._heading)
        between = state.position[:, :, None] - seen.position[:, None]
        room = between.norm(dim=-1) - bodies.radius[..., None] - seen.radius[:, None]
        nearest = room.argmin(-1)
        begins = self._begins(simulation, room, ~moves[..., 0])
        if bool(begins.any()):
            which = nearest[..., None].expand(-1, -1, 2)
            before = Discs(seen.position.gather(1, which), self._heading.gather(1, which), seen.radius.gather(1, nearest))
            self._place = torch.where(begins[..., None], self._places(simulation, before), self._place)
            self._until = torch.where(begins, simulation.time + config.away, self._until)
            self._patience = torch.where(begins, self._drawn(bodies.radius), self._patience)
        way = self._place - state.position
        pace = (bodies.a_max / bodies.v_max)[..., None]
        wanted = pace * way
        wanted = wanted * ((config.speed * bodies.v_max)[..., None] / wanted.norm(dim=-1, keepdim=True).clamp_min(1e-9)).clamp_max(1.0)
        aside = into_frame(2.0 * pace * (wanted - state.velocity), simulation.view.axis) / bodies.a_max[..., None]
        return torch.where((simulation.time < self._until)[..., None], aside, action)

    def _meet(self, simulation: FleetSimulation) -> None:
        radius, strangers = simulation.bodies.radius, simulation.strangers.position
        self._simulation, self._heading = simulation, torch.zeros_like(strangers)
        self._stood, self._until, self._patience = torch.zeros_like(radius), torch.zeros_like(radius), self._drawn(radius)
        self._anchor, self._place = simulation.state.position, simulation.state.position

    def _begins(self, simulation: FleetSimulation, room: Float[Tensor, "S N K"], stands: Bool[Tensor, "S K"]) -> Bool[Tensor, "S N"]:
        """Whose patience is over.

        Args:
            simulation: where all are.
            room: between robots and strangers, m.
            stands: which strangers stand.
        """
        config, state, radius = self.config, simulation.state, simulation.bodies.radius
        moved = (state.position - self._anchor).norm(dim=-1) > config.stands * radius
        off = (simulation.tracks.at(state.along).position - state.position).norm(dim=-1) > config.off * radius
        wants = off & ~simulation.arrived
        near = room < config.near * radius[..., None]
        in_way = stands & (wants[..., None] & (room < config.others * radius[..., None])).any(1)
        held = near.any(-1) & wants | (near & in_way[:, None]).any(-1)
        stays = held & ~moved & (simulation.time >= self._until)
        self._anchor = torch.where(stays[..., None], self._anchor, state.position)
        self._stood = torch.where(stays, self._stood + simulation.config.filter.tick, 0.0)
        begins = self._stood > self._patience
        self._stood = torch.where(begins, 0.0, self._stood)
        return begins

    def _places(self, simulation: FleetSimulation, stranger: Discs) -> Float[Tensor, "S N 2"]:
        """The best place around each robot to make way to: free, beside the line of its stranger (velocity: its heading), away from it."""
        config, position, radius = self.config, simulation.state.position, simulation.bodies.radius
        angle = 2.0 * math.pi * torch.arange(config.directions) / config.directions
        heading = torch.stack([angle.cos(), angle.sin()], -1)
        reach = torch.tensor(config.reach)[:, None, None] * heading  # (2, D, 2), radii
        places = position[:, :, None, None] + radius[..., None, None, None] * reach
        wall = simulation.fields.at(places) - radius[..., None, None]
        apart = torch.cdist(places.flatten(1, 3), position).view(*places.shape[:-1], -1) - radius[:, None, None, None]
        itself = torch.eye(position.shape[1], dtype=torch.bool)[:, None, None]
        others = apart.masked_fill(itself, torch.inf).amin(-1) - radius[..., None, None]
        free = (torch.minimum(wall, others) / radius[..., None, None]).clamp_max(1.0).amin(2)  # of both places of a direction
        last, line = places[:, :, -1], stranger.velocity[:, :, None]
        offset = last - stranger.position[:, :, None]
        across = (line[..., 0] * offset[..., 1] - line[..., 1] * offset[..., 0]).abs()  # 0 where no line is known
        beside = (across / ((1.0 + config.beside) * radius + stranger.radius)[..., None]).clamp_max(1.0)
        back = position - stranger.position
        away = (heading * (back / back.norm(dim=-1, keepdim=True).clamp_min(1e-9))[:, :, None]).sum(-1)
        worth = free + 10.0 * free.clamp_max(0.0) + config.line * beside + config.apart * away
        return last.gather(2, worth.argmax(-1)[..., None, None].expand(-1, -1, 1, 2))[:, :, 0]

    def _drawn(self, like: Tensor) -> Tensor:
        low, high = self.config.patience
        return low + (high - low) * torch.rand(like.shape, generator=self._generator)
