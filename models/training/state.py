"""A run on disk: everything that is needed to go on as if it had never stopped.

A state is a checkpoint (see `models.checkpoint`) named `state-<step>`, with the module, the average, the optimizer's moments and
the random generator; the JSON file beside it holds step, time and the run's config.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import torch
from torch import Tensor

from maps.errors import InvalidCheckpoint
from models.checkpoint import ModelIdentity, fill_module, load_weights, save_weights
from models.training.ema import Averager, Model
from models.training.optimizer import moments, restore_moments

KEPT = 3  # states of a run
_VERSION = "1"


@dataclass(frozen=True)
class Position:
    """Where a run is."""

    step: int = 0  # updates done
    minutes: float = 0.0  # min, over all parts of the run


@dataclass(frozen=True)
class Learner(Generic[Model]):
    """All that changes while learning."""

    module: Model
    averager: Averager[Model]
    optimizer: torch.optim.Optimizer
    generator: torch.Generator  # draws batches and noise; on the CPU


def save_state(folder: Path, learner: Learner, position: Position, config: Mapping[str, Any]) -> Path:
    """Stores a run and deletes all its states but the last up to this step.

    Args:
        folder: of the run.
        learner: what is stored.
        position: step and time.
        config: of the run, to be read by people.

    Returns:
        The safetensors file.
    """
    name = f"state-{position.step}"
    kept = {
        "module": learner.module.state_dict(),
        "averaged": learner.averager.module.state_dict(),
        "optimizer": moments(learner.optimizer, learner.module),
        "generator": {"state": learner.generator.get_state()},
    }
    tensors = {f"{part}/{key}": tensor for part, named in kept.items() for key, tensor in named.items()}
    save_weights(folder, name, _VERSION, {"step": position.step, "minutes": position.minutes, "training": dict(config)}, tensors)
    _forget_others(folder, position.step)
    return folder / f"{name}.safetensors"


def load_state(source: Path, learner: Learner) -> Position:
    """Puts a stored run into a learner of the same shape.

    Args:
        source: a state's safetensors file, or a run's folder, for its latest state.
        learner: changed in place.

    Returns:
        Step and time of the state.

    Raises:
        InvalidCheckpoint: no state there, a damaged one, or one of another model.
    """
    path = _latest(source) if source.is_dir() else source
    _, config, tensors = load_weights(path.parent, path.stem)
    step, minutes = config.get("step"), config.get("minutes")
    if not isinstance(step, int) or not isinstance(minutes, (int, float)) or "generator/state" not in tensors:
        raise InvalidCheckpoint("is not the state of a run", file=str(path))
    fill_module(learner.module, _part(tensors, "module"), path)
    fill_module(learner.averager.module, _part(tensors, "averaged"), path)
    restore_moments(learner.optimizer, learner.module, _part(tensors, "optimizer"))
    learner.generator.set_state(tensors["generator/state"])
    return Position(step, float(minutes))


def averaged_weights(source: Path) -> dict[str, Tensor]:
    """The averaged weights of a stored run (a state's file, or a folder for the latest), by the module's names."""
    path = _latest(source) if source.is_dir() else source
    return _part(load_weights(path.parent, path.stem)[2], "averaged")


def start_from_weights(module: torch.nn.Module, folder: Path, name: str) -> ModelIdentity:
    """Puts released weights into a module, from which a new run may start.

    Args:
        module: changed in place.
        folder: of the weights.
        name: of the weights.

    Returns:
        Which weights they were.

    Raises:
        InvalidCheckpoint: damaged, or of another model.
    """
    identity, _, tensors = load_weights(folder, name)
    fill_module(module, tensors, folder / f"{name}.safetensors")
    return identity


def stored_states(folder: Path) -> list[Path]:
    """The safetensors files of a run's states, oldest first."""
    found = [path for path in folder.glob("state-*.json") if path.stem.removeprefix("state-").isdigit()]
    return [path.with_suffix(".safetensors") for path in sorted(found, key=_step_of)]


def _latest(folder: Path) -> Path:
    states = stored_states(folder)
    if not states:
        raise InvalidCheckpoint("holds no state of a run", file=str(folder))
    return states[-1]


def _forget_others(folder: Path, step: int) -> None:
    states = stored_states(folder)
    # Those beyond are of a past that was undone by going on from an earlier state.
    past = [path for path in states if _step_of(path) <= step]
    for path in [*past[:-KEPT], *states[len(past) :]]:
        # The description first: without it, nobody takes the other file for a state.
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("state-"))


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{part}/"): tensor for key, tensor in tensors.items() if key.startswith(f"{part}/")}
