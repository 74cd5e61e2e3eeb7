"""Updates a second of every flow policy on one core: batches of 256, observations of 30, actions of 6, `cpu()` presets.

python benchmarks/policy_speed.py [--agents fql,qam] [--seconds 5]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch
from cells import table

from models.policies.networks import Sizes
from models.policies.registry import AGENTS, policy_class, policy_config
from models.policies.transitions import Transitions

BATCH, OBSERVATION, ACTION = 256, 30, 6
MARKS = {"fql": 17, "qam": 5, "gfp": 14, "flowrl": 15}  # updates a second


def drawn(chunk: int | None, generator: torch.Generator) -> Transitions:
    """A batch of noise; of chunks where the policy learns them."""
    shape = (BATCH, ACTION) if chunk is None else (BATCH, chunk, ACTION)
    observation, following = (torch.randn(BATCH, OBSERVATION, generator=generator) for _ in range(2))
    action, reward = torch.rand(shape, generator=generator) * 2.0 - 1.0, torch.randn(BATCH, generator=generator)
    return Transitions.single(observation, action, reward, torch.ones(BATCH), following)


def updates_per_second(agent: str, seconds: float) -> float:
    """Of one policy, the first two updates left out."""
    config = policy_config(agent, "cpu", {})
    if hasattr(config, "pretrain"):  # what comes after cloning takes longer
        config = replace(config, pretrain=0)
    chunk = getattr(config, "horizon", None)
    policy = policy_class(agent)(Sizes(OBSERVATION, ACTION * (chunk or 1)), config, 0)
    batch = drawn(chunk, torch.Generator().manual_seed(0))
    count, began = -2, time.perf_counter()
    while count < 1 or time.perf_counter() < began + seconds:
        if count == 0:
            began = time.perf_counter()
        policy.update(batch)
        count += 1
    return count / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures updates a second of every flow policy on one core.")
    parser.add_argument("--agents", default=",".join(AGENTS))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [[agent, updates_per_second(agent, arguments.seconds), MARKS.get(agent, "-")] for agent in arguments.agents.split(",")]
    print(table(["agent", "updates/s", "mark"], rows))


if __name__ == "__main__":
    main()
