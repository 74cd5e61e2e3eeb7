"""Where requests wait for the planner: bounded, ordered by urgency, with an idea of how long it will take."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING

from planner.plan import Watch

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable

    from maps.scenario import Scenario
    from planner.plan import Plan, PlanOptions

LEARNING = 0.1  # weight of the newest time among those of its kind


@dataclass(frozen=True)
class Answer:
    """A plan, and how long its request waited for the planner."""

    plan: Plan
    queued: float  # s


@dataclass(order=True)
class Entry:
    """A request; ordered by urgency, then by arrival."""

    urgency: float  # s: its arrival, later by so much for every step of priority; so whoever waits long enough comes first
    number: int
    scenario: Scenario = field(compare=False)
    options: PlanOptions = field(compare=False)
    watch: Watch = field(compare=False)
    future: asyncio.Future[Answer] = field(compare=False)
    arrived: float = field(compare=False)  # s, time.monotonic()
    cost: float = field(compare=False)  # s that a thread will probably work on it
    taken: float | None = field(default=None, compare=False)  # s, when the planner took it; None: it waits

    def queued(self, now: float) -> float:
        """How long it waited for the planner, s."""
        return (self.taken if self.taken is not None else now) - self.arrived


class WaitingRoom:
    """The requests that wait, and those that the planner has taken. Not for several threads at once: its owner has a lock."""

    def __init__(self, size: int, ageing: float) -> None:
        """Room for `size`; a step of priority counts as `ageing` seconds of waiting."""
        self.size = size
        self._ageing = ageing
        self._waiting: list[Entry] = []
        self._numbers = count()
        self.taken: dict[int, Entry] = {}  # those that the planner has, by number

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether no more may enter."""
        return len(self._waiting) >= self.size

    def ahead(self, urgency: float) -> float:
        """Work that comes before a request of this urgency, s of one thread; of work that has begun, half is thought to be done."""
        begun = sum(entry.cost for entry in self.taken.values())
        return sum(entry.cost for entry in self._waiting if entry.urgency <= urgency) + 0.5 * begun

    @property
    def robots(self) -> int:
        """How many robots the planner has in all."""
        return sum(len(entry.scenario) for entry in self.taken.values())

    def urgency(self, arrived: float, priority: int) -> float:
        """Of a request."""
        return arrived + self._ageing * priority

    def enter(
        self, scenario: Scenario, options: PlanOptions, future: asyncio.Future[Answer], arrived: float, priority: int, cost: float
    ) -> Entry:
        """A new entry; its options have a watch."""
        watch = Watch()
        options = replace(options, watch=watch)
        entry = Entry(self.urgency(arrived, priority), next(self._numbers), scenario, options, watch, future, arrived, cost)
        heapq.heappush(self._waiting, entry)
        return entry

    def first(self) -> Entry | None:
        """The most urgent of those that wait."""
        return self._waiting[0] if self._waiting else None

    def take(self, now: float) -> Entry:
        """The most urgent goes to the planner."""
        entry = heapq.heappop(self._waiting)
        entry.taken = now
        self.taken[entry.number] = entry
        return entry

    def finish(self, entry: Entry) -> None:
        """The planner has done with it."""
        self.taken.pop(entry.number, None)

    def leave(self, entry: Entry) -> bool:
        """Takes an entry out; False where it does not wait any more."""
        if entry.taken is not None or entry not in self._waiting:
            return False
        self._waiting.remove(entry)
        heapq.heapify(self._waiting)
        return True

    def everyone(self) -> list[Entry]:
        """All that wait."""
        return list(self._waiting)


class ServiceTimes:
    """A running mean of how long a thread works on requests, by kind: fleets of similar size, with walls or without, and what is asked."""

    def __init__(self) -> None:
        """Nothing is known: everything is thought to take no time."""
        self._mean: dict[Hashable, float] = {}

    @staticmethod
    def kind(scenario: Scenario, options: PlanOptions) -> Hashable:
        """What requests of similar effort have in common."""
        walls = bool(scenario.scene.polygons) or scenario.scene.grid is not None
        few = options.candidates.bit_length(), options.alternatives.bit_length()
        return len(scenario).bit_length(), walls, scenario.horizon is None, options.sources, few

    def expected(self, scenario: Scenario, options: PlanOptions) -> float:
        """What a request will probably take, s."""
        return self._mean.get(self.kind(scenario, options), 0.0)

    def learn(self, scenario: Scenario, options: PlanOptions, seconds: float, cut: bool = False) -> None:
        """What one took; `cut` where it was given up, and would have taken longer."""
        kind = self.kind(scenario, options)
        before = self._mean.get(kind, seconds)
        if cut and seconds < before:
            return
        self._mean[kind] = before + LEARNING * (seconds - before)
