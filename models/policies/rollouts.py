"""Policies that act in environments: chunk by chunk, and whole episodes to judge them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from models.policies.environments import Environment
from models.policies.policy import Policy


@dataclass(frozen=True)
class EvaluationConfig:
    """How a policy is judged."""

    episodes: int = 10  # each with a seed of its own, the same ones at every evaluation
    seed: int = 0  # of the episodes, and of the noise of acting in them
    steps: int = 100_000  # of an episode at most
    execute: int = 0  # actions of a chunk that are done before looking anew; 0: all


class Actor:
    """Actions of a policy one by one; those of a chunk are done in turn."""

    def __init__(self, policy: Policy, action: int, execute: int, seed: int) -> None:
        """`action` numbers of one action; `execute` as in EvaluationConfig; ValueError if the policy gives no whole number of those."""
        chunk, rest = divmod(policy.sizes.action, action)
        if rest or not 0 <= execute <= chunk:
            raise ValueError(f"a policy of {policy.sizes.action} numbers cannot give {execute or 'all'} actions of {action}")
        self.policy, self.action, self.execute = policy, action, execute or chunk
        self.generator = torch.Generator().manual_seed(seed)
        self._ahead: list[Tensor] = []

    def forget(self) -> None:
        """Another episode begins."""
        self._ahead = []

    def next(self, observation: Float[Tensor, " O"]) -> Float[Tensor, " A"]:
        """The next action, of this observation or of the chunk that is being done."""
        if not self._ahead:
            chunk = self.policy.act(observation[None], self.generator)[0].cpu().view(-1, self.action)
            self._ahead = list(chunk[: self.execute])
        return self._ahead.pop(0)


def seed_of(*numbers: int) -> int:
    """A seed that all the numbers tell together."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def evaluate(policy: Policy, environment: Environment, config: EvaluationConfig) -> dict[str, float]:
    """Judges a policy.

    Args:
        policy: acts, with the noise that it always has, but without that with which some explore while they are in training.
        environment: of its observations and actions.
        config: episodes and seeds; an episode does not depend on how many there are.

    Returns:
        Means over the episodes: `return` (sum of the rewards), `length` (steps), and `success` (share of the episodes that reached
        their goal at any step) where the environment tells.
    """
    learning = policy.training
    policy.eval()
    try:
        rows = [_episode(policy, environment, config, number) for number in range(config.episodes)]
    finally:
        policy.train(learning)
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _episode(policy: Policy, environment: Environment, config: EvaluationConfig, number: int) -> dict[str, float]:
    actor = Actor(policy, environment.action, config.execute, seed_of(config.seed, number, 1))
    observation, total, length, success = environment.reset(seed_of(config.seed, number)), 0.0, 0, None
    while length < config.steps:
        step = environment.step(actor.next(observation))
        observation, total, length = step.observation, total + step.reward, length + 1
        if step.success is not None:
            success = max(success or 0.0, step.success)
        if step.terminated or step.truncated:
            break
    return {"return": total, "length": float(length)} | ({} if success is None else {"success": success})
