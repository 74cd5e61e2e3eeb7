"""The generator at work: what it is told of a task, and the joint trajectories that it draws."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from maps.scenario import Scenario
from models.checkpoint import ModelIdentity, fill_module, load_weights, weights_folder
from models.condition import Surveyed, survey_along
from models.dit import DiT, DiTConfig
from models.generator import Generator, SamplingConfig
from models.normalizer import Normalizer
from models.openvino_network import OpenVINONetwork, available
from planner.proposals import control_count
from planner.routes import routes
from planner.task import Task

NEXT_DRAW = 0x1E3779B97F4A7C15  # between the seeds of a request's draws
RELEASED = "generator"  # name of the weights that come with the package


@dataclass(frozen=True)
class Drawn:
    """A scenario as the generator sees it, with the routes that its trajectories start from."""

    surveyed: Surveyed  # S = 1
    routes: Float[Tensor, "N n 2"]  # m


def survey(scenario: Scenario, horizon: float, seed: int | None = None) -> Drawn:
    """Finds each robot's route, as `routes` does, and looks at what stands beside it."""
    ways = routes(scenario, horizon, control_count(scenario, horizon), seed)
    return Drawn(survey_along([replace(scenario, horizon=horizon)], ways[None]), ways)


class Proposer:
    """Proposes what a generator draws."""

    def __init__(self, generator: Generator, identity: ModelIdentity | None = None) -> None:
        """`identity` tells plans which weights they come from."""
        self.generator = generator
        self.identity = identity

    def __call__(self, task: Task, many: int, draw: int = 0) -> Float[Tensor, "M N n 2"]:
        """Joint trajectories for one task; they depend on its scenario, its seed and the number of the draw alone.

        The first draw starts from every robot's own way, the second from ways that give way to each other.
        """
        if many == 0:
            return torch.zeros(0, len(task.scenario), control_count(task.scenario, task.horizon), 2, dtype=torch.float64)
        seed = (task.options.seed + draw * NEXT_DRAW) % (1 << 63)
        drawn = survey(task.scenario, task.horizon, seed if draw == 1 else None)
        return self.generator.sample(drawn.surveyed, drawn.routes[None], many, [seed])[0]


def load_generator(folder: Path | None = None, sampling: SamplingConfig | None = None, streams: int = 2) -> Proposer:
    """The generator, run by OpenVINO where that is installed, else by torch.

    Args:
        folder: of its weights, such as that of a training run; None: those released with the package.
        sampling: how the flow is followed.
        streams: calls of the network that may run at once.

    Raises:
        InvalidCheckpoint: its files are missing, damaged or foreign.
    """
    folder = folder or weights_folder()
    identity, config, tensors = load_weights(folder, RELEASED)
    network = DiT(network_config(config["network"]), Normalizer.blank(config["network"]["modes"]))
    fill_module(network, tensors, folder / f"{RELEASED}.safetensors")
    fast = available() and network.config.attention  # the tracer would take the mask of robots that see nobody for a constant
    runs = OpenVINONetwork(network, streams, name=f"{identity.sha256} {network.config}") if fast else network.eval()
    return Proposer(Generator(runs, sampling), identity)


def network_config(entries: dict[str, object]) -> DiTConfig:
    """The network's size as its checkpoint tells it."""
    return replace(DiTConfig(), **entries)  # type: ignore[arg-type]
