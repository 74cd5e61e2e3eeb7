"""Who chooses accelerations: what follows the plan, and what steps aside for strangers."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from planner.fleet_view import into_frame
from planner.rollout import FleetSimulation


@runtime_checkable
class Pilot(Protocol):
    """Chooses the accelerations of all robots."""

    def act(self, simulation: FleetSimulation) -> Float[Tensor, "S N 2"]:
        """Actions of all robots, as `FleetSimulation.step` takes them."""
        ...


class Tracking:
    """Follows the plan, others ignored."""

    def act(self, simulation: FleetSimulation) -> Float[Tensor, "S N 2"]:
        """The nominal action."""
        return simulation.nominal()


@dataclass(frozen=True)
class SidestepConfig:
    """When and how far robots step aside."""

    ahead: float = 1.5  # stopping times of the plan, to the place that a robot makes for meanwhile
    sight: float = 4.0  # sums of radii, within which a stranger in the way counts
    room: float = 0.2  # m beyond both radii, at which it is passed
    foresight: float = 0.5  # s that strangers are taken to go on


class Sidestepping:
    """Follows the plan, but passes strangers that are in its way along the tangent of the nearer side that walls leave free."""

    def __init__(self, config: SidestepConfig | None = None) -> None:
        """With its settings."""
        self.config = config or SidestepConfig()

    def act(self, simulation: FleetSimulation) -> Float[Tensor, "S N 2"]:
        """The nominal action where nobody is in the way."""
        config, state, bodies, seen = self.config, simulation.state, simulation.bodies, simulation.seen_strangers()
        nominal = simulation.nominal()
        if seen.radius.shape[1] == 0:
            return nominal
        stopping = bodies.v_max / bodies.a_max
        target = simulation.tracks.at(state.along + config.ahead * stopping).position
        way = target - state.position
        length = way.norm(dim=-1, keepdim=True)
        heading = way / length.clamp_min(1e-6)
        between = (seen.position + config.foresight * seen.velocity)[:, None] - state.position[:, :, None]
        apart = between.norm(dim=-1)
        needed = bodies.radius[..., None] + seen.radius[:, None] + config.room
        along = (between * heading[:, :, None]).sum(-1)
        across = heading[..., None, 0] * between[..., 1] - heading[..., None, 1] * between[..., 0]
        met = (along > 0.0) & (across.abs() < needed) & (apart < config.sight * needed) & (along < length + needed)
        nearest = torch.where(met, apart, torch.inf).argmin(-1, keepdim=True)
        blocked = met.any(-1) & (length[..., 0] > 0.2 * bodies.radius)
        line = between.gather(2, nearest[..., None].expand(-1, -1, 1, 2))[:, :, 0]
        gap, room = apart.gather(-1, nearest), needed.gather(-1, nearest)
        angle = torch.asin((room / gap.clamp_min(1e-6)).clamp(max=1.0)) + (0.5 * (room - gap) / room).clamp_min(0.0)
        turned = torch.stack([_turned(line / gap.clamp_min(1e-6), side * angle) for side in (1.0, -1.0)], 2)
        clear = simulation.fields.at(state.position[:, :, None] + 1.5 * room[..., None] * turned) - bodies.radius[..., None]
        cost = -(turned * heading[:, :, None]).sum(-1) + 4.0 * (clear < 0.05).float()
        side = cost.argmin(-1)
        chosen = turned.gather(2, side[..., None, None].expand(-1, -1, 1, 2))[:, :, 0]
        speed = (bodies.v_max * 0.8)[..., None]
        aside = (2.0 / stopping)[..., None] * (speed * chosen - state.velocity) / bodies.a_max[..., None]
        return torch.where(blocked[..., None], into_frame(aside, simulation.view.axis), nominal)


def _turned(vector: Tensor, angle: Tensor) -> Tensor:
    x, y = vector.unbind(-1)
    c, s = angle[..., 0].cos(), angle[..., 0].sin()
    return torch.stack([c * x - s * y, s * x + c * y], -1)
