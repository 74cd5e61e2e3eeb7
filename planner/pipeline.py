"""The planner: scenarios in, certified plans out."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import torch

from maps.scenario import Scenario
from planner.generation import Proposer
from planner.plan import Plan, PlanOptions
from planner.repertoire import PlannerConfig, Repertoire
from planner.task import Task
from planner.waves import straight
from planner.workshop import Workshop
from safety_filter.warm_start import WarmStart

__all__ = ["Planner", "PlannerConfig"]


class Planner:
    """Plans fleets, one scenario or many at a time."""

    def __init__(self, config: PlannerConfig | None = None, proposer: Proposer | None = None, warm_start: WarmStart | None = None) -> None:
        """Starts the worker threads; plans nothing yet. Without a proposer there is no source "flow"."""
        self.config = config or PlannerConfig()
        self.proposer = proposer
        self.warm_start = warm_start
        self._repertoire = Repertoire(self.config, proposer, warm_start)
        threads = self.config.threads
        self._idle = ThreadPoolExecutor(threads, thread_name_prefix="planner") if threads > 1 else None
        self._helpers = ThreadPoolExecutor(threads - 1, thread_name_prefix="helper") if threads > 1 else None

    def workshop(self) -> Workshop:
        """An empty workshop, for callers with threads of their own."""
        return Workshop(self._repertoire, self._idle)

    def plan(self, scenario: Scenario, options: PlanOptions | None = None) -> Plan:
        """Plans one scenario; see `plan_batch`."""
        return self.plan_batch([scenario], [options or PlanOptions()])[0]

    def plan_batch(self, scenarios: Sequence[Scenario], options: Sequence[PlanOptions] | None = None) -> list[Plan]:
        """Plans many scenarios together; each answer is what the scenario alone would get.

        Args:
            scenarios: the problems.
            options: one for each; None: defaults.

        Returns:
            A plan for each scenario, found or not.

        Raises:
            Exception: the first fault of the planner itself; see `plan_each` to have the other plans all the same.
        """
        plans: list[Plan] = []
        for result in self.plan_each(scenarios, options):
            if isinstance(result, Exception):
                raise result
            plans.append(result)
        return plans

    def plan_each(self, scenarios: Sequence[Scenario], options: Sequence[PlanOptions] | None = None) -> list[Plan | Exception]:
        """As `plan_batch`; a scenario that makes the planner fail has the exception in place of a plan and harms no other."""
        options = options or [PlanOptions()] * len(scenarios)
        answers: dict[int, Plan | Exception] = {}
        workshop = self.workshop()
        for k, (scenario, option) in enumerate(zip(scenarios, options, strict=True)):
            workshop.add(scenario, option, partial(answers.__setitem__, k))
        helping: list[Future[None]] = []
        if self._helpers is not None:
            helping = [self._helpers.submit(workshop.work) for _ in range(min(self.config.threads, len(scenarios)) - 1)]
        workshop.work()
        for helper in helping:
            helper.result()
        return [answers[k] for k in range(len(scenarios))]

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
