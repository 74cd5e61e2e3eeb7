"""The training loop: one for everything that is trained here."""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from maps.errors import DivergedTraining, InvalidCheckpoint
from models.training.ema import Averager, Model
from models.training.logs import Journal, ProgressBar
from models.training.meters import FiniteWatch, Means
from models.training.optimizer import adamw
from models.training.schedule import Clock, Every, Reminder, rate_share, share_done
from models.training.state import Learner, Position, load_state, save_state, stored_states
from models.training.stopping import StopRequest

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class TrainingConfig:
    """How long, how fast and on what."""

    steps: int = 100_000  # updates at most
    minutes: float | None = None  # min at most, over all parts of a run; None: no limit
    batch: int = 1  # samples in a batch, for the pace that is reported
    warm_up: int = 500  # steps over which the learning rate rises
    learning_rate: float = 1e-3  # full rate
    final_share: float = 0.01  # of the full rate, at the end
    weight_decay: float = 0.01  # of matrices, in a step times the rate
    betas: tuple[float, float] = (0.9, 0.99)  # decay of the moments, in a step
    clip: float | None = 1.0  # norm of the whole gradient at most; None: no limit
    ema: float = 0.999  # decay of the average, in a step
    evaluate_every: Every = field(default_factory=Every)  # and at the end in any case
    checkpoint_every: Every = field(default_factory=lambda: Every(minutes=10.0))  # and at the end in any case
    log_every: int = 100  # steps
    seed: int = 0  # of batches and noise
    device: str = "cpu"  # "cpu" or "cuda"
    bf16: bool = False  # forward pass in bfloat16 where that is safe
    compile: bool = False  # calls the module's `compile()` first
    tensorboard: bool = True  # event files beside the tables
    resume: Path | None = None  # state to go on from, or a run's folder for its latest; None: a new run


@dataclass(frozen=True)
class Report(Generic[Model]):
    """How a run ended."""

    averaged: Model  # the averaged weights, to be released
    state: Path  # the last state
    step: int  # updates done
    minutes: float  # min, over all parts of the run
    finished: bool  # False: a signal ended it early
    evaluation: dict[str, float]  # the last one; empty if there was none


def train(
    module: Model,
    loss: Callable[[Model, Batch, torch.Generator], dict[str, Tensor]],
    batches: Callable[[torch.Generator], Batch],
    evaluate: Callable[[Model], dict[str, float]] | None,
    config: TrainingConfig,
    folder: Path,
) -> Report[Model]:
    """Minimises a loss; the first SIGINT or SIGTERM stores the state and ends the run, a second one ends it at once.

    A run that was stopped at a state and goes on from it gives the same weights, on the CPU bit by bit, as one that was
    never stopped, if it is scheduled by steps alone. For that, `module` itself must draw no random numbers.

    Args:
        module: learns in place, on the device of the config.
        loss: of a batch; scalars by name, of which `total` is minimised and all are logged. Draws from the generator only.
        batches: makes the next batch, on the device of the config; draws from the generator (one of the CPU) only.
        evaluate: measures of the averaged weights, logged; called without gradients.
        config: schedule and device.
        folder: of the run: `log.csv`, `evaluation.csv`, `tensorboard/`, and the last states.

    Returns:
        The averaged weights, and how the run ended.

    Raises:
        DivergedTraining: the loss or its gradient is not finite; states stored before are kept.
        InvalidCheckpoint: nothing to go on from, or `folder` holds a run and a new one was asked for.
        ModuleNotFoundError: event files were asked for, and TensorBoard is not installed.
    """
    if config.resume is None and stored_states(folder):
        raise InvalidCheckpoint("holds a run already: resume it, or choose another folder", file=str(folder))
    learner = _learner(module, config)
    start = Position() if config.resume is None else load_state(config.resume, learner)
    folder.mkdir(parents=True, exist_ok=True)
    if config.compile:
        module.compile()
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(folder, start.step, config.tensorboard))
        stop = stack.enter_context(StopRequest())
        run = _Run(learner, _Task(loss, batches, evaluate), config, _Place(folder, start, journal))
        stack.callback(run.bar.close)
        return run.until_done(stop)


@dataclass(frozen=True)
class _Task(Generic[Model, Batch]):
    """What is learned."""

    loss: Callable[[Model, Batch, torch.Generator], dict[str, Tensor]]
    batches: Callable[[torch.Generator], Batch]
    evaluate: Callable[[Model], dict[str, float]] | None


@dataclass(frozen=True)
class _Place:
    """Where a run begins and what it writes to."""

    folder: Path
    start: Position
    journal: Journal


class _Run(Generic[Model, Batch]):
    """One run on its way."""

    def __init__(self, learner: Learner[Model], task: _Task[Model, Batch], config: TrainingConfig, place: _Place) -> None:
        self.learner, self.task, self.config, self.place = learner, task, config, place
        self.step = place.start.step
        self.clock = Clock(place.start.minutes)
        self.checkpoint = Reminder(config.checkpoint_every, place.start.minutes)
        self.evaluation = Reminder(config.evaluate_every, place.start.minutes)
        self.parameters = [parameter for parameter in learner.module.parameters() if parameter.requires_grad]
        self.means, self.watch = Means(), FiniteWatch(torch.device(config.device))
        self.bar = ProgressBar(self.done())
        self.state: Path | None = None
        self.stored, self.evaluated, self.measures = -1, -1, dict[str, float]()
        self.logged, self.resumed_at = self.step, time.monotonic()

    def done(self) -> float:
        return share_done(self.step, self.config.steps, self.clock.minutes(), self.config.minutes)

    def until_done(self, stop: StopRequest) -> Report[Model]:
        self.learner.module.train()
        while (done := self.done()) < 1.0 and not stop.asked:
            self.update(done)
            self.bar.move(done)
            if self.step % self.config.log_every == 0:
                self.log()
            if self.checkpoint.is_due(self.step, self.clock.minutes()):
                self.store()
            if self.evaluation.is_due(self.step, self.clock.minutes()):
                self.judge()
        self.log()
        state = self.store()
        if done >= 1.0:
            self.judge()
        return Report(self.learner.averager.module, state, self.step, self.clock.minutes(), done >= 1.0, self.measures)

    def update(self, done: float) -> None:
        """One step of the optimizer and of the average."""
        config, learner = self.config, self.learner
        rate = config.learning_rate * rate_share(self.step, done, config.warm_up, config.final_share)
        for group in learner.optimizer.param_groups:
            group["lr"] = rate
        batch = self.task.batches(learner.generator)
        learner.optimizer.zero_grad()
        with torch.autocast(torch.device(config.device).type, dtype=torch.bfloat16, enabled=config.bf16):
            terms = self.task.loss(learner.module, batch, learner.generator)
        terms["total"].backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, math.inf if config.clip is None else config.clip)
        learner.optimizer.step()
        learner.averager.update(learner.module, self.step)
        self.step += 1
        self.watch.see(self.step, terms["total"], norm)
        self.means.add(terms | {"gradient_norm": norm})

    def log(self) -> None:
        """A row of the means since the last one, if there was a step."""
        steps = self.step - self.logged
        if steps == 0:
            return
        self.refuse_divergence()
        means = self.means.take()
        pace = steps * self.config.batch / max(time.monotonic() - self.resumed_at, 1e-9)
        rate = self.learner.optimizer.param_groups[0]["lr"]
        row = {"minutes": self.clock.minutes(), "learning_rate": rate, "samples_per_second": pace} | means
        self.place.journal.write("log", self.step, row)
        self.bar.tell(self.step, {"total": means["total"], "samples/s": pace})
        self.logged, self.resumed_at = self.step, time.monotonic()

    def store(self) -> Path:
        """Writes the state, unless that has been done at this step."""
        if self.stored == self.step and self.state is not None:
            return self.state
        self.refuse_divergence()
        begun = time.monotonic()
        position = Position(self.step, self.clock.minutes())
        self.state = save_state(self.place.folder, self.learner, position, _as_json(self.config))
        self.stored = self.step
        self.pause_over(begun, self.checkpoint)
        return self.state

    def judge(self) -> None:
        """Evaluates the average, unless that has been done at this step."""
        if self.task.evaluate is None or self.evaluated == self.step:
            return
        self.refuse_divergence()
        begun = time.monotonic()
        with torch.no_grad():
            self.measures = self.task.evaluate(self.learner.averager.module)
        self.evaluated = self.step
        self.place.journal.write("evaluation", self.step, {"minutes": self.clock.minutes()} | self.measures)
        self.pause_over(begun, self.evaluation)

    def pause_over(self, begun: float, reminder: Reminder) -> None:
        """Time spent beside the steps does not count against their pace."""
        self.resumed_at += time.monotonic() - begun
        reminder.reset(self.clock.minutes())

    def refuse_divergence(self) -> None:
        step = self.watch.first_bad_step()
        if step is not None:
            kept = stored_states(self.place.folder)
            raise DivergedTraining(step, str(kept[-1]) if kept else None)


def _learner(module: Model, config: TrainingConfig) -> Learner[Model]:
    module.to(config.device)
    optimizer = adamw(module, config.betas, config.weight_decay)
    return Learner(module, Averager(module, config.ema), optimizer, torch.Generator().manual_seed(config.seed))


def _as_json(config: TrainingConfig) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}
