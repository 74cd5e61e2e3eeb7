"""Backing off from a stranger that one stands before: neither waits for the other for ever.

A stranger halts before a robot, and the robot before the stranger. Whoever has stood so for a while, off its plan, moves away from the
stranger for some seconds, whatever its pilot says; then it follows its plan again. Waits differ from robot to robot, so that two in
a row do not back off into each other at once.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planner.fleet_view import into_frame
from planner.pilots import Pilot
from planner.rollout import FleetSimulation


@dataclass(frozen=True)
class GivingWayConfig:
    """When and how robots back off."""

    near: float = 2.5  # radii of room to a stranger, within which a robot stands before it
    stands: float = 0.1  # of v_max, below which it stands
    off: float = 0.3  # radii that it is off its plan at least
    patience: tuple[float, float] = (3.0, 6.0)  # s that it stands so first, drawn anew each time
    away: float = 6.0  # s that it moves away
    speed: float = 0.6  # of v_max, meanwhile


class GivingWay:
    """A pilot whose robots give way, and else do what another pilot says."""

    def __init__(self, pilot: Pilot, config: GivingWayConfig | None = None, seed: int = 0) -> None:
        """Around a pilot; `seed`: of the patience."""
        self.pilot, self.config = pilot, config or GivingWayConfig()
        self._generator = torch.Generator().manual_seed(seed)
        self._simulation: FleetSimulation | None = None
        self._stood = self._patience = self._until = torch.zeros(0, 0)  # s

    def act(self, simulation: FleetSimulation) -> Float[Tensor, "S N 2"]:
        """Actions of all robots."""
        action, seen = self.pilot.act(simulation), simulation.seen_strangers()
        if seen.radius.shape[1] == 0:
            return action
        config, state, bodies = self.config, simulation.state, simulation.bodies
        if simulation is not self._simulation:
            self._simulation = simulation
            self._stood, self._until = torch.zeros_like(bodies.radius), torch.zeros_like(bodies.radius)
            self._patience = self._drawn(bodies.radius)
        between = state.position[:, :, None] - seen.position[:, None]
        apart = between.norm(dim=-1)
        room, nearest = (apart - bodies.radius[..., None] - seen.radius[:, None]).min(-1)
        off = (simulation.tracks.at(state.along).position - state.position).norm(dim=-1) > config.off * bodies.radius
        still = state.velocity.norm(dim=-1) < config.stands * bodies.v_max
        held = (room < config.near * bodies.radius) & off & still & ~simulation.arrived
        self._stood = torch.where(held, self._stood + simulation.config.filter.tick, 0.0)
        begins = self._stood > self._patience
        self._until = torch.where(begins, simulation.time + config.away, self._until)
        self._stood = torch.where(begins, 0.0, self._stood)
        self._patience = torch.where(begins, self._drawn(bodies.radius), self._patience)
        away = between.gather(2, nearest[..., None, None].expand(-1, -1, 1, 2))[:, :, 0]
        wanted = (config.speed * bodies.v_max)[..., None] * away / away.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        pace = (2.0 * bodies.a_max / bodies.v_max)[..., None]
        back = into_frame(pace * (wanted - state.velocity), simulation.view.axis) / bodies.a_max[..., None]
        return torch.where((simulation.time < self._until)[..., None], back, action)

    def _drawn(self, like: Tensor) -> Tensor:
        low, high = self.config.patience
        return low + (high - low) * torch.rand(like.shape, generator=self._generator)
