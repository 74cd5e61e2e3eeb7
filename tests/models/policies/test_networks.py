import math

import pytest
import torch
import torch.nn.functional as functional

from models.policies.encoder import SetConfig, SetEncoder, dense
from models.policies.networks import (
    EnsembleCritic,
    GaussianActor,
    NetworkConfig,
    OneStepActor,
    Sizes,
    Value,
    VelocityField,
    mlp,
    squashed,
    time_features,
)

SIZES, NORMED = Sizes(17, 3), NetworkConfig((32, 16), layer_norm=True)
SET = SetConfig(first=2, members=3, features=4)


def test_ensemble_equals_separate_networks(seeded):
    critic = EnsembleCritic(SIZES, NORMED, 4, seeded())
    for parameter in critic.parameters():
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=seeded(2)))
    observation, action = torch.randn(9, 17, generator=seeded(3)), torch.randn(9, 3, generator=seeded(4))
    together = critic(observation, action)
    for k in range(4):
        alone = mlp(20, 1, NORMED, seeded())
        alone.load_state_dict(
            {
                name: value[k].T if value.shape[1] > 1 else value[k, 0] if ".b" in name or value.shape[2] > 1 else value[k].T
                for name, value in critic.net.state_dict().items()
            }
        )
        assert torch.allclose(together[k], alone(torch.cat([observation, action], -1))[:, 0], atol=1e-5)
    assert together.std(0).min() > 0.0


def test_perceptron_is_as_written(seeded):
    net = mlp(5, 2, NORMED, seeded())
    x = torch.randn(7, 5, generator=seeded(1))
    expected = x
    for k in (0, 3):
        expected = functional.gelu(net[k](expected), approximate="tanh")  # the norm comes after it
        expected = (expected - expected.mean(-1, keepdim=True)) / (expected.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()
    assert torch.allclose(net(x), net[6](expected), atol=1e-5)


def test_weights_are_xavier_uniform_and_drawn_from_the_generator_alone(seeded):
    state = torch.random.get_rng_state()
    layer, net = dense(200, 100, seeded(5)), mlp(200, 100, NetworkConfig(()), seeded(5), members=3)
    assert torch.equal(state, torch.random.get_rng_state())
    bound = math.sqrt(6 / 300)
    for weight in (layer.weight, net[0].weight):
        assert 0.99 * bound < float(weight.detach().abs().max()) <= bound
        assert float(weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert layer.bias.abs().max() == net[0].bias.abs().max() == 0.0
    assert torch.equal(dense(200, 100, seeded(5)).weight, layer.weight)
    with pytest.raises(ValueError, match="activation 'tanh'"):
        mlp(1, 1, NetworkConfig(activation="tanh"), seeded())


def fleet_networks(generator):
    config = NetworkConfig((32,), time_width=8, members=SET)
    return {
        "field": VelocityField(SIZES, config, generator),
        "critic": EnsembleCritic(SIZES, config, 2, generator),
        "actor": OneStepActor(SIZES, config, generator),
        "value": Value(SIZES, config, generator),
        "gaussian": GaussianActor(SIZES, config, generator, edits=True),
    }


def answers(networks, observation, action, t):
    return {
        "field": networks["field"](observation, action, t),
        "critic": networks["critic"](observation, action),
        "actor": networks["actor"](observation, action),
        "value": networks["value"](observation),
        "gaussian": torch.cat(networks["gaussian"](observation, action), -1),
    }


def test_every_network_takes_a_set_in_any_order_and_ignores_who_is_absent(seeded):
    """Removed: the presence flag in pooling: what absent members hold counts."""
    networks, g = fleet_networks(seeded()), seeded(1)
    observation, action, t = torch.randn(6, 17, generator=g), torch.randn(6, 3, generator=g), torch.rand(6, 1, generator=g)
    member = observation[:, 2:14].view(6, 3, 4)
    member[..., 3] = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 1, 0], [0, 0, 0]])
    turned, filled, moved = observation.clone(), observation.clone(), observation.clone()
    turned[:, 2:14] = member[:, [2, 0, 1]].flatten(1)
    filled[:, 2:14] = torch.where(member[..., 3:] > 0, member, torch.tensor([9.0, 9.0, 9.0, 0.0])).flatten(1)
    moved[:, 2:14] = torch.where(member[..., 3:] > 0, member + torch.tensor([1.0, 0.0, 0.0, 0.0]), member).flatten(1)
    known = answers(networks, observation, action, t)
    for same in (turned, filled):
        for name, found in answers(networks, same, action, t).items():
            assert torch.allclose(found, known[name], atol=1e-5), name
    for name, found in answers(networks, moved, action, t).items():
        rows = (found - known[name]).abs().reshape(-1, 6, found.shape[-1] if name not in ("critic", "value") else 1).amax((0, 2))
        assert rows[:5].min() > 1e-4 > 1e-12 > rows[5], name


def test_set_encoder_keeps_the_rest_and_pools_as_written(seeded):
    encoder = SetEncoder(17, SET, seeded())
    observation = torch.randn(1, 17, generator=seeded(1))
    observation[0, [5, 9, 13]] = torch.tensor([1.0, 0.0, 1.0])
    feature = encoder.member(observation[0, 2:14].view(3, 4))[[0, 2]]
    expected = torch.cat([observation[0, :2], feature.mean(0), feature.amax(0), observation[0, 14:]])
    assert torch.allclose(encoder(observation)[0], expected, atol=1e-6)
    assert encoder.width == len(expected) == 17 - 12 + 128
    with pytest.raises(ValueError, match="columns 2 to 26"):
        SetEncoder(17, SetConfig(first=2, members=6, features=4), seeded())


def test_candidates_equal_one_by_one(seeded):
    networks, g = fleet_networks(seeded()), seeded(1)
    observation, action, t = torch.randn(6, 17, generator=g), torch.randn(5, 6, 3, generator=g), torch.rand(5, 6, 1, generator=g)
    field = networks["field"].at(observation)
    for k in range(5):
        assert torch.allclose(field(action, t)[k], networks["field"](observation, action[k], t[k]), atol=1e-6)
        assert torch.allclose(networks["critic"](observation, action)[:, k], networks["critic"](observation, action[k]), atol=1e-6)
        assert torch.allclose(networks["actor"](observation, action)[k], networks["actor"](observation, action[k]), atol=1e-6)


def test_times_reach_fields_and_critics(seeded):
    config, observation, action = NetworkConfig((32,)), torch.zeros(2, 17), torch.zeros(2, 3)
    field, timed = VelocityField(SIZES, config, seeded(), times=2), EnsembleCritic(SIZES, config, 2, seeded(), timed=True)
    low, high = torch.zeros(2, 1), torch.ones(2, 1)
    average = field.mean_at(observation)
    assert len({float(average(action, t, r)[0, 0].detach()) for t in (low, high) for r in (low, high)}) == 4
    assert not torch.equal(timed(observation, action, low), timed(observation, action, high))
    features = time_features(torch.tensor([[0.3]]), 6)
    assert torch.allclose(features[0, [0, 3]], torch.tensor([math.cos(0.3), math.sin(0.3)]))
    assert torch.allclose(features[0, [2, 5]], torch.tensor([math.cos(9.0), math.sin(9.0)]), atol=1e-5)


def test_squashed_density_sums_to_one():
    """Removed: the shrinkage: the sum is not 1."""
    noise = torch.linspace(-8.0, 8.0, 20_001)[:, None]
    action, log_density = squashed(torch.full_like(noise, 0.4), torch.full_like(noise, -0.3), noise)
    assert float(torch.trapezoid(log_density.exp(), action[:, 0])) == pytest.approx(1.0, abs=1e-3)
    far = squashed(torch.tensor([[30.0]]), torch.tensor([[0.0]]), torch.zeros(1, 1))
    assert torch.isfinite(far[1]).all()
