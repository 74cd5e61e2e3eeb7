"""Small networks learn a bandit of one observation, whose recorded actions have two modes, one better than the other."""

from dataclasses import replace

import pytest
import torch

from models.policies.bc import BC, BCConfig
from models.policies.flow_steps import Solver
from models.policies.fql import FQL, FQLConfig
from models.policies.ifql import IFQL, IFQLConfig
from models.policies.networks import Sizes
from models.policies.rebrac import ReBRAC, ReBRACConfig
from models.policies.sac import SAC, SACConfig

SIZES = Sizes(1, 1)


def learned(policy, bandit, updates, seeded, size=128):
    generator = seeded(5)
    for _ in range(updates):
        policy.update(bandit.batch(size, generator))
    return policy


def faster(config, rate=1e-3):
    return replace(config, learning=replace(config.learning, rate=rate, polyak=0.02))


def test_cloned_behaviour_keeps_both_modes(bandit, small, seeded):
    """Removed: time as an input: the samples smear between the modes. Removed: the noise of acting: one mode only."""
    policy = learned(BC(SIZES, faster(small(BCConfig()))), bandit, 1500, seeded)
    observation = 2.0 * torch.rand(4000, 1, generator=seeded(1)) - 1.0
    action = policy.act(observation, seeded(2))
    upper = action > 0
    assert float(upper.float().mean()) == pytest.approx(0.5, abs=0.05)
    aside = (action.abs() - bandit.mode(observation)).abs()
    assert float((aside < 0.2).float().mean()) > 0.78
    assert 0.4 < bandit.score(policy) < 0.75  # behaviour is worth about .6


@pytest.mark.parametrize(
    ("kind", "config", "updates"),
    [
        (FQL, FQLConfig(alpha=0.1, solver=Solver(steps=2)), 1000),
        (IFQL, IFQLConfig(solver=Solver(steps=3)), 1200),
        (ReBRAC, ReBRACConfig(), 1000),
    ],
)
def test_offline_policies_find_the_better_mode(bandit, small, seeded, kind, config, updates):
    """Removed: the climb (FQL, ReBRAC) or the choice of the best (IFQL): the score is that of behaviour, .6 at most."""
    assert bandit.score(learned(kind(SIZES, faster(small(config))), bandit, updates, seeded)) > 0.9


def test_flow_is_distilled_into_one_step(bandit, small, seeded):
    """With a large alpha, one step samples as the flow does, in both modes. Removed: distillation: one mode."""
    policy = learned(FQL(SIZES, faster(small(FQLConfig(alpha=300.0, solver=Solver(steps=2))))), bandit, 1000, seeded)
    observation = torch.zeros(2000, 1)
    action = policy.act(observation, seeded(2))
    assert 0.3 < float((action > 0.25).float().mean()) < 0.7
    assert 0.3 < float((action < -0.25).float().mean()) < 0.7


def test_soft_actor_critic_learns_online_and_keeps_its_entropy(bandit, small, seeded):
    """It acts, is rewarded and learns. Removed: the loss of the temperature: actions stay as random as
    they were, and score .83."""
    policy, generator = SAC(SIZES, faster(small(SACConfig(target_entropy=-1.5)), 4e-3)), seeded(5)
    told = []
    for step in range(900):
        observation = 2.0 * torch.rand(128, 1, generator=generator) - 1.0
        explored = 2.0 * torch.rand(128, 1, generator=generator) - 1.0
        made = bandit.record(observation, explored if step < 200 else policy.act(observation, generator))
        told.append(policy.update(replace(made, reward=4.0 * made.reward)))
    assert bandit.score(policy) > 0.9
    assert sum(row["entropy"] for row in told[-100:]) / 100 == pytest.approx(-1.5, abs=0.2)
