import math

import pytest
import torch

from models.policies.draws import Draws
from models.policies.mirror_descent import Mirror, MirrorConfig, effective_share
from models.policies.networks import NetworkConfig, Sizes


@pytest.fixture
def mirror(seeded):
    return lambda **changed: Mirror(Sizes(1, 2), MirrorConfig(**changed), NetworkConfig((8,)), seeded())


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_weights_tilt_a_gaussian_by_its_value(mirror, temperature):
    """Q = .7 a + 5 of a from N(0, 1) moves the mean to 1 / lambda, and leaves exp(-1 / lambda^2) of the batch.

    Removed: the temperature; removed: the spread of values: another mean.
    """
    action = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(200_001, dtype=torch.float64) + 0.5) / 200_001)
    weight = mirror(temperature=temperature, limit=8.0).double().weights(0.7 * action + 5.0)
    assert float((weight * action).sum() / weight.sum()) == pytest.approx(1.0 / temperature, rel=1e-2)
    assert float(effective_share(weight)) == pytest.approx(math.exp(-1.0 / temperature**2), rel=5e-2)


def test_weights_are_limited_unless_as_published(mirror):
    """Removed: the limit: an outlier weighs e^3.3; removed: `standardize`: weights of large values overflow."""
    values = torch.cat([torch.zeros(99), torch.ones(1)]) + 1000.0
    weight = mirror(temperature=3.0).weights(values)
    assert float(weight.max()) == pytest.approx(math.exp(1.0))
    plain = mirror(temperature=3.0, standardize=False)
    assert plain.weights(values).isinf().all()
    assert torch.allclose(plain.weights(values - 1000.0)[-1], (1.0 / plain.spread / 3.0).exp())


def test_spread_of_values_runs(mirror):
    """The first batches count alike, later ones by the rate; a policy that only acts learns nothing. Removed: the running spread."""
    scales, made = (1.0, 3.0, 5.0, 9.0), mirror(spread_rate=0.4)
    for scale, expected in zip(scales, (1.0, 2.0, 3.2, 5.52), strict=True):
        made.weights(scale * torch.tensor([-1.0, 1.0]))
        assert float(made.spread) == pytest.approx(expected)
    made.eval().weights(torch.tensor([-50.0, 50.0]))
    assert float(made.spread) == pytest.approx(5.52)


def test_exploration_comes_to_the_entropy_that_is_wanted(mirror):
    """The slope is d (H - H*) at any spread, and 0 at exp(H*) / sqrt(2 pi e). Removed: the detach: another slope."""
    made = mirror(exploration=0.5, exploration_entropy=-1.5)
    made.exploration_loss().backward()
    noise = torch.distributions.Normal(0.0, 0.5)
    assert float(made.log_exploration.grad) == pytest.approx(2.0 * (float(noise.entropy()) + 1.5))
    rest = mirror(exploration=math.exp(-1.5) / math.sqrt(2.0 * math.pi * math.e))
    rest.exploration_loss().backward()
    assert float(rest.log_exploration.grad) == pytest.approx(0.0, abs=1e-6)


def test_rate_of_the_policy_falls_linearly():
    config = MirrorConfig(final_rate=1e-5, decay_from=10, decay_over=20)
    assert [config.policy_rate(3e-5, k) for k in (0, 10, 20, 30, 99)] == pytest.approx([3e-5, 3e-5, 2e-5, 1e-5, 1e-5])


def test_best_candidate_is_clipped_before_it_is_valued(mirror, seeded):
    """A critic that likes all that is far away: the clipped candidates are equal, and the first is done. Removed: the clip."""
    made = mirror(num_particles=3)
    made.critic.forward = lambda observation, action: action.sum(-1).expand(2, *action.shape[:-1])
    start = torch.tensor([[[4.0, 4.0]], [[9.0, 4.0]], [[0.1, 0.2]]])
    chosen = made.best(torch.zeros(1, 1), lambda x: x, Draws(seeded(), {"z": start}), "z", explore=False)
    assert chosen.tolist() == [[1.0, 1.0]]
    moved = {"z": torch.zeros(3, 1, 2), "explore": torch.tensor([[[0.2, 0.0]], [[0.6, 0.4]], [[-1.0, 0.0]]])}
    explored = made.best(torch.zeros(1, 1), lambda x: x, Draws(seeded(), moved), "z", explore=True)
    assert explored[0].tolist() == pytest.approx([0.3, 0.2])
