"""PPO of stable-baselines3 on the same task: one robot learns, the others follow their plans.

    pip install stable-baselines3
    python benchmarks/ppo_pilot.py --out out/ppo.zip --steps 200000

Raffin et al., Stable-Baselines3 (JMLR 2021); its defaults, but nets of two layers of 128, 0.98 a step and small steps.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from stable_baselines3 import PPO

if TYPE_CHECKING:
    from planner.rollout import FleetSimulation


class PpoPilot:
    """A pilot by the mean of what PPO has learned."""

    def __init__(self, path: Path) -> None:
        self._model = PPO.load(path, device="cpu")

    def act(self, simulation: FleetSimulation) -> torch.Tensor:
        """Actions of all robots."""
        observation = simulation.view.observation
        flat = observation.reshape(-1, observation.shape[-1])
        with torch.no_grad():
            mean = self._model.policy.get_distribution(flat).distribution.mean
        return mean.clamp(-1.0, 1.0).reshape(*observation.shape[:-1], 2)


def main() -> None:
    from planner.fleet_gym import FleetTask

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    nets = {"net_arch": [128, 128], "log_std_init": -1.0}
    model = PPO("MlpPolicy", FleetTask(), n_steps=2048, batch_size=256, gamma=0.98, policy_kwargs=nets, seed=asked.seed, device="cpu")
    began = time.perf_counter()
    model.learn(asked.steps)
    model.save(asked.out)
    print(f"{asked.steps} steps in {(time.perf_counter() - began) / 60.0:.1f} min")


if __name__ == "__main__":
    main()
