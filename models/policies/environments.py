"""Environments to learn in: Gymnasium, dm_control and OGBench behind one face, for observations and actions as policies have them.

Their packages are optional and imported by whoever asks for an environment of theirs.
"""

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from models.policies.encoder import SetConfig

GROUP = "policies"  # of optional packages


class MissingPackage(ModuleNotFoundError):
    """An environment needs an optional package that is not installed."""

    def __init__(self, package: str, what: str) -> None:
        """`what` needs `package`."""
        super().__init__(f"{what} needs {package}: pip install 'flowfleet[{GROUP}]'", name=package)


@dataclass(frozen=True)
class Step:
    """What an action led to."""

    observation: Float[Tensor, " O"]
    reward: float
    terminated: bool  # the task ended: nothing follows
    truncated: bool  # the episode was cut off
    success: float | None  # whether the goal is reached; None: the environment does not tell


class Environment:
    """An environment with flat observations and actions in [-1, 1], which an episode's seed makes the same each time.

    Some environments draw from numpy's global state; that of each one is its own here, and nobody else's changes.
    """

    def __init__(self, simulation: Any) -> None:
        """`simulation` has the methods and spaces of Gymnasium; ValueError if its actions are no bounded box."""
        with warnings.catch_warnings(action="ignore"):  # of the precision of its spaces
            low, high = (getattr(simulation.action_space, bound, None) for bound in ("low", "high"))
        if low is None or high is None or not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ValueError("policies need actions in a bounded box, not " + str(simulation.action_space))
        self.simulation = simulation
        self.members: SetConfig | None = getattr(simulation, "members", None)  # where observations hold a set, if the simulation tells
        self._middle, self._half = (high + low) / 2.0, (high - low) / 2.0
        self._numpy = np.random.RandomState(0).get_state()
        self.action, self.observation = int(self._middle.size), len(self.reset(0))

    def reset(self, seed: int) -> Float[Tensor, " O"]:
        """The first observation of the episode that the seed tells."""
        return _flat(self.begin(seed, None)[0])

    def step(self, action: Float[Tensor, " A"]) -> Step:
        """Acts; what lies outside [-1, 1] is clipped."""
        wanted = self._middle + self._half * action.clamp(-1.0, 1.0).numpy().reshape(self._middle.shape)
        seen, reward, terminated, truncated, told = self.advance(wanted.astype(self._middle.dtype))
        success = None if told.get("success") is None else float(told["success"])
        return Step(_flat(seen), float(reward), bool(terminated), bool(truncated), success)

    def begin(self, seed: int, options: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        """The simulation's own reset, with its options."""
        self._numpy = np.random.RandomState(seed).get_state()
        with self.drawing(), warnings.catch_warnings(action="ignore"):
            if hasattr(self.simulation.action_space, "seed"):
                self.simulation.action_space.seed(seed)
            return self.simulation.reset(seed=seed, options=options)

    def advance(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """The simulation's own step, by an action in its own bounds."""
        with self.drawing():
            return self.simulation.step(action)

    def close(self) -> None:
        """Frees what the simulation holds."""
        self.simulation.close()

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Within it, numpy's global state is this environment's."""
        others = np.random.get_state()  # noqa: NPY002
        np.random.set_state(self._numpy)  # noqa: NPY002
        try:
            yield
        finally:
            self._numpy = np.random.get_state()  # noqa: NPY002
            np.random.set_state(others)  # noqa: NPY002


def make_environment(name: str) -> Environment:
    """An environment by name.

    Args:
        name: `dm_control/<domain>-<task>`; a single task of OGBench, as `pointmaze-medium-navigate-singletask-v0`; `<module>:<class>`
            for a class with the methods of Gymnasium; otherwise one that is registered with Gymnasium.

    Returns:
        The environment.

    Raises:
        MissingPackage: its package is not installed.
        ValueError: there is no such environment, or policies cannot act in it.
    """
    module, _, own = name.partition(":")
    if own.isidentifier():
        return Environment(_own(module, own, name))
    if name.startswith("dm_control/"):
        return Environment(_DmControl(name))
    if is_ogbench(name):
        return Environment(simulation(name, "ogbench", lambda ogbench: ogbench.make_env_and_datasets(name, env_only=True)))
    return Environment(simulation(name, "gymnasium", lambda gymnasium: gymnasium.make(name)))


def is_ogbench(name: str) -> bool:
    """Whether the name is of a single task of OGBench."""
    return "singletask" in name.split("-")


def imported(module: str, what: str) -> Any:
    """A module of an optional package, without its warnings; MissingPackage if `what` needs it and it is not there."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingPackage((error.name or module).split(".")[0], what) from error


def simulation(name: str, module: str, make: Callable[[Any], Any]) -> Any:
    """What `make` gives of a module that makes environments of Gymnasium; ValueError if it knows none of that name."""
    package, errors = imported(module, name), imported("gymnasium.error", name)
    try:
        with warnings.catch_warnings(action="ignore"):
            return make(package)
    except errors.DependencyNotInstalled as error:
        raise MissingPackage("more packages", name) from error
    except errors.Error as error:
        raise ValueError(f"no environment {name!r}: {error}") from error


def _own(module: str, kind: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), kind)()
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"no environment {name!r}: {error}") from error


def _flat(observation: Any) -> Tensor:
    parts = observation.values() if hasattr(observation, "values") else [observation]
    flat = np.concatenate([np.asarray(part, np.float32).reshape(-1) for part in parts])
    return torch.from_numpy(flat.copy())


class _DmControl:
    """A task of the dm_control suite with the methods of Gymnasium."""

    def __init__(self, name: str) -> None:
        suite = imported("dm_control.suite", name)
        domain, _, task = name.removeprefix("dm_control/").partition("-")
        if (domain, task.replace("-", "_")) not in suite.ALL_TASKS:
            raise ValueError(f"no environment {name!r}: the suite has dm_control/cheetah-run, dm_control/point_mass-easy and others")
        with warnings.catch_warnings(action="ignore"):
            self._environment = suite.load(domain, task.replace("-", "_"))
        spec = self._environment.action_spec()
        shape = np.zeros(spec.shape, spec.dtype)
        self.action_space = SimpleNamespace(low=shape + spec.minimum, high=shape + spec.maximum)

    def reset(self, seed: int, options: Any) -> tuple[Any, dict[str, Any]]:
        self._environment.task.random.seed(seed)
        return self._environment.reset().observation, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        moment = self._environment.step(action)
        terminated = moment.last() and moment.discount == 0.0
        return moment.observation, moment.reward or 0.0, terminated, moment.last() and not terminated, {}

    def close(self) -> None:
        self._environment.close()
