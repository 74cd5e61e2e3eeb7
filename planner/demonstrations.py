"""Recorded steps of robots that carry out certified plans: what policies of fleets learn from.

Plans are followed through the filter, and strangers are passed (`planner.pilots.Sidestepping`); a share of the robots strays on
purpose, so that data tell what is worse, too. The action of a step is what was done, after the filter.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from planner.fleet_scenes import Planned
from planner.pilots import Sidestepping
from planner.rollout import FleetSimulation, RolloutConfig


@dataclass(frozen=True)
class DemonstrationConfig:
    """How steps are recorded."""

    steps: int = 200_000  # at least
    noisy: float = 0.3  # share of the robots that stray
    noise: float = 0.5  # standard deviation of their accelerations, of a_max
    memory: float = 0.9  # of the noise from tick to tick
    aside: float = 0.5  # accelerations of a_max that they take to one side at most, for as long as an episode lasts
    world: RolloutConfig = field(default_factory=RolloutConfig)
    seed: int = 0


def record_demonstrations(
    draw: Callable[[int], Planned], config: DemonstrationConfig, progress: Callable[[float], None]
) -> dict[str, np.ndarray]:
    """Steps in the format of OGBench: an episode is a robot's way to its goal, a collision, or the end of the time.

    Args:
        draw: fleets of one number of robots with their plans, by number, 0, 1, ...: an episode of each is recorded.
        config: how.
        progress: told the share that is done.

    Returns:
        `observations` (T, O), `actions` (T, 2), `next_observations`, `rewards`, `masks` (0: terminated) and `terminals`.
    """
    parts: list[dict[str, np.ndarray]] = []
    count, number = 0, 0
    while count < config.steps:
        made = _episode(draw(number), config, number)
        parts += made
        count, number = count + sum(len(part["rewards"]) for part in made), number + 1
        progress(min(1.0, count / config.steps))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _episode(tasks: Planned, config: DemonstrationConfig, number: int) -> list[dict[str, np.ndarray]]:
    """One episode of every fleet; a piece of data for each robot."""
    simulation = FleetSimulation(*tasks, config.world, config.seed + number)
    pilot, generator = Sidestepping(), torch.Generator().manual_seed(config.seed + number)
    shape = simulation.goal.shape
    strays = (torch.rand(shape[:2], generator=generator) < config.noisy)[..., None]
    bias = config.aside * (2.0 * torch.rand(shape[:2], generator=generator) - 1.0)
    noise = torch.zeros(shape)
    rows: dict[str, list[Tensor]] = {name: [] for name in ("observation", "action", "reward", "terminated", "next")}
    while not bool(simulation.over.all()):
        fresh = torch.randn(shape, generator=generator)
        noise = config.memory * noise + (1.0 - config.memory**2) ** 0.5 * fresh
        moving = simulation.state.velocity.norm(dim=-1) > 0.2 * simulation.bodies.v_max
        sideways = torch.stack([torch.zeros_like(bias), bias * moving], -1)
        before = simulation.view.observation
        step = simulation.step(pilot.act(simulation) + strays * (config.noise * noise + sideways))
        for name, value in zip(rows, (before, step.done, step.reward, step.terminated, simulation.view.observation), strict=True):
            rows[name].append(value)
    stacked = {name: torch.stack(values).numpy() for name, values in rows.items()}
    return [_way(stacked, s, n) for s in range(shape[0]) for n in range(shape[1])]


def _way(rows: dict[str, np.ndarray], s: int, n: int) -> dict[str, np.ndarray]:
    ended = rows["terminated"][:, s, n]
    count = int(ended.argmax()) + 1 if ended.any() else len(ended)
    last = np.zeros(count, dtype=bool)
    last[-1] = True
    return {
        "observations": rows["observation"][:count, s, n],
        "actions": rows["action"][:count, s, n],
        "next_observations": rows["next"][:count, s, n],
        "rewards": rows["reward"][:count, s, n],
        "masks": np.where(ended[:count], 0.0, 1.0).astype(np.float32),
        "terminals": last,
    }
