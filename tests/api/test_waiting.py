"""Who waits, in which order, for how long."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from api.waiting import Entry, ServiceTimes, WaitingRoom
from maps.sampling import sample_scenario
from maps.scenario import Scenario
from planner.plan import PlanOptions


def hall(robots: int, seed: int = 0) -> Scenario:
    return sample_scenario(np.random.default_rng(seed), robots, "open")


SCENARIO, ANYTHING = hall(2), PlanOptions()


def enter(room: WaitingRoom, arrived: float, priority: int = 5, cost: float = 1.0) -> Entry:
    future: Any = object()
    return room.enter(SCENARIO, ANYTHING, future, arrived, priority, cost)


def test_urgent_ones_go_first_but_nobody_waits_for_ever():
    room = WaitingRoom(99, ageing=0.5)
    patient = enter(room, 0.0, priority=9)
    later = [enter(room, arrived, priority=0) for arrived in np.arange(0.5, 9.0)]
    order = [room.take(10.0) for _ in range(len(later) + 1)]
    place = order.index(patient)
    assert place == 4  # passed by those that came within the 4.5 s that nine steps are worth, and by no others
    assert [e for e in order if e is not patient] == later


def test_equals_go_in_the_order_of_their_arrival():
    room = WaitingRoom(9, ageing=0.5)
    entries = [enter(room, 1.0) for _ in range(5)]
    assert [room.take(2.0) for _ in range(5)] == entries


@pytest.mark.parametrize("k", range(5))
def test_whoever_leaves_is_not_taken(k):
    room = WaitingRoom(5, ageing=0.5)
    entries = [enter(room, arrived) for arrived in (3.0, 1.0, 2.0, 5.0, 4.0)]
    assert room.full
    assert room.leave(entries[k])
    assert not room.leave(entries[k])
    assert not room.full
    left = [room.take(9.0) for _ in range(4)]
    assert entries[k] not in left
    assert [e.arrived for e in left] == sorted(e.arrived for e in left)
    assert not room.leave(left[0])


def test_work_ahead_counts_who_is_more_urgent_and_half_of_what_has_begun():
    room = WaitingRoom(9, ageing=0.5)
    for arrived, cost in ((1.0, 4.0), (2.0, 10.0), (3.0, 100.0)):
        enter(room, arrived, cost=cost)
    assert room.ahead(room.urgency(2.5, 5)) == 14.0
    taken = room.take(5.0)
    assert room.ahead(room.urgency(2.5, 5)) == 12.0
    room.finish(taken)
    room.finish(taken)
    assert room.ahead(room.urgency(2.5, 5)) == 10.0
    assert taken.queued(99.0) == 4.0


def test_times_are_learned_by_kind():
    times = ServiceTimes()
    assert times.expected(SCENARIO, ANYTHING) == 0.0
    times.learn(hall(8), ANYTHING, 2.0)
    assert times.expected(hall(15, 3), ANYTHING) == 2.0
    for other, asked in ((hall(16), ANYTHING), (hall(8), replace(ANYTHING, sources=("flow",))), (replace(hall(8), horizon=None), ANYTHING)):
        assert times.expected(other, asked) == 0.0
    for _ in range(200):
        times.learn(hall(8), ANYTHING, 4.0)
    assert times.expected(hall(8), ANYTHING) == pytest.approx(4.0)


def test_what_was_cut_short_teaches_only_that_it_takes_longer():
    times = ServiceTimes()
    times.learn(SCENARIO, ANYTHING, 2.0)
    times.learn(SCENARIO, ANYTHING, 0.1, cut=True)
    assert times.expected(SCENARIO, ANYTHING) == 2.0
    times.learn(SCENARIO, ANYTHING, 4.0, cut=True)
    assert times.expected(SCENARIO, ANYTHING) > 2.0
