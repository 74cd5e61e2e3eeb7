import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from models.policies.draws import Draws
from models.policies.networks import Sizes
from models.policies.qam_e import QAME, QAMEConfig
from models.policies.transitions import Transitions


class Straight(nn.Module):
    """A flow that ends at one point."""

    def __init__(self, end):
        super().__init__()
        self.end = end

    def at(self, observation):
        return lambda x, t: (self.end - x) / (1.0 - t)


class Fixed(nn.Module):
    """An edit of one mean and one spread."""

    def __init__(self, mean, spread):
        super().__init__()
        self.mean, self.spread = mean, spread

    def forward(self, observation, action):
        return torch.full_like(action, self.mean), torch.full_like(action, math.log(self.spread))


class Line(nn.Module):
    """Two critics of the value c a."""

    def __init__(self, c=1.0):
        super().__init__()
        self.c = c

    def forward(self, observation, action):
        return (self.c * action.sum(-1)).expand(2, *action.shape[:-1])


def test_action_is_the_flows_with_a_small_edit(small, random_batch, seeded):
    """Removed: the edit: .3; removed: its scale: .3 + tanh(.5); removed: the clip: beyond 1."""
    policy, batch = QAME(Sizes(5, 2), small(QAMEConfig(edit_scale=0.2, critics=2))), random_batch()
    policy.flow.fast, policy.editor, policy.target_critic = Straight(0.3), Fixed(0.5, 1e-6), Line()
    edited = 0.3 + 0.2 * math.tanh(0.5)
    assert policy.act(batch.observation, seeded()).mean().item() == pytest.approx(edited, abs=1e-5)
    nothing = torch.zeros(1, 16, 2)
    assert torch.allclose(policy.target(batch, nothing, nothing), batch.reward + 0.99 * batch.mask * 2 * edited, atol=1e-5)
    policy.flow.fast = Straight(0.95)
    assert policy.act(batch.observation, seeded()).unique().tolist() == [1.0]


def test_temperature_holds_the_entropy_of_the_edit(small, seeded):
    """The value 3 a pulls the edit up; the temperature settles where its entropy is -.5 a number.

    Removed: the loss of the temperature: .75; removed: the density in the loss of the edit: -300.
    """
    settings = small(QAMEConfig(edit_scale=0.5, flow_steps=1, critics=2))
    policy = QAME(Sizes(1, 2), replace(settings, learning=replace(settings.learning, clip=None)))
    policy.flow.fast, policy.critic, policy.target_critic = Straight(0.0), Line(3.0), Line(3.0)
    zero, entropies = torch.zeros(128), []
    batch = Transitions.single(zero[:, None], torch.zeros(128, 2), zero, zero, zero[:, None])
    for k in range(300):
        policy.optimizer.param_groups[0]["lr"] = 4e-2 * (1.0 - k / 300)
        entropies += [policy.update(batch)["entropy"]]
    assert sum(entropies[-50:]) / 50 == pytest.approx(-1.0, abs=0.1)
    assert policy.act(torch.zeros(500, 1), seeded()).mean() > 0.2


def test_losses_are_the_published_sum(small, random_batch, seeded):
    """Each term from the formulas, given all noise; the density is that of the edit before its scale, and no part of the target.

    Removed: the temperature of the density; removed: the clip of the edited action; removed: rho: another loss.
    """
    policy = QAME(Sizes(5, 2), replace(small(QAMEConfig.paper()), critics=3, flow_steps=4, edit_scale=0.7), 1)
    policy.log_temperature.data.fill_(-0.7)
    batch = random_batch()
    given = {name: torch.randn(1, 16, 2, generator=seeded(k)) for k, name in ((1, "next"), (7, "next_edit"))}
    given |= {name: torch.randn(16, 2, generator=seeded(k)) for k, name in ((3, "flow"), (4, "start"), (6, "base"), (8, "edit"))}
    given |= {"path": torch.randn(3, 16, 2, generator=seeded(2)), "time": torch.rand(16, 1, generator=seeded(5))}
    terms = policy.losses(batch, Draws(seeded(), dict(given))).terms

    def edited(s, x, noise):
        for k in range(4):
            x = x + policy.flow.fast(s, x, torch.full((16, 1), k / 4)) / 4
        x = x.detach().clamp(-1, 1)
        mean, spread = policy.editor(s, x)
        normal = torch.distributions.Normal(mean, spread.exp())
        raw = mean + spread.exp() * noise
        density = (normal.log_prob(raw) - torch.log(1 - raw.tanh() ** 2)).sum(-1)
        return x + 0.7 * raw.tanh(), density

    s, a, alpha = batch.observation, batch.action, math.exp(-0.7)
    following, _ = edited(batch.next_observation, given["next"][0], given["next_edit"][0])
    values = policy.target_critic(batch.next_observation, following.clamp(-1, 1))
    target = batch.reward + 0.99 * batch.mask * (values.mean(0) - 0.5 * values.std(0, unbiased=False))
    mine, density = edited(s, given["base"], given["edit"])
    assert mine.abs().max() > 1.0
    point = (1 - given["time"]) * given["flow"] + given["time"] * a
    tilt = lambda action: 3.0 * policy.target_critic(s, action).mean(0)  # noqa: E731
    expected = {
        "critic": ((policy.critic(s, a) - target) ** 2).mean(),
        "flow": ((policy.flow.slow(s, point, given["time"]) - a + given["flow"]) ** 2).mean(),
        "adjoint": policy.flow.tilting_loss(s, tilt, Draws(seeded(), {name: given[name] for name in ("start", "path")})),
        "edit": (alpha * density - policy.critic(s, mine.clamp(-1, 1)).mean(0)).mean(),
        "temperature": alpha * (-density.mean() + 0.5 * 2),
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert float(terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-4), name


def test_the_best_of_several_edited_ends_is_done(small, random_batch, seeded):
    """Removed: the choice (the first candidate): another action."""
    policy = QAME(Sizes(5, 2), small(QAMEConfig(best_of_n=4, flow_steps=3, critics=2)), 1)
    s, noise, edit = random_batch().observation, *torch.randn(2, 4, 16, 2, generator=seeded(2))
    ends = torch.stack([policy.edited(s, policy.flow.end(s, noise[k]), edit[k])[0] for k in range(4)])
    best = torch.stack([policy.critic(s, end).mean(0) for end in ends]).argmax(0)
    assert (best > 0).any()
    assert torch.allclose(policy.act(s, seeded(), {"act": noise, "act_edit": edit}), ends[best, torch.arange(16)], atol=1e-6)


def test_the_better_mode_is_found(bandit, small, seeded):
    """With the best of three, as for the flow alone, and little entropy from the start.

    Removed: the terminal adjoint (0 in its place): the best of three edited samples of behaviour is worth .89.
    """
    settings = small(QAMEConfig(inv_temp=6.0, edit_scale=0.2, best_of_n=3, critics=2))
    policy = QAME(Sizes(1, 1), replace(settings, learning=replace(settings.learning, rate=1e-2, polyak=0.05)))
    policy.log_temperature.data.fill_(-4.0)
    generator = seeded(5)
    for k in range(300):
        policy.optimizer.param_groups[0]["lr"] = 1e-2 * (1.0 - k / 300)
        policy.update(bandit.batch(128, generator))
    assert bandit.score(policy) > 0.92
