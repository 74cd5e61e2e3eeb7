"""A tiny run of the generator's training: it ends, its weights load, and it goes on where it stopped."""

import csv
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from maps.errors import InvalidCheckpoint, InvalidInput
from models.checkpoint import fill_module, load_weights
from models.dit import DiT, DiTConfig
from models.generator import Generator
from models.normalizer import Normalizer
from models.training.generator import FlowLossConfig
from models.training.loop import TrainingConfig
from models.training.schedule import Every
from planner.dataset import shards
from planner.downstream import ValidationConfig, judge_downstream, validation_scenarios
from planner.expert_batches import ExpertSet
from planner.generation import Proposer, network_config
from planner.training import GeneratorTraining, train_generator

TINY = GeneratorTraining(
    loop=TrainingConfig(
        steps=30, warm_up=5, learning_rate=3e-3, ema=0.9, checkpoint_every=Every(steps=10), log_every=5, seed=2, tensorboard=False
    ),
    network=DiTConfig(modes=4, width=32, layers=2, heads=2, pair=8),
    validation=ValidationConfig(cells=(("open", 2, 2),), candidates=2),
    version="0-test",
)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def restored(folder: Path) -> DiT:
    _, told, tensors = load_weights(folder, "generator")
    config = network_config(told["network"])
    network = DiT(config, Normalizer.blank(config.modes))
    fill_module(network, tensors, folder)
    return network


@pytest.fixture(scope="module")
def run(few_experts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("run")
    before = torch.get_rng_state()
    report, identity = train_generator(few_experts, folder, TINY)
    torch.set_rng_state(before)
    assert (report.step, report.finished) == (30, True)
    assert (identity.name, identity.version) == ("generator", "0-test")
    assert all(torch.equal(value, report.averaged.state_dict()[name]) for name, value in restored(folder).state_dict().items())
    return folder


def test_the_weights_load_back_with_what_they_were_made_of(run: Path, few_experts: Path):
    _, told, _ = load_weights(run, "generator")
    assert told["network"] == asdict(TINY.network)
    assert told["trained"]["steps"] == 30
    assert told["trained"]["scenarios"] == len(ExpertSet(shards(few_experts)))
    network = restored(run)
    fitted = Normalizer.fit(ExpertSet(shards(few_experts)).offsets(200_000), 4)
    assert torch.equal(network.normalizer.modes, fitted.modes)
    assert torch.equal(network.normalizer.scale, fitted.scale)


def test_it_learns_and_is_judged(run: Path):
    total = [float(row["total"]) for row in rows(run / "log.csv")]
    assert all(map(math.isfinite, total))
    assert len(total) == 6
    (judged,) = rows(run / "evaluation.csv")
    assert judged["step"] == "30"
    assert 0.0 <= float(judged["certified_each"]) <= float(judged["certified_any"]) <= 1.0
    untrained = DiT(TINY.network, Normalizer.blank(4)).state_dict()
    assert float(restored(run).last.weight.detach().abs().max()) > 0.0 == float(untrained["last.weight"].abs().max())


def test_what_was_stopped_goes_on_bit_by_bit(run: Path, few_experts: Path, tmp_path: Path):
    resumed = replace(TINY, loop=replace(TINY.loop, resume=run / "state-20.safetensors"))
    train_generator(few_experts, tmp_path, resumed)
    known, found = restored(run).state_dict(), restored(tmp_path).state_dict()
    assert all(torch.equal(value, found[name]) for name, value in known.items())


def test_a_run_may_start_from_weights(run: Path, few_experts: Path, tmp_path: Path):
    config = replace(TINY, weights=run, network=DiTConfig(), loop=replace(TINY.loop, steps=1, learning_rate=0.0))
    train_generator(few_experts, tmp_path, config)
    known, found = restored(run).state_dict(), restored(tmp_path).state_dict()
    assert known.keys() == found.keys()
    assert all(torch.allclose(value, found[name], atol=1e-6) for name, value in known.items())


@pytest.mark.parametrize("change", [{"attention": False}, {"map_encoder": False}])
def test_ablations_train_and_resume(few_experts: Path, tmp_path: Path, change: dict):
    config = replace(TINY, network=replace(TINY.network, **change), loop=replace(TINY.loop, steps=4, checkpoint_every=Every(steps=2)))
    train_generator(few_experts, tmp_path / "whole", config)
    parted = replace(config, loop=replace(config.loop, resume=tmp_path / "whole" / "state-2.safetensors"))
    train_generator(few_experts, tmp_path / "parted", parted)
    known, found = restored(tmp_path / "whole"), restored(tmp_path / "parted")
    assert known.config == replace(TINY.network, **change)
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in known.state_dict().items())


def test_plain_regression_trains_too(few_experts: Path, tmp_path: Path):
    config = replace(TINY, loss=FlowLossConfig(flow=False), loop=replace(TINY.loop, steps=60, log_every=10))
    train_generator(few_experts, tmp_path, config)
    total = [float(row["total"]) for row in rows(tmp_path / "log.csv")]
    assert min(total[-2:]) < 0.9 * total[0]


def test_misuse_is_refused(run: Path, few_experts: Path, tmp_path: Path):
    with pytest.raises(InvalidInput, match="no shards"):
        train_generator(tmp_path, tmp_path / "run", TINY)
    with pytest.raises(InvalidCheckpoint, match="holds a run already"):
        train_generator(few_experts, run, TINY)
    with pytest.raises(InvalidCheckpoint):
        train_generator(few_experts, tmp_path / "run", replace(TINY, weights=tmp_path))


def test_validation_is_fixed_and_judged_alike():
    first, again = (validation_scenarios(TINY.validation) for _ in range(2))
    assert [len(scenario) for scenario in first] == [2, 2]
    assert all(torch.equal(a.start, b.start) and a.horizon == b.horizon for a, b in zip(first, again, strict=True))
    # a network that has learned nothing draws the routes: in the open those nearly always do
    network = DiT(TINY.network, Normalizer.fit(torch.randn(50, 97, 2, generator=torch.Generator().manual_seed(0)).cumsum(1), 4))
    figures = judge_downstream(Proposer(Generator(network.eval())), first, 2)
    assert figures == judge_downstream(Proposer(Generator(network)), first, 2)
    assert figures["certified_any"] == figures["certified_each"] == 1.0
    assert figures["different"] == 1.0
    assert 1.0 <= figures["length_ratio"] < 1.2
