from dataclasses import replace

import pytest
import torch
from torch import nn

from models.policies.draws import Draws
from models.policies.networks import Sizes
from models.policies.qam_f import QAMF, QAMFConfig


class Constant(nn.Module):
    """An actor of one action."""

    def __init__(self, action):
        super().__init__()
        self.action = nn.Parameter(torch.tensor(action))

    def forward(self, observation, noise):
        return self.action.expand(noise.shape)


class Straight(nn.Module):
    """A flow that ends at one point."""

    def __init__(self, end):
        super().__init__()
        self.end = end

    def at(self, observation):
        return lambda x, t: (self.end - x) / (1.0 - t)


class Bowl(nn.Module):
    """Two critics, of -(a - 1)^2 and of 2 less."""

    def forward(self, observation, action):
        value = -((action - 1.0) ** 2).sum(-1)
        return torch.stack([value, value - 2.0])


def test_one_step_is_done_and_valued(small, random_batch, seeded):
    """The fast flow ends elsewhere. Removed: the one-step actor (the fast flow in its place): another action, another target."""
    policy, batch = QAMF(Sizes(5, 2), small(QAMFConfig(critics=2))), random_batch()
    policy.actor, policy.flow.fast, policy.target_critic = Constant(0.4), Straight(-0.9), Bowl()
    assert policy.act(batch.observation, seeded()).unique().tolist() == pytest.approx([0.4])
    lower = -2 * 0.6**2 - 1.0 - 0.5 * 1.0
    assert torch.allclose(policy.target(batch, torch.zeros(1, 16, 2)), batch.reward + 0.99 * batch.mask * lower)
    policy.actor = Constant(3.0)
    assert policy.act(batch.observation, seeded()).unique().tolist() == [1.0]


@pytest.mark.parametrize(("alpha", "expected"), [(10.0, 6.0 / 22.0), (1.0, 0.6), (0.0, 1.0), (1e6, 0.2)])
def test_actor_settles_between_the_fast_flow_and_the_critic(small, seeded, alpha, expected):
    """(2 alpha a_f + k b) / (2 alpha + k) for k = 2, b = 1 and the fast flow's a_f = .2. Removed: distillation; removed:
    the climb; distilled from the slow flow, which ends at -.7: other figures."""
    policy = QAMF(Sizes(1, 1), small(QAMFConfig(fql_alpha=alpha, normalize_q_loss=False, critics=2)))
    policy.critic, policy.flow.fast, policy.flow.slow, policy.actor = Bowl(), Straight(0.2), Straight(-0.7), Constant(0.5)
    losses = policy.actor_losses(torch.zeros(8, 1), torch.randn(8, 1, generator=seeded()))
    slope = torch.autograd.grad(sum(losses), policy.actor.action)[0]
    assert 0.5 - float(slope) / (2.0 * alpha + 2.0) == pytest.approx(expected, abs=1e-4)  # quadratic: one Newton step


def test_losses_are_the_published_sum(small, random_batch, seeded):
    """Each term from the formulas, given all noise. Removed: the same noise of actor and flow; removed: rho; removed: the clip
    before the climb: another loss."""
    policy = QAMF(Sizes(5, 2), replace(small(QAMFConfig.paper()), critics=3, flow_steps=4), 1)
    policy.actor.net[-1].weight.data.mul_(10.0)
    batch = random_batch()
    given = {"next": torch.randn(1, 16, 2, generator=seeded(1)), "path": torch.randn(3, 16, 2, generator=seeded(2))}
    given |= {name: torch.randn(16, 2, generator=seeded(k)) for k, name in ((3, "flow"), (4, "start"), (6, "actor"))}
    given["time"] = torch.rand(16, 1, generator=seeded(5))
    terms = policy.losses(batch, Draws(seeded(), dict(given))).terms
    s, a, end = batch.observation, batch.action, given["actor"]
    values = policy.target_critic(batch.next_observation, policy.actor(batch.next_observation, given["next"][0]).clamp(-1, 1))
    target = batch.reward + 0.99 * batch.mask * (values.mean(0) - 0.5 * values.std(0, unbiased=False))
    for k in range(4):
        end = end + policy.flow.fast(s, end, torch.full((16, 1), k / 4)) / 4
    jump = policy.actor(s, given["actor"])
    assert jump.abs().max() > 1.0
    point = (1 - given["time"]) * given["flow"] + given["time"] * a
    tilt = lambda action: 10.0 * policy.target_critic(s, action).mean(0)  # noqa: E731
    expected = {
        "critic": ((policy.critic(s, a) - target) ** 2).mean(),
        "flow": ((policy.flow.slow(s, point, given["time"]) - a + given["flow"]) ** 2).mean(),
        "adjoint": policy.flow.tilting_loss(s, tilt, Draws(seeded(), {name: given[name] for name in ("start", "path")})),
        "distill": 300.0 * ((jump - end.clamp(-1, 1)) ** 2).mean(),
        "climb": -policy.critic(s, jump.clamp(-1, 1)).mean(),
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert float(terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-4), name


def test_the_better_mode_is_found(bandit, small, seeded):
    """Removed: the climb: the actor is the fast flow, and scores less."""
    settings = small(QAMFConfig(inv_temp=6.0, fql_alpha=0.3, critics=2))
    policy = QAMF(Sizes(1, 1), replace(settings, learning=replace(settings.learning, rate=5e-3, polyak=0.05)))
    generator = seeded(5)
    for k in range(250):
        policy.optimizer.param_groups[0]["lr"] = 5e-3 * (1.0 - k / 250)
        policy.update(bandit.batch(128, generator))
    assert bandit.score(policy) > 0.9
