"""The planner: scenarios in, certified plans out."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from maps.scenario import Scenario
from planner.generation import Proposer
from planner.horizon import shortest_horizon
from planner.outcome import answer, blame
from planner.plan import Plan, PlanOptions, Source
from planner.polish import PolishConfig, polish, returned
from planner.task import Task
from planner.waves import Propose, Wave, perturbed, run_wave, searched, straight
from safety_filter.problem import FilterConfig
from safety_filter.solver import SafetyFilter
from safety_filter.warm_start import AtProposal, WarmStart


@dataclass(frozen=True)
class PlannerConfig:
    """How proposals are filtered, and how many of them are tried."""

    lines: FilterConfig = field(default_factory=FilterConfig)  # for straight lines: soft, robots choose sides
    bent: FilterConfig = field(default_factory=lambda: FilterConfig(penalty=0.2))  # for perturbed lines: less soft, so that bends count
    paths: FilterConfig = field(default_factory=lambda: FilterConfig(penalty=0.3, wall_penalty=2.0))  # for paths: walls hold at once
    stiff: FilterConfig = field(default_factory=lambda: FilterConfig(penalty=8.0, wall_penalty=30.0))  # for paths that must not be let go
    flow: FilterConfig = field(default_factory=lambda: FilterConfig(penalty=0.3, wall_penalty=2.0))  # for what the generator draws
    drawn: int = 1  # candidates drawn and filtered at first; the rest where neither that nor search leads to a plan
    doubt: float = 1.1  # times the cost of undisturbed lines, above which the generator has a try beside what lines led to
    pairs: int = 65_536  # pairs of robots, over all candidates of a draw, that bound its memory: large fleets get fewer candidates
    warm_lines: tuple[int, int] | None = None  # fleets, from and to, whose straight lines the learned initialisation starts, see RESULTS.md
    quick: AtProposal | None = field(default_factory=AtProposal)  # how what the generator draws is filtered at first; None: as `flow` says
    polish: PolishConfig = field(default_factory=PolishConfig)
    searches: tuple[int, int] = (2, 8)  # paths asked of search, at first and where none of those is certified
    leave_out: int = 4  # most times that robots are left out of a request that allows a partial plan
    threads: int = 2  # problems worked on at once


class Planner:
    """Plans fleets, one scenario or many at a time; one object serves one thread."""

    def __init__(self, config: PlannerConfig | None = None, proposer: Proposer | None = None, warm_start: WarmStart | None = None) -> None:
        """Starts the worker threads; plans nothing yet. Without a proposer there is no source "flow"."""
        self.config = config or PlannerConfig()
        self.proposer = proposer
        self.warm_start = warm_start
        self._pool = ThreadPoolExecutor(self.config.threads, thread_name_prefix="planner") if self.config.threads > 1 else None
        self._filter = SafetyFilter(pool=self._pool)

    def plan(self, scenario: Scenario, options: PlanOptions | None = None) -> Plan:
        """Plans one scenario; see `plan_batch`."""
        return self.plan_batch([scenario], [options or PlanOptions()])[0]

    def plan_batch(self, scenarios: Sequence[Scenario], options: Sequence[PlanOptions] | None = None) -> list[Plan]:
        """Plans many scenarios together; each answer is what the scenario alone would get.

        Args:
            scenarios: the problems.
            options: one for each; None: defaults.

        Returns:
            A plan for each scenario. Whatever the outcome is, it is an answer, never an exception.
        """
        options = options or [PlanOptions()] * len(scenarios)
        tasks = [Task.begin(scenario, option) for scenario, option in zip(scenarios, options, strict=True)]
        self._check(tasks)
        shortest_horizon([task for task in self._open(tasks) if task.scenario.horizon is None], partial(self._solve, content=True))
        self._solve(self._open(tasks))
        self._partial(tasks)
        self._diversify(tasks)
        polish([task for task in tasks if task.found], self._filter, self.config.polish)
        return [answer(task) for task in tasks]

    def _check(self, tasks: list[Task]) -> None:
        """Sorts out what is proven impossible; where a partial plan is allowed, the other robots go on."""
        for task in tasks:
            reasons = {k: reason for k, reason in enumerate(task.asked.check()) if reason is not None}
            if task.options.allow_partial and len(reasons) < len(task.asked):
                task.leave_out(reasons) if reasons else None
            else:
                task.reasons.update(reasons)

    @staticmethod
    def _open(tasks: list[Task]) -> list[Task]:
        """Tasks that have no plan yet and may have one."""
        return [t for t in tasks if not t.found and (not t.reasons or (t.options.allow_partial and len(t.reasons) < len(t.asked)))]

    def _waves(self, tasks: list[Task]) -> list[Wave]:
        """What is tried, in turn, until a task has a certified plan."""
        few, many = (partial(searched, many=count) for count in self.config.searches)
        warm = self.warm_start
        lines = Wave("straight", "generate", straight, self.config.lines, None, warm, self.config.warm_lines)
        last = [
            Wave("search", "search", many, self.config.stiff),
            Wave("straight", "generate", partial(perturbed, many=4), self.config.bent),
        ]
        if self.proposer is None:
            return [
                lines,
                Wave("search", "search", self._ahead(tasks, "search", few), self.config.paths),
                *last,
            ]
        drawn = self._ahead(tasks, "flow", partial(self._drawn, draw=0))
        return [
            lines,
            Wave("flow", "generate", drawn, self.config.flow, self.config.quick, doubt=self.config.doubt),
            Wave("search", "search", few, self.config.paths),
            Wave("flow", "generate", partial(self._drawn, draw=1), self.config.flow, self.config.quick),
            *last,
        ]

    def _drawn(self, task: Task, draw: int) -> Float[Tensor, "M N n 2"]:
        """What the generator draws for a task: a few candidates, then the rest, and as many again where several plans are asked for.

        Where nothing else is allowed, most candidates are drawn at once, and the best of them counts.
        """
        if self.proposer is None:
            raise ValueError("a planner without a generator draws nothing")
        asked = task.options.candidates
        few = asked - asked // 4 if task.options.sources == ("flow",) else min(self.config.drawn, asked)
        many = (few, asked - few, asked)[draw]
        return self.proposer(task, min(many, max(self.config.pairs // len(task.scenario) ** 2, 1)), draw)

    def _ahead(self, tasks: list[Task], source: Source, propose: Propose) -> Propose:
        """Proposals of a lone task among long walls are made beside its straight lines, on the core that would idle.

        Straight lines seldom pass polygons and grids. What is found is used only where they fail: no plan depends on this.
        """
        lone = tasks[0] if len(tasks) == 1 else None
        if self._pool is None or lone is None or not (lone.allows(source) and lone.allows("straight")):
            return propose
        if lone.over() or (not lone.scenario.scene.polygons and lone.scenario.scene.grid is None):
            return propose
        ahead = self._pool.submit(propose, lone)
        return lambda _: ahead.result()

    def _solve(self, tasks: list[Task], content: bool = False) -> None:
        """Runs waves for the tasks that the earlier ones left without a plan, or, unless any will do, with a doubtful one."""
        for wave in self._waves(tasks):
            self._run([task for task in tasks if (not task.found if content else wave.concerns(task))], wave)

    def _run(self, tasks: list[Task], wave: Wave) -> None:
        """Runs a wave; plans that the generator had a part in name its weights."""
        proposed = [task.proposed for task in tasks]
        run_wave(tasks, wave, self._filter, self._pool)
        if wave.source == "flow" and self.proposer is not None:
            for task, before in zip(tasks, proposed, strict=True):
                task.model = self.proposer.identity if task.proposed > before else task.model

    def _diversify(self, tasks: list[Task]) -> None:
        """Looks on for plans of another kind, for tasks that ask for several and have too few."""
        flow = [Wave("flow", "generate", partial(self._drawn, draw=2), self.config.flow, self.config.quick)] if self.proposer else []
        waves = [
            *flow,
            Wave("straight", "generate", lambda task: perturbed(task, task.options.candidates), self.config.bent),
            Wave("search", "search", lambda task: searched(task, task.options.candidates), self.config.paths),
        ]
        for wave in waves:
            several = [t for t in tasks if t.found and t.options.alternatives > 1]
            few = [t for t in several if len(returned(t)) < t.options.alternatives]
            self._run(few, wave)

    def _partial(self, tasks: list[Task]) -> None:
        """Leaves out the robots that stand most in the way, where the request allows it, until the others can go."""
        for _ in range(self.config.leave_out):
            stuck = [t for t in self._open(tasks) if t.options.allow_partial and not t.late and len(t.kept) > 1]
            if not stuck:
                return
            for task in stuck:
                task.leave_out(blame(task))
            self._solve(stuck)

    def warm_up(self) -> None:
        """Compiles or loads every kernel by planning small problems of each kind."""
        from planner.warm_up import small_scenarios

        torch.set_num_threads(1)
        for scenario in small_scenarios():
            if self.warm_start is not None:
                self.warm_start(scenario, straight(Task.begin(scenario, PlanOptions()))[0].numpy())
            for source in ("straight", "search", "flow"):
                self.plan(scenario, PlanOptions(sources=(source,)))

    def replace(self, **changes: object) -> "Planner":
        """A planner with some settings changed."""
        return Planner(replace(self.config, **changes), self.proposer, self.warm_start)  # type: ignore[arg-type]
