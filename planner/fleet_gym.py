"""One robot of a simulated fleet as a Gymnasium environment; the others follow their plans.

Episodes take turns among fleets that are planned once, when the environment is made.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np
import torch

from maps.scenario import Scenario
from models.policies.encoder import SetConfig
from planner.assembly import load_planner
from planner.fleet_scenes import Planned, mixed_scenarios
from planner.fleet_view import FEATURES, FIRST, NEIGHBORS, OBSERVATION
from planner.plan import Plan
from planner.rollout import FleetSimulation, RolloutConfig

MEMBERS = SetConfig(FIRST, NEIGHBORS, FEATURES)  # where an observation holds the neighbours


@dataclass(frozen=True)
class FleetTaskConfig:
    """Which fleets a robot lives in."""

    robots: int = 8
    random: int = 24  # fleets in random scenes
    library: int = 10  # fleets in built-in maps
    seed: int = 0  # of the fleets
    world: RolloutConfig = field(default_factory=RolloutConfig)


class FleetTask(gymnasium.Env):
    """Gymnasium's face of a `FleetSimulation`: observations and actions of the first robot, as `planner.fleet_view` tells them."""

    members = MEMBERS

    def __init__(self, config: FleetTaskConfig | None = None) -> None:
        """Plans the fleets, which takes some seconds."""
        self.config = config or FleetTaskConfig()
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBSERVATION,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.tasks = planned_fleets(self.config)
        self.simulation: FleetSimulation | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Another episode: which fleet, which of its robots and where strangers walk is drawn."""
        super().reset(seed=seed)
        number = int(self.np_random.integers(len(self.tasks[0])))
        shift = int(self.np_random.integers(self.config.robots))
        scenario, plan = self.tasks[0][number], self.tasks[1][number]
        seed_of_world = int(self.np_random.integers(2**31))
        self.simulation = FleetSimulation(*_first(scenario, plan, shift), self.config.world, seed_of_world)
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One tick; `success` tells whether the robot has arrived, `collided` whether it has touched anything."""
        simulation = self.simulation
        if simulation is None:
            raise RuntimeError("reset comes before step")
        chosen = simulation.nominal().clone()
        chosen[0, 0] = torch.as_tensor(np.asarray(action, dtype=np.float32))
        step = simulation.step(chosen)
        arrived, collided = bool(simulation.reached[0, 0]), bool(simulation.collided[0, 0])
        told = {"success": float(arrived and not collided), "collided": float(collided), "done": step.done[0, 0].numpy()}
        return self._seen(), float(step.reward[0, 0]), arrived or collided, bool(step.truncated[0]), told

    def _seen(self) -> np.ndarray:
        if self.simulation is None:
            raise RuntimeError("reset comes before step")
        return self.simulation.view.observation[0, 0].numpy()


@lru_cache(maxsize=2)
def planned_fleets(config: FleetTaskConfig) -> Planned:
    """Fleets in random scenes and built-in maps, planned."""
    return mixed_scenarios(load_planner(), config.robots, (config.random, config.library), config.seed)


def _first(scenario: Scenario, plan: Plan, number: int) -> tuple[list[Scenario], list[Plan]]:
    """The same with another robot as the first."""
    order = torch.arange(len(scenario)).roll(-number)
    fleet = scenario.fleet
    turned = replace(
        fleet, ids=tuple(fleet.ids[k] for k in order), radius=fleet.radius[order], v_max=fleet.v_max[order], a_max=fleet.a_max[order]
    )
    parts = {name: getattr(scenario, name)[order] for name in ("start", "goal", "start_velocity", "start_acceleration")}
    return [replace(scenario, fleet=turned, **parts)], [replace(plan, robots=tuple(plan.robots[k] for k in order))]
