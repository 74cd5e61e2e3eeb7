"""Fleets that follow their plans in a world that the plans do not know: strangers, delays, noise.

S fleets of N robots, stepped together in torch. Robots are discs that choose accelerations; each goes along its plan on a
clock of its own, which stands while it is held up. The filter (`planner.shield`) stands between what is chosen and what is done.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maps.scenario import Scenario
from maps.world import bounds_distance, obstacle_distance
from planner.distance_fields import DistanceFields
from planner.fleet_tracks import INTERVAL, WAIT_EVERY, FleetTracks, free_until, paces
from planner.fleet_view import Discs, FleetBodies, FleetState, View, into_frame, out_of_frame, view
from planner.plan import Plan
from planner.shield import Bodies, Limits, Shield, ShieldConfig
from planner.strangers import StrangerConfig, Strangers

CONTACT = 1e-4  # m of overlap that count as a collision


@dataclass(frozen=True)
class RewardConfig:
    """What a robot earns in a tick; the sum of all parts stays within 1."""

    progress: float = 0.1  # for a tick of its plan in a tick
    time: float = 0.06  # off for every tick
    collision: float = 1.0  # off, and the end
    near: float = 0.1  # off in proportion to how far it is within `safe` of anything
    safe: float = 0.3  # radii
    jerk: float = 0.01  # off for the square of the change of acceleration, of a_max
    changed: float = 0.05  # off for the square of what the filter changed, of a_max
    stray: float = 0.02  # off for each radius that it is off its plan, up to 3
    goal: float = 0.5  # for arriving


@dataclass(frozen=True)
class RolloutConfig:
    """The world of a rollout."""

    shield: bool = True  # whether accelerations are filtered
    order: bool = True  # whether robots keep the order of their plans
    clocks: bool = True  # whether a plan waits for its robot; False: it runs on with the clock on the wall
    filter: ShieldConfig = field(default_factory=ShieldConfig)
    strangers: StrangerConfig = field(default_factory=StrangerConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    delays: float = 0.0  # a second and robot: how often it stands still, say for lack of a signal
    delay: tuple[float, float] = (1.0, 4.0)  # s that it then stands
    noise: float = 0.0  # m, standard deviation of places of others that robots see; speeds have as much a second
    room: float = 0.5  # radii, kept between ways where order counts
    arrived: float = 0.3  # radii from the goal at most
    left: float = 1.0  # radii from the goal, beyond which a robot that had arrived is on its way again
    at_rest: float = 0.1  # of v_max at most
    time_over_plan: float = 2.0  # a rollout ends after so many horizons
    spare_time: float = 20.0  # s, and so much more


@dataclass(frozen=True)
class FleetStep:
    """What one tick brought."""

    reward: Float[Tensor, "S N"]
    terminated: Bool[Tensor, "S N"]  # arrived or collided, once
    truncated: Bool[Tensor, " S"]  # time is over
    done: Float[Tensor, "S N 2"]  # the acceleration done, in the frame of the view before, of a_max
    changed: Bool[Tensor, "S N"]  # by the filter


class FleetSimulation:
    """S fleets of the same number of robots, each with its scenario and its plan."""

    def __init__(self, scenarios: Sequence[Scenario], plans: Sequence[Plan], config: RolloutConfig, seed: int) -> None:
        """Places robots at their starts.

        Args:
            scenarios: of one number of robots.
            plans: one for each, with a curve for every robot.
            config: of the world.
            seed: of strangers, delays and noise.

        Raises:
            ValueError: fleets of several sizes, or a robot without a curve.
        """
        if len({len(scenario) for scenario in scenarios}) != 1:
            raise ValueError("fleets that are simulated together need the same number of robots")
        self.scenarios, self.config = tuple(scenarios), config
        self.generator = torch.Generator().manual_seed(seed)
        stacked = {
            name: torch.stack([getattr(scenario.fleet, name) for scenario in scenarios]).float() for name in ("radius", "v_max", "a_max")
        }
        self.bodies = FleetBodies(**stacked)
        self.goal = torch.stack([scenario.goal for scenario in scenarios]).float()
        self.fields = DistanceFields.of_scenes([scenario.scene for scenario in scenarios], 0.25 * float(self.bodies.radius.min()))
        self.shields = [Shield(scenario.scene.world, config.filter) for scenario in scenarios]
        self.tracks = FleetTracks.of_plans(plans)
        self.waits = self.tracks.waits(self.bodies.radius, config.room * float(self.bodies.radius.mean()))
        self.strangers = Strangers(
            self.fields, self.tracks.motion[..., :2], (self.bodies.radius, self.bodies.v_max), config.strangers, self.generator
        )
        fleets, robots = self.goal.shape[:2]
        begun = self.tracks.motion[:, :, 0]
        rest, nothing = torch.zeros(fleets, robots), torch.zeros(fleets, robots, 2)
        self.state = FleetState(begun[..., :2].clone(), begun[..., 2:4].clone(), nothing, rest, rest.clone(), torch.ones(fleets, robots))
        self.time, self.stuck = 0.0, torch.zeros(fleets, robots)  # s
        self.limit = config.time_over_plan * self.tracks.horizon + config.spare_time  # s
        self.arrived = torch.zeros(fleets, robots, dtype=torch.bool)  # and still there
        self.reached = self.arrived.clone()  # at any time
        self.finished = torch.zeros(fleets, dtype=torch.bool)  # all at their goals at once, in time
        self.collided = torch.zeros(fleets, robots, dtype=torch.bool)
        self.finish = torch.full((fleets, robots), torch.inf)  # s, when a robot arrived, lastly
        self.least_room = torch.full((fleets, robots), torch.inf)  # m, to anything, so far
        self.view = self._view()

    def __len__(self) -> int:
        return len(self.scenarios)

    @property
    def over(self) -> Bool[Tensor, " S"]:
        """Which fleets are done: all have arrived and are there, or their time is over."""
        return self.finished | (self.time >= self.limit)

    def follow(self, fleet: int, plan: Plan) -> None:
        """From now on a fleet follows another plan, as fast as it can, which begins now where its robots are.

        Raises:
            ValueError: a robot has no curve.
        """
        fresh, robots = FleetTracks.of_plans([plan]), self.goal.shape[1]
        most = max(self.tracks.motion.shape[2], fresh.motion.shape[2])
        motion, added = _longer(self.tracks.motion, most).clone(), _longer(fresh.motion, most)
        motion[fleet] = added[0]
        horizon = self.tracks.horizon.clone()
        horizon[fleet] = fresh.horizon[0]
        haste = self.tracks.haste.clone()
        haste[fleet] = fresh.hastened(*(part[fleet : fleet + 1] for part in (self.bodies.v_max, self.bodies.a_max))).haste[0]
        self.tracks = FleetTracks(motion, horizon, haste)
        waits = fresh.waits(self.bodies.radius[fleet : fleet + 1], self.config.room * float(self.bodies.radius.mean()))[0]
        wide = max(self.waits.shape[-1], waits.shape[-1])
        self.waits = np.stack([_wider(waits if k == fleet else one, wide) for k, one in enumerate(self.waits)])
        along, late = self.state.along.clone(), self.state.late.clone()
        along[fleet], late[fleet] = torch.zeros(robots), torch.zeros(robots)
        self.state = FleetState(self.state.position, self.state.velocity, self.state.last, along, late, self.state.rate)
        self.view = self._view()

    def step(self, action: Float[Tensor, "S N 2"]) -> FleetStep:
        """One tick.

        Args:
            action: accelerations of all robots, in the frames of the present view, of a_max each, in [-1, 1].
        """
        config, state, view_before = self.config, self.state, self.view
        tick, limit = config.filter.tick, self.bodies.a_max[..., None]
        wanted = out_of_frame(action.clamp(-1.0, 1.0), view_before.axis) * limit
        wanted = torch.where(self._held_up()[..., None], -state.velocity / tick, wanted)
        acceleration, changed = self._filtered(wanted)
        middle = state.position + 0.5 * tick * state.velocity + 0.125 * tick * tick * acceleration
        position = state.position + tick * state.velocity + 0.5 * tick * tick * acceleration
        velocity = state.velocity + tick * acceleration
        before = self.strangers.position
        self.strangers.walk(state.position, self.bodies.radius, tick)
        room = torch.minimum(self._room(middle, (before + self.strangers.position) / 2.0), self._room(position, self.strangers.position))
        self.time += tick
        along, rate = self._clocks(position)
        late = state.late + tick * (1.0 - rate)
        self.state = FleetState(position, velocity, acceleration, along, torch.where(self.arrived, 0.0, late), rate)
        self.least_room = torch.minimum(self.least_room, room)
        ended, goes = self.reached | self.collided, (position - self.goal).norm(dim=-1) / self.bodies.radius
        here = (goes < config.arrived) & (velocity.norm(dim=-1) < config.at_rest * self.bodies.v_max)
        fresh, hit = here & ~self.reached, room < -CONTACT
        counts = ~self.over[:, None]  # what a fleet does when it is done is no longer told
        self.finish = torch.where(counts & here & ~self.arrived, self.time, self.finish)
        self.arrived = torch.where(counts, here | (self.arrived & (goes < config.left)), self.arrived)
        self.finished = self.finished | self.arrived.all(1)
        self.reached, self.collided = self.reached | here, self.collided | hit
        done = into_frame(acceleration, view_before.axis) / limit
        reward = self._reward(state, (done, action.clamp(-1.0, 1.0)), room, (fresh, hit & ~ended))
        self.view = self._view()
        return FleetStep(torch.where(ended, 0.0, reward), self.reached | self.collided, self.time >= self.limit, done, changed)

    def nominal(self) -> Float[Tensor, "S N 2"]:
        """The action that follows the plan, others ignored."""
        return into_frame(self.view.nominal, self.view.axis) / self.bodies.a_max[..., None]

    def seen_strangers(self) -> Discs:
        """Strangers as robots see them."""
        seen, noise = self.strangers.seen(), self.config.noise
        return Discs(self._noisy(seen.position, noise), self._noisy(seen.velocity, noise), seen.radius) if noise > 0.0 else seen

    def _noisy(self, value: Tensor, deviation: float) -> Tensor:
        return value + deviation * torch.randn(value.shape, generator=self.generator)

    def _view(self) -> View:
        around = (self.bodies, self.fields, self.seen_strangers())
        return view(self.state, self.tracks, self.goal, around)

    def _held_up(self) -> Bool[Tensor, "S N"]:
        config, shape = self.config, self.stuck.shape
        if config.delays > 0.0:
            begins = torch.rand(shape, generator=self.generator) < config.delays * config.filter.tick
            low, high = config.delay
            length = low + (high - low) * torch.rand(shape, generator=self.generator)
            self.stuck = torch.where(begins & (self.stuck <= 0.0), length, self.stuck - config.filter.tick)
        return self.stuck > 0.0

    def _filtered(self, wanted: Tensor) -> tuple[Float[Tensor, "S N 2"], Bool[Tensor, "S N"]]:
        if not self.config.shield:
            return _limited(wanted, self.state.velocity, self.bodies, self.config.filter.tick), torch.zeros_like(self.arrived)
        seen = self.seen_strangers()
        rows = []
        for k, shield in enumerate(self.shields):
            robots = Bodies(*(part.double().numpy() for part in (self.state.position[k], self.state.velocity[k], self.bodies.radius[k])))
            limits = Limits(self.bodies.v_max[k].double().numpy(), self.bodies.a_max[k].double().numpy())
            others = Bodies(*(part.double().numpy() for part in (seen.position[k], seen.velocity[k], seen.radius[k])))
            turn = self.state.along[k].argsort().numpy()
            rows.append(shield.filter(robots, limits, wanted[k].double().numpy(), others, turn=turn))
        acceleration = torch.from_numpy(np.stack([row.acceleration for row in rows])).float()
        return acceleration, torch.from_numpy(np.stack([row.changed for row in rows]))

    def _clocks(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """How far along its plan each robot is after the tick, and how fast its clock goes."""
        config, tick = self.config, self.config.filter.tick
        if not config.clocks:
            return self.state.along + tick * self.tracks.haste, torch.ones_like(self.state.along)
        behind = (self.tracks.at(self.state.along).position - position).norm(dim=-1)
        rate = (1.5 - behind / self.bodies.radius).clamp(0.0, 1.0)
        if not config.order:
            return self.state.along + tick * self.tracks.haste * rate, rate
        unit = INTERVAL * WAIT_EVERY
        along, able = self.state.along.double().numpy() / unit, rate.double().numpy()
        stopping = (self.tracks.haste * self.bodies.v_max / self.bodies.a_max).double().numpy() / unit
        ahead = int(np.ceil(2.0 * float(stopping.max()))) + 1
        rows = range(len(along))
        free = np.stack([free_until(self.waits[k], along[k], along[k], ahead) for k in rows])
        pace = np.stack([paces(self.waits[k], along[k], able[k], stopping[k], ahead) for k in rows])
        left = torch.from_numpy((free - along) * unit).float().clamp_min(0.0)
        full = tick * self.tracks.haste
        step = torch.minimum(full * torch.from_numpy(pace).float(), left)
        return self.state.along + step, step / full

    def _room(self, position: Tensor, strangers: Tensor) -> Float[Tensor, "S N"]:
        """Room of each robot to the nearest robot, stranger or wall, m."""
        radius, others = self.bodies.radius, self.strangers.radius
        apart = torch.cdist(position, position) - radius[:, None] - radius[..., None]
        apart = apart.masked_fill(torch.eye(position.shape[1], dtype=torch.bool), torch.inf)
        parts = [apart.amin(-1)]
        if others.shape[1]:
            parts.append((torch.cdist(position, strangers) - radius[..., None] - others[:, None]).amin(-1))
        wall = self.fields.at(position) - radius
        for s, n in (wall < 0.6 * self.fields.cell[:, None]).nonzero().tolist():  # cells are too coarse to tell
            wall[s, n] = self.wall(s, position[s, n].double().tolist()) - float(radius[s, n])
        return torch.stack([*parts, wall]).amin(0)

    def wall(self, fleet: int, place: list[float]) -> float:
        """Distance of a place to walls and bounds, m."""
        world, (x, y) = self.scenarios[fleet].scene.world, place
        return min(obstacle_distance(x, y, world, 4.0)[0], bounds_distance(x, y, world))

    def _reward(self, before: FleetState, actions: tuple[Tensor, Tensor], room: Tensor, events: tuple[Tensor, Tensor]) -> Tensor:
        worth, (done, asked), (fresh, hit) = self.config.reward, actions, events
        last = into_frame(before.last, self.view.axis) / self.bodies.a_max[..., None]
        moved = (self.state.along - before.along) / self.config.filter.tick
        close = (1.0 - room / (worth.safe * self.bodies.radius)).clamp(0.0, 1.0)
        off = (self.tracks.at(self.state.along).position - self.state.position).norm(dim=-1) / self.bodies.radius
        earned = worth.progress * moved - worth.time - worth.near * close - worth.stray * off.clamp_max(3.0)
        earned = earned - worth.jerk * (done - last).square().sum(-1) - worth.changed * (done - asked).square().sum(-1)
        return (earned + worth.goal * fresh - worth.collision * hit).clamp(-1.0, 1.0)


def _limited(wanted: Tensor, velocity: Tensor, bodies: FleetBodies, tick: float) -> Tensor:
    """Accelerations that keep both limits."""
    size = wanted.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    cut = wanted * (bodies.a_max[..., None] / size).clamp_max(1.0)
    after = velocity + tick * cut
    speed = after.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    return (after * (bodies.v_max[..., None] / speed).clamp_max(1.0) - velocity) / tick


def _longer(motion: Tensor, count: int) -> Tensor:
    return torch.cat([motion, motion[:, :, -1:].expand(-1, -1, count - motion.shape[2], -1)], 2)


def _wider(waits: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([waits, np.repeat(waits[..., -1:], count - waits.shape[-1], -1)], -1)
