"""Mirror descent with a mean flow: its loss with the time of the paper, its one jump, and the bandits."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from models.policies.draws import Draws
from models.policies.fpmd_m import FPMDM, FPMDMConfig
from models.policies.mirror_descent import MirrorConfig
from models.policies.networks import Sizes


class Known(nn.Module):
    """The exact average velocity of a Gaussian flow."""

    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def mean_at(self, observation):
        return lambda x, t, r: (self.flow.carried(x, t, r) - x) / (r - t)


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


@pytest.mark.parametrize("jumps", [1, 4])
def test_jumps_of_the_exact_average_have_the_law_of_the_actions(gaussian, small, seeded, jumps):
    """m + s x, whatever the number of jumps. Removed: the share of the time of each of several jumps."""
    policy = FPMDM(Sizes(1, 1), small(FPMDMConfig(one_step=True, jumps=jumps))).eval()
    policy.acting_field = Known(gaussian(0.2, 0.1))
    start = torch.randn(100, 1, generator=seeded())
    action = policy.act(torch.zeros(100, 1), seeded(), {"act": start})
    assert torch.allclose(action, 0.2 + 0.1 * 0.5 * start, atol=1e-5)


def test_losses_are_the_published_ones_in_reversed_time(small, random_batch, seeded):
    """There, time runs from data to noise: u* at (x, r*, t*) is minus ours at (1 - t*, 1 - r*), and t* >= r*.

    Removed: the correction (t - r) du/dt; removed: weights; removed: the scale of rewards: other losses.
    """
    published = FPMDMConfig.paper()
    policy = FPMDM(Sizes(5, 2), small(replace(published, mirror=replace(published.mirror, num_particles=3))), 1).double()
    batch = random_batch()
    batch = type(batch)(**{name: value.double() for name, value in vars(batch).items()})
    draw = lambda seed, *shape: torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)  # noqa: E731
    given = {"next": draw(0, 3, 16, 2), "explore": draw(1, 3, 16, 2), "flow": draw(2, 16, 2)}
    given["times"] = torch.rand(16, 2, generator=seeded(3), dtype=torch.float64)
    terms = policy.losses(batch, Draws(seeded(), dict(given))).terms
    following, mirror = batch.next_observation, policy.mirror

    def reversed_field(x, r, t):
        return -policy.field(following, x, 1.0 - t, 1.0 - r)

    none, whole = torch.zeros(3, 16, 1, dtype=torch.float64), torch.ones(3, 16, 1, dtype=torch.float64)
    candidates = 0.5 * given["next"] - reversed_field(0.5 * given["next"], none, whole)
    candidates = (candidates + 0.5 * given["explore"]).clamp(-1, 1).detach()
    values = torch.stack([mirror.critic(following, candidate).amin(0) for candidate in candidates])
    action, least = candidates[values.argmax(0), torch.arange(16)], values.amax(0).detach()
    target = 0.2 * batch.reward + 0.99 * batch.mask * mirror.target_critic(following, action).amin(0)
    weight = (least / least.std(unbiased=False) / 3.0).exp()
    early, late = (1.0 - given["times"]).sort(-1).values.split(1, -1)  # r* and t*
    point, velocity, width = (1 - late) * action + late * given["flow"], given["flow"] - action, 1e-5
    after, before = (reversed_field(point + h * velocity, early, late + h) for h in (width, -width))
    slope = (after - before) / (2.0 * width)
    wanted = (velocity - (late - early) * slope).detach()
    error = (reversed_field(point, early, late) - wanted).square().mean(-1)
    expected = {"critic": ((mirror.critic(batch.observation, batch.action) - target) ** 2).mean(), "flow": (weight * error).mean()}
    for name, value in expected.items():
        assert float(terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-5), name
    assert terms.keys() == {"critic", "flow", "exploration"}


def test_parts_learn_in_their_own_time(small, random_batch):
    """Removed: a condition on the updates."""
    config = small(FPMDMConfig(mirror=MirrorConfig(num_particles=2, exploration_freq=3, decay_from=0, decay_over=4)))
    policy = FPMDM(Sizes(5, 2), config, 1)
    for k in range(4):
        before = {name: value.clone() for name, value in policy.state_dict().items()}
        policy.update(random_batch(seed=k))
        changed = {name for name, value in policy.state_dict().items() if not torch.equal(value, before[name])}
        assert ("field.net.0.weight" in changed, "acting_field.net.0.weight" in changed) == (k % 2 == 0, k % 2 == 0)
        assert ("mirror.target_critic.net.0.weight" in changed) == (k % 2 == 0)
        assert ("mirror.log_exploration" in changed) == (k % 3 == 0)
        assert policy.optimizer.param_groups[1]["lr"] == pytest.approx([3e-4, 2.325e-4, 1.65e-4, 0.975e-4][k])


def test_it_explores_in_training_alone(small, random_batch, seeded):
    """Removed: the condition on training: the noise is always asked for."""
    policy, observation = FPMDM(Sizes(5, 2), small(FPMDMConfig()), 1), random_batch().observation
    noise = {"act": torch.randn(32, 16, 2, generator=seeded())}
    quiet = policy.act(observation, seeded(), noise | {"explore": torch.zeros(32, 16, 2)})
    assert not torch.equal(policy.act(observation, seeded(), noise), quiet)
    assert torch.equal(policy.eval().act(observation, seeded(), noise), quiet)


def test_jumps_keep_two_actions_that_are_as_good(bandit, small, seeded):
    """On values with two equal modes, of a policy that still explores widely, as the test of one Euler step, which ends between.

    Removed: the correction (r - t) du/dt: one jump ends between the modes, below .3.
    """
    config = faster(small(FPMDMConfig()), num_particles=16, policy_freq=1, exploration=1.0, temperature=1.0)
    policy, generator, equal = FPMDM(Sizes(1, 1), config), seeded(5), Symmetric(bandit)
    policy.mirror.critic = policy.mirror.target_critic = equal
    for _ in range(400):
        policy.update(bandit.batch(128, generator))
    assert equal.score(policy.eval(), seeded) > 0.9
    policy.config = replace(config, one_step=True)
    assert equal.score(policy, seeded) > 0.35


def test_it_finds_the_better_mode_online(bandit, small, seeded):
    """It acts, is rewarded and learns. Removed: the choice of the best and the weights: .3."""
    config = faster(small(FPMDMConfig()), num_particles=8, policy_freq=1, exploration=0.3, reward_scale=1.0)
    policy, generator = FPMDM(Sizes(1, 1), config), seeded(5)
    for step in range(500):
        observation = 2.0 * torch.rand(128, 1, generator=generator) - 1.0
        explored = 2.0 * torch.rand(128, 1, generator=generator) - 1.0
        policy.update(bandit.record(observation, explored if step < 150 else policy.act(observation, generator)))
    assert bandit.score(policy.eval()) > 0.9
