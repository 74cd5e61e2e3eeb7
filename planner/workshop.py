"""Where scenarios are worked on, by any number of threads, each until it has its plan.

A scenario is a job. A thread takes the most urgent one, runs one wave for it, and puts it back; so a new job waits for no
companion to end, and a job that needs a long search keeps others from one core at most. On a CPU nothing would be gained by
putting scenarios of several jobs into one tensor: the cores are busy either way, and the networks would round differently in
company. So no plan depends on what else is there, to the last bit.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from maps.scenario import Scenario
from planner.journey import journey
from planner.outcome import answer
from planner.plan import Plan, PlanOptions
from planner.repertoire import Repertoire
from planner.task import Task
from planner.waves import Steps, Wave, run_wave
from safety_filter.solver import SafetyFilter

PATIENCE = 0.1  # s, by which a job that needs a search counts as less urgent than it is: most others are done before

Answered = Callable[[Plan | Exception], None]


@dataclass(eq=False)
class Job:
    """A scenario on its way."""

    task: Task
    answered: Answered  # called once, by the thread that ends the job
    urgency: float  # the lower, the sooner
    number: int  # of arrival
    steps: Steps | None = None  # None: not begun
    wave: Wave | None = None  # to be run next
    busy: float = 0.0  # s, that threads have worked on it

    def rank(self) -> tuple[float, int]:
        """Orders jobs that wait for a thread."""
        return self.urgency + (PATIENCE if self.wave is not None and self.wave.stage == "search" else 0.0), self.number


@dataclass
class Workshop:
    """The jobs; its methods may be called from any thread."""

    repertoire: Repertoire
    idle: Executor | None  # threads that share the work on a job that is alone
    _ready: list[Job] = field(default_factory=list)
    _active: int = 0  # jobs not yet answered
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _numbers: count = field(default_factory=count)

    def __post_init__(self) -> None:
        """Two filters: one that shares its candidates out to idle threads, one for jobs in company."""
        self._alone, self._in_company = SafetyFilter(pool=self.idle), SafetyFilter()

    @property
    def active(self) -> int:
        """Jobs that have no answer yet."""
        return self._active

    @property
    def waiting(self) -> int:
        """Jobs that wait for a thread."""
        return len(self._ready)

    def add(self, scenario: Scenario, options: PlanOptions, answered: Answered, urgency: float = 0.0) -> Job:
        """A new job; whoever calls `work` or `step` next may begin it."""
        job = Job(Task.begin(scenario, options), answered, urgency, next(self._numbers))
        with self._lock:
            self._active += 1
            self._ready.append(job)
        return job

    def work(self) -> None:
        """Works until no job waits for a thread. Those that other threads are busy with, these will end."""
        while self.step():
            pass

    def step(self) -> bool:
        """Runs one wave of the most urgent job that waits; False where none does."""
        with self._lock:
            if not self._ready:
                return False
            job = min(self._ready, key=Job.rank)
            self._ready.remove(job)
            alone = self._active == 1
        self._advance(job, alone)
        return True

    def _advance(self, job: Job, alone: bool) -> None:
        began = time.perf_counter()
        try:
            if job.steps is None:
                job.steps = journey(job.task, self.repertoire, self.idle if alone else None)
            elif job.wave is not None:
                run_wave(job.task, job.wave, self._alone if alone else self._in_company)
                _tell(job.task)
            job.wave = next(job.steps, None)
            result = answer(job.task) if job.wave is None else None
        except Exception as error:  # a fault of this job alone
            result = error
        job.busy += time.perf_counter() - began
        with self._lock:
            if result is None:
                self._ready.append(job)
            else:
                self._active -= 1
        if result is not None:
            job.answered(result)


def _tell(task: Task) -> None:
    """Lets whoever watches a task know of its best plan so far."""
    if task.options.watch is not None and task.found:
        task.options.watch.best = partial(answer, task.snapshot())
