"""Steps of the free energy against those of Gaussians, the losses against their formulas, and the bandit."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from models.policies.bc import BC, BCConfig
from models.policies.draws import Draws
from models.policies.flow_steps import Solver
from models.policies.networks import Sizes
from models.policies.swfp import SWFP, SWFPConfig, fields, moved, path

SCALE = 0.1  # of actions: keeps the Gaussians well within [-1, 1], where nothing is clipped
KAPPA, CENTRE, ALPHA = 4.0, 1.0, 0.25
STEPS = [(0.286, 0.739), (0.490, 0.559), (0.636, 0.440), (0.740, 0.364), (0.814, 0.316)]  # of eta .1 from N(0, 1)
STEPS += [(0.867, 0.288), (0.905, 0.271), (0.932, 0.262), (0.952, 0.257), (0.965, 0.254)]


class Affine(nn.Module):
    """A block whose velocity is w x + c."""

    def __init__(self, w, c=0.0):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))
        self.c = nn.Parameter(torch.tensor(c, dtype=torch.float64))

    def at(self, observation):
        return lambda x, t: self.w * x + self.c


class Bowl(nn.Module):
    """-k / 2 (a - b)^2, in actions of `SCALE`."""

    def forward(self, observation, action):
        return (-0.5 * KAPPA * (action / SCALE - CENTRE) ** 2).sum(-1).expand(2, -1)


class Wave(nn.Module):
    """A value without symmetry."""

    def forward(self, observation, action):
        return torch.stack([torch.sin(3.0 * action).sum(-1), torch.sin(3.0 * action).sum(-1) + 0.1])


@pytest.fixture
def gaussian_policy(small):
    """Five affine blocks that carry N(0, 1) to N(0, SCALE^2), the bowl, and a noise of exact mean and spread."""

    def make(eta, **changed):
        config = small(SWFPConfig(eta=eta * SCALE**2, alpha=ALPHA, normalize_q_loss=False, pretrain=0, **changed))
        policy = SWFP(Sizes(1, 1), config)
        width = 5.0 * (SCALE**0.2 - 1.0)
        policy.blocks, policy.before = (nn.ModuleList([Affine(width) for _ in range(5)]) for _ in range(2))
        policy.critic = Bowl()
        noise = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(64, dtype=torch.float64) + 0.5) / 64)[:, None]
        return policy, noise / noise.square().mean().sqrt()

    return make


def optimised(policy, noise):
    """Mean and spread, in units of `SCALE`, after the whole loss has been minimised."""
    optimizer = torch.optim.LBFGS(policy.blocks.parameters(), max_iter=60, line_search_fn="strong_wolfe", tolerance_change=1e-14)
    observation = torch.zeros(64, 1, dtype=torch.float64)

    def loss():
        optimizer.zero_grad()
        total = torch.stack(list(policy.whole_losses(observation, noise)[0].values())).sum()
        total.backward()
        return total

    optimizer.step(loss)
    end = path(fields(policy.blocks, observation), noise)[-1].detach() / SCALE
    return float(end.mean()), float(end.std(unbiased=False))


def free_energy(mean, spread):
    return 0.5 * KAPPA * ((mean - CENTRE) ** 2 + spread**2) - ALPHA * math.log(spread)


def test_steps_are_those_of_gaussians(gaussian_policy):
    """m+ = (m / eta + k b) / (1 / eta + k), s+ the root of (k + 1 / eta) s^2 - s0 / eta s - alpha; and the free energy pays each way.

    Removed: `move`: the first step ends at the minimum, (1, .25). Removed: the entropy: the spread is .714 after one step, not .739.
    Removed: the same noise (reversed for the flow before): the spread falls to .024.
    """
    policy, noise = gaussian_policy(0.1)
    before = (0.0, 1.0)
    for expected in STEPS:
        found = optimised(policy, noise)
        assert found == pytest.approx(expected, abs=1e-3)
        way = (found[0] - before[0]) ** 2 + (found[1] - before[1]) ** 2
        assert way <= 2.0 * 0.1 * (free_energy(*before) - free_energy(*found)) + 1e-6
        policy.before.load_state_dict(policy.blocks.state_dict())
        before = found


@pytest.mark.parametrize(("eta", "expected"), [(1e-5, (0.0, 1.0)), (1e5, (CENTRE, math.sqrt(ALPHA / KAPPA)))])
def test_short_steps_stay_and_long_ones_reach_the_soft_optimum(gaussian_policy, eta, expected):
    """exp(Q / alpha) is the Gaussian N(b, alpha / k). Removed: the entropy: its spread is 0."""
    assert optimised(*gaussian_policy(eta)) == pytest.approx(expected, abs=2e-3)


def test_blocks_alone_have_the_gradient_of_the_whole_flow(gaussian_policy):
    """Where the flow before is the flow now, and determinants do not depend on where a point is.

    Removed: the blocks after one (the value of its own end); removed: `held` about them: other gradients.
    """
    policy, noise = gaussian_policy(0.1)
    policy.critic, observation = Wave(), torch.zeros(64, 1, dtype=torch.float64)
    gradients = []
    for step in (policy.whole_losses, policy.stepwise_losses):
        parts = step(observation, noise)[0]
        total = parts["climb"] + parts["entropy"] + parts["move"]
        gradients.append(torch.stack(torch.autograd.grad(total, list(policy.blocks.parameters()))))
    assert float(gradients[0].abs().min()) > 1e-4
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-5)


def test_each_block_pays_for_its_own_way(gaussian_policy):
    """A block that moves all by d pays d^2 / (2 eta / K), the others nothing. Removed: eta / K (eta): a fifth of it."""
    policy, noise = gaussian_policy(0.1)
    policy.blocks[2].c.data += 0.05
    parts = policy.stepwise_losses(torch.zeros(64, 1, dtype=torch.float64), noise)[0]
    assert float(parts["move"].detach()) == pytest.approx(0.01**2 / (2.0 * 0.1 * SCALE**2 / 5.0), rel=1e-6)


def test_entropy_is_that_of_the_whole_map(small, seeded):
    """The log-determinants of blocks are together that of d end / d noise, in three dimensions. Removed: one row of a Jacobian."""
    policy = SWFP(Sizes(2, 3), small(SWFPConfig(blocks=3, pretrain=0)), 1).double()
    for block in policy.blocks:
        for weight in block.parameters():
            weight.data += 0.1 * torch.randn(weight.shape, generator=seeded(2), dtype=torch.float64)
    observation = torch.randn(4, 2, generator=seeded(), dtype=torch.float64)
    noise = torch.randn(4, 3, generator=seeded(1), dtype=torch.float64)
    changes = policy.whole_losses(observation, noise)[1].sum(0)
    for k in range(4):
        end = lambda z, k=k: path(fields(policy.blocks, observation[k : k + 1]), z[None])[-1][0]  # noqa: E731
        jacobian = torch.autograd.functional.jacobian(end, noise[k])
        assert float(changes[k].detach()) == pytest.approx(float(torch.linalg.slogdet(jacobian).logabsdet), abs=1e-9)


def test_losses_are_their_formulas(small, random_batch, seeded):
    """Each term, all noise given. Removed: the clip before the value; removed: the scale of values: other terms."""
    policy, batch = SWFP(Sizes(5, 2), small(SWFPConfig(blocks=2, pretrain=0, eta=0.2, alpha=0.3)), 1), random_batch()
    for weight in policy.blocks.parameters():
        weight.data *= 1.3
    given = {name: 1.5 * torch.randn(16, 2, generator=seeded(k)) for k, name in enumerate(("next", "actor"))}
    terms = policy.losses(batch, Draws(seeded(), dict(given))).terms
    first, half = torch.zeros(16, 1), torch.full((16, 1), 0.5)

    def roll(blocks, observation, z):
        middle = z + 0.5 * blocks[0](observation, z, first)
        return middle + 0.5 * blocks[1](observation, middle, half)

    following = roll(policy.blocks, batch.next_observation, given["next"]).clamp(-1, 1)
    target = batch.reward + 0.99 * batch.mask * policy.target_critic(batch.next_observation, following).amin(0)
    end = roll(policy.blocks, batch.observation, given["actor"])
    values = policy.critic(batch.observation, end.clamp(-1, 1)).amin(0)
    whole = torch.autograd.functional.jacobian(lambda z: roll(policy.blocks, batch.observation, z).sum(0), given["actor"])
    entropy = torch.linalg.slogdet(whole.permute(1, 0, 2)).logabsdet.mean()
    way = ((end - roll(policy.before, batch.observation, given["actor"])) ** 2).sum(-1).mean()
    expected = {
        "critic": ((policy.critic(batch.observation, batch.action) - target) ** 2).mean(),
        "climb": -values.mean() / values.abs().mean(),
        "box": 10.0 * ((end.abs() - 1.0).clamp_min(0.0) ** 2).sum(-1).mean(),
        "entropy": -0.3 * entropy,
        "move": way / 0.4,
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert float(value.detach().abs()) > 1e-3
        assert float(terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-4), name


def test_cut_flow_acts_as_the_cloned_one(small, random_batch, seeded):
    """At the cut, and from a field of `BC`. Removed: `begin_from` in `after_update`: the blocks are those of the start."""
    policy, batch = SWFP(Sizes(5, 2), small(SWFPConfig(pretrain=3)), 1), random_batch()
    for seed in range(3):
        assert "flow" in policy.update(random_batch(seed=seed))
    clone = BC(Sizes(5, 2), small(BCConfig(solver=Solver("euler", 5))))
    clone.field = policy.field
    assert torch.allclose(policy.act(batch.observation, seeded()), clone.act(batch.observation, seeded()), atol=1e-6)
    fresh = SWFP(Sizes(5, 2), small(SWFPConfig(pretrain=0)), 2)
    fresh.begin_from(clone.field)
    assert torch.equal(policy.act(batch.observation, seeded()), fresh.act(batch.observation, seeded()))
    assert "move" in policy.update(batch)


def test_flow_before_waits_for_a_whole_step(small, random_batch):
    """Removed: the count of updates (each one is a step): the way is never paid."""
    policy = SWFP(Sizes(5, 2), small(SWFPConfig(blocks=2, pretrain=0, step_updates=3)), 1)
    paid = [policy.update(random_batch(seed=seed))["move"] > 0.0 for seed in range(7)]
    assert paid == [False, True, True, False, True, True, False]


@pytest.mark.parametrize("stepwise", [False, True])
def test_losses_of_a_step_move_the_blocks_alone(small, random_batch, seeded, stepwise):
    """Removed: `held` about the critics: the climb moves them."""
    policy = SWFP(Sizes(5, 2), small(SWFPConfig(blocks=2, pretrain=0, stepwise=stepwise)), 1)
    terms = policy.losses(random_batch(), Draws(seeded())).terms
    (terms["climb"] + terms["entropy"] + terms["box"] + terms["move"]).backward()
    moved_parts = {name.split(".")[0] for name, weight in policy.named_parameters() if weight.grad is not None}
    assert moved_parts == {"blocks"}


def test_way_is_paid_by_its_square():
    assert float(moved(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.zeros(2, 2), 0.5)) == 12.5


@pytest.mark.parametrize("stepwise", [False, True])
def test_it_leaves_the_worse_mode(bandit, small, seeded, stepwise):
    """Removed: the climb: .35."""
    config = small(SWFPConfig(blocks=2, stepwise=stepwise, eta=1.0, step_updates=20, pretrain=100))
    policy, generator = SWFP(Sizes(1, 1), replace(config, learning=replace(config.learning, rate=4e-3, polyak=0.05))), seeded(5)
    for _ in range(400):
        policy.update(bandit.batch(128, generator))
    assert bandit.score(policy) > 0.9
