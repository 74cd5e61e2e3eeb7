"""Wires data, losses and the downstream evaluation: what `flowfleet train` runs."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter

import torch

from models.checkpoint import ModelIdentity, fill_module, load_weights, save_weights
from models.dit import DiT, DiTConfig
from models.generator import Generator
from models.normalizer import Normalizer
from models.training.generator import FlowLossConfig, flow_loss
from models.training.loop import Report, TrainingConfig, train
from planner.dataset import shards
from planner.downstream import ValidationConfig, judge_downstream, validation_scenarios
from planner.expert_batches import Batch, BatchConfig, ExpertSet
from planner.generation import RELEASED, Proposer, network_config

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
