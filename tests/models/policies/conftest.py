"""A Gaussian whose flow is known, small networks, random batches, and a bandit with two modes."""

from dataclasses import dataclass, replace

import pytest
import torch

from models.policies.networks import NetworkConfig
from models.policies.transitions import Transitions

SMALL = NetworkConfig((64, 64))


@dataclass(frozen=True)
class GaussianFlow:
    """The exact straight-path flow to N(mean, spread^2)."""

    mean: float
    spread: float

    def scale(self, t):
        return ((1.0 - t) ** 2 + (t * self.spread) ** 2) ** 0.5

    def velocity(self, x, t):
        return self.mean + (t * self.spread**2 - (1.0 - t)) / self.scale(t) ** 2 * (x - t * self.mean)

    def carried(self, x, t, r):
        """Where the flow takes a point from time t to r."""
        return r * self.mean + self.scale(r) / self.scale(t) * (x - t * self.mean)


@dataclass(frozen=True)
class Bandit:
    """One observation in [-1, 1], one action; the recorded actions have two modes, of which the upper one is better."""

    transitions: Transitions

    @staticmethod
    def mode(observation):
        return 0.5 + 0.2 * observation

    @classmethod
    def reward(cls, observation, action):
        bump = lambda centre: torch.exp(-0.5 * ((action - centre) / 0.2) ** 2)  # noqa: E731
        return (bump(cls.mode(observation)) + 0.5 * bump(-cls.mode(observation)))[:, 0]

    @classmethod
    def record(cls, observation, action):
        reward = cls.reward(observation, action)
        return Transitions.single(observation, action, reward, torch.zeros_like(reward), observation)

    def batch(self, size, generator):
        rows = torch.randint(len(self.transitions), (size,), generator=generator)
        return Transitions(**{name: value[rows] for name, value in vars(self.transitions).items()})

    def score(self, policy, count=2000):
        """Mean reward of the policy's actions; the optimum is 1."""
        generator = torch.Generator().manual_seed(9)
        observation = 2.0 * torch.rand(count, 1, generator=generator) - 1.0
        return float(self.reward(observation, policy.act(observation, generator)).mean())


@pytest.fixture
def gaussian():
    return GaussianFlow


@pytest.fixture
def seeded():
    """Generators by seed."""
    return lambda seed=0: torch.Generator().manual_seed(seed)


@pytest.fixture
def small():
    """A config of an algorithm whose networks have two layers of 64."""

    def shrink(config, **changed):
        networks = {name: replace(value, hidden=(64, 64)) for name, value in vars(config).items() if isinstance(value, NetworkConfig)}
        return replace(config, **(networks | changed))

    return shrink


@pytest.fixture
def random_batch(seeded):
    """Transitions of noise."""

    def make(batch=16, observation=5, action=2, seed=1):
        generator = seeded(seed)
        draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
        mask = (torch.rand(batch, generator=generator) > 0.3).float()
        return Transitions.single(draw(batch, observation), draw(batch, action).clamp(-1, 1), draw(batch), mask, draw(batch, observation))

    return make


@pytest.fixture
def bandit(seeded, unchecked):
    generator = seeded(3)
    observation = 2.0 * torch.rand(4096, 1, generator=generator) - 1.0
    side = torch.where(torch.rand(4096, 1, generator=generator) < 0.5, 1.0, -1.0)
    action = (side * Bandit.mode(observation) + 0.1 * torch.randn(4096, 1, generator=generator)).clamp(-1.0, 1.0)
    return Bandit(Bandit.record(observation, action))
