"""Many scenarios on their way at once: each by its own rank, given up when nobody wants it, harming no other."""

import time
from dataclasses import replace
from threading import Thread

import numpy as np
import pytest

from maps.reason import ReasonCode
from maps.sampling import SamplingConfig, sample_scenario
from maps.scenario import Scenario
from planner.assembly import load_planner
from planner.pipeline import Planner
from planner.plan import Plan, PlanOptions, PlanStatus, Watch
from planner.workshop import Workshop
from safety_filter.verify import certify


@pytest.fixture(scope="module")
def planner() -> Planner:
    return load_planner()


def hall(robots: int, seed: int) -> Scenario:
    return sample_scenario(np.random.default_rng(seed), robots, "open", SamplingConfig(slack=(1.3, 2.0)))


def rooms(robots: int, seed: int) -> Scenario:
    return sample_scenario(np.random.default_rng(seed), robots, "rooms")


def spoiled(scenario: Scenario) -> Scenario:
    """One that no planner can work with: a goal is missing."""
    copy = replace(scenario)
    object.__setattr__(copy, "goal", scenario.goal[:1])
    return copy


def curves(plan: Plan) -> list[bytes]:
    return [robot.control_points.tobytes() for robot in plan.robots if robot.control_points is not None]


def collected(workshop: Workshop, scenarios: list[Scenario], threads: int = 1) -> list[Plan | Exception]:
    """What a workshop makes of scenarios that some threads work on."""
    answers: dict[int, Plan | Exception] = {}
    for k, scenario in enumerate(scenarios):
        workshop.add(scenario, PlanOptions(seed=k), lambda result, k=k: answers.__setitem__(k, result))
    crew = [Thread(target=workshop.work) for _ in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    return [answers[k] for k in range(len(scenarios))]


def test_threads_and_company_change_no_bit(planner):
    scenarios = [hall(9, 1), rooms(4, 2), hall(3, 3), rooms(5, 4), hall(14, 5)]
    alone = [planner.plan(scenario, PlanOptions(seed=k)) for k, scenario in enumerate(scenarios)]
    for threads in (1, 3):
        for mine, theirs in zip(collected(planner.workshop(), scenarios, threads), alone, strict=True):
            assert isinstance(mine, Plan)
            assert curves(mine) == curves(theirs)
            assert mine.diagnostics == theirs.diagnostics


def test_a_fault_is_answered_and_harms_nobody(planner):
    workshop = planner.workshop()
    first, second, third = collected(workshop, [hall(3, 1), spoiled(hall(3, 2)), hall(3, 3)], 2)
    assert isinstance(second, Exception)
    assert isinstance(first, Plan)
    assert isinstance(third, Plan)
    assert first.status is third.status is PlanStatus.SUCCEEDED
    assert workshop.active == 0
    with pytest.raises(type(second)):
        planner.plan_batch([hall(3, 1), spoiled(hall(3, 2))])


def test_the_most_urgent_job_is_worked_on_first(planner):
    workshop, order = planner.workshop(), []
    for name, urgency in (("late", 9.0), ("soon", 1.0), ("first", 0.0), ("soon too", 1.0)):
        workshop.add(hall(2, 1), PlanOptions(), lambda _, name=name: order.append(name), urgency)
    workshop.work()
    assert order == ["first", "soon", "soon too", "late"]


def test_a_job_that_needs_a_search_lets_others_pass_but_not_for_ever(planner):
    def ends(urgency: float) -> list[str]:
        workshop, order = planner.workshop(), []
        workshop.add(rooms(4, 2), PlanOptions(sources=("search",)), lambda _: order.append("search"), 0.0)
        workshop.step()  # it has begun, and its search comes next
        workshop.add(hall(2, 1), PlanOptions(), lambda _: order.append("lines"), urgency)
        workshop.work()
        return order

    assert ends(0.05) == ["lines", "search"]
    assert ends(1.0) == ["search", "lines"]


def test_a_plan_that_nobody_wants_any_more_is_given_up(planner):
    watch = Watch()
    workshop, answers = planner.workshop(), []
    workshop.add(rooms(6, 3), PlanOptions(sources=("search",), watch=watch), answers.append)
    workshop.step()
    watch.stop()
    began = workshop.active
    workshop.work()
    assert (began, workshop.active) == (1, 0)
    assert {robot.reason.code for robot in answers[0].robots} == {ReasonCode.DEADLINE_EXCEEDED}
    assert answers[0].diagnostics.candidates == 0


def test_the_best_plan_so_far_is_certified_and_stays_as_it_was(planner):
    scenario, watch = hall(12, 4), Watch()
    workshop, answers = planner.workshop(), []
    workshop.add(scenario, PlanOptions(watch=watch, alternatives=3), answers.append)
    while watch.best is None:
        assert workshop.step()
    early = watch.best
    before = early()
    workshop.work()
    plan = early()
    assert curves(plan) == curves(before)
    assert plan.status is PlanStatus.SUCCEEDED
    assert any("cut" in warning for warning in plan.warnings)
    assert certify(np.stack([robot.control_points for robot in plan.robots]), plan.horizon, scenario).safe
    assert answers[0].metrics.cost <= plan.metrics.cost


def test_the_best_plan_so_far_keeps_the_horizon_that_it_was_made_for(planner):
    scenario, watch = replace(rooms(3, 5), horizon=None), Watch()
    workshop, seen = planner.workshop(), []
    workshop.add(scenario, PlanOptions(watch=watch), lambda _: None)
    while workshop.step():
        if watch.best is not None:
            seen.append(watch.best())
    assert len({plan.horizon for plan in seen}) > 1  # longer ones were certified first
    for plan in seen:
        points = np.stack([robot.control_points for robot in plan.robots])
        assert certify(points, plan.horizon, replace(scenario, horizon=plan.horizon)).safe


def test_a_deadline_that_has_passed_starts_nothing(planner):
    workshop, answers = planner.workshop(), []
    workshop.add(hall(5, 1), PlanOptions(deadline=time.monotonic() - 1.0), answers.append)
    workshop.work()
    assert answers[0].diagnostics.candidates == 0
    assert {robot.reason.code for robot in answers[0].robots} == {ReasonCode.DEADLINE_EXCEEDED}
