"""The learned initialisation: where the filter's rounds start, read off a scene and a proposal.

A transformer over robots predicts, for a proposal c*, the change c_0 - c* of its control points and the multipliers lambda_0
that a long, soft run of the filter would have ended with. Both are sums of sine modes over the free control points, in radii, in
the frame that moves along each robot's proposal: ends are met by construction, and turning, shifting or scaling the world turns,
shifts or scales what is predicted. Robots have no index. The heads start at zero: an untrained network changes nothing.

Source of the idea: the initialisation network of Flow-Opt, trained through the unrolled solver (`safety_filter.training`).
"""

import threading
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from maps.errors import InvalidCheckpoint
from maps.scenario import Scenario
from models.checkpoint import ModelIdentity, fill_module, load_weights, weights_folder
from models.condition import PAIR_FEATURES, ROBOT_FEATURES, Condition, RobotEncoder, Surveyed, condition_on
from models.layers import Block, zeroed
from models.openvino_network import available, compile_module
from models.path_frame import SAMPLES, headings, rotate_into
from models.surroundings import ASIDE
from safety_filter.problem import FilterConfig
from safety_filter.sine_modes import abscissae, sine_modes, size_of_modes, to_control
from safety_filter.warm_view import KNOT_COUNT, NEAREST_FEATURES, View, view

RELEASED = "warm-start"  # name of the weights that come with the package


@dataclass(frozen=True)
class WarmStartConfig:
    """Size of the network; the defaults fit the released generator's trunk, from which training may start."""

    width: int = 128  # of a robot's token
    layers: int = 2
    heads: int = 4
    pair: int = 48  # width of a pair's features
    control_modes: int = 18  # of c_0 - c*, on each axis
    multiplier_modes: int = 18  # of lambda_0, on each axis


class Start(NamedTuple):
    """Where the rounds of one problem, or of many, begin."""

    control: Float[Tensor, "*batch N n 2"]  # m
    multiplier: Float[Tensor, "*batch N n 2"]


class WarmStartNetwork(nn.Module):
    """Predicts the filter's first iterate; any number of robots, any map, any source of proposals."""

    spread: Tensor  # (K, 2) standard deviations of all coefficients, forward and left, radii

    def __init__(self, config: WarmStartConfig) -> None:
        """Untrained weights: the first prediction is the proposal itself, with multipliers of zero."""
        super().__init__()
        self.config = config
        width, hidden = config.width, config.width // 2
        self.robot = RobotEncoder(width)
        self.pair_static = nn.Linear(PAIR_FEATURES, hidden)
        self.pair_nearest = zeroed(nn.Linear(NEAREST_FEATURES, hidden))
        self.pair_out = nn.Linear(hidden, config.pair)
        self.scene = nn.Sequential(nn.Linear(width + 1, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, config.heads, config.pair) for _ in range(config.layers))
        self.last_norm = nn.LayerNorm(width)
        modes = config.control_modes + config.multiplier_modes
        self.last = zeroed(nn.Linear(width, 2 * modes))
        self.register_buffer("spread", torch.ones(modes, 2))

    def forward(self, surveyed: Surveyed) -> Float[Tensor, "S N K 2"]:
        """Coefficients of the modes, radii: first those of the control points, then those of the multipliers.

        Args:
            surveyed: the scenes, seen along the proposals.
        """
        c = condition_on(surveyed)
        return self.read(c.robot, c.room, c.fleet, c.pair, nearest_features(surveyed, c), c.mask)

    def read(self, robot: Tensor, room: Tensor, fleet: Tensor, pair: Tensor, nearest: Tensor, mask: Tensor) -> Float[Tensor, "S N K 2"]:
        """The same from the entries of a `View`, float32."""
        token = self.robot.tokens(robot, room)
        weight = mask.to(token.dtype)[..., None]
        pooled = (token * weight).sum(1) / weight.sum(1)
        scene = self.scene(torch.cat([pooled, fleet], dim=-1))
        seen_as = self.pair_out(nn.functional.silu(self.pair_static(pair) + self.pair_nearest(nearest)))
        for block in self.blocks:
            token = block(token, seen_as, mask[:, None], scene)
        return self.last(self.last_norm(token)).unflatten(-1, (-1, 2)) * self.spread

    def start(self, surveyed: Surveyed, proposal: Float[Tensor, "S N n 2"]) -> Start:
        """The first iterate for proposals, m, of the proposals' type."""
        return self.decode(self(surveyed), surveyed, proposal)

    def decode(self, coefficients: Float[Tensor, "S N K 2"], surveyed: Surveyed, proposal: Float[Tensor, "S N n 2"]) -> Start:
        """The first iterate that coefficients stand for."""
        parts = coefficients.to(proposal).split([self.config.control_modes, self.config.multiplier_modes], dim=2)
        change, multiplier = (to_control(part, surveyed, proposal.shape[2]) for part in parts)
        return Start(proposal + change, multiplier)


def nearest_features(surveyed: Surveyed, condition: Condition) -> Float[Tensor, "S N N 4"]:
    """What the first projection shows of each pair: where the other is at the closest approach of both proposals, and when.

    Offsets forward and left in sums of radii, fading with distance as in `models.condition.pair_features`; nearness; time.
    """
    route = surveyed.route
    with torch.no_grad():
        place = (route[:, None] - route[:, :, None]).float()  # S N N T 2
        square = place.square().sum(-1)
        when = square.argmin(-1)
    reach = (surveyed.radius[:, :, None] + surveyed.radius[:, None]).float().clamp_min(1e-12)
    offset = place.gather(3, when[..., None, None].expand(*when.shape, 1, 2))[..., 0, :] / reach[..., None]
    heading = headings(route).float()[:, :, None].expand(*place.shape)
    heading = heading.gather(3, when[..., None, None].expand(*when.shape, 1, 2))[..., 0, :]
    distance = offset.norm(dim=-1, keepdim=True)
    aside = rotate_into(offset, heading) / (1.0 + distance)
    features = torch.cat([aside, 1.0 / (1.0 + distance.square()), when[..., None] / (SAMPLES - 1.0)], dim=-1)
    real = condition.mask[:, None, :] & condition.mask[:, :, None]
    return features * real[..., None].to(features.dtype)


@dataclass(frozen=True)
class WarmSchedule:
    """How the rounds go on from a predicted start, and when they are given up for a run from the proposal itself."""

    penalty: float = 2.0  # at the start
    wall_penalty: float = 9.0  # of walls and bounds while that of the pairs is lower
    growth: float = 2.5  # factor of the penalty from stage to stage
    most_penalty: float = 1000.0  # where the growth ends
    rounds: int = 64  # most
    hopeless: float = 2.0  # mean radii, worst violation after the first four stages from which on they are given up

    def adapted(self, config: FilterConfig) -> FilterConfig:
        """The filter's weights with this schedule."""
        changes = {name: getattr(self, name) for name in ("penalty", "wall_penalty", "growth", "most_penalty", "rounds", "hopeless")}
        return replace(config, **changes)


@runtime_checkable
class Starter(Protocol):
    """Says where the rounds of a problem begin, and on what schedule they go on."""

    @property
    def schedule(self) -> WarmSchedule:
        """Of the rounds."""
        ...

    def __call__(self, scenario: Scenario, control_points: Float[np.ndarray, "N n 2"]) -> tuple[np.ndarray, np.ndarray]:
        """First iterate (m) and multipliers, (N, n, 2), for a proposal."""
        ...


@dataclass(frozen=True)
class AtProposal:
    """The proposal itself, on a short schedule: for proposals that know already who passes whom on which side."""

    schedule: WarmSchedule = field(default_factory=lambda: WarmSchedule(3.0, 9.0, 1.7, 1e5, 48, 1.0))

    def __call__(self, scenario: Scenario, control_points: Float[np.ndarray, "N n 2"]) -> tuple[np.ndarray, np.ndarray]:
        """The proposal, without multipliers."""
        return control_points, np.zeros_like(control_points)


class _Reader(nn.Module):
    """`WarmStartNetwork.read` as a module, as a tracer wants it."""

    def __init__(self, network: WarmStartNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *view: Tensor) -> Tensor:
        return self.network.read(*view)


MANY = 40  # robots, beyond which the rounds after a predicted start grow more slowly: those of larger fleets were led astray
PATIENT = WarmSchedule(growth=1.7, rounds=96, hopeless=4.0)


class WarmStart:
    """A trained network at work, on the CPU, one problem at a time; run by torch, or by OpenVINO where `streams` are given."""

    def __init__(
        self,
        network: WarmStartNetwork,
        schedule: WarmSchedule | None = None,
        identity: ModelIdentity | None = None,
        streams: int | None = None,
    ) -> None:
        """`identity` tells which weights these are; `streams`, how many calls OpenVINO may run at once (None: torch runs them)."""
        self.network = network.eval()
        self.schedule = schedule or WarmSchedule()
        self.identity = identity
        self._compiled = None
        if streams is not None:
            two, three = (torch.zeros(*shape) for shape in ((2, 3, 3, PAIR_FEATURES), (2, 3, 3, NEAREST_FEATURES)))
            robots = torch.zeros(2, 3, ROBOT_FEATURES), torch.zeros(2, 3, KNOT_COUNT, len(ASIDE)), torch.zeros(2, 1)
            example = (*robots, two, three, torch.ones(2, 3, dtype=torch.bool))
            name = None if identity is None else f"{identity.sha256} {network.config}"
            self._compiled = compile_module(_Reader(self.network), example, streams, bf16=True, name=name)
        self._requests = threading.local()

    def for_fleet(self, robots: int) -> "WarmStart":
        """The same network, on the schedule for a fleet of this size; one that was made with a schedule of its own keeps that."""
        if robots <= MANY or self.schedule != WarmSchedule():
            return self
        other = copy(self)
        other.schedule = PATIENT
        return other

    def __call__(self, scenario: Scenario, control_points: Float[np.ndarray, "N n 2"]) -> tuple[np.ndarray, np.ndarray]:
        """First iterate and multipliers (N, n, 2); they depend on the scenario and the proposal alone."""
        seen, heading = view(scenario, control_points)
        coefficients = self._read(seen)[0].astype(np.float64)
        count, split = control_points.shape[1], self.network.config.control_modes
        size = scenario.fleet.radius.numpy()[:, None, None] * size_of_modes(count)
        along = heading[:, abscissae(count)]
        change, multiplier = (
            size * _turned(sine_modes(count, part.shape[1]) @ part, along) for part in (coefficients[:, :split], coefficients[:, split:])
        )
        return control_points + change, multiplier

    @torch.inference_mode()
    def _read(self, seen: View) -> np.ndarray:
        if self._compiled is None:
            return self.network.read(*(torch.from_numpy(entry) for entry in seen)).numpy()
        if not hasattr(self._requests, "own"):
            self._requests.own = self._compiled.create_infer_request()
        return self._requests.own.infer(list(seen))[0]


def _turned(vector: np.ndarray, heading: np.ndarray) -> np.ndarray:
    """As `models.path_frame.rotate_out_of`."""
    forward, left, c, s = vector[..., 0], vector[..., 1], heading[..., 0], heading[..., 1]
    return np.stack([c * forward - s * left, s * forward + c * left], axis=-1)


def load_warm_start(folder: Path | None = None, schedule: WarmSchedule | None = None, streams: int | None = None) -> WarmStart:
    """The learned initialisation, run by torch, or on request by OpenVINO where that is installed.

    Args:
        folder: of its weights, such as that of a training run; None: those released with the package.
        schedule: of the rounds after it.
        streams: calls of OpenVINO that may run at once; None: torch.

    Raises:
        InvalidCheckpoint: its files are missing, damaged or foreign.
    """
    folder = folder or weights_folder()
    identity, told, tensors = load_weights(folder, RELEASED)
    network = WarmStartNetwork(network_config(told.get("network"), folder))
    fill_module(network, tensors, folder / f"{RELEASED}.safetensors")
    return WarmStart(network, schedule, identity, streams if available() else None)


def network_config(entries: object, folder: Path) -> WarmStartConfig:
    """The network's size as its checkpoint tells it.

    Raises:
        InvalidCheckpoint: it tells none, or sizes that no network has.
    """
    known = asdict(WarmStartConfig())
    if not isinstance(entries, dict) or set(entries) != set(known):
        raise InvalidCheckpoint(f"its sizes are not {', '.join(known)}", file=str(folder / f"{RELEASED}.json"))
    if not all(type(value) is int and 0 < value <= 4096 for value in entries.values()) or entries["width"] % entries["heads"]:
        raise InvalidCheckpoint("its sizes are those of no network", file=str(folder / f"{RELEASED}.json"))
    return WarmStartConfig(**entries)
