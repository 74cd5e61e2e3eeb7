"""The waves that the planner has: what is proposed in turn, and how each kind of proposal is filtered."""

from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

from jaxtyping import Float
from torch import Tensor

from planner.generation import Proposer
from planner.plan import Source
from planner.polish import PolishConfig
from planner.task import Task
from planner.waves import Propose, Wave, perturbed, searched, straight
from safety_filter.problem import FilterConfig
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
    warm_lines: tuple[int, int] | None = (9, 96)  # fleets, from and to, whose lines start where the network says; see RESULTS.md
    quick: AtProposal | None = field(default_factory=AtProposal)  # how what the generator draws is filtered at first; None: as `flow` says
    polish: PolishConfig = field(default_factory=PolishConfig)
    searches: tuple[int, int] = (2, 8)  # paths asked of search, at first and where none of those is certified
    leave_out: int = 4  # most times that robots are left out of a request that allows a partial plan
    threads: int = 2  # problems worked on at once


class Repertoire:
    """The settings, the networks, and the waves made of them."""

    def __init__(self, config: PlannerConfig, proposer: Proposer | None, warm_start: WarmStart | None) -> None:
        """Without a proposer there is no source "flow"."""
        self.config = config
        self.proposer = proposer
        self.warm_start = warm_start

    def attempts(self, task: Task, idle: Executor | None) -> list[Wave]:
        """What is tried in turn, until a task has a plan that is certified and not doubtful.

        Args:
            task: the scenario.
            idle: threads that have nothing else to do: what straight lines among long walls will probably need next is made there
                beside them. It is used only where they fail: no plan depends on this.
        """
        config = self.config
        few, many = (partial(searched, many=count) for count in config.searches)
        warm = None if self.warm_start is None else self.warm_start.for_fleet(len(task.scenario))
        lines = Wave("straight", "generate", straight, config.lines, None, warm, config.warm_lines)
        last = [
            Wave("search", "search", many, config.stiff),
            Wave("straight", "generate", partial(perturbed, many=4), config.bent),
        ]
        if self.proposer is None:
            return [lines, Wave("search", "search", _ahead(task, "search", few, idle), config.paths), *last]
        first = _ahead(task, "flow", partial(self._drawn, draw=0), idle)
        return [
            lines,
            self._flow(first, config.doubt),
            Wave("search", "search", few, config.paths),
            self._flow(partial(self._drawn, draw=1)),
            *last,
        ]

    def others(self, task: Task) -> list[Wave]:
        """What is tried for further plans of another kind."""
        flow = [] if self.proposer is None else [self._flow(partial(self._drawn, draw=2))]
        return [
            *flow,
            Wave("straight", "generate", partial(perturbed, many=task.options.candidates), self.config.bent),
            Wave("search", "search", partial(searched, many=task.options.candidates), self.config.paths),
        ]

    def _flow(self, propose: Propose, doubt: float = float("inf")) -> Wave:
        model = None if self.proposer is None else self.proposer.identity
        return Wave("flow", "generate", propose, self.config.flow, self.config.quick, model=model, doubt=doubt)

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


def _ahead(task: Task, source: Source, propose: Propose, idle: Executor | None) -> Propose:
    """Makes proposals at once in an idle thread, for a task whose straight lines will probably fail."""
    if idle is None or not (task.allows(source) and task.allows("straight")) or task.over():
        return propose
    if not task.scenario.scene.polygons and task.scenario.scene.grid is None:
        return propose
    made = idle.submit(propose, task)
    return lambda _: made.result()
