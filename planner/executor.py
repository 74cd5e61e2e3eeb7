"""Carries plans out: a policy proposes, the filter lets through what is safe, and whoever is too late for its plan has it made anew."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maps.errors import InvalidInput
from maps.scenario import MovingObstacle, Scenario
from planner.fleet_tracks import INTERVAL
from planner.fleet_view import Discs
from planner.giving_way import GivingWay
from planner.pilots import Pilot
from planner.plan import Plan, PlanOptions, PlanStatus
from planner.rollout import FleetSimulation, RolloutConfig

CLEAR = 1e-3  # m that a stranger's place keeps from goals
JUST_WITHIN = 0.999  # of speeds and accelerations, which may be a rounding over their limits


@dataclass(frozen=True)
class ExecutorConfig:
    """When plans are made anew, and what robots do before strangers."""

    replan: bool = True  # whether at all
    give_way: bool = True  # whether robots back off from strangers that they stand before
    late: float = 3.0  # s that a robot is behind its plan, and stands, before that
    off: float = 0.5  # radii that it then is off its plan: whoever only waits for others is not
    patience: float = 12.0  # s behind its plan after which it does not matter why
    again: float = 4.0  # s at least between two plans of a fleet
    longer: float = 1.4  # times as long after every further plan, up to `patience`
    foresight: float = 3.0  # s that strangers are taken to go on straight; then they are taken to stand
    beyond: float = 6.0  # s more for those who would stand on a goal then
    memory: float = 2.0  # s, over which the velocities of strangers are means: who walks to and fro before a robot stays there
    slow: float = 0.05  # of v_max, below which a robot stands
    spare: tuple[float, float] = (3.0, 8.0)  # s that a new plan has beyond what its ways take; and at the second try
    deadline: float = 0.5  # s that a try to make a plan may take


@dataclass
class Journey:
    """What happened to S fleets."""

    position: list[Float[np.ndarray, "S N 2"]] = field(default_factory=list)  # m, tick by tick
    strangers: list[Float[np.ndarray, "S K 2"]] = field(default_factory=list)  # m
    changed: list[Bool[np.ndarray, "S N"]] = field(default_factory=list)  # by the filter
    replans: list[tuple[float, int, bool]] = field(default_factory=list)  # s, fleet, whether a plan was found
    decisions: float = 0.0  # s that pilot, filter and the world took, new plans left out
    ticks: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a fleet fared."""

    success: bool  # all arrived, nobody touched anything
    collided: int  # robots that touched something
    stuck: int  # robots that had not arrived when time was over
    makespan: float  # s; infinite where a robot did not arrive
    over_plan: float  # makespan over the horizon of the first plan
    least_room: float  # m, of any robot to anything
    replans: int  # plans made anew


class Executor:
    """Fleets on their way."""

    def __init__(self, pilot: Pilot, planner: Callable[[Scenario, PlanOptions], Plan] | None, config: ExecutorConfig | None = None) -> None:
        """`planner` makes plans anew, as `Planner.plan` does; None: the first plans have to do."""
        self.pilot, self.planner, self.config = pilot, planner, config or ExecutorConfig()

    def run(
        self, scenarios: Sequence[Scenario], plans: Sequence[Plan], world: RolloutConfig, seed: int = 0, keep: bool = False
    ) -> tuple[list[Outcome], Journey]:
        """Carries plans out, all fleets side by side, until all have arrived or their time is over.

        Args:
            scenarios: of one number of robots.
            plans: of the scenarios, all robots planned.
            world: strangers, delays, noise, filter.
            seed: of all that is random there.
            keep: whether places are kept tick by tick.

        Returns:
            How each fleet fared, and what happened.
        """
        for plan in plans:
            if plan.status != PlanStatus.SUCCEEDED:
                raise InvalidInput("only a plan of the whole fleet can be carried out", code="PLAN_MISMATCH", value=str(plan.status))
        simulation, journey = FleetSimulation(scenarios, plans, world, seed), Journey()
        pilot = GivingWay(self.pilot, seed=seed) if self.config.give_way else self.pilot
        horizons = simulation.tracks.horizon.clone()
        asked = torch.full((len(scenarios),), -torch.inf)  # s, when each fleet last got or missed a plan
        pause = torch.full((len(scenarios),), self.config.again)  # s, until it may ask again
        seen = deque([simulation.seen_strangers()], 1 + round(self.config.memory / world.filter.tick))
        while not bool(simulation.over.all()):
            if keep:
                journey.position.append(simulation.state.position.numpy())
                journey.strangers.append(simulation.strangers.position.numpy())
            began = time.perf_counter()
            step = simulation.step(pilot.act(simulation))
            seen.append(simulation.seen_strangers())
            journey.decisions, journey.ticks = journey.decisions + time.perf_counter() - began, journey.ticks + 1
            if keep:
                journey.changed.append(step.changed.numpy())
            strangers = remembered(seen, world.filter.tick)
            for fleet in self.too_late(simulation, asked + pause).nonzero().flatten().tolist():
                fresh = simulation.time - asked[fleet] > 2.0 * self.config.patience
                pause[fleet] = self.config.again if fresh else min(self.config.longer * float(pause[fleet]), self.config.patience)
                asked[fleet] = simulation.time
                journey.replans.append((simulation.time, fleet, self._replan(simulation, fleet, strangers)))
        return [_outcome(simulation, k, float(horizons[k]), journey) for k in range(len(simulation))], journey

    def too_late(self, simulation: FleetSimulation, since: Float[Tensor, " S"]) -> Bool[Tensor, " S"]:
        """Fleets in which a robot stands off its plan, late, for whatever reason; those only that may ask again, `since` s."""
        if self.planner is None or not self.config.replan:
            return torch.zeros(len(simulation), dtype=torch.bool)
        config, state = self.config, simulation.state
        stands = state.velocity.norm(dim=-1) < config.slow * simulation.bodies.v_max
        off = (simulation.tracks.at(state.along).position - state.position).norm(dim=-1) > config.off * simulation.bodies.radius
        late = (off & (state.late > config.late)) | (state.late > config.patience)
        return (stands & late & ~simulation.arrived).any(1) & (simulation.time > since) & ~simulation.over

    def _replan(self, simulation: FleetSimulation, fleet: int, strangers: Discs) -> bool:
        if self.planner is None:
            return False
        (short, long), margin = self.config.spare, margin_here(simulation, fleet)
        ahead = strangers_ahead(simulation, fleet, strangers, (self.config.foresight, self.config.beyond), margin)
        tries = [(ahead, short, True), (ahead, short, False), (ahead, long, False), ((), long, False)]
        for moving, spare, on in tries:
            options = PlanOptions(deadline=time.monotonic() + self.config.deadline)
            plan = self.planner(scenario_from_here(simulation, fleet, moving, (spare, margin), on), options)
            if plan.status == PlanStatus.SUCCEEDED:
                simulation.follow(fleet, plan)
                return True
        return False


def scenario_from_here(
    simulation: FleetSimulation, fleet: int, moving: tuple[MovingObstacle, ...], how: tuple[float, float], on: bool
) -> Scenario:
    """The rest of a fleet's way as a planning problem: from where its robots are to where they must be.

    Args:
        simulation: where they are.
        fleet: which.
        moving: strangers, as they are foreseen.
        how: time beyond what its ways take, s, and margin, m.
        on: whether the plan begins with the robots' present motion; else at rest.
    """
    first, (spare, margin), state = simulation.scenarios[fleet], how, simulation.state
    share = JUST_WITHIN if on else 0.0
    ends = {
        "start": state.position[fleet].double(),
        "start_velocity": share * state.velocity[fleet].double(),
        "start_acceleration": share * state.last[fleet].double(),
    }
    return replace(first, **ends, horizon=time_left(simulation, fleet) + spare, moving=moving, margin=margin)


def margin_here(simulation: FleetSimulation, fleet: int) -> float:
    """The margin of the first plan, or what robots have now where that is less, m."""
    place, radius = simulation.state.position[fleet : fleet + 1].double(), simulation.bodies.radius[fleet].double()
    apart = torch.cdist(place, place)[0] - radius - radius[:, None]
    apart = apart.masked_fill(torch.eye(len(radius), dtype=torch.bool), torch.inf)
    wall = torch.tensor([simulation.wall(fleet, where) for where in place[0].tolist()], dtype=torch.float64) - radius
    least, seen = min(float(apart.min()), float(wall.min())), simulation.seen_strangers()
    if seen.radius.shape[1]:
        least = min(least, float((torch.cdist(place[0], seen.position[fleet].double()) - radius[:, None] - seen.radius[fleet]).min()))
    return max(0.0, min(simulation.scenarios[fleet].margin, least - 1e-4))


def time_left(simulation: FleetSimulation, fleet: int) -> float:
    """What the slowest robot needs for the rest of its way at two thirds of its speed, s."""
    state, place = simulation.state, simulation.tracks.motion[fleet, :, :, :2]
    piece = place.diff(dim=1).norm(dim=-1)
    ahead = torch.arange(piece.shape[1]) * INTERVAL >= state.along[fleet][:, None]
    off = (simulation.tracks.at(state.along).position - state.position)[fleet].norm(dim=-1)
    return float((1.5 * ((piece * ahead).sum(1) + off) / simulation.bodies.v_max[fleet]).max())


def remembered(seen: Sequence[Discs], tick: float) -> Discs:
    """Strangers where they were seen last, with the mean of their velocities since they were seen first.

    A stranger that is shut in walks to and fro: what it does at a moment tells less of where it will be than what came of it.

    Args:
        seen: at least once, a tick apart; what was seen first comes first.
        tick: s.
    """
    first, last = seen[0], seen[-1]
    return replace(last, velocity=(last.position - first.position) / (tick * (len(seen) - 1))) if len(seen) > 1 else last


def strangers_ahead(
    simulation: FleetSimulation, fleet: int, seen: Discs, foresight: tuple[float, float], margin: float
) -> tuple[MovingObstacle, ...]:
    """Strangers as the planner may foresee them.

    They go straight on for a while, and then stand; whoever would stand on a robot's goal goes on until it is off all goals, and is
    left out where that takes too long.

    Args:
        simulation: where they are.
        fleet: which.
        seen: where they are, and how they walk.
        foresight: s that they go on, and at most beyond that to be off all goals.
        margin: of the plan, m.
    """
    sure, beyond = foresight
    goal, radius = simulation.goal[fleet].double(), simulation.bodies.radius[fleet].double()
    until = sure + torch.linspace(0.0, beyond, 13, dtype=torch.float64)
    moving = []
    for k in range(seen.radius.shape[1]):
        place, velocity, size = seen.position[fleet, k].double(), seen.velocity[fleet, k].double(), seen.radius[fleet, k]
        ends = place + until[:, None] * velocity
        clear = (torch.cdist(ends, goal) > radius + size + margin + CLEAR).all(1).nonzero().flatten()
        if len(clear):
            time = torch.stack([torch.zeros_like(until[0]), until[clear[0]]])
            moving.append(MovingObstacle(f"stranger-{k}", float(size), time, torch.stack([place, ends[clear[0]]])))
    return tuple(moving)


def _outcome(simulation: FleetSimulation, k: int, horizon: float, journey: Journey) -> Outcome:
    collided, arrived = int(simulation.collided[k].sum()), int(simulation.arrived[k].sum())
    stuck, makespan = simulation.arrived.shape[1] - arrived, float(simulation.finish[k].max())
    replans = sum(fleet == k for _, fleet, _ in journey.replans)
    return Outcome(
        not collided and not stuck, collided, stuck, makespan, makespan / horizon, float(simulation.least_room[k].min()), replans
    )
