"""Jobs from the client to the real server and back."""

import asyncio

import pytest

from api.client import AsyncPlannerClient, InvalidRequest, JobCancelled, NotFound, Options, PlannerClient, Request, RetryConfig, Robot

PATIENT = RetryConfig(timeout=60.0)


def crossing(seed: int, **options) -> Request:
    """One robot through the built-in crossing."""
    robot = Robot("a", start=(1, 6), goal=(11, 6), radius=0.3, v_max=1.5, a_max=1.0)
    return Request("crossing", [robot], horizon_s=14.0, options=Options(seed=seed, **options))


@pytest.fixture
def planner(server_url):
    with PlannerClient(server_url, retry=PATIENT) as made:
        yield made


def test_a_job_is_submitted_followed_and_read(planner) -> None:
    job = planner.submit([crossing(seed) for seed in range(3)])
    events = list(planner.stream(job))
    plans = planner.wait(job, timeout=60.0)
    assert [plan.raw["seed"] for plan in plans] == [0, 1, 2]
    assert all(plan.status == "succeeded" for plan in plans)
    assert planner.job(job).done == planner.job(job).total == 3
    assert job.job_id in [other.job_id for other in planner.jobs()]
    assert planner.plan_by_id(plans[1].plan_id).raw == plans[1].raw
    named = {event.document.get("plan_id") for event in events}
    assert {plan.plan_id for plan in plans} <= named
    later = list(planner.stream(job, after=events[1].id))
    assert [event.id for event in later] == [event.id for event in events[2:]]


def test_a_cancelled_job_says_so(planner) -> None:
    job = planner.submit([crossing(seed, alternatives=8, candidates=128) for seed in range(40)])
    planner.cancel(job)
    with pytest.raises(JobCancelled):
        planner.wait(job, timeout=60.0)


def test_what_is_wrong_with_a_job_is_told_by_its_place(planner) -> None:
    bad = crossing(1).to_dict()
    bad["robots"][0]["radius"] = -1.0
    with pytest.raises(InvalidRequest) as caught:
        planner.submit([crossing(0).to_dict(), bad])
    assert [fault.pointer for fault in caught.value.errors] == ["/requests/1/robots/0/radius"]
    with pytest.raises(NotFound):
        planner.job("0" * 32)


def test_coroutines_do_the_same(server_url) -> None:
    async def play() -> list[str]:
        async with AsyncPlannerClient(server_url, retry=PATIENT) as planner:
            job = await planner.submit(crossing(7))
            seen = [event async for event in planner.stream(job)]
            plans = await planner.wait(job, timeout=60.0)
            assert seen
            return [plan.status for plan in plans]

    assert asyncio.run(play()) == ["succeeded"]
