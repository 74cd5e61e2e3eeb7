"""Released weights on disk: `<name>.safetensors` and `<name>.json`, which tells what the other must hold; no pickle.

The JSON file has `format` (1), `name`, `version`, `sha256` and `bytes` of the safetensors file, `config` (what the model is
built from) and `tensors`: the `shape` and `dtype` of each. Loading believes neither file without the other.
"""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from maps.errors import InvalidCheckpoint

FORMAT = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_ENTRIES = {"format": int, "name": str, "version": str, "sha256": str, "bytes": int, "config": dict, "tensors": dict}


@dataclass(frozen=True)
class ModelIdentity:
    """Which weights these are."""

    name: str
    version: str
    sha256: str  # of the safetensors file, hexadecimal


def weights_folder() -> Path:
    """Where the released weights lie, inside the installed package."""
    return Path(str(resources.files("models") / "weights"))


def save_weights(folder: Path, name: str, version: str, config: dict[str, Any], tensors: dict[str, Tensor]) -> ModelIdentity:
    """Stores weights so that `load_weights` gives them back bit by bit.

    Args:
        folder: is made if it is missing; files of the same name are replaced.
        name: lower-case letters, digits, `-` and `_`.
        version: any text.
        config: what the model is built from; anything that JSON can hold.
        tensors: of any type and on any device; shared memory is stored once for each.

    Returns:
        The identity, with the hash of what was written.

    Raises:
        InvalidCheckpoint: a name that is no file name, or a tensor with values that are not finite.
    """
    weights, description = _files(folder, name)
    kept = {key: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format) for key, tensor in tensors.items()}
    _refuse_not_finite(kept, weights)
    packed = safetensors.torch.save(kept)
    identity = ModelIdentity(name, version, hashlib.sha256(packed).hexdigest())
    described = {
        "format": FORMAT,
        "name": name,
        "version": version,
        "sha256": identity.sha256,
        "bytes": len(packed),
        "config": config,
        "tensors": _outline(kept),
    }
    text = json.dumps(described, indent=1, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(weights, packed)
    write_whole(description, text.encode())
    return identity


def load_weights(folder: Path, name: str) -> tuple[ModelIdentity, dict[str, Any], dict[str, Tensor]]:
    """Reads what `save_weights` wrote, on the CPU.

    Args:
        folder: where both files lie.
        name: the name that the weights were stored under.

    Returns:
        The identity, the config and the tensors by name.

    Raises:
        InvalidCheckpoint: a file is missing, truncated, foreign or no safetensors; a hash, name, format, shape or type is not
            what it should be; a tensor is missing, too many or not finite.
    """
    weights, description = _files(folder, name)
    described = _read_description(description, name)
    packed = _read(weights)
    _refuse_changed(packed, described, weights)
    try:
        tensors = safetensors.torch.load(packed)
    except (SafetensorError, KeyError, ValueError) as error:
        raise InvalidCheckpoint(f"is no safetensors file ({error})", file=str(weights)) from error
    _refuse_other_tensors(tensors, described["tensors"], weights)
    _refuse_not_finite(tensors, weights)
    return ModelIdentity(name, described["version"], described["sha256"]), described["config"], tensors


def fill_module(module: nn.Module, tensors: dict[str, Tensor], file: Path) -> None:
    """Copies tensors into a module's parameters and buffers.

    Args:
        module: filled in place, keeps its device and types.
        tensors: by name, exactly those of the module's `state_dict`.
        file: where they come from, for the message.

    Raises:
        InvalidCheckpoint: a tensor is missing, too many or of another shape; the module is then half filled.
    """
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise InvalidCheckpoint(f"does not fit the model: {error}", file=str(file)) from error


def write_whole(path: Path, content: bytes) -> None:
    """Replaces a file at once, so that whoever reads it finds the old content or the new one, never a part."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, path)


def _files(folder: Path, name: str) -> tuple[Path, Path]:
    if not _NAME.fullmatch(name):
        raise InvalidCheckpoint("a name has lower-case letters, digits, - and _ only", file=str(folder), value=name)
    return folder / f"{name}.safetensors", folder / f"{name}.json"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidCheckpoint(f"cannot be read ({error.strerror})", file=str(path)) from error


def _read_description(path: Path, name: str) -> dict[str, Any]:
    text = _read(path)
    try:
        described = json.loads(text)
    except ValueError as error:
        raise InvalidCheckpoint(f"is no JSON ({error})", file=str(path)) from error
    if not isinstance(described, dict):
        raise InvalidCheckpoint("is no JSON object", file=str(path))
    # The format first: in another one, nothing else need be as it is here.
    _refuse_unequal("format number", described.get("format"), FORMAT, path)
    for key, kind in _ENTRIES.items():
        if type(described.get(key)) is not kind:
            raise InvalidCheckpoint(f"has no {key!r} of type {kind.__name__}", file=str(path))
    _refuse_unequal("name", described["name"], name, path)
    return described


def _refuse_changed(packed: bytes, described: dict[str, Any], path: Path) -> None:
    size = described["bytes"]
    if len(packed) < size:
        raise InvalidCheckpoint(f"is truncated: {len(packed)} of {size} bytes", file=str(path), value=len(packed), limit=size)
    _refuse_unequal("number of bytes", len(packed), size, path)
    _refuse_unequal("sha256", hashlib.sha256(packed).hexdigest(), described["sha256"], path)


def _refuse_other_tensors(tensors: dict[str, Tensor], expected: dict[str, Any], path: Path) -> None:
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or extra:
        raise InvalidCheckpoint(f"other tensors than described: missing {missing}, too many {extra}", file=str(path))
    for name, found in _outline(tensors).items():
        if found != expected[name]:
            raise InvalidCheckpoint(f"tensor {name!r} is {found}, not {expected[name]} as described", file=str(path))


def _refuse_not_finite(tensors: dict[str, Tensor], path: Path) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InvalidCheckpoint(f"tensor {name!r} has values that are NaN or infinite", file=str(path), value=name)


def _refuse_unequal(what: str, found: Any, expected: int | str, path: Path) -> None:
    if found != expected:
        raise InvalidCheckpoint(f"the {what} is {found!r}, not {expected!r}", file=str(path), value=str(found), limit=expected)


def _outline(tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {name: {"shape": list(t.shape), "dtype": str(t.dtype).removeprefix("torch.")} for name, t in sorted(tensors.items())}
