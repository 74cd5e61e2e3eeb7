"""A policy on disk: one safetensors file whose header tells class, sizes and config; no pickle."""

import json
import os
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

if TYPE_CHECKING:
    from models.policies.policy import Policy

FORMAT = "1"


@dataclass(frozen=True)
class StoredPolicy:
    """What the header tells."""

    policy: str  # name of the class
    sizes: Any  # a frozen dataclass
    config: Any  # a frozen dataclass
    updates: int  # done


@dataclass(frozen=True)
class StoredTensors:
    """What the file holds."""

    networks: dict[str, Tensor]
    moments: dict[str, Tensor]  # of the optimizer, by "<moment>.<parameter>"
    generator: Tensor  # state

    def fill(self, policy: "Policy", path: Path) -> None:
        """Puts all of it into a policy of the same form; ValueError if the form is another."""
        try:
            policy.load_state_dict(self.networks)
        except RuntimeError as error:
            raise ValueError(f"{path} does not fit the policy: {error}") from error
        _restore_moments(policy, self.moments)
        policy.generator.set_state(self.generator)


def write_policy(path: Path, policy: "Policy", described: StoredPolicy) -> None:
    """Replaces the file at once, so that a reader finds the old one or the new one."""
    parts = {"network": policy.state_dict(), "optimizer": _moments(policy), "generator": {"state": policy.generator.get_state()}}
    tensors = {f"{part}/{name}": tensor.contiguous() for part, named in parts.items() for name, tensor in named.items()}
    header = {"format": FORMAT, "described": json.dumps(asdict(described))}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(safetensors.torch.save(tensors, header))
    os.replace(partial, path)


def stored_class(path: Path) -> str:
    """Name of the class of the policy in a file; ValueError if it holds none."""
    return _described(_opened(path)[0], path)["policy"]


def read_policy(path: Path, name: str) -> tuple[dict[str, Any], StoredTensors]:
    """The header and the tensors of a policy of the class `name`; ValueError if that is not what the file holds."""
    header, tensors = _opened(path)
    described = _described(header, path)
    if "generator/state" not in tensors:
        raise ValueError(f"{path} holds no policy of format {FORMAT}")
    if described["policy"] != name:
        raise ValueError(f"{path} holds a policy {described['policy']}, not {name}")
    return described, StoredTensors(_part(tensors, "network"), _part(tensors, "optimizer"), tensors["generator/state"])


def _opened(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _described(header: Mapping[str, str], path: Path) -> dict[str, Any]:
    if header.get("format") != FORMAT:
        raise ValueError(f"{path} holds no policy of format {FORMAT}")
    return json.loads(header["described"])


def rebuild(kind: Any, value: Any) -> Any:
    """A frozen dataclass, with those within it, from what `asdict` and JSON made of it.

    Args:
        kind: type of the value, from annotations.
        value: of JSON.

    Returns:
        The value; lists where tuples belong become tuples.

    Raises:
        ValueError: fields that the dataclass does not have.
    """
    if get_origin(kind) in (Union, types.UnionType):
        return None if value is None else rebuild(next(part for part in get_args(kind) if part is not type(None)), value)
    if get_origin(kind) is tuple:
        return tuple(value)
    if not is_dataclass(kind):
        return value
    hints = get_type_hints(kind)
    unknown = sorted(value.keys() - hints.keys())
    if unknown:
        raise ValueError(f"a config has no {unknown}")
    return kind(**{name: rebuild(hints[name], part) for name, part in value.items()})  # type: ignore[operator]


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{part}/"): tensor for key, tensor in tensors.items() if key.startswith(f"{part}/")}


def _names(policy: nn.Module) -> dict[Tensor, str]:
    return {parameter: name for name, parameter in policy.named_parameters()}


def _moments(policy: "Policy") -> dict[str, Tensor]:
    names = _names(policy)
    return {f"{key}.{names[parameter]}": value for parameter, kept in policy.optimizer.state.items() for key, value in kept.items()}


def _restore_moments(policy: "Policy", moments: Mapping[str, Tensor]) -> None:
    by_name: dict[str, dict[str, Tensor]] = {}
    for name, tensor in moments.items():
        key, _, parameter = name.partition(".")
        by_name.setdefault(parameter, {})[key] = tensor
    names, optimizer = _names(policy), policy.optimizer
    ordered = [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    state = {index: by_name[name] for index, name in enumerate(ordered) if name in by_name}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
