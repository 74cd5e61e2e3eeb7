"""A ring of recorded steps, and how batches are drawn from it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.policies.transitions import Transitions

LIMIT = 1.0 - 1e-5  # of recorded actions: a tanh never reaches 1


@dataclass(frozen=True)
class Experience:
    """Single steps as they happened, T of them, those of a robot in order of time."""

    observation: Float[Tensor, "T O"]
    action: Float[Tensor, "T A"]  # in [-1, 1]
    reward: Float[Tensor, " T"]
    terminated: Bool[Tensor, " T"]  # nothing follows: no bootstrapping
    ended: Bool[Tensor, " T"]  # last step of its episode, terminated or cut off
    next_observation: Float[Tensor, "T O"]

    def __len__(self) -> int:
        return len(self.reward)


@dataclass(frozen=True)
class DrawConfig:
    """How a batch is drawn."""

    batch: int = 256  # transitions
    steps: int = 1  # time steps of a return, or of a chunk
    chunk: bool = False  # actions of all the steps, not of the first alone
    discount: float = 0.99  # a step, within a return; the policy's own
    recent_share: float = 0.0  # of the batch, drawn from the recent ones alone
    recent: int = 2048  # newest steps that count as recent


@dataclass(frozen=True)
class ReplayConfig:
    """Size of a ring."""

    observation: int  # numbers of an observation
    action: int  # numbers of an action
    capacity: int = 1_000_000  # steps; the oldest go first
    lanes: int = 1  # robots (or environments) that are recorded in turn


class ReplayBuffer:
    """A ring of steps on the CPU, in float32.

    With L lanes, each step of time adds L rows, one a lane, always in the same order: the step after row i of a robot is row i + L.
    """

    def __init__(self, config: ReplayConfig) -> None:
        """An empty ring; ValueError if lanes do not divide the capacity."""
        if config.lanes < 1 or config.capacity < config.lanes or config.capacity % config.lanes:
            raise ValueError(f"capacity {config.capacity} is no positive multiple of {config.lanes} lanes")
        self.config = config
        rows = config.capacity
        self._rows = Experience(
            torch.zeros(rows, config.observation),
            torch.zeros(rows, config.action),
            torch.zeros(rows),
            torch.zeros(rows, dtype=torch.bool),
            torch.zeros(rows, dtype=torch.bool),
            torch.zeros(rows, config.observation),
        )
        self._size = self._head = 0

    def __len__(self) -> int:
        return self._size

    def add(self, experience: Experience) -> None:
        """Appends steps, time by time and within a time lane by lane.

        Args:
            experience: T a multiple of the lanes, and at most the capacity.

        Raises:
            ValueError: another number of steps.
        """
        count, capacity = len(experience), self.config.capacity
        if count % self.config.lanes or count > capacity:
            raise ValueError(f"{count} steps are no multiple of {self.config.lanes} lanes up to the capacity of {capacity}")
        rows = torch.arange(self._head, self._head + count) % capacity
        for field in fields(Experience):
            getattr(self._rows, field.name)[rows] = getattr(experience, field.name).to("cpu")
        self._head = (self._head + count) % capacity
        self._size = min(self._size + count, capacity)

    def recorded(self) -> Experience:
        """All that is kept, oldest first; added to an empty ring, it gives the same batches."""
        rows = self._row(torch.arange(self._size - 1, -1, -1))
        return Experience(*(getattr(self._rows, field.name)[rows] for field in fields(Experience)))

    def replace(self, experience: Experience) -> None:
        """Forgets all that is kept, and keeps this instead."""
        self._size = self._head = 0
        self.add(experience)

    def cut(self) -> None:
        """Ends the episodes of all lanes at their newest steps, which do not terminate by that."""
        newest = self._row(torch.arange(min(self.config.lanes, self._size)))
        self._rows.ended[newest] = True

    def sample(self, draw: DrawConfig, generator: torch.Generator) -> Transitions:
        """A batch, with replacement.

        A return stops at the end of its episode, or of what is recorded, and `steps` tells how long it is: where the task
        terminated, mask is 0; where it was cut off, the value of what comes next still counts. So does that of a chunk, which
        has all its actions all the same: after an end, those of what was recorded next. One that runs over a termination is
        `valid`, as nothing that follows counts there; one that runs over another end is not.

        Args:
            draw: how.
            generator: of the CPU.

        Returns:
            The transitions.

        Raises:
            ValueError: nothing is recorded.
        """
        if self._size == 0:
            raise ValueError("an empty ring has nothing to draw")
        recent = round(draw.recent_share * draw.batch)
        ages = torch.cat([self._ages(self._size, draw.batch - recent, generator), self._ages(draw.recent, recent, generator)])
        return self.gather(ages, draw)

    def gather(self, ages: Int[Tensor, " B"], draw: DrawConfig) -> Transitions:
        """The transitions that begin `ages` rows before the newest one (0: the newest); else as `sample`."""
        rows = self._rows
        alive, reward = torch.ones(len(ages)), torch.zeros(len(ages))
        last, steps, actions = self._row(ages), torch.zeros(len(ages)), []
        for k in range(draw.steps):
            later = ages - k * self.config.lanes
            row = self._row(later.clamp_min(0))
            if k > 0:  # goes on only where the episode did, and where more is recorded
                alive = alive * ~rows.ended[last] * (later >= 0)
            reward = reward + alive * draw.discount**k * rows.reward[row]
            last = torch.where(alive > 0, row, last)
            steps = steps + alive
            actions.append(rows.action[row])
        follower = self._after(last)
        return Transitions(
            observation=rows.observation[self._row(ages)],
            action=torch.stack(actions, 1) if draw.chunk else actions[0],
            reward=reward,
            mask=(~rows.terminated[last]).float(),
            next_observation=rows.next_observation[last],
            steps=steps,
            valid=torch.where(rows.terminated[last], 1.0, alive) if draw.chunk else torch.ones_like(alive),
            next_action=rows.action[follower],
            has_next=(~rows.ended[last] & (follower != last)).float(),
        )

    def _ages(self, newest: int, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(min(newest, self._size), (count,), generator=generator)

    def _row(self, ages: Tensor) -> Tensor:
        return (self._head - 1 - ages) % self.config.capacity

    def _after(self, row: Tensor) -> Tensor:
        """The row of the same lane's next step; the row itself where none is recorded."""
        age = (self._head - 1 - row) % self.config.capacity
        return torch.where(age >= self.config.lanes, (row + self.config.lanes) % self.config.capacity, row)


def read_npz(path: Path) -> Experience:
    """Reads recorded data in the format of OGBench.

    `observations` (T, O), `actions` (T, A) and `terminals` (T,), which mark the last row of each trajectory, terminated or not.
    Without `next_observations`, that last row is a state only: it follows the row before, and its action is dropped. `rewards`
    are 0 and `masks` (0: terminated) 1 where the file has none. Actions are clipped to +-(1 - 1e-5).
    Source: Park et al., OGBench: Benchmarking Offline Goal-Conditioned RL (2024).

    Args:
        path: of the npz file.

    Returns:
        The steps, in one lane.

    Raises:
        ValueError: an array is missing, or has another number of rows.
    """
    with np.load(path) as stored:
        return as_experience({name: stored[name] for name in stored.files if stored[name].ndim in (1, 2)}, str(path))


def as_experience(arrays: Mapping[str, np.ndarray], origin: str) -> Experience:
    """The steps of recorded arrays; else as `read_npz`, with `origin` named in errors."""
    found = {name: torch.from_numpy(np.asarray(array, np.float32)) for name, array in arrays.items()}
    missing = {"observations", "actions", "terminals"} - found.keys()
    if missing:
        raise ValueError(f"{origin} has no {sorted(missing)}")
    rows = len(found["observations"])
    wanted = {"actions", "terminals", "next_observations", "rewards", "masks"} & found.keys()
    unequal = {name: len(found[name]) for name in sorted(wanted) if len(found[name]) != rows}
    if unequal:
        raise ValueError(f"{origin} has {rows} observations, but {unequal}")
    reward, mask = found.get("rewards", torch.zeros(rows)), found.get("masks", torch.ones(rows))
    action, ended = found["actions"].clamp(-LIMIT, LIMIT), found["terminals"] > 0.5
    if "next_observations" in found:
        return Experience(found["observations"], action, reward, mask < 0.5, ended, found["next_observations"])
    kept = ~ended
    kept[-1] = False  # also of a recording that stopped within a trajectory: what follows its last row is unknown
    after = ended.roll(-1)
    after[-2:] = True
    follower = found["observations"].roll(-1, 0)
    parts = (found["observations"], action, reward, mask < 0.5, after, follower)
    return Experience(*(part[kept] for part in parts))
