"""Released policies of fleets, and the pilot that acts by one."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from maps.errors import InvalidCheckpoint, InvalidInput
from models.checkpoint import ModelIdentity, fill_module, load_weights, save_weights, weights_folder
from models.policies.draws import Draws
from models.policies.networks import Sizes
from models.policies.policy import Policy
from models.policies.registry import agent_named, policy_class
from models.policies.sfp import SFP
from models.policies.stored import rebuild
from planner.fleet_view import OBSERVATION
from planner.rollout import FleetSimulation

PREFIX = "fleet-"  # of the names of released weights
ACTION = 2  # numbers of an action
COPY = "target_"  # before the name of a network: its running copy


@dataclass(frozen=True)
class FleetPolicy:
    """A policy that moves robots of a fleet: observations of `planner.fleet_view` in, accelerations of a_max out, in the ego frame."""

    agent: str  # name of its algorithm
    identity: ModelIdentity
    policy: Policy
    trained: Mapping[str, Any]  # how, for its description
    card: str  # Markdown; empty where there is none

    @property
    def chunk(self) -> int:
        """Actions that are chosen together."""
        return self.policy.sizes.action // ACTION

    def act(self, observation: Float[Tensor, "*batch O"], generator: torch.Generator) -> Float[Tensor, "*batch 2"]:
        """The next action of each robot, in [-1, 1]; of a chunk, the first."""
        flat = observation.reshape(-1, observation.shape[-1])
        if isinstance(self.policy, SFP):  # the rest of its chunk need not be integrated
            first = next(self.policy.stream(self.policy.scaled(flat), Draws(generator, None, self.policy.device)))
            return first.reshape(*observation.shape[:-1], ACTION)
        return self.policy.act(flat, generator)[:, :ACTION].reshape(*observation.shape[:-1], ACTION)


class PolicyPilot:
    """Lets a policy choose, robot by robot, from what each is told."""

    def __init__(self, policy: FleetPolicy, seed: int = 0) -> None:
        """`seed`: of the noise that actions come from."""
        self.policy = policy
        self.generator = torch.Generator().manual_seed(seed)

    def act(self, simulation: FleetSimulation) -> Float[Tensor, "S N 2"]:
        """Actions of all robots."""
        return self.policy.act(simulation.view.observation, self.generator)


def save_fleet_policy(folder: Path, policy: Policy, version: str, trained: Mapping[str, Any]) -> ModelIdentity:
    """Stores a policy's networks as released weights `fleet-<agent>`, without the optimizer and the running copies of critics.

    Args:
        folder: is made if it is missing.
        policy: of fleets.
        version: any text.
        trained: how; anything that JSON can hold.

    Raises:
        InvalidInput: it sees or does something else than robots of fleets.
    """
    agent, sizes = agent_named(type(policy).__name__), policy.sizes
    if sizes.observation != OBSERVATION or sizes.action % ACTION:
        seen, done = sizes.observation, sizes.action
        raise InvalidInput(f"no policy of fleets: it sees {seen} numbers and does {done}, not {OBSERVATION} and {ACTION}")
    config = {"agent": agent, "sizes": asdict(sizes), "policy": asdict(policy.config), "trained": dict(trained)}
    return save_weights(folder, PREFIX + agent, version, config, _without_copies(policy.state_dict()))


def load_fleet_policy(agent: str, folder: Path | None = None) -> FleetPolicy:
    """A released policy; InvalidCheckpoint if its files are missing or damaged.

    Args:
        agent: name of the algorithm.
        folder: None: the package's own weights.
    """
    place = folder or weights_folder()
    name = PREFIX + agent
    identity, config, tensors = load_weights(place, name)
    file = place / f"{name}.safetensors"
    try:
        kind: Any = policy_class(config["agent"])
        policy = kind(rebuild(Sizes, config["sizes"]), rebuild(kind.config_type, config["policy"]), 0)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidCheckpoint(f"describes no policy that this version builds ({error})", file=str(file)) from error
    fill_module(policy, _with_copies(tensors, policy.state_dict()), file)
    card = place / f"{name}.md"
    return FleetPolicy(agent, identity, policy.eval(), config.get("trained", {}), card.read_text(encoding="utf-8") if card.exists() else "")


def released_agents(folder: Path | None = None) -> tuple[str, ...]:
    """Names of the algorithms with released policies, in order."""
    return tuple(sorted(path.stem.removeprefix(PREFIX) for path in (folder or weights_folder()).glob(f"{PREFIX}*.json")))


def _without_copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All but running copies, which learning begins anew from what they are copies of."""
    return {name: tensor for name, tensor in tensors.items() if name.removeprefix(COPY) == name or name.removeprefix(COPY) not in tensors}


def _with_copies(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    copies = {name: tensors[name.removeprefix(COPY)] for name in wanted if name not in tensors and name.removeprefix(COPY) in tensors}
    return {**tensors, **copies}
