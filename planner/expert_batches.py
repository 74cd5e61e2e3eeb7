"""Experts from shards, in memory, as batches for training: fleets of one size together, so that nothing is padded."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maps.errors import InvalidInput
from models.condition import Surveyed

ROBOT_ARRAYS = ("route", "room", "start_velocity", "radius", "v_max", "a_max")


@dataclass(frozen=True)
class Batch:
    """Scenes with one expert plan each."""

    surveyed: Surveyed
    path: Float[Tensor, "S N T 2"]  # offsets of the plan from the routes, forward and left, radii

    def __len__(self) -> int:
        return self.path.shape[0] * self.path.shape[1]

    def to(self, device: str | torch.device) -> "Batch":
        """The same on a device."""
        return Batch(self.surveyed.to(device), self.path.to(device))

    def mirrored(self) -> "Batch":
        """The same in a mirror."""
        return Batch(self.surveyed.mirrored(), self.path * torch.tensor([1.0, -1.0]))


@dataclass(frozen=True)
class BatchConfig:
    """What a batch is made of."""

    robots: int = 384  # robots of a batch, over all scenes
    scenes: int = 64  # most scenes of a batch
    warmth: float = 0.03  # plans of a scene are drawn with weight exp(-(cost - best) / warmth)
    mirrored: float = 0.5  # share of the batches that are mirrored


class ExpertSet:
    """All experts of some shards."""

    def __init__(self, paths: list[Path]) -> None:
        """Reads the shards.

        Raises:
            InvalidInput: there are none.
        """
        if not paths:
            raise InvalidInput("no shards of experts to learn from; make some with `flowfleet dataset`")
        loaded = [dict(np.load(path)) for path in paths]
        self._arrays = {name: np.concatenate([shard[name] for shard in loaded]) for name in loaded[0]}
        robots, plans = self._arrays["robots"], self._arrays["plans"]
        self._robot_start = np.concatenate([[0], np.cumsum(robots)])
        self._plan_start = np.concatenate([[0], np.cumsum(plans)])
        self._path_start = np.concatenate([[0], np.cumsum(robots * plans)])
        self.sizes = {int(n): np.flatnonzero(robots == n) for n in np.unique(robots)}

    def __len__(self) -> int:
        return len(self._arrays["robots"])

    def offsets(self, most: int) -> Float[Tensor, "P T 2"]:
        """Evenly chosen paths of single robots, at most `most`, offsets in radii."""
        path = self._arrays["path"]
        return torch.from_numpy(path[:: max(len(path) // most, 1)].astype(np.float32))

    def draw(self, generator: torch.Generator, config: BatchConfig) -> Batch:
        """A random batch; a size of fleet is drawn as often as it occurs."""
        rng = np.random.default_rng(int(torch.randint(1 << 62, (1,), generator=generator)))
        robots = int(self._arrays["robots"][rng.integers(len(self))])
        members = self.sizes[robots]
        count = int(np.clip(config.robots // robots, 1, min(config.scenes, len(members))))
        chosen = rng.choice(members, count, replace=False)
        batch = self.batch(chosen, [self._plan(int(k), rng, config.warmth) for k in chosen])
        return batch.mirrored() if rng.random() < config.mirrored else batch

    def _plan(self, scene: int, rng: np.random.Generator, warmth: float) -> int:
        cost = self._arrays["cost"][self._plan_start[scene] : self._plan_start[scene + 1]]
        weight = np.exp(-(cost - cost.min()) / warmth)
        return int(rng.choice(len(cost), p=weight / weight.sum()))

    def batch(self, scenes: np.ndarray, plans: list[int]) -> Batch:
        """Given scenes, all of one size, each with one of its plans."""
        robots = int(self._arrays["robots"][scenes[0]])
        rows = self._robot_start[scenes][:, None] + np.arange(robots)
        paths = (self._path_start[scenes] + np.array(plans) * robots)[:, None] + np.arange(robots)
        arrays = {name: torch.from_numpy(self._arrays[name][rows]).float() for name in ROBOT_ARRAYS}
        start = self._arrays["start"][rows]
        arrays["route"] += torch.from_numpy(start - start.mean(axis=1, keepdims=True)).float()[:, :, None]
        whole = {name: torch.from_numpy(self._arrays[name][scenes]).float() for name in ("horizon", "margin")}
        surveyed = Surveyed(**arrays, **whole, mask=torch.ones(len(scenes), robots, dtype=torch.bool))
        return Batch(surveyed, torch.from_numpy(self._arrays["path"][paths]).float())
