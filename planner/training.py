"""Wires data, losses and the downstream evaluation: what `flowfleet train` runs."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from maps.scenario import ScenarioBatch
from maps.trajectory import TrajectoryBatch
from models.checkpoint import ModelIdentity, fill_module, load_weights, save_weights, weights_folder
from models.dit import DiT, DiTConfig
from models.generator import Generator
from models.normalizer import Normalizer
from models.training.generator import FlowLossConfig, flow_loss
from models.training.loop import Report, TrainingConfig, train
from planner.dataset import shards
from planner.downstream import ValidationConfig, judge_downstream, validation_scenarios
from planner.expert_batches import Batch, BatchConfig, ExpertSet
from planner.generation import RELEASED, Proposer, network_config
from planner.warm_examples import Example, ExampleConfig, ExamplePool, WarmBatchConfig, make_examples, spread
from safety_filter import warm_start
from safety_filter.solver import SafetyFilter
from safety_filter.training import WarmBatch, WarmLossConfig, warm_start_loss
from safety_filter.warm_start import WarmStart, WarmStartConfig, WarmStartNetwork

FITTED = 200_000  # paths that the principal modes are fitted to


@dataclass(frozen=True)
class GeneratorTraining:
    """One run."""

    loop: TrainingConfig = field(default_factory=TrainingConfig)
    network: DiTConfig = field(default_factory=DiTConfig)
    loss: FlowLossConfig = field(default_factory=FlowLossConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    weights: Path | None = None  # folder of released weights to start from
    version: str = "1"  # of the weights that come out


def train_generator(data: Path, folder: Path, config: GeneratorTraining) -> tuple[Report[DiT], ModelIdentity]:
    """Trains the generator on the experts in `data`; logs, states and the weights to release go into `folder`.

    Args:
        data: folder of shards.
        folder: of the run.
        config: sizes, schedule and losses.

    Returns:
        How the run ended, and the identity of `folder/generator.safetensors`, the averaged weights.

    Raises:
        InvalidInput: no shards.
        InvalidCheckpoint: weights to start from or a state to resume do not fit.
        DivergedTraining: the loss is not finite.
    """
    torch.manual_seed(config.loop.seed)
    experts = ExpertSet(shards(data))
    network = _network(experts, config)
    config = replace(config, loop=replace(config.loop, batch=config.batch.robots))
    report = train(network, _loss(config), _batches(experts, config), _evaluation(config.validation), config.loop, folder)
    told = {"network": asdict(network.config), "trained": {"steps": report.step, "minutes": report.minutes, "scenarios": len(experts)}}
    return report, save_weights(folder, RELEASED, config.version, told, report.averaged.state_dict())


def _network(experts: ExpertSet, config: GeneratorTraining) -> DiT:
    if config.weights is None:
        return DiT(config.network, Normalizer.fit(experts.offsets(FITTED), config.network.modes))
    _, told, tensors = load_weights(config.weights, RELEASED)
    network = DiT(network_config(told["network"]), Normalizer.blank(told["network"]["modes"]))
    fill_module(network, tensors, config.weights / f"{RELEASED}.safetensors")
    return network


def _loss(config: GeneratorTraining) -> Callable[[DiT, Batch, torch.Generator], dict[str, torch.Tensor]]:
    def loss(network: DiT, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        return flow_loss(network, batch.surveyed, batch.path, generator, config.loss)

    return loss


def _batches(experts: ExpertSet, config: GeneratorTraining) -> Callable[[torch.Generator], Batch]:
    return lambda generator: experts.draw(generator, config.batch).to(config.loop.device)


def _evaluation(config: ValidationConfig) -> Callable[[DiT], dict[str, float]]:
    scenarios = validation_scenarios(config)

    def evaluate(network: DiT) -> dict[str, float]:
        began = perf_counter()
        on_cpu = DiT(network.config, Normalizer.blank(network.config.modes))
        on_cpu.load_state_dict(network.state_dict())
        figures = judge_downstream(Proposer(Generator(on_cpu.eval())), scenarios, config.candidates)
        return figures | {"seconds": perf_counter() - began}

    return evaluate


@dataclass(frozen=True)
class WarmStartTraining:
    """One run."""

    loop: TrainingConfig = field(default_factory=TrainingConfig)
    network: WarmStartConfig = field(default_factory=WarmStartConfig)
    loss: WarmLossConfig = field(default_factory=WarmLossConfig)
    examples: ExampleConfig = field(default_factory=ExampleConfig)
    batch: WarmBatchConfig = field(default_factory=WarmBatchConfig)
    judged: int = 48  # further examples that the network is judged by, never learned from
    weights: Path | None = None  # folder of weights of an earlier run to start from
    trunk: bool = True  # starts with the layers that it has in common with the released generator
    workers: int = 2  # processes that make the examples
    version: str = "1"  # of the weights that come out


def train_warm_start(folder: Path, config: WarmStartTraining) -> tuple[Report[WarmStartNetwork], ModelIdentity]:
    """Trains the filter's learned initialisation; logs, states and the weights to release go into `folder`.

    Args:
        folder: of the run.
        config: sizes, schedule and losses.

    Returns:
        How the run ended, and the identity of `folder/warm-start.safetensors`, the averaged weights.

    Raises:
        InvalidCheckpoint: weights to start from or a state to resume do not fit.
        DivergedTraining: the loss is not finite.
    """
    torch.manual_seed(config.loop.seed)
    examples = make_examples(config.examples, config.network, config.workers)
    judged = make_examples(replace(config.examples, seed=config.examples.seed + 1, count=config.judged), config.network, config.workers)
    network = _warm_network(examples, config)
    pool = ExamplePool(examples)
    config = replace(config, loop=replace(config.loop, batch=config.batch.robots))

    def loss(network: WarmStartNetwork, batch: WarmBatch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        return warm_start_loss(network, batch, config.loss)

    def batches(generator: torch.Generator) -> WarmBatch:
        return pool.draw(generator, config.batch).to(config.loop.device)

    report = train(network, loss, batches, _judge(judged, config), config.loop, folder)
    told = {"network": asdict(network.config), "trained": {"steps": report.step, "minutes": report.minutes, "proposals": len(examples)}}
    return report, save_weights(folder, warm_start.RELEASED, config.version, told, report.averaged.state_dict())


def _warm_network(examples: list[Example], config: WarmStartTraining) -> WarmStartNetwork:
    network = WarmStartNetwork(config.network)
    if config.weights is not None:
        _, _, tensors = load_weights(config.weights, warm_start.RELEASED)
        fill_module(network, tensors, config.weights / f"{warm_start.RELEASED}.safetensors")
        return network
    network.spread.copy_(spread(examples, config.network.control_modes, config.loss.tolerance))
    if config.trunk:
        _, _, tensors = load_weights(weights_folder(), RELEASED)
        own = network.state_dict()
        shared = {k: v for k, v in tensors.items() if k in own and v.shape == own[k].shape and not k.startswith("last")}
        network.load_state_dict(shared, strict=False)
    return network


def _judge(examples: list[Example], config: WarmStartTraining) -> Callable[[WarmStartNetwork], dict[str, float]]:
    """Rounds with and without the network, from the same proposals."""
    solved = [example for example in examples if example.solved]
    safety_filter = SafetyFilter(config.loss.filter)
    cold = [_rounds(example, safety_filter, None)[0] for example in solved]

    def evaluate(network: WarmStartNetwork) -> dict[str, float]:
        began = perf_counter()
        on_cpu = WarmStartNetwork(network.config)
        on_cpu.load_state_dict(network.state_dict())
        warm = [_rounds(example, safety_filter, WarmStart(on_cpu, config.loss.schedule)) for example in solved]
        rounds, again = np.array([r for r, _ in warm]), np.array([a for _, a in warm])
        figures = {"rounds": float(np.median(rounds)), "rounds_cold": float(np.median(cold)), "again": float(again.mean())}
        return figures | {"seconds": perf_counter() - began}

    return evaluate


def _rounds(example: Example, safety_filter: SafetyFilter, start: WarmStart | None) -> tuple[int, bool]:
    batch = ScenarioBatch.stack([example.scenario])
    result = safety_filter.project(TrajectoryBatch(example.proposal[None, None], batch.horizon[:, None]), batch, starter=start)
    return int(result.rounds[0, 0]), bool(result.again[0, 0])
