"""The losses of the baselines from their formulas, with all noise given."""

from dataclasses import replace

import pytest
import torch

from models.policies.bc import BC, BCConfig
from models.policies.draws import Draws
from models.policies.flow_steps import Solver
from models.policies.ifql import IFQL, IFQLConfig
from models.policies.networks import Sizes
from models.policies.rebrac import ReBRAC, ReBRACConfig
from models.policies.sac import SAC, SACConfig

SIZES = Sizes(5, 2)


@pytest.fixture
def batch(random_batch, seeded):
    made = random_batch()
    following = torch.randn(16, 2, generator=seeded(8)).clamp(-1, 1)
    return replace(made, next_action=following, has_next=(torch.arange(16) % 3 > 0).float(), steps=1.0 + torch.arange(16.0) % 2)


def normals(seeded, *names):
    return {name: torch.randn(16, 2, generator=seeded(k)) for k, name in enumerate(names)}


def told(terms):
    return {name: pytest.approx(float(value.detach()), rel=1e-4, abs=1e-6) for name, value in terms.items()}


def test_rebrac_holds_actor_and_critics_to_the_record(small, batch, seeded):
    """Removed: the penalty of the critics; removed: `has_next`; removed: the clip of the noise: another critic loss."""
    policy = ReBRAC(SIZES, small(ReBRACConfig(alpha_actor=0.3, alpha_critic=0.7)), 1)
    given = {"next": 2.0 * torch.randn(16, 2, generator=seeded(7))}
    terms = policy.losses(batch, Draws(seeded(), dict(given))).terms
    action = (policy.target_actor(batch.next_observation).tanh() + (0.2 * given["next"]).clamp(-0.5, 0.5)).clamp(-1, 1)
    value = policy.target_critic(batch.next_observation, action).amin(0)
    value = value - 0.7 * batch.has_next * ((action - batch.next_action) ** 2).sum(-1)
    target = batch.reward + 0.99**batch.steps * batch.mask * value
    mine = policy.actor(batch.observation).tanh()
    least = policy.critic(batch.observation, mine).amin(0)
    assert (0.2 * given["next"]).abs().max() > 0.5
    assert told(terms) == {
        "critic": float(((policy.critic(batch.observation, batch.action) - target) ** 2).mean().detach()),
        "climb": float((-least.mean() / least.abs().mean()).detach()),
        "clone": float((0.3 * ((mine - batch.action) ** 2).sum(-1).mean()).detach()),
    }


def test_rebrac_moves_its_actor_at_every_second_update(small, random_batch):
    """Removed: the condition on the updates: the actor moves each time."""
    policy = ReBRAC(SIZES, small(ReBRACConfig()), 1)
    for expected in (True, False, True, False):
        actor, copy = policy.actor.net[0].weight.detach().clone(), policy.target_critic.net[0].weight.clone()
        policy.update(random_batch())
        assert torch.equal(actor, policy.actor.net[0].weight) is not expected
        assert torch.equal(copy, policy.target_critic.net[0].weight) is not expected


def test_ifql_regresses_expectiles_and_bootstraps_from_the_value(small, batch, seeded):
    """Removed: the expectile (.5 in its place); removed: the least of the critics: another value loss."""
    policy = IFQL(SIZES, small(IFQLConfig(expectile=0.8)), 1)
    given = {"flow": torch.randn(16, 2, generator=seeded(3)), "time": torch.rand(16, 1, generator=seeded(4))}
    terms = policy.losses(batch, Draws(seeded(), dict(given))).terms
    gap = policy.target_critic(batch.observation, batch.action).amin(0) - policy.value(batch.observation)
    target = batch.reward + 0.99**batch.steps * batch.mask * policy.value(batch.next_observation)
    point = (1 - given["time"]) * given["flow"] + given["time"] * batch.action
    assert told(terms) == {
        "value": float((torch.where(gap > 0, 0.8, 0.2) * gap**2).mean().detach()),
        "critic": float(((policy.critic(batch.observation, batch.action) - target) ** 2).mean().detach()),
        "flow": float(((policy.field(batch.observation, point, given["time"]) - batch.action + given["flow"]) ** 2).mean().detach()),
    }


def test_ifql_does_what_the_most_doubtful_critic_likes_best(small, random_batch, seeded):
    """Removed: the choice (the first candidate): a lower value."""
    policy = IFQL(SIZES, small(IFQLConfig(num_samples=8)), 1)
    observation, noise = random_batch().observation, torch.randn(8, 16, 2, generator=seeded(2))
    value = lambda action: policy.critic(observation, action).amin(0)  # noqa: E731
    chosen = policy.act(observation, seeded(), {"act": noise})
    alone = torch.stack([BC.choose(as_clone(policy), observation, Draws(seeded(), {"act": noise[k]})) for k in range(8)])
    assert torch.allclose(value(chosen), torch.stack([value(action) for action in alone]).amax(0), atol=1e-5)


def as_clone(policy):
    """A cloned flow with the field of another policy."""
    clone = BC(SIZES, BCConfig(solver=policy.config.solver))
    clone.field = policy.field
    return clone


def test_sac_adds_entropy_to_values(small, batch, seeded):
    """Removed: the entropy of the target; removed: the density in the actor's loss: another critic loss, another actor loss."""
    policy = SAC(SIZES, small(SACConfig()), 1)
    policy.log_temperature.data.fill_(-0.7)
    given, alpha = normals(seeded, "next", "actor"), float(torch.tensor(-0.7).exp())
    terms = policy.losses(batch, Draws(seeded(), dict(given))).terms
    following, density = policy.sample(batch.next_observation, given["next"])
    value = policy.target_critic(batch.next_observation, following).amin(0) - alpha * density
    target = batch.reward + 0.99**batch.steps * batch.mask * value
    mine, here = policy.sample(batch.observation, given["actor"])
    assert told(terms) == {
        "critic": float(((policy.critic(batch.observation, batch.action) - target) ** 2).mean().detach()),
        "actor": float((alpha * here - policy.critic(batch.observation, mine).amin(0)).mean().detach()),
        "temperature": float((alpha * (-here.mean() + 2.0)).detach()),
    }


def test_cloned_chunks_are_flows_over_all_their_actions(small, random_batch, seeded):
    """Chunks that run over an end teach nothing. Removed: `valid` as the weight: what they hold counts."""
    policy = BC(Sizes(5, 6), small(BCConfig(solver=Solver(steps=2))), 1)
    made = random_batch()
    chunk, valid = torch.randn(16, 3, 2, generator=seeded(2)).clamp(-1, 1), (torch.arange(16) % 2).float()
    given = {"flow": torch.randn(16, 6, generator=seeded(3)), "time": torch.rand(16, 1, generator=seeded(4))}
    losses = []
    for garbage in (0.0, 0.9):
        action = torch.where(valid[:, None, None] > 0, chunk, garbage)
        terms = policy.losses(replace(made, action=action, valid=valid), Draws(seeded(), dict(given))).terms
        losses.append(float(terms["flow"].detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert policy.act(made.observation, seeded()).view(16, 3, 2).abs().max() <= 1.0
