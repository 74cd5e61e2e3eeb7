"""The queue in front of the planner, with the real planner behind it."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from api.engine import Engine, EngineConfig, EngineState
from api.intake import Intake
from api.maps_store import MapsStore
from api.plan_wire import to_json
from api.problems import Problem
from api.settings import Settings
from maps.reason import ReasonCode
from maps.sampling import sample_scenario
from planner.assembly import load_planner
from planner.plan import PlanOptions, PlanStatus


@pytest.fixture(scope="module")
def planner():
    made = load_planner()
    made.warm_up()
    return made


@pytest.fixture
def order(request_body):
    settings = Settings()
    return Intake(settings, MapsStore(settings)).order(to_json(request_body), time.monotonic())


def run(planner, scene: Any, config: EngineConfig | None = None, on_batch: Any = None) -> Any:
    """Runs `scene(engine)` on an event loop with a started engine that is ready."""

    async def play() -> Any:
        engine = Engine(lambda: planner, config, on_batch)
        ready = asyncio.Event()
        loop = asyncio.get_running_loop()
        engine.start(lambda: loop.call_soon_threadsafe(ready.set))
        await ready.wait()
        try:
            return await scene(engine)
        finally:
            await engine.close()

    return asyncio.run(play())


def spoiled(scenario):
    """A scenario that no planner can work with: one goal is missing."""
    copy = replace(scenario)
    object.__setattr__(copy, "goal", scenario.goal[:1])
    return copy


def test_a_request_that_makes_the_planner_fail_does_not_harm_its_companions(planner, order) -> None:
    async def scene(engine: Engine) -> list[Any]:
        scenarios = [order.scenario, spoiled(order.scenario), order.scenario]
        return await asyncio.gather(*(engine.submit(s, order.options) for s in scenarios), return_exceptions=True)

    first, second, third = run(planner, scene)
    assert first.plan.status == third.plan.status == PlanStatus.SUCCEEDED
    assert isinstance(second, Exception)
    assert not isinstance(second, Problem)


def test_planned_together_is_planned_alone(planner, order) -> None:
    async def scene(engine: Engine) -> list[Any]:
        alone = await engine.submit(order.scenario, order.options)
        return [alone, *await asyncio.gather(*(engine.submit(order.scenario, order.options) for _ in range(5)))]

    answers = run(planner, scene)
    for answer in answers[1:]:
        for robot, same in zip(answer.plan.robots, answers[0].plan.robots, strict=True):
            assert (robot.control_points == same.control_points).all()


def test_a_full_queue_says_when_to_come_back(planner, order) -> None:
    async def scene(engine: Engine) -> list[Any]:
        return await asyncio.gather(*(engine.submit(order.scenario, order.options) for _ in range(20)), return_exceptions=True)

    answers = run(planner, scene, EngineConfig(queue_size=2, batch_size=1))
    refused = [a for a in answers if isinstance(a, Problem)]
    assert refused
    assert all((a.status, a.code, "Retry-After" in a.headers) == (503, "QUEUE_FULL", True) for a in refused)
    assert all(a.plan.status is PlanStatus.SUCCEEDED for a in answers if not isinstance(a, Problem))


def test_requests_that_are_being_read_have_their_places(planner) -> None:
    engine = Engine(lambda: planner, EngineConfig(queue_size=2))
    with engine.place():
        assert engine.refusal() is None
        with engine.place():
            refusal = engine.refusal()
            assert refusal is not None
            assert (refusal.status, refusal.code) == (503, "QUEUE_FULL")
    assert engine.refusal() is None


def test_a_waiting_request_is_answered_at_its_deadline_and_leaves_the_queue(planner, order) -> None:
    async def scene(engine: Engine) -> Any:
        behind = [asyncio.ensure_future(engine.submit(order.scenario, order.options)) for _ in range(30)]
        late = await engine.submit(order.scenario, PlanOptions(deadline=time.monotonic() + 0.002), priority=9)
        waiting = engine.depth
        await asyncio.gather(*behind)
        return late, waiting

    late, waiting = run(planner, scene, EngineConfig(batch_size=1))
    assert waiting > 0
    assert [r.reason.code for r in late.plan.robots] == [ReasonCode.DEADLINE_EXCEEDED] * 2


def many_plans(order) -> tuple[Any, PlanOptions]:
    """A request that has its first plan soon, and then looks for others for a long time."""
    return order.scenario, replace(order.options, alternatives=8, candidates=128)


def test_at_its_deadline_a_request_that_is_planned_gets_the_best_plan_so_far(planner, order) -> None:
    scenario, options = many_plans(order)

    async def scene(engine: Engine) -> Any:
        return await engine.submit(scenario, replace(options, deadline=time.monotonic() + 0.4))

    plan = run(planner, scene).plan
    assert plan.status is PlanStatus.SUCCEEDED
    assert plan.certificate.safe
    assert any("deadline" in warning for warning in plan.warnings)


def test_at_its_deadline_a_request_without_a_plan_is_told_so(planner) -> None:
    scenario = sample_scenario(np.random.default_rng(3), 24, "rooms")

    async def scene(engine: Engine) -> Any:
        return await engine.submit(scenario, PlanOptions(deadline=time.monotonic() + 0.05, sources=("search",), candidates=64))

    assert {r.reason.code for r in run(planner, scene).plan.robots} == {ReasonCode.DEADLINE_EXCEEDED}


def test_a_caller_who_goes_while_it_is_planned_frees_the_planner(planner, order) -> None:
    scenario, options = many_plans(order)

    async def scene(engine: Engine) -> tuple[float, float]:
        began = time.monotonic()
        await engine.submit(scenario, options)
        whole = time.monotonic() - began
        gone = asyncio.ensure_future(engine.submit(scenario, options))
        while not engine.active:
            await asyncio.sleep(0)
        began = time.monotonic()
        gone.cancel()
        while engine.active:
            await asyncio.sleep(0)
        return time.monotonic() - began, whole

    ended, whole = run(planner, scene)
    assert ended < 0.5 * whole


def test_a_deadline_that_has_passed_already_is_told_so_however_busy_the_planner_is(planner, order) -> None:
    async def scene(engine: Engine) -> Any:
        engine.times.learn(order.scenario, order.options, 100.0)
        busy = asyncio.ensure_future(engine.submit(order.scenario, order.options))
        while not engine.depth and not engine.active:
            await asyncio.sleep(0)
        late = await engine.submit(order.scenario, replace(order.options, deadline=time.monotonic() - 1e-6))
        await busy
        return late

    plan = run(planner, scene).plan
    assert {r.reason.code for r in plan.robots} == {ReasonCode.DEADLINE_EXCEEDED}


def test_a_deadline_that_would_come_first_is_refused_at_the_door(planner, order) -> None:
    async def scene(engine: Engine) -> list[Any]:
        engine.times.learn(order.scenario, order.options, 100.0)  # as if such requests took long
        patient, hasty = (replace(order.options, deadline=d) for d in (None, time.monotonic() + 60.0))
        waiting = [asyncio.ensure_future(engine.submit(order.scenario, patient)) for _ in range(6)]
        await asyncio.sleep(0)
        late = await asyncio.gather(engine.submit(order.scenario, hasty), return_exceptions=True)
        await asyncio.gather(*waiting)
        return [*late, await engine.submit(order.scenario, hasty)]

    late, alone = run(planner, scene, EngineConfig(batch_size=1))
    assert isinstance(late, Problem)
    assert (late.status, late.code) == (503, "OVERLOADED")
    assert int(late.headers["Retry-After"]) > 100
    assert alone.plan.status is PlanStatus.SUCCEEDED  # nobody before it: it may try, however long such requests took


def test_listeners_hear_how_many_are_planned_at_once(planner, order) -> None:
    sizes: list[int] = []

    async def scene(engine: Engine) -> list[Any]:
        return await asyncio.gather(*(engine.submit(order.scenario, order.options) for _ in range(12)), return_exceptions=True)

    answers = run(planner, scene, EngineConfig(queue_size=8, batch_size=4), sizes.append)
    assert len(sizes) == sum(not isinstance(a, Problem) for a in answers)
    assert 1 <= max(sizes) <= 4


def test_a_caller_who_has_gone_leaves_the_queue(planner, order) -> None:
    async def scene(engine: Engine) -> int:
        waiting = [asyncio.ensure_future(engine.submit(order.scenario, order.options)) for _ in range(10)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return engine.depth

    assert run(planner, scene, EngineConfig(batch_size=1)) == 0


def test_urgent_requests_go_first(planner, order) -> None:
    async def scene(engine: Engine) -> list[int]:
        finished: list[int] = []

        async def ask(priority: int) -> None:
            await engine.submit(order.scenario, order.options, priority)
            finished.append(priority)

        await asyncio.gather(*(ask(p) for p in [5, 9, 5, 0, 9, 0]))
        return finished

    finished = run(planner, scene, EngineConfig(batch_size=1))
    assert finished.index(9) > max(k for k, p in enumerate(finished) if p == 0)


def test_what_was_accepted_is_answered_before_the_engine_ends(planner, order) -> None:
    async def scene(engine: Engine) -> list[Any]:
        waiting = [asyncio.ensure_future(engine.submit(order.scenario, order.options)) for _ in range(5)]
        await asyncio.sleep(0)
        await engine.close()
        with pytest.raises(Problem) as caught:
            await engine.submit(order.scenario, order.options)
        assert (caught.value.status, caught.value.code) == (503, "NOT_READY")
        return await asyncio.gather(*waiting)

    assert all(a.plan.status is PlanStatus.SUCCEEDED for a in run(planner, scene, EngineConfig(batch_size=2)))


def test_an_engine_whose_planner_cannot_be_loaded_is_broken(order) -> None:
    async def play() -> Engine:
        def load():
            raise OSError("no such file")

        engine = Engine(load)
        engine.start()
        while engine.state is EngineState.STARTING:
            await asyncio.sleep(0.01)
        with pytest.raises(Problem):
            await engine.submit(order.scenario, order.options)
        await engine.close()
        return engine

    engine = asyncio.run(play())
    assert engine.state is EngineState.BROKEN
    assert not engine.alive


def test_scenarios_of_a_request_are_double_precision(order) -> None:
    assert {t.dtype for t in (order.scenario.start, order.scenario.goal, order.scenario.fleet.radius)} == {torch.float64}
