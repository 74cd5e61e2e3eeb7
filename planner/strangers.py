"""People and carts that no plan knows: discs that walk to and fro between places.

A stranger goes straight from place to place. It does not make way, but neither does it walk into a robot that is in its way right before
it: it stands, and after a while it turns back.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from planner.distance_fields import DistanceFields
from planner.fleet_view import Discs

PLACES = 24  # between which the strangers of a fleet walk
TRIES = 10  # to draw them such that some can be walked between
LOOKS = 24  # places on a line at which it must be free


@dataclass(frozen=True)
class StrangerConfig:
    """How strangers walk."""

    count: int = 2  # for each fleet
    size: float = 1.0  # radius, of the fleet's mean radius
    pace: tuple[float, float] = (0.3, 0.7)  # speed, of the fleet's mean v_max
    halt: float = 0.3  # m before a robot in its way at which it stands
    shy: float = 0.05  # m beside its way at which a robot still is in it
    patience: float = 2.0  # s that it stands before it turns back
    apart: float = 4.0  # fleet radii at least between a stranger and all robots at the start


class Strangers:
    """The strangers of S fleets."""

    def __init__(
        self,
        fields: DistanceFields,
        ways: Float[Tensor, "S N T 2"],
        fleet: tuple[Float[Tensor, "S N"], Float[Tensor, "S N"]],
        config: StrangerConfig,
        generator: torch.Generator,
    ) -> None:
        """Places them on the robots' ways, where they will be met.

        Args:
            fields: walls.
            ways: of the robots, by plan, m.
            fleet: radius and v_max of the robots.
            config: how they walk.
            generator: of all that is drawn.
        """
        self.config, self.generator, self.fleets = config, generator, len(ways)
        radius, v_max = fleet
        self.radius = (config.size * radius.mean(1, keepdim=True)).expand(-1, config.count).clone()
        self.places, self.joined = self._draw_places(fields, ways, config.size * radius.mean(1))
        low, high = config.pace
        self.speed = v_max.mean(1, keepdim=True) * (low + (high - low) * self._uniform(self.fleets, config.count))
        self.origin = self._first(ways[:, :, 0], radius)
        self.target = self._next(self.origin)
        self.position = self._at(self.origin)
        self.velocity = torch.zeros_like(self.position)
        self.stood = torch.zeros(self.fleets, config.count)  # s

    def seen(self) -> Discs:
        """Where they are, how they move, and how large they are."""
        return Discs(self.position, self.velocity, self.radius)

    def walk(self, robots: Float[Tensor, "S N 2"], radius: Float[Tensor, "S N"], tick: float) -> None:
        """One tick: on towards their next places, unless a robot stands before them."""
        if self.config.count == 0:
            return
        self._turn(self._arrived(tick), self._next(self.target))
        way = self._at(self.target) - self.position
        heading = way / way.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        between = robots[:, None] - self.position[:, :, None]
        room = between.norm(dim=-1) - radius[:, None] - self.radius[..., None]
        before = (between * heading[:, :, None]).sum(-1) > 0.0
        across = (heading[..., None, 0] * between[..., 1] - heading[..., None, 1] * between[..., 0]).abs()
        in_way = across < radius[:, None] + self.radius[..., None] + self.config.shy
        blocked = (before & in_way & (room < self.config.halt)).any(-1)
        self.stood = torch.where(blocked, self.stood + tick, 0.0)
        self.velocity = torch.where(blocked[..., None], 0.0, self.speed[..., None] * heading)
        self.position = self.position + tick * self.velocity
        back = self.stood > self.config.patience
        self._turn(back, self.origin)
        self.stood = torch.where(back, 0.0, self.stood)

    def _turn(self, who: Bool[Tensor, "S K"], where: Int[Tensor, "S K"]) -> None:
        origin = torch.where(who, self.target, self.origin)
        self.target = torch.where(who, where, self.target)
        self.origin = origin

    def _arrived(self, tick: float) -> Bool[Tensor, "S K"]:
        return (self._at(self.target) - self.position).norm(dim=-1) < 1.5 * tick * self.speed

    def _at(self, index: Int[Tensor, "S K"]) -> Float[Tensor, "S K 2"]:
        return self.places.gather(1, index[..., None].expand(-1, -1, 2))

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator)

    def _draw_places(
        self, fields: DistanceFields, ways: Tensor, radius: Float[Tensor, " S"]
    ) -> tuple[Float[Tensor, "S P 2"], Bool[Tensor, "S P P"]]:
        """Places on the ways, and between which of them one can walk; drawn again where none leads anywhere."""
        candidates = ways.flatten(1, 2)
        weight = (fields.at(candidates) > radius[:, None]).float() + 1e-9
        places = candidates.new_zeros(self.fleets, PLACES, 2)
        joined = torch.zeros(self.fleets, PLACES, PLACES, dtype=torch.bool)
        for _ in range(TRIES):
            chosen = torch.multinomial(weight, PLACES, replacement=True, generator=self.generator)
            drawn = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
            lacking = ~joined.any((1, 2))
            places = torch.where(lacking[:, None, None], drawn, places)
            joined = _joined(places, fields, radius)
            if bool(joined.any((1, 2)).all()):
                break
        return places, joined

    def _first(self, starts: Tensor, radius: Tensor) -> Int[Tensor, "S K"]:
        apart = torch.cdist(self.places, starts).amin(-1)
        leads_on = self.joined.any(-1)  # whoever begins elsewhere stands there for good
        best = torch.where(leads_on, apart, 0.0).amax(1, keepdim=True)  # in a crowd nowhere is far from all
        far = apart > torch.minimum(self.config.apart * radius.amax(1, keepdim=True), 0.9 * best)
        good = far & leads_on
        rest = torch.where(leads_on & ~good, apart, 0.0)
        share = rest / rest.amax(1, keepdim=True).clamp_min(1e-6)
        weight = good.float() + 1e-9 * share**32 + 1e-30  # where good places are too few, the furthest of the others
        return torch.multinomial(weight, max(self.config.count, 1), generator=self.generator)[:, : self.config.count]

    def _next(self, here: Int[Tensor, "S K"]) -> Int[Tensor, "S K"]:
        """Any place that can be reached in a straight line; the same one where there is none at all."""
        weight = self.joined.gather(1, here[..., None].expand(-1, -1, PLACES)).float()
        weight = torch.where(weight.sum(-1, keepdim=True) > 0, weight, torch.nn.functional.one_hot(here, PLACES).float())
        return torch.multinomial(weight.flatten(0, 1), 1, generator=self.generator).view(here.shape) if here.numel() else here


def _joined(places: Float[Tensor, "S P 2"], fields: DistanceFields, radius: Tensor) -> Bool[Tensor, "S P P"]:
    """Between which places a straight line is free and long enough to be a walk."""
    share = torch.linspace(0.0, 1.0, LOOKS)[:, None]
    line = places[:, :, None, None] * (1.0 - share) + places[:, None, :, None] * share
    free = (fields.at(line) > 0.9 * radius[:, None, None, None]).all(-1)
    return free & (torch.cdist(places, places) > 1.0)
