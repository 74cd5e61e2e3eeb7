import csv
import math

import pytest
import torch
from torch import nn

from models.training.ema import Averager
from models.training.logs import Table
from models.training.meters import FiniteWatch, Means
from models.training.optimizer import adamw, moments, restore_moments
from models.training.schedule import Every, Reminder, rate_share, share_done


def test_cosine_schedule_has_its_known_values():
    at = {done: rate_share(1000, done, 10, 0.1) for done in (0.0, 1 / 3, 0.5, 2 / 3, 1.0, 1.5)}
    assert at == pytest.approx({0.0: 1.0, 1 / 3: 0.1 + 0.9 * 0.75, 0.5: 0.55, 2 / 3: 0.1 + 0.9 * 0.25, 1.0: 0.1, 1.5: 0.1})


def test_rate_rises_linearly_and_reaches_the_cosine():
    assert [rate_share(step, 0.0, 4, 0.0) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert rate_share(0, 0.0, 0, 0.0) == 1.0


def test_run_is_as_far_as_the_further_of_steps_and_minutes():
    assert share_done(25, 100, 9.0, None) == 0.25
    assert share_done(25, 100, 9.0, 10.0) == 0.9
    assert share_done(95, 100, 9.0, 10.0) == 0.95


def test_reminder_counts_steps_and_minutes():
    by_steps, by_time, never = Reminder(Every(steps=3), 0.0), Reminder(Every(minutes=2.0), 1.0), Reminder(Every(), 0.0)
    assert [step for step in range(1, 10) if by_steps.is_due(step, 100.0)] == [3, 6, 9]
    assert [by_time.is_due(7, minutes) for minutes in (2.9, 3.0, 4.0)] == [False, True, True]
    by_time.reset(4.0)
    assert [by_time.is_due(7, minutes) for minutes in (5.9, 6.0)] == [False, True]
    assert not never.is_due(1000, 1000.0)


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_average_has_its_closed_form(decay):
    module = nn.Linear(2, 2).double()
    path = torch.randn(30, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = module.weight.detach().clone()
    averager = Averager(module, decay)
    for step, weight in enumerate(path):
        module.weight.data.copy_(weight)
        averager.update(module, step)
    decays = torch.tensor([min(decay, (1 + step) / (10 + step)) for step in range(30)], dtype=torch.float64)
    later = torch.tensor([math.prod(decays[step + 1 :].tolist()) for step in range(30)], dtype=torch.float64)
    expected = decays.prod() * start + ((1 - decays) * later)[:, None, None].mul(path).sum(0)
    assert torch.allclose(averager.module.weight, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(module.weight, path[-1])


def test_average_copies_buffers_and_learns_nothing():
    module = nn.BatchNorm1d(3)
    averager = Averager(module, 0.9)
    module(torch.randn(8, 3, generator=torch.Generator().manual_seed(0)))
    averager.update(module, 0)
    assert torch.equal(averager.module.state_dict()["running_mean"], module.state_dict()["running_mean"])
    assert module.state_dict()["running_mean"].abs().min() > 0.0
    assert averager.module.num_batches_tracked == 1
    assert not averager.module.training
    assert not any(parameter.requires_grad for parameter in averager.module.parameters())


def test_moments_go_back_to_their_parameters():
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))
    optimizer = adamw(module, (0.9, 0.99), 0.1)
    assert moments(optimizer, module) == {}
    module(torch.ones(4, 2)).sum().backward()
    optimizer.step()
    kept = moments(optimizer, module)
    assert {name.partition(".")[2] for name in kept} == {name for name, _ in module.named_parameters()}
    fresh = adamw(module, (0.9, 0.99), 0.1)
    restore_moments(fresh, module, kept)
    for parameter in module.parameters():
        for key, value in optimizer.state[parameter].items():
            assert torch.equal(fresh.state[parameter][key], value)
    assert kept["exp_avg.2.bias"].item() == pytest.approx(0.1 * 4)


def test_means_are_those_of_the_steps_that_told():
    means = Means()
    means.add({"a": torch.tensor(1.0), "b": torch.tensor(4.0, requires_grad=True)})
    means.add({"a": torch.tensor(2.0)})
    assert means.take() == {"a": 1.5, "b": 4.0}
    assert means.take() == {}


def test_watch_remembers_the_first_bad_step():
    watch, good = FiniteWatch(torch.device("cpu")), torch.tensor(1.0)
    watch.see(1, good, good)
    assert watch.first_bad_step() is None
    watch.see(2, good, torch.tensor(math.inf))
    watch.see(3, torch.tensor(math.nan), good)
    watch.see(4, good, good)
    assert watch.first_bad_step() == 2


def test_table_grows_columns_and_forgets_what_is_undone(tmp_path):
    path = tmp_path / "log.csv"
    table = Table(path, 0)
    table.append(1, {"a": 0.5})
    table.append(2, {"a": 0.25})
    table.append(3, {"b": 7.0, "a": 0.125})
    table.append(4, {"b": 8.0})
    table.append(4, {"b": 9.0})
    assert path.read_text() == "step,a,b\n1,0.5,\n2,0.25,\n3,0.125,7\n4,,9\n"
    with path.open("a") as stream:
        stream.write("5,0.")
    again = Table(path, 3)
    again.append(10, {"a": 1.0, "c": 2.0})
    assert path.read_text() == "step,a,b,c\n1,0.5,,\n2,0.25,,\n3,0.125,7,\n10,1,,2\n"
    Table(path, 0).append(1, {"d": 1.0})
    with path.open(newline="") as stream:
        assert list(csv.DictReader(stream)) == [{"step": "1", "d": "1"}]
