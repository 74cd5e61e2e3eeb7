"""Plans carried out in built-in maps among strangers: who arrives, who touches what, how long it takes.

python benchmarks/rollout_bench.py                       # 100 episodes of 4, 8, 16 and 32 robots
python benchmarks/rollout_bench.py --count 20 --robots 8
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from orca_pilot import Orca

from maps.library import map_ids
from planner.assembly import load_planner
from planner.demonstrations import DemonstrationConfig, record_demonstrations
from planner.executor import Executor, ExecutorConfig
from planner.fleet_policy import PolicyPilot, load_fleet_policy, released_agents
from planner.fleet_scenes import library_scenarios
from planner.pilots import Sidestepping, Tracking
from planner.rollout import FleetSimulation, RolloutConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planner.executor import Outcome
    from planner.pilots import Pilot
    from planner.pipeline import Planner

SIDE_BY_SIDE = 10  # fleets
COLUMNS = [
    "robots",
    "who",
    "episodes",
    "success",
    "robots that touched",
    "episodes not finished",
    "time over plan",
    "least room, m",
    "new plans",
    "ms a robot",
]


def main() -> None:
    """Prints a table, and how fast the simulation is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="episodes of a cell")
    parser.add_argument("--robots", default="4,8,16,32")
    parser.add_argument("--seed", type=int, default=70_000)
    parser.add_argument("--agents", default=",".join(released_agents()), help="released policies, FOLDER:AGENT, ppo:FILE")
    parser.add_argument("--only", default="", help="rows whose names have one of these, with commas between")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    planner = load_planner()
    print(f"| {' | '.join(COLUMNS)} |\n{'| --- ' * len(COLUMNS)}|")
    for robots in (int(text) for text in asked.robots.split(",")):
        for name, pilot, world, makes in _rows(planner, [agent for agent in asked.agents.split(",") if agent]):
            if asked.only and not any(part in name for part in asked.only.split(",")):
                continue
            outcomes, spent = _episodes(planner, (pilot, world, makes), robots, asked.count, asked.seed)
            print(_row(robots, name, outcomes, spent), flush=True)
    if not asked.only:
        _by_map(planner, asked.count, asked.seed)
        _speed(planner, asked.seed)


def _rows(planner: Planner, asked: list[str]) -> Iterator[tuple[str, Pilot, RolloutConfig, object]]:
    plain, full = RolloutConfig(shield=False, clocks=False), RolloutConfig()
    hand = {
        "plan only": (Tracking(), plain, None),
        "plan, filter": (Tracking(), full, None),
        "plan, filter, new plans": (Tracking(), full, planner.plan),
        "steps aside, filter, new plans": (Sidestepping(), full, planner.plan),
        "orca along the plan, no filter": (Orca(), RolloutConfig(shield=False), planner.plan),
    }
    for name, how in hand.items():
        yield name, *how
    for agent in asked:
        yield f"{agent}, filter, new plans", _pilot(agent), full, planner.plan


def _pilot(agent: str) -> Pilot:
    """A released policy, or one in a folder: FOLDER/fleet-AGENT is written FOLDER:AGENT; ppo:FILE is one of stable-baselines3."""
    if agent.startswith("ppo:"):
        from ppo_pilot import PpoPilot

        return PpoPilot(Path(agent.removeprefix("ppo:")))
    folder, _, name = agent.rpartition(":")
    return PolicyPilot(load_fleet_policy(name, Path(folder) if folder else None))


def _episodes(
    planner: Planner, how: tuple, robots: int, count: int, seed: int, maps: tuple[str, ...] | None = None
) -> tuple[list[Outcome], float]:
    """How episodes went, and ms of pilot, filter and world for a robot and tick."""
    pilot, world, makes = how
    outcomes: list[Outcome] = []
    spent, ticks = 0.0, 0
    for first in range(0, count, SIDE_BY_SIDE):
        some = min(SIDE_BY_SIDE, count - first)
        scenarios, plans = library_scenarios(planner, robots, some, seed + first, maps)
        executor = Executor(pilot, makes, ExecutorConfig(give_way=makes is not None and world.shield))
        found, journey = executor.run(scenarios, plans, world, seed + first)
        outcomes, spent, ticks = outcomes + found, spent + journey.decisions, ticks + journey.ticks * len(scenarios)
    return outcomes, 1e3 * spent / (ticks * robots)


def _row(robots: int, name: str, outcomes: list[Outcome], spent: float) -> str:
    over = [o.over_plan for o in outcomes if o.success]
    shown = f"{np.mean(over):.2f}" if over else "-"
    touched, stuck = sum(o.collided for o in outcomes), sum(o.stuck > 0 for o in outcomes)
    good = sum(o.success for o in outcomes) / len(outcomes)
    least, new = min(o.least_room for o in outcomes), sum(o.replans for o in outcomes) / len(outcomes)
    return f"| {robots} | {name} | {len(outcomes)} | {good:.2f} | {touched} | {stuck} | {shown} | {least:.3f} | {new:.1f} | {spent:.3f} |"


def _by_map(planner: Planner, count: int, seed: int) -> None:
    print("\nsteps aside, filter, new plans; 8 robots, map by map:")
    for name in map_ids():
        outcomes, spent = _episodes(planner, (Sidestepping(), RolloutConfig(), planner.plan), 8, max(1, count // 5), seed, (name,))
        print(_row(8, name, outcomes, spent), flush=True)


def _speed(planner: Planner, seed: int) -> None:
    scenarios, plans = library_scenarios(planner, 8, 16, seed)
    for shown, world in (("no filter", RolloutConfig(shield=False)), ("filter", RolloutConfig())):
        simulation = FleetSimulation(scenarios, plans, world, seed)
        began, ticks = time.perf_counter(), 0
        while time.perf_counter() - began < 3.0:
            simulation.step(simulation.nominal())
            ticks += 1
        rate = ticks * simulation.goal.shape[0] * simulation.goal.shape[1] / (time.perf_counter() - began)
        print(f"{shown}: {rate:.0f} robot-steps a second")
    began = time.perf_counter()
    rows = record_demonstrations(lambda _: (scenarios, plans), DemonstrationConfig(steps=20_000), lambda _: None)
    print(f"demonstrations: {len(rows['rewards']) / (time.perf_counter() - began):.0f} steps a second")


if __name__ == "__main__":
    main()
