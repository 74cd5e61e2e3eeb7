from dataclasses import replace

import pytest
import torch
from torch import nn

from models.policies.draws import Draws
from models.policies.flow_steps import Solver
from models.policies.fql import FQL, FQLConfig
from models.policies.networks import Sizes
from models.policies.transitions import Transitions


class Constant(nn.Module):
    """An actor of one action, whatever it sees."""

    def __init__(self, action=0.0):
        super().__init__()
        self.action = nn.Parameter(torch.tensor(action))

    def forward(self, observation, noise):
        return self.action.expand(noise.shape)


class Bowl(nn.Module):
    """The value -k / 2 (a - b)^2."""

    def __init__(self, k, b):
        super().__init__()
        self.k, self.b = k, b

    def forward(self, observation, action):
        return (-0.5 * self.k * (action - self.b) ** 2).sum(-1).expand(2, -1)


class Straight(nn.Module):
    """A flow that ends at one point, whatever the noise."""

    def __init__(self, end):
        super().__init__()
        self.end = end

    def at(self, observation):
        return lambda x, t: (self.end - x) / (1.0 - t)


@pytest.mark.parametrize(("alpha", "expected"), [(10.0, 6.0 / 22.0), (1.0, 0.6), (0.0, 1.0), (1e6, 0.2)])
def test_actor_settles_between_flow_and_critic(small, seeded, alpha, expected):
    """(2 alpha a_f + k b) / (2 alpha + k) for k = 2, b = 1, a_f = .2. Removed: distillation: 1; removed: the climb: .2."""
    policy = FQL(Sizes(1, 1), small(FQLConfig(alpha=alpha, normalize_q_loss=False, solver=Solver("euler", 10))))
    policy.critic, policy.field, policy.actor = Bowl(2.0, 1.0), Straight(0.2), Constant(0.5)
    losses = policy.actor_losses(torch.zeros(8, 1), torch.randn(8, 1, generator=seeded()))
    slope = torch.autograd.grad(sum(losses), policy.actor.action)[0]
    best = 0.5 - float(slope) / (2.0 * alpha + 2.0)  # quadratic: one Newton step
    assert best == pytest.approx(expected, abs=1e-4)


def test_student_has_the_noise_of_its_teacher(small, seeded):
    """A perfect student, a = z, of a flow that stands still has no error. Removed: the same noise (a fresh one for the flow)."""

    class Still(nn.Module):
        def at(self, observation):
            return lambda x, t: 0.0 * x

    class Copy(nn.Module):
        def forward(self, observation, noise):
            return noise

    policy = FQL(Sizes(1, 1), small(FQLConfig()))
    policy.field, policy.actor = Still(), Copy()
    noise = torch.rand(64, 1, generator=seeded()) - 0.5
    assert float(policy.actor_losses(torch.zeros(64, 1), noise)[0]) == 0.0


def test_flow_does_not_know_the_reward(small, random_batch):
    """The field learns the same, bit by bit, for two rewards. Removed: `no_grad` and detach of the distilled flow."""
    fields = []
    for scale in (1.0, -7.0):
        policy = FQL(Sizes(5, 2), small(FQLConfig(alpha=0.1)), 1)
        for seed in range(5):
            batch = random_batch(seed=seed)
            policy.update(replace(batch, reward=scale * batch.reward))
        fields.append(policy.field.state_dict())
        critics = policy.critic.state_dict()
    assert all(torch.equal(one, other) for one, other in zip(fields[0].values(), fields[1].values(), strict=True))
    assert not torch.equal(critics["net.0.weight"][..., 0], fields[0]["net.0.weight"][..., 0])


def test_target_is_the_value_of_the_clipped_next_action_of_the_actor(small):
    """Next observation and online actor, averaged or least; removed: the clip of the next action."""

    class Sum(nn.Module):
        def forward(self, observation, action):
            value = observation[:, 0] + action[:, 0]
            return torch.stack([value, value + 2.0])

    batch = Transitions.single(torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([1.0, 1.0]), torch.tensor([1.0, 0.0]), torch.ones(2, 1))
    for agg, expected in (("mean", 1.0 + 0.99 * (1.0 + 1.0 + 1.0)), ("min", 1.0 + 0.99 * 2.0)):
        policy = FQL(Sizes(1, 1), small(FQLConfig(q_agg=agg)))
        policy.target_critic, policy.actor = Sum(), Constant(5.0)
        assert policy.target(batch, torch.zeros(2, 1)).tolist() == pytest.approx([expected, 1.0])


def test_losses_are_the_published_sum(small, random_batch, seeded):
    """With the paper's config, each term from the formulas, given all noise. Removed: the clip of the climb; added: one of what is
    distilled: another loss."""
    policy, batch = FQL(Sizes(5, 2), small(FQLConfig.paper()), 1), random_batch()
    policy.actor.net[-1].weight.data.mul_(10.0)
    given = {name: torch.randn(16, 2, generator=seeded(k)) for k, name in enumerate(("next", "flow", "actor"))}
    given["time"] = torch.rand(16, 1, generator=seeded(5))
    terms = policy.losses(batch, Draws(seeded(), dict(given))).terms
    following = policy.actor(batch.next_observation, given["next"]).clamp(-1, 1)
    target = batch.reward + 0.99 * batch.mask * policy.target_critic(batch.next_observation, following).mean(0)
    critic = ((policy.critic(batch.observation, batch.action) - target.detach()) ** 2).mean()
    point = (1 - given["time"]) * given["flow"] + given["time"] * batch.action
    flow = ((policy.field(batch.observation, point, given["time"]) - batch.action + given["flow"]) ** 2).mean()
    end = given["actor"]
    for k in range(10):
        end = end + policy.field(batch.observation, end, torch.full((16, 1), k / 10)) / 10
    jump = policy.actor(batch.observation, given["actor"])
    assert jump.abs().max() > 1.0
    distill = 10.0 * ((jump - end.clamp(-1, 1)) ** 2).mean()
    climb = -policy.critic(batch.observation, jump.clamp(-1, 1)).mean()
    for name, expected in {"critic": critic, "flow": flow, "distill": distill, "climb": climb}.items():
        assert float(terms[name].detach()) == pytest.approx(float(expected.detach()), rel=1e-5, abs=1e-6), name
