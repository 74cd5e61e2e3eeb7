"""The loop in which policies learn: from recorded data, in an environment, or from the one and then in the other.

A run has so many offline steps, each an update from what is recorded, then so many online ones, each a step of the environment and
updates from all that is recorded by then.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from models.policies.environments import Environment
from models.policies.policy import Policy
from models.policies.replay import DrawConfig, Experience, ReplayBuffer
from models.policies.rollouts import Actor, EvaluationConfig, evaluate, seed_of
from models.policies.run_state import RunState, load_run, save_run, stored_runs


@dataclass(frozen=True)
class RunConfig:
    """How long and on what a policy learns."""

    offline: int = 0  # updates from recorded data alone, first
    online: int = 0  # steps of the environment, then
    random: int = 0  # first online steps, of which the actions are uniform
    wait: int = 0  # online steps before the first update among them
    updates: int = 1  # an online step that has some
    draw: DrawConfig = field(default_factory=DrawConfig)  # of batches
    log_every: int = 1000  # steps
    evaluate_every: int = 50_000  # steps; and at the end in any case
    store_every: int = 50_000  # steps; and at the end in any case; ends the episode that is going on
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)  # episodes
    seed: int = 0  # of batches, random actions and episodes
    update_every: int = 1  # online steps, of which the first has updates

    @property
    def steps(self) -> int:
        """Offline and online ones."""
        return self.offline + self.online


@runtime_checkable
class Journal(Protocol):
    """Where rows go."""

    def write(self, table: str, step: int, values: Mapping[str, float]) -> None:
        """One row of `log` or `evaluation`."""


@runtime_checkable
class Progress(Protocol):
    """Who is told how far it is."""

    def move(self, done: float) -> None:
        """A share of the run is done."""

    def tell(self, step: int, values: Mapping[str, float]) -> None:
        """The latest values."""


@dataclass(frozen=True)
class Watchers:
    """Who looks on."""

    journal: Journal
    progress: Progress
    stop: Callable[[], bool] = lambda: False  # whether the run is to end early


@dataclass(frozen=True)
class Places:
    """Where a policy learns; each may be missing where it is not needed."""

    acting: Environment | None  # for online steps
    judging: Environment | None  # for evaluations


class DivergedPolicy(ArithmeticError):
    """What a policy tells is not finite any more; the states that were stored before are kept."""


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    step: int  # done
    minutes: float  # min, over all parts of the run
    finished: bool  # False: it was asked to stop
    evaluation: dict[str, float]  # the last one; empty if there was none


def learn(
    policy: Policy, replay: ReplayBuffer, places: Places, config: RunConfig, watchers: Watchers, folder: Path, resume: bool = False
) -> Ended:
    """Lets a policy learn.

    A run that was stopped where its states are stored anyway, at a multiple of `store_every`, goes on from there to the same
    weights, on the CPU bit by bit, as one that was never stopped.

    Args:
        policy: learns in place; to go on, any of the same class and form.
        replay: with the recorded data, if there are some; grows in online steps.
        places: environments.
        config: of the run.
        watchers: journal, progress, and who may stop it.
        folder: of the run: its last states, `state-<step>`.
        resume: goes on from the latest state in the folder.

    Returns:
        How it ended.

    Raises:
        ValueError: nothing to go on from, a run in the folder already, or places or data that are missing.
        DivergedPolicy: a loss is not finite.
    """
    if not resume and stored_runs(folder):
        raise ValueError(f"{folder} holds a run already: resume it, or choose another folder")
    if config.online and places.acting is None:
        raise ValueError("online steps need an environment")
    if config.offline and len(replay) == 0:
        raise ValueError("offline steps need recorded data")
    run = _Run(policy, replay, places, config, watchers, folder)
    if resume:
        run.restore()
    return run.until_done()


class _Run:
    """One run on its way."""

    def __init__(self, policy: Policy, replay: ReplayBuffer, places: Places, config: RunConfig, watchers: Watchers, folder: Path) -> None:
        self.policy, self.replay, self.places, self.config = policy, replay, places, config
        self.watchers, self.folder = watchers, folder
        self.step = self.episodes = 0
        self.stored = self.judged = -1
        self.generator = torch.Generator().manual_seed(seed_of(config.seed, 2))  # of batches and random actions
        self.actor: Actor | None = None
        self.observation: Tensor | None = None  # of the episode that is going on
        self.sums: dict[str, tuple[float, int]] = {}
        self.earned, self.earlier, self.begun = 0.0, 0.0, time.monotonic()
        self.logged, self.log_begun, self.measures = 0, time.monotonic(), dict[str, float]()

    def minutes(self) -> float:
        return self.earlier + (time.monotonic() - self.begun) / 60.0

    def restore(self) -> None:
        """Takes up the latest state."""
        state = load_run(self.folder, self.policy, self.replay, self.config.offline)
        self.step = self.stored = self.logged = state.step
        self.episodes, self.earlier = state.episodes, state.minutes
        self.generator.set_state(state.generator)

    def until_done(self) -> Ended:
        config, stop = self.config, self.watchers.stop
        while self.step < config.steps and not stop():
            self.advance()
            self.watchers.progress.move(self.step / config.steps)
            if self.step % config.log_every == 0:
                self.log()
            if self.step % config.store_every == 0:
                self.store()
            if self.step % config.evaluate_every == 0:
                self.judge()
        self.log()
        self.store()
        finished = self.step >= config.steps
        if finished:
            self.judge()
        return Ended(self.step, self.minutes(), finished, self.measures)

    def advance(self) -> None:
        """One step, offline or online."""
        online, updates = self.step - self.config.offline, 1
        if online >= 0:
            self.act(online)
            waited = online - self.config.wait
            updates = self.config.updates if waited >= 0 and waited % self.config.update_every == 0 else 0
        self.step += 1
        for _ in range(updates):
            self.add(self.policy.update(self.replay.sample(self.config.draw, self.generator)))

    def act(self, online: int) -> None:
        """One step of the environment."""
        environment = self.places.acting
        if environment is None:
            raise ValueError("online steps need an environment")
        if self.observation is None or self.actor is None:
            self.observation = environment.reset(seed_of(self.config.seed, 3, self.episodes))
            execute, seed = self.config.evaluation.execute, seed_of(self.config.seed, 4, self.episodes)
            self.actor = Actor(self.policy, environment.action, execute, seed)
            self.episodes, self.earned = self.episodes + 1, 0.0
        if online < self.config.random:
            action = 2.0 * torch.rand(environment.action, generator=self.generator) - 1.0
        else:
            action = self.actor.next(self.observation)
        step = environment.step(action)
        over = step.terminated or step.truncated
        told = (torch.tensor([step.reward]), torch.tensor([step.terminated]), torch.tensor([over]))
        self.replay.add(Experience(self.observation[None], action[None], *told, step.observation[None]))
        self.observation, self.earned = step.observation, self.earned + step.reward
        if over:
            self.observation = None
            self.add({"episode_return": self.earned} | ({} if step.success is None else {"episode_success": step.success}))

    def add(self, told: Mapping[str, float]) -> None:
        """Takes in what is told, for the means of the next row."""
        for name, value in told.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + value, count + 1)

    def log(self) -> None:
        """A row of the means since the last one, if there was a step."""
        steps = self.step - self.logged
        if steps == 0:
            return
        pace = steps / max(time.monotonic() - self.log_begun, 1e-9)
        means = {name: total / count for name, (total, count) in self.sums.items()}
        bad = sorted(name for name, value in means.items() if not math.isfinite(value))
        if bad:
            raise DivergedPolicy(f"{', '.join(bad)} not finite in the {steps} steps up to {self.step}")
        row = {"minutes": self.minutes(), "steps_per_second": pace, "updates": float(self.policy.updates)} | means
        self.watchers.journal.write("log", self.step, row)
        self.watchers.progress.tell(self.step, {"steps/s": pace} | dict(list(means.items())[:2]))
        self.sums, self.logged, self.log_begun = {}, self.step, time.monotonic()

    def store(self) -> None:
        """Writes the state, unless that has been done at this step; an episode that is going on is cut off, as it cannot be stored."""
        if self.stored == self.step:
            return
        begun = time.monotonic()
        if self.observation is not None:
            self.replay.cut()
            self.observation = None
        grown = self.replay if self.step > self.config.offline else None
        save_run(self.folder, self.policy, RunState(self.step, self.minutes(), self.episodes, self.generator.get_state()), grown)
        self.stored = self.step
        self.log_begun += time.monotonic() - begun

    def judge(self) -> None:
        """Evaluates the policy, unless that has been done at this step."""
        if self.places.judging is None or self.judged == self.step:
            return
        begun = time.monotonic()
        self.measures = evaluate(self.policy, self.places.judging, self.config.evaluation)
        self.judged = self.step
        self.watchers.journal.write("evaluation", self.step, {"minutes": self.minutes()} | self.measures)
        self.log_begun += time.monotonic() - begun
