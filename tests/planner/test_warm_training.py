"""A tiny run of the learned initialisation's training, and the examples that it practises on."""

import csv
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from models.checkpoint import load_weights, weights_folder
from models.training.loop import TrainingConfig
from models.training.schedule import Every
from planner.training import WarmStartTraining, train_warm_start
from planner.warm_examples import ExampleConfig, ExamplePool, WarmBatchConfig, make_examples
from safety_filter.training import WarmLossConfig
from safety_filter.warm_start import RELEASED, WarmStartConfig, load_warm_start

SIZES = WarmStartConfig(width=32, layers=1, heads=2, pair=8)
EXAMPLES = ExampleConfig(seed=5, count=24, robots=(1, 5))
TINY = WarmStartTraining(
    loop=TrainingConfig(steps=12, warm_up=2, checkpoint_every=Every(steps=6), log_every=1, seed=2, tensorboard=False),
    network=SIZES,
    loss=WarmLossConfig(rounds=2),
    examples=EXAMPLES,
    batch=WarmBatchConfig(robots=12, unrolled=0.5, unrolled_robots=6),
    judged=4,
    workers=1,
    version="0-test",
)


@pytest.fixture(scope="module")
def examples():
    return make_examples(EXAMPLES, SIZES, 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("warm")
    report, identity = train_warm_start(folder, TINY)
    assert (report.step, report.finished) == (12, True)
    assert {"rounds", "rounds_cold", "again"} <= set(report.evaluation)
    assert (identity.name, identity.version) == (RELEASED, "0-test")
    return folder


def test_examples_are_the_same_however_many_make_them(examples):
    again = make_examples(replace(EXAMPLES, count=20), SIZES, 2)
    assert len(again) >= 10
    for one, two in zip(again, examples, strict=False):
        assert torch.equal(one.proposal, two.proposal)
        assert torch.equal(one.aim, two.aim)
    assert any(e.solved for e in examples)
    assert len({len(e.scenario) for e in examples}) > 2


def test_batches_hold_what_was_asked_for(examples):
    pool, generator = ExamplePool(examples), torch.Generator().manual_seed(1)
    drawn = [pool.draw(generator, TINY.batch) for _ in range(40)]
    assert {batch.unrolling is None for batch in drawn} == {True, False}
    for batch in drawn:
        assert int(batch.surveyed.mask.sum()) <= 12
        assert batch.aim.shape[:2] == batch.surveyed.mask.shape
        if batch.unrolling is not None:
            assert int(batch.surveyed.mask.sum()) <= 6
            assert torch.equal(batch.unrolling.batch.mask, batch.surveyed.mask)


def test_a_run_logs_every_term_and_its_weights_load(run):
    with (run / "log.csv").open(newline="") as stream:
        logged = list(csv.DictReader(stream))
    for term in ("total", "control", "multiplier", "residual", "proposal", "primal", "clearance", "gradient_norm"):
        assert any(row[term] for row in logged), term
    loaded = load_warm_start(run)
    assert loaded.network.config == SIZES
    assert loaded.network.last.weight.any()


def test_a_stopped_run_goes_on_to_the_same_weights(run, tmp_path):
    half = replace(TINY, loop=replace(TINY.loop, steps=6))
    train_warm_start(tmp_path, half)
    resumed = replace(TINY, loop=replace(TINY.loop, resume=tmp_path))
    report, _ = train_warm_start(tmp_path, resumed)
    assert report.step == 12
    # the schedule of the rate differs in the first half, so weights differ; the same run from its own middle state must not
    whole = replace(TINY, loop=replace(TINY.loop, resume=run / "state-6.safetensors"))
    again = tmp_path / "again"
    train_warm_start(again, whole)
    one, two = load_weights(run, RELEASED)[2], load_weights(again, RELEASED)[2]
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_trunk_comes_from_the_released_generator():
    from planner.training import _warm_network

    config = replace(TINY, network=WarmStartConfig())
    network = _warm_network(make_examples(replace(EXAMPLES, count=8), WarmStartConfig(), 1), config)
    _, _, tensors = load_weights(weights_folder(), "generator")
    assert torch.equal(network.state_dict()["blocks.0.attention.inward.weight"], tensors["blocks.0.attention.inward.weight"])
    assert not network.last.weight.any()
    assert asdict(network.config) == asdict(WarmStartConfig())
