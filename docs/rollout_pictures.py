"""Makes the pictures of docs/agents.md: one episode with nothing but the plan, and with a policy and the filter.

    python docs/rollout_pictures.py [--out docs] [--map crossing] [--seed 7]

The fleet, its plan and the strangers are the same in both.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from planner.assembly import load_planner
from planner.executor import Executor, ExecutorConfig
from planner.fleet_policy import PolicyPilot, load_fleet_policy
from planner.fleet_scenes import library_scenarios
from planner.pilots import Tracking
from planner.rollout import RolloutConfig
from planner.rollout_film import RolloutPicture, write_rollout

ROBOTS = 8
LOOK = RolloutPicture(width=380, dpi=72, ticks=4, frame=160, most_frames=120, stills=6)


def main() -> None:
    """Runs both episodes and draws them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--map", default="crossing")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--agent", default="gfp")
    asked = parser.parse_args()
    planner = load_planner()
    scenarios, plans = library_scenarios(planner, ROBOTS, 1, asked.seed, (asked.map,))
    pilots = {
        "without": (Executor(Tracking(), None, ExecutorConfig(give_way=False)), RolloutConfig(shield=False, clocks=False)),
        "with": (Executor(PolicyPilot(load_fleet_policy(asked.agent)), planner.plan), RolloutConfig()),
    }
    for name, (executor, world) in pilots.items():
        outcomes, journey = executor.run(scenarios, plans, world, asked.seed, keep=True)
        print(name, outcomes[0])
        size = world.strangers.size * float(scenarios[0].fleet.radius.mean())
        for ending in ("gif", "png"):
            write_rollout(asked.out / f"rollout_{name}.{ending}", scenarios[0], journey, size, world.filter.tick, LOOK)


if __name__ == "__main__":
    main()
