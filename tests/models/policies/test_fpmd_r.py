"""Mirror descent with a rectified flow: its losses, its one step, and the bandits."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from models.policies.draws import Draws
from models.policies.flow_steps import Solver
from models.policies.fpmd_r import FPMDR, FPMDRConfig
from models.policies.mirror_descent import MirrorConfig
from models.policies.networks import Sizes


class Known(nn.Module):
    """A field that does not depend on the observation."""

    def __init__(self, velocity):
        super().__init__()
        self.velocity = velocity

    def at(self, observation):
        return self.velocity


class Symmetric(nn.Module):
    """Values of two modes, +-m(s), that are as good."""

    def __init__(self, bandit):
        super().__init__()
        self.bandit = bandit

    def forward(self, observation, action):
        values = torch.stack([torch.exp(-0.5 * ((action - side * self.bandit.mode(observation)) / 0.2) ** 2) for side in (1.0, -1.0)])
        return values.sum(0)[..., 0].expand(2, *action.shape[:-1])

    def score(self, policy, seeded):
        observation = torch.linspace(-1.0, 1.0, 2000)[:, None]
        return float(self(observation, policy.act(observation, seeded(9))).mean())


def faster(config, **mirror):
    return replace(config, mirror=replace(config.mirror, **mirror), learning=replace(config.learning, rate=1e-3, polyak=0.02))


def two_modes(x, t):
    """The exact field to +-.5, each with probability 1/2."""
    return (0.5 * torch.tanh(0.5 * t * x / (1.0 - t) ** 2) - x) / (1.0 - t)


@pytest.mark.parametrize(("spread", "twenty"), [(0.5, 0.036), (0.2, 0.024), (0.05, 0.018), (0.01, 0.008)])
def test_one_step_is_away_from_a_gaussian_by_its_spread(gaussian, small, seeded, spread, twenty):
    """All steps end at the mean, so W2 is the spread; twenty steps come nearer. Removed: the start in the step (v alone)."""
    policy = FPMDR(Sizes(1, 1), small(FPMDRConfig(solver=Solver("euler", 20))))
    policy.acting_field = Known(gaussian(0.5, spread).velocity)
    start = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(1000) + 0.5) / 1000)[:, None]
    law = 0.5 + spread * start
    one = policy.jump(torch.zeros(1000, 1), start)
    assert float((one - law).square().mean().sqrt()) == pytest.approx(spread, rel=1e-2)
    many = policy.sampler(policy.acting_field.velocity)(start)
    assert float((many - law).square().mean().sqrt()) == pytest.approx(twenty, abs=6e-4)


@pytest.mark.parametrize(("one_step", "expected"), [(True, 0.0), (False, 0.5)])
def test_one_step_ends_between_two_modes_and_several_do_not(small, seeded, one_step, expected):
    """Removed: the condition on `one_step`: both end in the modes."""
    config = FPMDRConfig(one_step=one_step, solver=Solver("euler", 10), mirror=MirrorConfig(num_particles=1))
    policy = FPMDR(Sizes(1, 1), small(config)).eval()
    policy.acting_field = Known(two_modes)
    aside = (policy.act(torch.zeros(1000, 1), seeded()).abs() - expected).abs()
    assert float((aside < 0.05).float().mean()) > 0.9


def test_one_step_fails_between_two_actions_that_are_as_good_where_several_do_not(bandit, small, seeded):
    """The learned flow, on values with two equal modes, of a policy that still explores widely.

    Removed: `one_step` in acting (as several steps): .9.
    """
    config = faster(small(FPMDRConfig(solver=Solver(steps=2))), num_particles=16, policy_freq=1, exploration=1.0, temperature=1.0)
    policy, generator, equal = FPMDR(Sizes(1, 1), config), seeded(5), Symmetric(bandit)
    policy.mirror.critic = policy.mirror.target_critic = equal
    for _ in range(400):
        policy.update(bandit.batch(128, generator))
    several = equal.score(policy.eval(), seeded)
    policy.config = replace(config, one_step=True)
    assert equal.score(policy, seeded) < 0.3
    assert several > 0.85


def test_losses_are_their_formulas(small, random_batch, seeded):
    """As published, all noise given. Removed: the scale of rewards; removed: weights; removed: the choice of the best: other losses."""
    published = FPMDRConfig.paper()
    config = small(replace(published, solver=Solver("euler", 2), mirror=replace(published.mirror, num_particles=3)))
    policy, batch = FPMDR(Sizes(5, 2), config, 1), random_batch()
    given = {"next": torch.randn(3, 16, 2, generator=seeded()), "explore": torch.randn(3, 16, 2, generator=seeded(1))}
    given |= {"flow": torch.randn(16, 2, generator=seeded(2)), "time": torch.rand(16, 1, generator=seeded(3))}
    terms = policy.losses(batch, Draws(seeded(), dict(given))).terms
    following, mirror = batch.next_observation, policy.mirror
    candidates, zero = 0.5 * given["next"], torch.zeros(3, 16, 1)
    candidates = candidates + 0.5 * policy.field(following, candidates, zero)
    candidates = candidates + 0.5 * policy.field(following, candidates, zero + 0.5)
    candidates = (candidates + 0.5 * given["explore"]).clamp(-1, 1).detach()
    values = torch.stack([mirror.critic(following, candidate).amin(0) for candidate in candidates])
    action = candidates[values.argmax(0), torch.arange(16)]
    least = values.amax(0).detach()
    target = 0.2 * batch.reward + 0.99 * batch.mask * mirror.target_critic(following, action).amin(0)
    weight = (least / least.std(unbiased=False) / 3.0).exp()
    point = (1 - given["time"]) * given["flow"] + given["time"] * action
    error = (policy.field(following, point, given["time"]) - action + given["flow"]).square().mean(-1)
    expected = {"critic": ((mirror.critic(batch.observation, batch.action) - target) ** 2).mean(), "flow": (weight * error).mean()}
    for name, value in expected.items():
        assert float(terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-4), name
    assert terms.keys() == {"critic", "flow", "exploration"}


def test_policy_learns_the_tilted_mean(small, random_batch, seeded):
    """Own actions of N(0, .2^2) and Q = 3 a: a constant field is best at .2 / lambda. Removed: weights: at 0."""

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.level = nn.Parameter(torch.zeros(()))

        def at(self, observation):
            return lambda x, t: self.level.expand(x.shape)

    class Slope(nn.Module):
        def forward(self, observation, action):
            return 3.0 * action[..., 0].expand(2, *action.shape[:-1])

    count = 20_000
    mirror = MirrorConfig(num_particles=1, start_spread=0.2, temperature=0.8, exploration=1e-9, limit=5.0)
    policy = FPMDR(Sizes(1, 1), small(FPMDRConfig(mirror=mirror)))
    policy.field, policy.mirror.critic = Constant(), Slope()
    own = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(count) + 0.5) / count)[:, None]
    given = {"next": own[None], "flow": torch.zeros(count, 1)}
    loss = policy.losses(random_batch(count, 1, 1), Draws(seeded(), given)).terms["flow"]
    (slope,) = torch.autograd.grad(loss, policy.field.level, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, policy.field.level)
    assert float((-slope / curvature).detach()) == pytest.approx(0.2 / 0.8, rel=2e-2)


def test_parts_learn_in_their_own_time(small, random_batch):
    """Removed: a condition on the updates; removed: the own rate of the exploration."""
    config = small(FPMDRConfig(mirror=MirrorConfig(num_particles=2, exploration_freq=3, decay_from=0, decay_over=4)))
    policy = FPMDR(Sizes(5, 2), config, 1)
    for k in range(6):
        before = {name: value.clone() for name, value in policy.state_dict().items()}
        policy.update(random_batch(seed=k))
        changed = {name for name, value in policy.state_dict().items() if not torch.equal(value, before[name])}
        assert ("field.net.0.weight" in changed, "acting_field.net.0.weight" in changed) == (k % 2 == 0, k % 2 == 0)
        assert "mirror.critic.net.0.weight" in changed
        assert ("mirror.target_critic.net.0.weight" in changed) == (k % 2 == 0)
        assert ("mirror.log_exploration" in changed) == (k % 3 == 0)
        assert policy.optimizer.param_groups[1]["lr"] == pytest.approx([3e-4, 2.325e-4, 1.65e-4, 0.975e-4, 3e-5, 3e-5][k])
    assert float(policy.mirror.log_exploration.detach().exp()) == pytest.approx(0.5 * 2.718281828 ** (-2 * 7e-3), rel=1e-3)


def test_it_explores_in_training_alone(small, random_batch, seeded):
    policy, observation = FPMDR(Sizes(5, 2), small(FPMDRConfig()), 1), random_batch().observation
    noise = {"act": torch.randn(32, 16, 2, generator=seeded())}
    quiet = policy.act(observation, seeded(), noise | {"explore": torch.zeros(32, 16, 2)})
    assert not torch.equal(policy.act(observation, seeded(), noise), quiet)
    assert torch.equal(policy.eval().act(observation, seeded(), noise), quiet)


def test_it_finds_the_better_mode_online(bandit, small, seeded):
    """It acts, is rewarded and learns. Removed: the choice of the best and the weights: .65."""
    policy = FPMDR(Sizes(1, 1), faster(small(FPMDRConfig(solver=Solver(steps=2))), num_particles=4, exploration=0.3, reward_scale=1.0))
    generator = seeded(5)
    for step in range(500):
        observation = 2.0 * torch.rand(128, 1, generator=generator) - 1.0
        explored = 2.0 * torch.rand(128, 1, generator=generator) - 1.0
        policy.update(bandit.record(observation, explored if step < 200 else policy.act(observation, generator)))
    assert bandit.score(policy.eval()) > 0.9
