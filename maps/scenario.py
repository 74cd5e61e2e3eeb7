"""Scenario: one planning problem; ScenarioBatch: many of them, padded."""

from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maps.curve import curve_basis, end_control_points
from maps.errors import InvalidScenario
from maps.fleet import Fleet
from maps.reason import Reason
from maps.scene import Scene


@dataclass(frozen=True)
class MovingObstacle:
    """A disc on a known piecewise linear path; it stands at its first place before and at its last after."""

    id: str
    radius: float  # m
    time: Float[Tensor, " k"]  # s, increasing
    position: Float[Tensor, "k 2"]  # m

    def __post_init__(self) -> None:
        """Refuses an empty path, times that do not increase, and a radius that is not positive."""
        if self.time.shape[0] == 0 or self.position.shape[0] != self.time.shape[0]:
            raise InvalidScenario(f"moving obstacle {self.id!r} needs as many places as times, at least one", code="BAD_PATH")
        if bool((self.time.diff() <= 0).any()):
            raise InvalidScenario(f"times of moving obstacle {self.id!r} must increase", pointer="/t", code="TIMES_NOT_INCREASING")
        if not self.radius > 0:
            raise InvalidScenario(
                f"radius of moving obstacle {self.id!r} must be positive", pointer="/radius", value=self.radius, limit=0.0
            )

    def at(self, time: Float[Tensor, " T"]) -> Float[Tensor, "T 2"]:
        """Places at given times, m."""
        if self.time.shape[0] == 1:
            return self.position.expand(time.shape[0], 2)
        clipped = time.clamp(self.time[0], self.time[-1])
        right = torch.searchsorted(self.time, clipped).clamp(1, self.time.shape[0] - 1)
        span = self.time[right] - self.time[right - 1]
        share = ((clipped - self.time[right - 1]) / span)[:, None]
        return self.position[right - 1] * (1 - share) + self.position[right] * share


@dataclass(frozen=True)
class Scenario:
    """Where every robot is and must be, in which world, in which time."""

    scene: Scene
    fleet: Fleet
    start: Float[Tensor, "N 2"]  # m
    goal: Float[Tensor, "N 2"]  # m, reached at rest
    start_velocity: Float[Tensor, "N 2"]  # m/s
    start_acceleration: Float[Tensor, "N 2"]  # m/s^2
    horizon: float | None = None  # s; None: the shortest that can be certified
    margin: float = 0.0  # m, extra room kept from everything
    moving: tuple[MovingObstacle, ...] = ()
    least_horizon: float = 0.0  # s, where no horizon is given: none below this is chosen

    def __len__(self) -> int:
        return len(self.fleet)

    def check(self) -> tuple[Reason | None, ...]:
        """Proves what is impossible before any solving.

        Returns:
            For each robot the reason why no plan can exist, or None. Sound: a robot with a reason has no plan.
        """
        from maps.feasibility import impossibilities

        return impossibilities(self)


@dataclass(frozen=True)
class ScenarioBatch:
    """S scenarios, each with a horizon, padded to the largest fleet, on one device.

    Padded robots have `mask` False; they stand at the origin with radius 0 and limits 1.
    """

    scenarios: tuple[Scenario, ...]
    mask: Bool[Tensor, "S N"]
    radius: Float[Tensor, "S N"]  # m
    v_max: Float[Tensor, "S N"]  # m/s
    a_max: Float[Tensor, "S N"]  # m/s^2
    start: Float[Tensor, "S N 2"]  # m
    goal: Float[Tensor, "S N 2"]  # m
    start_velocity: Float[Tensor, "S N 2"]  # m/s
    start_acceleration: Float[Tensor, "S N 2"]  # m/s^2
    horizon: Float[Tensor, " S"]  # s
    margin: Float[Tensor, " S"]  # m

    @classmethod
    def stack(cls, scenarios: list[Scenario] | tuple[Scenario, ...]) -> "ScenarioBatch":
        """Pads scenarios to one batch.

        Raises:
            InvalidScenario: an empty list, or a scenario whose horizon is not chosen yet.
        """
        if not scenarios:
            raise InvalidScenario("a batch needs at least one scenario")
        if any(s.horizon is None for s in scenarios):
            raise InvalidScenario("every scenario of a batch needs a horizon", pointer="/horizon_s")
        most = max(len(s) for s in scenarios)

        def padded(rows: list[Tensor], fill: float) -> Tensor:
            if all(len(row) == most for row in rows):
                return torch.stack(rows)
            out = rows[0].new_full((len(rows), most, *rows[0].shape[1:]), fill)
            for k, row in enumerate(rows):
                out[k, : row.shape[0]] = row
            return out

        mask = torch.zeros(len(scenarios), most, dtype=torch.bool)
        for k, s in enumerate(scenarios):
            mask[k, : len(s)] = True
        return cls(
            tuple(scenarios),
            mask,
            padded([s.fleet.radius for s in scenarios], 0.0),
            padded([s.fleet.v_max for s in scenarios], 1.0),
            padded([s.fleet.a_max for s in scenarios], 1.0),
            padded([s.start for s in scenarios], 0.0),
            padded([s.goal for s in scenarios], 0.0),
            padded([s.start_velocity for s in scenarios], 0.0),
            padded([s.start_acceleration for s in scenarios], 0.0),
            torch.tensor([s.horizon for s in scenarios], dtype=torch.float64),
            torch.tensor([s.margin for s in scenarios], dtype=torch.float64),
        )

    def __len__(self) -> int:
        return len(self.scenarios)

    def to(self, device: str | torch.device) -> "ScenarioBatch":
        """The same batch with its tensors on a device."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "scenarios"}
        return replace(self, **moved)

    def minimum_jerk(self, count: int) -> Float[Tensor, "S N n 2"]:
        """Control points of the minimum-jerk motions from every start to every goal, other robots and walls ignored."""
        horizon = self.horizon[:, None].expand(self.start.shape[:2])
        return end_control_points(curve_basis(count), self.start, self.start_velocity, self.start_acceleration, self.goal, horizon)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of real robots of each scenario."""
        return tuple(len(s) for s in self.scenarios)
