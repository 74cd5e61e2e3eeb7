"""Decision flows: losses from their formulas, the linear-Gaussian optimum, consistency of the flow's value, and the bandit."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from models.policies.df_dir import DFDir, DFDirConfig
from models.policies.df_div import DFDiv, DFDivConfig
from models.policies.draws import Draws
from models.policies.flow_decisions import flow_states, roll_path
from models.policies.networks import NetworkConfig, Sizes
from models.policies.transitions import Transitions

SIZES = Sizes(5, 2)


class Linear(nn.Module):
    """The value c a."""

    def __init__(self, slope):
        super().__init__()
        self.slope = slope

    def forward(self, observation, action):
        return self.slope * action.sum(-1).expand(2, -1)


class Given(nn.Module):
    """A field that is known."""

    def __init__(self, field):
        super().__init__()
        self.field = field

    def at(self, observation):
        return self.field

    def forward(self, observation, x, t):
        return self.field(x, t)


class Shifted(nn.Module):
    """A known field, and a number beside it for each step."""

    def __init__(self, field, shift):
        super().__init__()
        self.field, self.shift = field, nn.Parameter(shift)

    def at(self, observation):
        return lambda x, t: self.field(x, t) + self.shift[(t * len(self.shift)).round().long()[:, 0]][:, None]


class Sloped(nn.Module):
    """The exact value of points on the way, up to what does not depend on them."""

    def __init__(self, slope):
        super().__init__()
        self.slope = slope

    def forward(self, observation, x, t):
        place = (t * (len(self.slope) - 1)).round().long()[:, 0]
        return (self.slope[place] * x[:, 0])[None]


def slopes(base, end, steps):
    """Of the value at each step, where the value of actions has the slope `end` and all goes along the base."""
    slope = torch.full((steps + 1,), end)
    for k in reversed(range(steps)):
        t = torch.tensor(k / steps)
        slope[k] = slope[k + 1] * (1 + (base(torch.tensor(1.0), t) - base(torch.tensor(0.0), t)) / steps)
    return slope


def quick(config):
    return replace(config, learning=replace(config.learning, rate=2e-3, polyak=0.1))


def draws(seeded):
    given = {name: torch.randn(16, 2, generator=seeded(k)) for k, name in enumerate(("next", "way", "flow"))}
    return given | {name: torch.rand(16, 1, generator=seeded(k)) for k, name in enumerate(("place", "time"), 10)}


def rolled(field, observation, x, steps=5):
    path = [x]
    for k in range(steps):
        path.append(path[-1] + field(observation, path[-1], torch.full((len(x), 1), k / steps)) / steps)
    return path


def expected_parts(policy, batch, given):
    """Points, times, steps taken, and what the judges say."""
    observation, rows, steps = batch.observation, torch.arange(16), 5
    following = rolled(policy.target_field, batch.next_observation, given["next"])[-1].clamp(-1, 1)
    target = batch.reward + 0.99 * batch.mask * policy.target_critic(batch.next_observation, following).amin(0)
    step = (5 * given["place"][:, 0]).long()
    t = step[:, None] / steps
    own = torch.stack(rolled(policy.field, observation, given["way"]))[step, rows]
    point = torch.where(rows[:, None] % 2 == 0, (1 - t) * given["way"] + t * batch.action, own).detach()
    velocity = policy.field(observation, point, t)
    after = point + velocity / steps

    def worth(critic, value):
        ahead = value(observation, after, t + 1 / steps)[0]
        return torch.where(step == 4, critic(observation, after.clamp(-1, 1)).amin(0), ahead)

    mid = (1 - given["time"]) * given["flow"] + given["time"] * batch.action
    return target, point, t, velocity, worth, mid


def check(policy, batch, given, seeded, expected):
    terms = policy.losses(batch, Draws(seeded(), dict(given))).terms
    assert {name: pytest.approx(float(loss.detach()), rel=1e-4, abs=1e-6) for name, loss in terms.items()} == expected


def test_directions_learn_by_their_losses(small, random_batch, seeded):
    """Removed: the last step's own judge (the flow's value there too); removed: every other row on the path: other losses."""
    policy, batch, given = DFDir(SIZES, small(DFDirConfig(lam=0.7)), 1), random_batch(), draws(seeded)
    target, point, t, _, worth, mid = expected_parts(policy, batch, given)
    assert 0 < int((t > 0.7).sum()) < 16
    mine = worth(policy.critic, policy.value)
    expected = {
        "critic": ((policy.critic(batch.observation, batch.action) - target) ** 2).mean(),
        "value": ((policy.value(batch.observation, point, t) - worth(policy.target_critic, policy.target_value)) ** 2).mean(),
        "flow": ((policy.field(batch.observation, mid, given["time"]) - batch.action + given["flow"]) ** 2).mean(),
        "direct": -0.7 * mine.mean() / mine.abs().mean(),
    }
    check(policy, batch, given, seeded, {name: float(loss.detach()) for name, loss in expected.items()})


@pytest.mark.parametrize("normalize", [True, False])
def test_divergence_is_paid_for_by_field_and_value(small, random_batch, seeded, normalize):
    """Removed: the price in the value's target; removed: the unit of the price: other losses."""
    policy, batch, given = DFDiv(SIZES, small(DFDivConfig(beta=3.0, normalize_q_loss=normalize)), 1), random_batch(), draws(seeded)
    for seed in range(3):
        policy.update(random_batch(seed=seed))  # so that the field is another than the cloned one
    target, point, t, velocity, worth, mid = expected_parts(policy, batch, given)
    values = policy.critic(batch.observation, batch.action)
    unit = values.abs().mean().detach() if normalize else torch.tensor(1.0)
    price = 3.0 * unit / 5 * ((velocity - policy.cloned(batch.observation, point, t)) ** 2).mean(1)
    ahead = worth(policy.target_critic, policy.target_value) - price
    expected = {
        "critic": ((values - target) ** 2).mean(),
        "value": ((policy.value(batch.observation, point, t) - ahead) ** 2).mean(),
        "clone": ((policy.cloned(batch.observation, mid, given["time"]) - batch.action + given["flow"]) ** 2).mean(),
        "earn": (price - worth(policy.critic, policy.value)).mean() / unit,
    }
    assert float(price.detach().max()) > 1e-5
    check(policy, batch, given, seeded, {name: float(loss.detach()) for name, loss in expected.items()})


@pytest.mark.parametrize(("spread", "shift"), [(0.25, 0.173), (0.5, 0.362), (1.0, 0.741)])
def test_best_divergence_of_a_gaussian_is_known(small, gaussian, seeded, spread, shift):
    """Base N(0, s^2), value c a, c = beta: u = v + c / (2 beta) s / scale(t), so the mean moves by c pi s / (4 beta) and the spread
    stays; ten Euler steps move it by .173, .362, .741. The tilted law would move by s^2. Removed: the price: no stationary point."""
    base, steps, beta = gaussian(0.0, spread).velocity, 10, 1.0
    slope = slopes(base, 0.1, steps)  # small, so that no action is clipped
    policy = DFDiv(Sizes(1, 1), small(DFDivConfig(beta=beta, normalize_q_loss=False, steps=steps)))
    policy.critic, policy.target_critic = Linear(0.1), Linear(0.1)
    policy.value, policy.target_value, policy.cloned = Sloped(slope), Sloped(slope), Given(base)
    policy.field = policy.target_field = Shifted(base, slope[1:] / (2 * beta))
    zeros = torch.zeros(2000, 1)
    batch = Transitions.single(zeros, zeros, zeros[:, 0], zeros[:, 0], zeros)
    noise = {"way": 0.2 * torch.randn(2000, 1, generator=seeded(1)), "place": torch.rand(2000, 1, generator=seeded(2))}
    (gradient,) = torch.autograd.grad(policy.losses(batch, Draws(seeded(), noise)).terms["earn"], policy.field.shift)
    assert float(gradient.abs().max()) < 1e-7
    start = torch.randn(4000, 1, generator=seeded(3))
    moved = (roll_path(policy.field.at(None), start, steps)[-1] - roll_path(base, start, steps)[-1]).detach()
    assert float(moved.std()) < 1e-5
    assert float(moved.mean()) / 0.1 == pytest.approx(math.pi * spread / 4, rel=0.15)
    assert euler_shift(gaussian(0.0, spread), steps) == pytest.approx(shift, abs=3e-3)


def euler_shift(flow, steps):
    """The mean's shift by the continuous optimum, c / (2 beta) s / scale(t) with c = beta = 1, in Euler steps."""
    x, t = torch.zeros(1, 1), torch.zeros(1, 1)
    for k in range(steps):
        t = torch.full((1, 1), k / steps)
        x = x + (flow.velocity(x, t) + 0.5 * flow.spread / flow.scale(t)) / steps
    return float(x)


@pytest.mark.usefixtures("unchecked")
def test_divergence_learns_the_gaussian_shift(small, gaussian, seeded):
    """Of N(0, .25^2) and the value a / 2, c = beta, in five steps. Removed: the price in the field's loss: the box's edge."""
    base = gaussian(0.0, 0.25).velocity
    policy = DFDiv(Sizes(1, 1), quick(small(DFDivConfig(beta=0.5, normalize_q_loss=False))))
    policy.critic, policy.target_critic, policy.cloned = Linear(0.5), Linear(0.5), Given(base)
    generator = seeded(4)
    for _ in range(600):
        action = 0.25 * torch.randn(128, 1, generator=generator)
        policy.update(Transitions.single(torch.zeros(128, 1), action, torch.zeros(128), torch.zeros(128), torch.zeros(128, 1)))
    start = torch.randn(4000, 1, generator=seeded(3))
    plain, moved = roll_path(base, start, 5)[-1], policy.act(torch.zeros(4000, 1), seeded(), {"act": start})
    best = Shifted(base, slopes(base, 0.5, 5)[1:])
    known = float((roll_path(best.at(None), start, 5)[-1] - plain).mean().detach())
    assert known == pytest.approx(0.16, abs=0.03)
    assert float(moved.mean() - plain.mean()) == pytest.approx(known, abs=0.02)
    assert float(moved.std()) == pytest.approx(float(plain.std()), abs=0.03)


def test_points_are_half_recorded_and_half_the_policys(seeded):
    """Removed: the policy's own way: all points on the straight path."""
    action, noise = torch.full((6, 1), 9.0), torch.zeros(6, 1)
    place = torch.tensor([0.0, 0.1, 0.3, 0.5, 0.99, 1.0])[:, None]
    point, t = flow_states(lambda x, t: torch.ones_like(x), action, noise, place, 5)
    assert t[:, 0].tolist() == pytest.approx([0.0, 0.0, 0.2, 0.4, 0.8, 0.8])
    assert point[:, 0].tolist() == pytest.approx([0.0, 0.0, 1.8, 0.4, 7.2, 0.8])


@pytest.fixture
def modes(seeded):
    """Actions about +-.5, equally often."""

    def batch(generator):
        side = torch.where(torch.rand(128, 1, generator=generator) < 0.5, 0.5, -0.5)
        action = side + 0.1 * torch.randn(128, 1, generator=generator)
        return Transitions.single(torch.zeros(128, 1), action, torch.zeros(128), torch.zeros(128), torch.zeros(128, 1))

    return batch


@pytest.mark.usefixtures("unchecked")
def test_value_on_the_way_is_the_value_of_its_end_and_rises_with_lam(small, modes, seeded):
    """V(x, 0) is Q of where x ends. Removed: the last step's judge, or the direction: no rise. Added: a discount of .9 a step: V is
    off by .2."""
    reached = []
    for lam in (0.0, 1.0):
        policy = DFDir(Sizes(1, 1), quick(small(DFDirConfig(lam=lam))), 1)
        policy.critic, policy.target_critic, generator = Linear(1.0), Linear(1.0), seeded(4)
        for _ in range(500):
            policy.update(modes(generator))
        start, zeros = torch.randn(2000, 1, generator=seeded(3)), torch.zeros(2000, 1)
        end = policy.act(zeros, seeded(), {"act": start})
        known = policy.value(zeros, start, zeros)[0].detach()
        assert float(torch.corrcoef(torch.stack([known, end[:, 0]]))[0, 1]) > 0.98
        assert float((known - end[:, 0]).square().mean().sqrt()) < 0.1
        reached.append(float(end.mean()))
    assert reached[0] == pytest.approx(0.0, abs=0.08)
    assert reached[1] > reached[0] + 0.15


@pytest.mark.parametrize(("kind", "config"), [(DFDir, DFDirConfig(lam=30.0, steps=3)), (DFDiv, DFDivConfig(beta=0.05, steps=3))])
def test_the_better_mode_is_found(bandit, small, seeded, kind, config):
    """Removed: the value in the field's loss: behaviour, .6 at most."""
    policy, generator = kind(Sizes(1, 1), quick(small(config))), seeded(5)
    for _ in range(500):
        policy.update(bandit.batch(128, generator))
    assert bandit.score(policy) > 0.9


def test_what_is_known_of_the_paper_is_no_more_than_its_idea():
    for config in (DFDirConfig, DFDivConfig):
        assert config.paper() == replace(config(), steps=10)
        assert config.cpu().critic == NetworkConfig((256, 256, 256), layer_norm=True)
