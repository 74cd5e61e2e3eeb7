import csv
import math
import signal
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from maps.errors import DivergedTraining, InvalidCheckpoint
from models.checkpoint import load_weights, save_weights
from models.training.loop import TrainingConfig, train
from models.training.schedule import Every
from models.training.state import averaged_weights, start_from_weights, stored_states

SLOPE = torch.tensor([[2.0, -1.0, 0.5]])
SHORT = TrainingConfig(
    steps=40, batch=16, warm_up=5, learning_rate=0.05, ema=0.9, checkpoint_every=Every(steps=10), log_every=10, seed=5, tensorboard=False
)


def line():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Linear(3, 1)


def net():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))


def points(generator):
    place = torch.randn(16, 3, generator=generator)
    return place, place @ SLOPE.T + 3.0


def error(module, batch, generator):
    noise = 0.01 * torch.randn(batch[1].shape, generator=generator)
    square = (module(batch[0]) - batch[1] - noise).square().mean()
    return {"total": square, "root": square.detach().sqrt()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_reaches_the_known_optimum(tmp_path):
    config = replace(SHORT, steps=400, ema=0.95, weight_decay=0.0)
    report = train(line(), error, points, None, config, tmp_path)
    assert torch.allclose(report.averaged.weight, SLOPE, atol=0.01)
    assert report.averaged.bias.item() == pytest.approx(3.0, abs=0.01)
    totals = [float(row["total"]) for row in rows(tmp_path / "log.csv")]
    assert totals[-1] < 1e-3 < 1.0 < totals[0]
    assert (report.step, report.finished) == (400, True)


def test_weight_decay_leaves_biases_alone(tmp_path):
    def still(module, batch, generator):
        return {"total": 0.0 * (module.weight.sum() + module.bias.sum())}

    module, before = line(), line()
    train(module, still, points, None, replace(SHORT, steps=1, warm_up=1, learning_rate=0.1, weight_decay=0.5), tmp_path)
    assert torch.allclose(module.weight, before.weight * (1 - 0.1 * 0.5))
    assert torch.equal(module.bias, before.bias)


@pytest.mark.parametrize("clip", [0.25, None])
def test_gradient_is_clipped_to_its_norm(tmp_path, clip):
    train(line(), error, points, None, replace(SHORT, steps=1, clip=clip), tmp_path)
    stored = load_weights(tmp_path, "state-1")[2]
    first = torch.cat([stored[f"optimizer/exp_avg.{name}"].flatten() for name in ("weight", "bias")]) / 0.1  # the gradient itself
    told = float(rows(tmp_path / "log.csv")[0]["gradient_norm"])  # before it is clipped
    assert told > 1.0
    assert first.norm().item() == pytest.approx(clip or told, rel=1e-4)


@pytest.mark.parametrize("stop", [20, 30])
def test_interrupted_and_resumed_equals_uninterrupted_bitwise(tmp_path, stop):
    whole, parted = net(), net()
    straight = train(whole, error, points, None, SHORT, tmp_path / "whole")
    train(parted, error, points, None, replace(SHORT, checkpoint_every=Every(steps=stop)), tmp_path / "parted")
    again = net()
    first = tmp_path / "parted" / f"state-{stop}.safetensors"
    resumed = train(again, error, points, None, replace(SHORT, resume=first), tmp_path / "parted")
    assert same(whole.state_dict(), again.state_dict())
    assert same(straight.averaged.state_dict(), resumed.averaged.state_dict())
    assert not same(whole.state_dict(), net().state_dict())
    stored = [load_weights(tmp_path / run, "state-40")[2] for run in ("whole", "parted")]
    assert same(*stored)  # moments and generator too
    assert [row["total"] for row in rows(tmp_path / "whole" / "log.csv")] == [row["total"] for row in rows(tmp_path / "parted" / "log.csv")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stores_the_state_and_ends_the_run(tmp_path, number):
    def troubled(generator):
        calls.append(1)
        if len(calls) == 17:
            signal.raise_signal(number)
        return points(generator)

    calls, before = [], signal.getsignal(number)
    parted, whole = net(), net()
    report = train(parted, error, troubled, lambda module: {"never": 0.0}, SHORT, tmp_path)
    assert (report.step, report.finished, report.evaluation) == (17, False, {})
    assert signal.getsignal(number) is before
    assert report.state == tmp_path / "state-17.safetensors"
    parted = net()
    train(parted, error, points, None, replace(SHORT, resume=tmp_path), tmp_path)
    train(whole, error, points, None, SHORT, tmp_path / "whole")
    assert same(parted.state_dict(), whole.state_dict())
    assert [row["step"] for row in rows(tmp_path / "log.csv")] == ["10", "17", "20", "30", "40"]


def test_last_three_states_are_kept_and_nothing_partial(tmp_path):
    train(line(), error, points, None, replace(SHORT, steps=53), tmp_path)
    assert [path.name for path in stored_states(tmp_path)] == [f"state-{step}.safetensors" for step in (40, 50, 53)]
    assert len(list(tmp_path.glob("state-*"))) == 6
    assert list(tmp_path.glob("*.partial")) == []


def test_going_on_from_an_early_state_undoes_the_later_ones(tmp_path):
    train(line(), error, points, lambda module: {"answer": 1.0}, replace(SHORT, evaluate_every=Every(steps=10)), tmp_path)
    early = replace(SHORT, steps=27, resume=tmp_path / "state-20.safetensors", checkpoint_every=Every(steps=9))
    train(line(), error, points, lambda module: {"answer": 2.0}, early, tmp_path)
    assert [path.stem for path in stored_states(tmp_path)] == ["state-20", "state-27"]
    assert [row["step"] for row in rows(tmp_path / "log.csv")] == ["10", "20", "27"]
    assert [(row["step"], row["answer"]) for row in rows(tmp_path / "evaluation.csv")] == [("10", "1"), ("20", "1"), ("27", "2")]


def test_minutes_end_the_run_annealed_over_all_its_parts(tmp_path):
    config = replace(SHORT, steps=10**9, minutes=0.01, warm_up=1, log_every=1, checkpoint_every=Every())
    report = train(line(), error, points, None, config, tmp_path)
    assert report.finished
    assert 0.01 <= report.minutes < 0.02
    rates = [float(row["learning_rate"]) for row in rows(tmp_path / "log.csv")]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.9 * 0.05
    assert rates[-1] < 0.1 * 0.05
    after = train(line(), error, points, None, replace(config, resume=tmp_path), tmp_path)
    assert (after.step, after.finished) == (report.step, True)


@pytest.mark.parametrize("faulty", ["loss", "gradient"])
def test_divergence_names_the_step_and_keeps_the_last_good_state(tmp_path, faulty):
    def breaks(module, batch, generator):
        calls.append(1)
        terms = error(module, batch, generator)
        if len(calls) != 23:
            return terms
        # The root's slope at 0 is infinite and its value is not.
        return {"total": terms["total"] * math.nan if faulty == "loss" else (module.bias * 0.0).abs().sqrt().sum()}

    calls = []
    with pytest.raises(DivergedTraining, match=r"at step 23; the last good state is .*state-20\.safetensors") as stopped:
        train(line(), breaks, points, None, SHORT, tmp_path)
    assert stopped.value.step == 23
    assert [path.stem for path in stored_states(tmp_path)] == ["state-10", "state-20"]
    load_weights(tmp_path, "state-20")


def test_evaluation_sees_the_average_at_its_times_and_at_the_end(tmp_path):
    seen = []

    def judge(module):
        seen.append({name: tensor.clone() for name, tensor in module.state_dict().items()})
        assert not module.training
        assert not torch.is_grad_enabled()
        return {"weight": float(module.weight.sum()), "nothing": math.nan}

    module = line()
    config = replace(SHORT, evaluate_every=Every(steps=15))
    report = train(module, error, points, judge, config, tmp_path)
    table = rows(tmp_path / "evaluation.csv")
    assert [row["step"] for row in table] == ["15", "30", "40"]
    assert same(seen[-1], report.averaged.state_dict())
    assert same(seen[-1], averaged_weights(tmp_path))
    assert not torch.equal(seen[-1]["weight"], module.weight)
    assert float(table[-1]["weight"]) == pytest.approx(report.evaluation["weight"], rel=1e-5)


def test_new_run_starts_from_released_weights(tmp_path):
    first = train(line(), error, points, None, SHORT, tmp_path / "first")
    identity = save_weights(tmp_path, "line", "1", {}, first.averaged.state_dict())
    module = nn.Linear(3, 1)
    assert start_from_weights(module, tmp_path, "line") == identity
    assert same(module.state_dict(), first.averaged.state_dict())
    with pytest.raises(InvalidCheckpoint, match="does not fit"):
        start_from_weights(nn.Linear(2, 1), tmp_path, "line")


def test_folder_with_a_run_is_not_overwritten(tmp_path):
    train(line(), error, points, None, replace(SHORT, steps=10), tmp_path)
    with pytest.raises(InvalidCheckpoint, match="holds a run already"):
        train(line(), error, points, None, SHORT, tmp_path)


def test_states_that_do_not_fit_are_refused(tmp_path):
    train(line(), error, points, None, replace(SHORT, steps=10), tmp_path / "run")
    (tmp_path / "empty").mkdir()
    save_weights(tmp_path, "released", "1", {}, line().state_dict())
    for module, source, match in (
        (net(), tmp_path / "run", "does not fit"),
        (line(), tmp_path / "empty", "holds no state"),
        (line(), tmp_path / "run" / "state-9.safetensors", "cannot be read"),
        (line(), tmp_path / "released.safetensors", "not the state of a run"),
    ):
        with pytest.raises(InvalidCheckpoint, match=match):
            train(module, error, points, None, replace(SHORT, resume=source), tmp_path / "other")


def test_bfloat16_learns_too(tmp_path):
    kinds = set()

    def watched(module, batch, generator):
        kinds.add(module(batch[0]).dtype)
        return error(module, batch, generator)

    report = train(line(), watched, points, None, replace(SHORT, steps=300, bf16=True), tmp_path)
    assert kinds == {torch.bfloat16}
    assert report.averaged.weight.dtype == torch.float32
    assert torch.allclose(report.averaged.weight, SLOPE, atol=0.1)


def test_event_files_hold_what_the_tables_hold(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(line(), error, points, lambda module: {"answer": 42.0}, replace(SHORT, tensorboard=True), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    logged = [(str(event.step), f"{event.value:.4g}") for event in events.Scalars("log/total")]
    assert logged == [(row["step"], f"{float(row['total']):.4g}") for row in rows(tmp_path / "log.csv")]
    assert [(event.step, event.value) for event in events.Scalars("evaluation/answer")] == [(40, 42.0)]


def test_missing_tensorboard_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'flowfleet\[train\]'"):
        train(line(), error, points, None, replace(SHORT, tensorboard=True), tmp_path)
