import copy

import pytest
import torch
from torch import nn

from models.policies.critics import aggregate, best_of, expectile_loss, held, polyak, running_copy, td_loss, td_target, value_scale
from models.policies.one_step import climbing_loss, distillation_loss
from models.policies.transitions import Transitions


def test_ensembles_are_aggregated_as_written():
    values = torch.tensor([[1.0, 4.0], [3.0, 0.0]])
    assert aggregate(values, "mean").tolist() == [2.0, 2.0]
    assert aggregate(values, "min").tolist() == [1.0, 0.0]
    assert aggregate(values, "lower", 0.5).tolist() == [1.5, 1.0]


def test_targets_bootstrap_where_an_episode_was_cut_off_but_not_where_it_terminated():
    """Removed: the mask: the third target is 2.8."""
    column = lambda *values: torch.tensor(values)  # noqa: E731
    made = Transitions.single(torch.zeros(3, 1), torch.zeros(3, 1), column(1.0, 1.0, 1.0), column(1.0, 1.0, 0.0), torch.zeros(3, 1))
    made = Transitions(**{**vars(made), "steps": column(1.0, 3.0, 1.0)})
    found = td_target(made, column(2.0, 2.0, 2.0).requires_grad_(), 0.9)
    assert torch.allclose(found, column(2.8, 1.0 + 2.0 * 0.9**3, 1.0))
    assert not found.requires_grad


def test_invalid_transitions_teach_nothing():
    values = torch.tensor([[1.0, 5.0], [3.0, 7.0]], requires_grad=True)
    loss = td_loss(values, torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.0]))
    loss.backward()
    assert float(loss.detach()) == (1.0 + 9.0) / 4
    assert values.grad.tolist() == [[0.5, 0.0], [1.5, 0.0]]
    assert float(td_loss(values.detach(), torch.zeros(2))) == 21.0


@pytest.mark.parametrize("expectile", [0.5, 0.8, 0.9])
def test_expectile_of_two_points_is_its_known_value(expectile):
    """Of 0 and 1, equally often, the expectile is tau itself. Removed: the weights (both 1): the mean, .5."""
    value = torch.tensor(expectile, requires_grad=True)
    expectile_loss(torch.tensor([0.0, 1.0]) - value, expectile).backward()
    assert float(value.grad) == pytest.approx(0.0, abs=1e-7)
    other = torch.tensor(0.3, requires_grad=True)
    expectile_loss(torch.tensor([0.0, 1.0]) - other, expectile).backward()
    assert abs(float(other.grad)) > 0.05


def test_running_copy_lags_by_its_rate():
    online = nn.Linear(2, 3)
    target, start = running_copy(online), online.weight.detach().clone()
    nn.init.constant_(online.weight, 1.0)
    for _ in range(10):
        polyak(target, online, 0.1)
    assert torch.allclose(target.weight, 1.0 + (start - 1.0) * 0.9**10)
    assert not any(parameter.requires_grad for parameter in target.parameters())
    assert torch.equal(online.weight, torch.ones(3, 2))


def test_scale_makes_a_climb_free_of_the_scale_of_rewards():
    """Removed: the scale: the gradient grows a hundredfold."""
    slopes = []
    for scale in (1.0, 100.0):
        jump = torch.tensor([[0.1], [0.5], [2.0]], requires_grad=True)
        climbing_loss(jump, lambda a: scale * (a[:, 0] + 1.0), True)[0].backward()  # noqa: B023
        slopes.append(jump.grad[:, 0].tolist())
    assert slopes[0] == pytest.approx(slopes[1])
    assert slopes[0][0] < 0.0 == slopes[0][2]  # climbs, but not from outside the box
    assert float(value_scale(torch.tensor([-4.0, 2.0]))) == pytest.approx(1 / 3)
    assert torch.isfinite(value_scale(torch.zeros(3)))


def test_held_networks_pass_gradients_and_take_none():
    network, frozen = nn.Linear(2, 1), nn.Linear(2, 1)
    frozen.bias.requires_grad_(False)
    before = copy.deepcopy(network)
    x = torch.ones(3, 2, requires_grad=True)
    with held(network, frozen):
        loss = (network(x) + frozen(x)).sum()
    loss.backward()
    assert torch.equal(x.grad, (before.weight + frozen.weight).expand(3, -1))
    assert network.weight.grad is None
    assert frozen.weight.grad is None
    assert network.weight.requires_grad
    assert not frozen.bias.requires_grad


def test_best_candidates_are_found_for_each_element():
    candidates = torch.tensor([[[0.0, 1.0], [2.0, 2.0]], [[3.0, 0.0], [-1.0, 4.0]]])
    assert best_of(candidates, lambda a: a.sum(-1)).tolist() == [[3.0, 0.0], [2.0, 2.0]]


def test_distillation_bounds_the_distance_of_the_laws(seeded):
    """W2^2 of one-dimensional samples is that of the sorted ones."""
    one, other = torch.randn(500, 1, generator=seeded()), torch.rand(500, 1, generator=seeded(1))
    distance = (one.sort(0).values - other.sort(0).values).square().mean()
    assert float(distance) < float(distillation_loss(one, other))
    assert float(distillation_loss(one.sort(0).values, other.sort(0).values)) == pytest.approx(float(distance))
