from dataclasses import replace

import pytest
import torch
from torch import nn

from models.policies.draws import Draws
from models.policies.networks import NetworkConfig, Sizes
from models.policies.qam import QAM, QAMConfig
from models.policies.transitions import Transitions

TINY = NetworkConfig((8,))


class Exact(nn.Module):
    """A known field, whatever the observation."""

    def __init__(self, velocity):
        super().__init__()
        self.velocity = velocity

    def at(self, observation):
        return self.velocity


class Table(nn.Module):
    """A known field, and what is learned on top of it: a number for each step and each cell of the line from -4 to 4."""

    def __init__(self, velocity, steps, cells=81):
        super().__init__()
        self.velocity, self.steps = velocity, steps
        self.offset = nn.Parameter(torch.zeros(steps, cells))

    def at(self, observation):
        last = self.offset.shape[1] - 1
        step = lambda t: (t * self.steps).round().long()  # noqa: E731
        cell = lambda x: ((x + 4.0) / 8.0 * last).round().long().clamp(0, last)  # noqa: E731
        return lambda x, t: self.velocity(x, t) + self.offset[step(t), cell(x)]


class Line(nn.Module):
    """Two critics of the value c a."""

    def __init__(self, c=1.0):
        super().__init__()
        self.c = c

    def forward(self, observation, action):
        return (self.c * action[..., 0]).expand(2, *action.shape[:-1])


def two_modes(mode, spread):
    """The exact straight-path flow to equal Gaussians about +-mode."""

    def velocity(x, t):
        variance = (1.0 - t) ** 2 + (t * spread) ** 2
        share = torch.softmax(torch.stack([-0.5 * (x - t * c) ** 2 / variance for c in (mode, -mode)]), 0)
        slope = (t * spread**2 - (1.0 - t)) / variance
        return sum(part * (c + slope * (x - t * c)) for part, c in zip(share, (mode, -mode), strict=True))

    return velocity


def known(velocity, steps, inv_temp, c=1.0):
    """A policy of one number whose base and value are known; its fast field is a table."""
    policy = QAM(Sizes(1, 1), QAMConfig(inv_temp=inv_temp, flow_steps=steps, critics=2, critic=TINY, flow=TINY))
    policy.flow.target_slow, policy.flow.fast, policy.target_critic = Exact(velocity), Table(velocity, steps), Line(c)
    return policy


def blank(count):
    zero = torch.zeros(count)
    return Transitions.single(zero[:, None], zero[:, None], zero, zero, zero[:, None])


def minimise(policy, draws, count):
    """The loss of the fast field is a parabola in each number of its table on a given path: one Newton step ends at its minimum."""
    loss, offset = policy.losses(blank(count), draws).terms["adjoint"], policy.flow.fast.offset
    (slope,) = torch.autograd.grad(loss, offset, create_graph=True)
    curvature = torch.autograd.grad(slope.sum(), offset)[0]
    offset.data -= torch.where(curvature > 0.0, slope / curvature.clamp_min(1e-12), 0.0).detach()


@pytest.mark.parametrize(("steps", "mean", "variance"), [(5, 0.563, 0.136), (10, 0.521, 0.186), (20, 0.504, 0.216), (100, 0.494, 0.242)])
def test_linear_value_shifts_the_law_to_its_known_fixed_point(gaussian, seeded, steps, mean, variance):
    """N(0, .25) with value a and inverse temperature 2: N(m + s2 c inv_temp, s2) = N(.5, .25) without steps, these with steps.

    Removed: inv_temp: half the shift. Removed: the minus of the terminal adjoint: -.5. Acting by the slow field: another law.
    """
    policy = known(gaussian(0.0, 0.5).velocity, steps, inv_temp=2.0)
    policy.flow.fast = Table(policy.flow.fast.velocity, steps, cells=1)
    given = {"start": torch.linspace(-0.4, 0.4, 81)[:, None], "path": torch.zeros(steps - 1, 81, 1)}  # all end within the box
    minimise(policy, Draws(seeded(), given), 81)
    end = policy.act(torch.zeros(2, 1), seeded(), {"act": torch.tensor([[[0.0], [0.5]]])})[:, 0]
    assert float(end[0]) == pytest.approx(mean, rel=0.01)
    assert 4.0 * float(end[1] - end[0]) ** 2 == pytest.approx(variance, abs=2e-3)


def test_two_modes_are_weighed_not_left(seeded):
    """Modes at -.6 and .6, value a, inverse temperature .9: the upper one has sigmoid(2 * .6 * .9) = .746 of the samples.

    Both modes stay where they are. Removed: the weight 2 / sigma of the correction: .78; removed: - x / (t + h) in the adjoint: .96.
    """
    policy, draws = known(two_modes(0.6, 0.15), 20, inv_temp=0.9), Draws(seeded())
    shares = []
    for _ in range(9):
        minimise(policy, draws, 20_000)
        sample = policy.act(torch.zeros(20_000, 1), seeded(3))[:, 0]
        shares.append(float((sample > 0).float().mean()))
    assert sum(shares[-4:]) / 4 == pytest.approx(0.746, abs=0.025)
    assert float(sample[sample > 0].mean()) == pytest.approx(0.6, abs=0.04)
    assert float(sample[sample < 0].mean()) == pytest.approx(-0.6, abs=0.04)
    assert float((sample.abs() < 0.25).float().mean()) < 0.03


def test_value_beyond_the_box_pulls_nobody(gaussian, seeded):
    """Ends near 2 have a terminal adjoint of 0 through the clip, and the fast field is right as it is; ends near 0 have not.

    Removed: the clip in the terminal adjoint: the losses are the same.
    """
    given = {"start": torch.zeros(4, 1), "path": torch.zeros(9, 4, 1)}
    losses = []
    for mean in (2.0, 0.0):
        policy = known(gaussian(mean, 0.5).velocity, 10, inv_temp=2.0)
        losses.append(float(policy.losses(blank(4), Draws(seeded(), dict(given))).terms["adjoint"].detach()))
    assert losses[0] == 0.0
    assert losses[1] > 1.0


def by_hand(policy, observation, start, noise):
    """The adjoint-matching loss, written down from the recursion for 4 steps."""
    fast, base = policy.flow.fast, policy.flow.target_slow
    h, path, total = 0.25, [start], 0.0
    at = lambda time: torch.full((len(start), 1), time)  # noqa: E731
    for i in range(4):
        x, t = path[-1].detach(), i * h
        if i < 3:
            sigma = (2 * (1 - t + h) / (t + h)) ** 0.5
            path.append(x + h * (2 * fast(observation, x, at(t)) - x / (t + h)) + h**0.5 * sigma * noise[i])
        else:
            path.append(x + h * base(observation, x, at(t)))
    end = path[-1].detach().requires_grad_()
    value = policy.config.inv_temp * policy.target_critic(observation, end.clamp(-1, 1)).mean(0).sum()
    adjoint = -torch.autograd.grad(value, end)[0]
    for i in reversed(range(4)):
        x, t = path[i].detach().requires_grad_(), i * h
        drift = 2 * base(observation, x, at(t + h)) - x / (t + h)
        adjoint = adjoint + h * torch.autograd.grad(drift, x, adjoint)[0]
        sigma = (2 * (1 - t + h) / (t + h)) ** 0.5
        change = fast(observation, x, at(t)) - base(observation, x, at(t))
        total = total + ((2 / sigma * change + sigma * adjoint) ** 2).sum(-1).mean()
    return total


@pytest.fixture
def policy(small):
    """Running copies differ from what they follow."""
    made = QAM(Sizes(5, 2), small(QAMConfig(inv_temp=3.0, flow_steps=4, critics=3)), 1)
    for copied, online in ((made.target_critic, made.critic), (made.flow.target_slow, made.flow.slow)):
        copied.load_state_dict({name: 1.1 * value for name, value in online.state_dict().items()})
    return made


def test_losses_are_the_published_sum(policy, random_batch, seeded):
    """Each term from the formulas, given all noise, with returns of several steps and chunks that do not count.

    Removed: rho; removed: `valid`; removed: the running copy in the terminal adjoint; removed: the running copy of the slow field in
    the adjoint loss, or as the last step of the path; removed: the time t + h of the adjoint: another loss.
    """
    batch = replace(random_batch(), valid=(torch.arange(16) % 4 > 0).float(), steps=1.0 + torch.arange(16.0) % 3)
    given = {"next": torch.randn(1, 16, 2, generator=seeded(1)), "path": torch.randn(3, 16, 2, generator=seeded(2))}
    given |= {name: torch.randn(16, 2, generator=seeded(k)) for k, name in ((3, "flow"), (4, "start"))}
    given["time"] = torch.rand(16, 1, generator=seeded(5))
    terms = policy.losses(batch, Draws(seeded(), dict(given))).terms
    s, a, following = batch.observation, batch.action, given["next"][0]
    for k in range(4):
        following = following + policy.flow.fast(batch.next_observation, following, torch.full((16, 1), k / 4)) / 4
    values = policy.target_critic(batch.next_observation, following.clamp(-1, 1))
    spread = (values - values.mean(0)).square().mean(0).sqrt()
    target = batch.reward + 0.99**batch.steps * batch.mask * (values.mean(0) - 0.5 * spread)
    point = (1 - given["time"]) * given["flow"] + given["time"] * a
    error = ((policy.flow.slow(s, point, given["time"]) - a + given["flow"]) ** 2).mean(-1)
    expected = {
        "critic": (batch.valid * (policy.critic(s, a) - target) ** 2).mean(),
        "flow": (batch.valid * error).mean(),
        "adjoint": by_hand(policy, s, given["start"], given["path"]),
    }
    for name, value in expected.items():
        assert float(terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-4), name


def test_each_network_learns_from_its_own_loss(policy, random_batch, seeded):
    """Removed: the running copy as the base of the adjoint loss (the slow field in its place, with gradient): two owners."""
    terms, named = policy.losses(random_batch(), Draws(seeded())).terms, dict(policy.named_parameters())
    learning = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
    for term, owner in {"critic": "critic.", "flow": "flow.slow.", "adjoint": "flow.fast."}.items():
        gradients = torch.autograd.grad(terms[term], list(learning.values()), retain_graph=True, allow_unused=True)
        moved = {name for name, gradient in zip(learning, gradients, strict=True) if gradient is not None and gradient.abs().sum() > 0}
        assert moved
        assert all(name.startswith(owner) for name in moved), term
    assert {name.split(".net")[0] for name in named.keys() - learning.keys()} == {"target_critic", "flow.target_slow"}


def test_gradient_is_clipped_over_the_union_of_all_networks(policy, random_batch):
    """To norm 1, which keeps the parts in proportion. Removed: the clip: larger; removed: the union, a clip of each network: larger."""
    batch = replace(random_batch(), reward=50.0 * random_batch().reward)
    losses = sum(policy.losses(batch, Draws(torch.Generator().manual_seed(7))).terms.values())
    networks = {"critic": policy.critic, "slow": policy.flow.slow, "fast": policy.flow.fast}
    raw = {name: norm(torch.autograd.grad(losses, net.parameters(), retain_graph=True)) for name, net in networks.items()}
    assert sum(value > 1.0 for value in raw.values()) >= 2
    policy.generator.manual_seed(7)
    policy.update(batch)
    clipped = {name: norm([parameter.grad for parameter in net.parameters()]) for name, net in networks.items()}
    whole = sum(value**2 for value in raw.values()) ** 0.5
    assert clipped == {name: pytest.approx(value / whole, rel=1e-3) for name, value in raw.items()}


def norm(gradients):
    return float(torch.cat([gradient.flatten() for gradient in gradients]).norm())


def test_base_follows_the_slow_field(policy, random_batch):
    """Removed: the running copy of the slow field, after an update: it stands still."""
    before, slow = policy.flow.target_slow.net[0].weight.clone(), policy.flow.slow.net[0].weight
    policy.update(random_batch())
    assert torch.allclose(policy.flow.target_slow.net[0].weight, before + 0.005 * (slow - before), atol=1e-7)
    assert not torch.equal(policy.flow.target_slow.net[0].weight, before)


def test_the_best_of_several_ends_is_done_and_valued(small, random_batch, seeded):
    """Removed: the choice (the first candidate): another action."""
    policy = QAM(Sizes(5, 2), small(QAMConfig(best_of_n=4, flow_steps=3, critics=2)), 1)
    batch, noise = random_batch(), torch.randn(4, 16, 2, generator=seeded(2))
    s = batch.next_observation
    ends = torch.stack([policy.flow.end(s, noise[k]) for k in range(4)])
    values = torch.stack([policy.critic(s, end).mean(0) for end in ends])
    best = ends[values.argmax(0), torch.arange(16)]
    assert (values.argmax(0) > 0).any()
    assert torch.allclose(policy.act(s, seeded(), {"act": noise}), best, atol=1e-6)
    ahead = policy.target_critic(s, best)
    lower = ahead.mean(0) - 0.5 * ahead.std(0, unbiased=False)
    assert torch.allclose(policy.target(batch, noise), batch.reward + 0.99 * batch.mask * lower, atol=1e-5)


def test_the_better_mode_is_found(bandit, small, seeded):
    """With the best of three ends: ten steps are too coarse for modes this narrow to be weighed sharply.

    Removed: the terminal adjoint (0 in its place): the best of three of behaviour is worth .84 at most.
    """
    settings = small(QAMConfig(inv_temp=6.0, best_of_n=3, critics=2))
    policy = QAM(Sizes(1, 1), replace(settings, learning=replace(settings.learning, rate=1e-2, polyak=0.05)))
    generator = seeded(5)
    for k in range(400):
        policy.optimizer.param_groups[0]["lr"] = 1e-2 * (1.0 - k / 400)
        policy.update(bandit.batch(128, generator))
    assert bandit.score(policy) > 0.9
