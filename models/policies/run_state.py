"""A run of learning on disk: the policy with its optimizer, what it has lived through, and where it is.

A state is a folder `state-<step>` with `policy.safetensors`, `run.json` and, once there were online steps, `replay.safetensors`.
"""

import json
import os
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import safetensors.torch
import torch
from jaxtyping import UInt8
from safetensors import SafetensorError
from torch import Tensor

from models.policies.policy import Policy
from models.policies.replay import Experience, ReplayBuffer
from models.policies.stored import read_policy

KEPT = 2  # states of a run


@dataclass(frozen=True)
class RunState:
    """Where a run is."""

    step: int  # done, offline and online
    minutes: float  # min, over all parts of the run
    episodes: int  # begun
    generator: UInt8[Tensor, " bytes"]  # state of what draws batches


def stored_runs(folder: Path) -> list[Path]:
    """The states in a folder, oldest first."""
    found = [path for path in folder.glob("state-*") if path.name.removeprefix("state-").isdigit()]
    return sorted(found, key=_step_of)


def save_run(folder: Path, policy: Policy, state: RunState, replay: ReplayBuffer | None) -> Path:
    """Stores a run, and deletes all its states but the last ones up to this step.

    Args:
        folder: of the run.
        policy: with its optimizer.
        state: where the run is.
        replay: None: as it was when the run began.

    Returns:
        The state's folder; a reader finds it whole or not at all.
    """
    target = folder / f"state-{state.step}"
    partial = folder / f"{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    policy.save(partial / "policy.safetensors")
    if replay is not None:
        kept = {field.name: getattr(replay.recorded(), field.name).contiguous() for field in fields(Experience)}
        safetensors.torch.save_file(kept, partial / "replay.safetensors")
    told = {"step": state.step, "minutes": state.minutes, "episodes": state.episodes, "generator": bytes(state.generator.tolist()).hex()}
    (partial / "run.json").write_text(json.dumps(told) + "\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)
    past = [path for path in stored_runs(folder) if _step_of(path) <= state.step]
    # Those beyond are of a past that was undone by going on from an earlier state.
    for path in {*stored_runs(folder)} - {*past[-KEPT:]}:
        shutil.rmtree(path)
    return target


def load_run(folder: Path, policy: Policy, replay: ReplayBuffer, offline: int) -> RunState:
    """Puts the latest state of a run into a policy and a ring of the same form.

    Args:
        folder: of the run.
        policy: changed in place.
        replay: with the recorded data of the run's start; replaced by what is stored.
        offline: steps on recorded data alone; a state after more of them has a ring of its own.

    Returns:
        Where the run is.

    Raises:
        ValueError: no state there, a damaged one, or one of another policy.
    """
    states = stored_runs(folder)
    if not states:
        raise ValueError(f"{folder} holds no state of a run")
    path = states[-1]
    try:
        told = json.loads((path / "run.json").read_text(encoding="utf-8"))
        kept = safetensors.torch.load_file(path / "replay.safetensors") if told["step"] > offline else None
    except (OSError, KeyError, json.JSONDecodeError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    described, tensors = read_policy(path / "policy.safetensors", type(policy).__name__)
    if described["config"] != json.loads(json.dumps(asdict(policy.config))):
        raise ValueError(f"{path} was learned with another config")
    tensors.fill(policy, path / "policy.safetensors")
    policy.updates = described["updates"]
    if kept is not None:
        replay.replace(Experience(**kept))
    generator = torch.frombuffer(bytearray.fromhex(told["generator"]), dtype=torch.uint8)
    return RunState(told["step"], told["minutes"], told["episodes"], generator)


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("state-"))
