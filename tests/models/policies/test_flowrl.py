"""The flow that climbs: its losses, what holds it to better behaviour, and the bandit."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from models.policies.draws import Draws
from models.policies.flow_steps import Solver
from models.policies.flowrl import FlowRL, FlowRLConfig
from models.policies.networks import Sizes
from models.policies.transitions import Transitions


class Seen(nn.Module):
    """Two critics whose value is the first number of the observation."""

    def forward(self, observation, action):
        return observation[:, 0].expand(2, -1)


class Level(nn.Module):
    """A value that does not depend on the observation."""

    def __init__(self, level=0.0):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))

    def forward(self, observation):
        return self.level.expand(len(observation))


class Affine(nn.Module):
    """A velocity w x + c."""

    def __init__(self, w=0.0, c=0.0):
        super().__init__()
        self.w, self.c = w, nn.Parameter(torch.tensor(c))

    def at(self, observation):
        return lambda x, t: self.w * x + self.c.expand(x.shape)


def recorded(value, action):
    """Transitions whose observation holds the value of recorded actions."""
    rest = torch.zeros(len(value))
    return Transitions.single(value[:, None], action, rest, rest, value[:, None])


@pytest.mark.parametrize("expectile", [0.9, 0.5])
def test_value_of_the_best_behaviour_is_an_expectile(small, expectile):
    """Of values 0 and 1, as often, it is the expectile itself. Removed: the expectile: .5."""
    policy = FlowRL(Sizes(1, 1), small(FlowRLConfig(expectile=expectile)))
    policy.target_behaviour_critic = Seen()
    batch = recorded(torch.tensor([0.0, 1.0] * 8), torch.zeros(16, 1))
    slopes = []
    for level in (expectile - 0.05, expectile, expectile + 0.05):
        policy.behaviour_value = Level(level)
        slopes.append(float(torch.autograd.grad(policy.behaviour_losses(batch)[1], policy.behaviour_value.level)[0]))
    assert slopes[1] == pytest.approx(0.0, abs=1e-6)
    assert slopes[0] < 0.0 < slopes[2]


def test_weights_are_of_samples_whose_behaviour_is_better(small):
    """Nothing is better: lamda for all. Half is better by 2: e^(+-1) times that. Removed: the relu; removed: the mean."""
    policy = FlowRL(Sizes(1, 1), small(FlowRLConfig(lamda=0.1)))
    policy.behaviour_critic = Seen()
    worse, better = torch.tensor([-1.0, -3.0, -2.0, -5.0]), torch.tensor([2.0, 2.0, -1.0, -7.0])
    weights = lambda value: policy.weights(recorded(value, torch.zeros(4, 1)), torch.zeros(4)).tolist()  # noqa: E731
    assert weights(worse) == pytest.approx([0.1] * 4)
    assert weights(better) == pytest.approx([0.1 * math.e] * 2 + [0.1 / math.e] * 2)
    assert weights(30.0 * better) == pytest.approx([1.0] * 2 + [1e-3] * 2)


@pytest.mark.parametrize(("official", "expected"), [(False, 0.5 * math.tanh(1.0)), (True, 0.0)])
def test_better_behaviour_dominates_the_flow_by_weights_of_samples(small, official, expected):
    """Actions +-.5, the upper ones better by 2: a constant field is best at .5 (e - 1/e) / (e + 1/e). Removed: weights: 0."""
    policy = FlowRL(Sizes(1, 1), small(FlowRLConfig(official_reduction=official)))
    policy.behaviour_critic, policy.field = Seen(), Affine()
    side = torch.tensor([1.0, 1.0, -1.0, -1.0])
    batch = recorded(side + 1.0, 0.5 * side[:, None])
    loss = policy.flow_loss(batch, torch.zeros(4, 1), torch.full((4, 1), 0.5), policy.weights(batch, torch.zeros(4)))
    (slope,) = torch.autograd.grad(loss, policy.field.c, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, policy.field.c)
    assert float((-slope / curvature).detach()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("w", "action_scale"), [(-0.8, 0.3), (0.3, 0.3), (1.0, 0.3), (0.0, 1.0)])
def test_flow_matching_bounds_the_distance_to_behaviour(small, seeded, w, action_scale):
    """The mean square between ends of the flow and the actions paired with its noise is at most e^(2 |w|) times the loss, and
    is the loss where both only shift. Removed: the noise of the pair (another sample's): the loss is .42, not .0025."""
    policy = FlowRL(Sizes(1, 1), small(FlowRLConfig(solver=Solver("midpoint", 20))))
    policy.field = Affine(w, 0.05)
    noise = 0.8 * (2.0 * torch.rand(4000, 1, generator=seeded()) - 1.0)
    action, t = action_scale * noise + 0.1, (torch.randperm(4000, generator=seeded(1))[:, None] + 0.5) / 4000
    loss = float(policy.flow_loss(recorded(torch.zeros(4000), action), noise, t, torch.ones(4000)).detach())
    distance = float((policy.sample(torch.zeros(4000, 1), noise) - action).square().mean().detach())
    assert 0.0 < distance <= math.exp(2.0 * abs(w)) * loss * (1.0 + 1e-5)
    if w == 0.0:
        assert distance == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("config", [FlowRLConfig(), FlowRLConfig.paper()])
def test_losses_are_their_formulas(small, random_batch, seeded, config):
    """Each term and the gradient of the climb, all noise given.

    Removed: the clamp of noise; removed: the half step; removed: the least of the critics: other losses.
    """
    policy, batch = FlowRL(Sizes(5, 2), small(config), 1), random_batch()
    given = {name: 1.5 * torch.randn(16, 2, generator=seeded(k)) for k, name in enumerate(("next", "actor", "flow"))}
    given["time"] = torch.rand(16, 1, generator=seeded(5))
    terms = policy.losses(batch, Draws(seeded(), dict(given))).terms
    bounded = torch.tanh if config.bound == "tanh" else lambda x: x.clamp(-1, 1)

    def flowed(observation, noise):
        start, zero = noise.clamp(-1, 1), torch.zeros(16, 1)
        half = start + 0.5 * policy.field(observation, start, zero)
        return bounded(start + policy.field(observation, half, zero + 0.5))

    following, seen = batch.next_observation, batch.observation
    target = batch.reward + 0.99 * batch.mask * policy.target_critic(following, flowed(following, given["next"])).amin(0)
    known = batch.reward + 0.99 * batch.mask * policy.behaviour_value(following)
    gap = policy.target_behaviour_critic(seen, batch.action).amin(0) - policy.behaviour_value(seen)
    values = policy.critic(seen, flowed(seen, given["actor"])).amin(0)
    better = (policy.behaviour_critic(seen, batch.action).amin(0) - values).clamp_min(0.0)
    weight = (0.1 * (better - better.mean()).exp()).clamp(1e-3, 1.0).detach()
    noise = given["flow"].clamp(-1, 1)
    point = (1 - given["time"]) * noise + given["time"] * batch.action
    error = ((policy.field(seen, point, given["time"]) - batch.action + noise) ** 2).mean(-1)
    expected = {
        "critic": ((policy.critic(seen, batch.action) - target) ** 2).mean(),
        "behaviour_critic": ((policy.behaviour_critic(seen, batch.action) - known) ** 2).mean(),
        "behaviour_value": (torch.where(gap > 0, 0.9, 0.1) * gap**2).mean(),
        "climb": -values.mean(),
        "flow": weight.mean() * error.mean() if config.official_reduction else (weight * error).mean(),
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert float(terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-4), name
    slopes = [torch.autograd.grad(loss["climb"], policy.field.net[0].weight, retain_graph=True)[0] for loss in (terms, expected)]
    assert float(slopes[0].abs().sum()) > 0.0
    assert torch.allclose(slopes[0], slopes[1], rtol=1e-3, atol=1e-6)


def test_policy_moves_at_every_second_update(small, random_batch):
    """Removed: the condition on the updates: the field moves each time."""
    policy = FlowRL(Sizes(5, 2), small(FlowRLConfig()), 1)
    for expected in (True, False, True):
        before = {name: value.clone() for name, value in policy.state_dict().items()}
        policy.update(random_batch())
        changed = {name for name, value in policy.state_dict().items() if not torch.equal(value, before[name])}
        assert {"critic.net.0.weight", "behaviour_critic.net.0.weight", "behaviour_value.net.0.weight"} <= changed
        for name in ("field.net.0.weight", "target_critic.net.0.weight", "target_behaviour_critic.net.0.weight"):
            assert (name in changed) is expected


def test_critics_do_not_learn_from_the_climb(small, random_batch, seeded):
    """Removed: `held`: the critics have a gradient."""
    policy = FlowRL(Sizes(5, 2), small(FlowRLConfig()), 1)
    policy.losses(random_batch(), Draws(seeded())).terms["climb"].backward()
    assert all(weight.grad is None for weight in policy.critic.parameters())
    assert policy.field.net[0].weight.grad is not None


def test_it_finds_the_better_mode(bandit, small, seeded):
    """Removed: the climb: .58."""
    config = small(FlowRLConfig(lamda=0.03))
    policy = FlowRL(Sizes(1, 1), replace(config, learning=replace(config.learning, rate=4e-3, polyak=0.05)))
    generator = seeded(5)
    for _ in range(700):
        policy.update(bandit.batch(128, generator))
    assert bandit.score(policy) > 0.9
