"""The algorithms by name, and their configs from presets and single settings."""

import importlib
import json
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from models.policies.encoder import SetConfig
from models.policies.networks import NetworkConfig
from models.policies.policy import Policy

AGENTS = {  # name: module within models.policies, class
    "bc": ("bc", "BC"),
    "df-dir": ("df_dir", "DFDir"),
    "df-div": ("df_div", "DFDiv"),
    "flowrl": ("flowrl", "FlowRL"),
    "fpmd-m": ("fpmd_m", "FPMDM"),
    "fpmd-r": ("fpmd_r", "FPMDR"),
    "fql": ("fql", "FQL"),
    "gfp": ("gfp", "GFP"),
    "ifql": ("ifql", "IFQL"),
    "qam": ("qam", "QAM"),
    "qam-e": ("qam_e", "QAME"),
    "qam-f": ("qam_f", "QAMF"),
    "rebrac": ("rebrac", "ReBRAC"),
    "sac": ("sac", "SAC"),
    "sfp": ("sfp", "SFP"),
    "swfp": ("swfp", "SWFP"),
}

Preset = Literal["default", "paper", "cpu"]


def policy_class(agent: str) -> type[Policy]:
    """The class of an algorithm, imported now; ValueError if there is none of that name."""
    if agent not in AGENTS:
        raise ValueError(f"there is no agent {agent!r}, but {', '.join(AGENTS)}")
    module, name = AGENTS[agent]
    return getattr(importlib.import_module(f"models.policies.{module}"), name)


def agent_named(kind: str) -> str:
    """The name of the algorithm whose class is called so; ValueError if there is none."""
    found = next((agent for agent, (_, name) in AGENTS.items() if name == kind), None)
    if found is None:
        raise ValueError(f"there is no policy {kind!r}")
    return found


def policy_config(agent: str, preset: Preset, settings: Mapping[str, str]) -> Any:
    """A config of an algorithm.

    Args:
        agent: its name.
        preset: the default, as published, or small enough for one core.
        settings: values by field, of parts with dots between (`solver.steps`), written as JSON or plain words.

    Returns:
        A frozen dataclass.

    Raises:
        ValueError: an unknown agent or field, or a value of another kind.
    """
    kind = policy_class(agent).config_type
    made = {"default": kind, "paper": getattr(kind, "paper", kind), "cpu": getattr(kind, "cpu", kind)}[preset]()
    for name, text in settings.items():
        made = _changed(made, name.split("."), _read(text), name)
    return made


def with_members(config: Any, members: SetConfig | None) -> Any:
    """The same config, in which every network, however deep within, sees that set in its observations.

    Args:
        config: a frozen dataclass.
        members: where observations hold a set; None: nowhere.

    Returns:
        The config.
    """
    if isinstance(config, NetworkConfig):
        return replace(config, members=members)
    parts = {field.name: getattr(config, field.name) for field in fields(config)}
    return replace(config, **{name: with_members(part, members) for name, part in parts.items() if is_dataclass(part)})


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _changed(config: Any, path: list[str], value: Any, name: str) -> Any:
    known = [field.name for field in fields(config)]
    if path[0] not in known:
        raise ValueError(f"{name}: there is no {path[0]!r}, but {', '.join(known)}")
    now, kind = getattr(config, path[0]), get_type_hints(type(config))[path[0]]
    if len(path) > 1:
        if not is_dataclass(now):
            raise ValueError(f"{name}: {path[0]!r} has no parts")
        return replace(config, **{path[0]: _changed(now, path[1:], value, name)})
    return replace(config, **{path[0]: _of_kind(kind, value, name)})


def _of_kind(kind: Any, value: Any, name: str) -> Any:
    """The value as the annotation wants it."""
    if get_origin(kind) is Literal and value in get_args(kind):
        return value
    if get_origin(kind) in (Union, types.UnionType):
        if value is None and type(None) in get_args(kind):
            return None
        return _of_kind(next(part for part in get_args(kind) if part is not type(None)), value, name)
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_of_kind(get_args(kind)[0], part, name) for part in value)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind in (int, bool, str) and type(value) is kind:
        return value
    raise ValueError(f"{name} cannot be {value!r}")
