"""What the clients do on a faulty network: a real socket whose other end refuses, stalls and drops as it is told."""

import asyncio
import socket
import time

import pytest

from api.client import (
    AsyncPlannerClient,
    Conflict,
    InvalidRequest,
    NotAllowed,
    NotReady,
    Options,
    Overloaded,
    PlannerClient,
    Request,
    RetryConfig,
    Robot,
    ServerFault,
    TimedOut,
    Unreachable,
)
from api.client.errors import error_of
from api.client.retries import Tries
from api.examples import PLAN_ANSWER, PROBLEM

REQUEST = Request("depot", [Robot("a", start=(1, 2), goal=(9, 3), radius=0.3, v_max=1.5, a_max=1.0)])
QUICK = RetryConfig(timeout=10.0, first_wait=0.01, longest_wait=0.02)
FULL = {"status": 503, "code": "QUEUE_FULL", "detail": "64 requests are waiting already"}
DROPPED = b""


@pytest.fixture(params=["threads", "coroutines"])
def call(request):
    """Makes one call with the one client or the other."""

    async def by_coroutine(url, name, args, config, options):
        async with AsyncPlannerClient(url, retry=config, **options) as planner:
            return await getattr(planner, name)(*args)

    def by_thread(url, name, args, config, options):
        with PlannerClient(url, retry=config, **options) as planner:
            return getattr(planner, name)(*args)

    def make(url, name, *args, config=QUICK, **options):
        if request.param == "threads":
            return by_thread(url, name, args, config, options)
        return asyncio.run(by_coroutine(url, name, args, config, options))

    return make


@pytest.fixture
def good(http_answer) -> bytes:
    return http_answer(200, PLAN_ANSWER)


def test_a_call_is_sent_again_until_it_is_answered_and_is_the_same_call(call, scripted, http_answer, good):
    server = scripted(http_answer(503, FULL), DROPPED, http_answer(502), http_answer(429, FULL | {"status": 429}), good)
    assert call(server.url, "plan", REQUEST).plan_id == PLAN_ANSWER["plan_id"]
    assert len(server.seen) == 5
    assert {(s.method, s.path, s.body) for s in server.seen} == {("POST", "/v1/plans", server.seen[0].body)}
    keys = {s.headers.get("idempotency-key") for s in server.seen}
    assert len(keys) == 1
    assert keys != {None}


def test_another_call_has_another_key_and_looking_needs_none(call, scripted, http_answer, good):
    server = scripted(good, good, http_answer(200, {"maps": []}))
    for name, args in (("plan", (REQUEST,)), ("plan", (REQUEST,)), ("maps", ())):
        call(server.url, name, *args)
    keys = [s.headers.get("idempotency-key") for s in server.seen]
    assert keys[0] != keys[1]
    assert keys[2] is None


def test_it_comes_again_when_the_server_says(call, scripted, http_answer, good):
    server = scripted(http_answer(503, FULL, retry_after="1"), good)
    began = time.monotonic()
    assert call(server.url, "plan", REQUEST).succeeded
    assert 1.0 <= time.monotonic() - began < 3.0


def test_it_gives_up_after_its_tries(call, scripted, http_answer):
    server = scripted(*[http_answer(503, FULL, retry_after="0")] * 9)
    with pytest.raises(Overloaded) as caught:
        call(server.url, "plan", REQUEST)
    assert (caught.value.code, caught.value.retry_after) == ("QUEUE_FULL", 0.0)
    assert len(server.seen) == 1 + QUICK.retries


def test_a_wait_that_is_longer_than_its_time_is_not_begun(call, scripted, http_answer):
    server = scripted(http_answer(503, FULL | {"code": "NOT_READY"}, retry_after="60"))
    began = time.monotonic()
    with pytest.raises(NotReady) as caught:
        call(server.url, "plan", REQUEST)
    assert caught.value.retry_after == 60.0
    assert time.monotonic() - began < 5.0


@pytest.mark.parametrize(("status", "kind"), [(422, InvalidRequest), (400, InvalidRequest), (401, NotAllowed), (500, ServerFault)])
def test_what_would_be_refused_again_is_not_sent_again(call, scripted, http_answer, good, status, kind):
    server = scripted(http_answer(status, PROBLEM | {"status": status}), good)
    with pytest.raises(kind) as caught:
        call(server.url, "plan", REQUEST)
    assert type(caught.value) is kind
    assert caught.value.errors[0].pointer == "/robots/0/radius"
    assert len(server.seen) == 1


def test_a_try_that_is_still_at_work_is_waited_for(call, scripted, http_answer, good):
    """The first answer is lost, the second try meets the first one, the third gets its answer."""
    busy = http_answer(409, {"status": 409, "code": "IN_PROGRESS"})
    assert call(scripted(DROPPED, busy, good).url, "plan", REQUEST).succeeded
    with pytest.raises(Conflict):  # without a key 409 is what it says
        call(scripted(busy, http_answer(204)).url, "delete_map", "depot")


def test_a_deadline_bounds_the_call_whatever_its_timeout(call, scripted, good):
    server = scripted([3.0, good])
    hurried = Request("depot", REQUEST.robots, options=Options(deadline_ms=100))
    began = time.monotonic()
    with pytest.raises(TimedOut):
        call(server.url, "plan", hurried, config=RetryConfig(timeout=60.0, grace=0.3))
    assert 0.35 < time.monotonic() - began < 2.9


def test_a_deadline_longer_than_the_timeout_is_waited_for(call, scripted, good):
    server = scripted([0.5, good])
    patient = Request("depot", REQUEST.robots, options=Options(deadline_ms=20_000))
    assert call(server.url, "plan", patient, config=RetryConfig(timeout=0.2)).succeeded


def test_an_answer_that_drips_is_not_waited_for(call, scripted, good):
    head, _, body = good.partition(b"{")
    drops = [head + b"{", *(part for k in range(len(body)) for part in (0.1, body[k : k + 1]))]
    began = time.monotonic()
    with pytest.raises(TimedOut):
        call(scripted(drops).url, "plan", REQUEST, config=RetryConfig(timeout=0.5))
    assert time.monotonic() - began < 4.0


def test_half_an_answer_is_no_answer(call, scripted, good):
    server = scripted(good[:-10], good)
    assert call(server.url, "plan", REQUEST).succeeded
    assert len(server.seen) == 2


def test_answers_that_cannot_be_read_are_faults_of_the_server(call, scripted, http_answer):
    proxy = b"HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 13\r\nx-request-id: 77\r\n\r\n<html></html>"
    with pytest.raises(ServerFault, match="504") as caught:
        call(scripted(proxy).url, "plan", REQUEST)
    assert (caught.value.status, caught.value.request_id) == (504, "77")
    for document in ({"robots": 5}, [], None, "plan"):
        with pytest.raises(ServerFault, match="cannot be read"):
            call(scripted(http_answer(200, document)).url, "plan", REQUEST)


def test_where_nobody_listens_there_is_no_answer(call):
    with socket.socket() as taken:  # bound, and never listened on
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unreachable) as caught:
            call(url, "plan", REQUEST)
        assert caught.value.status is None
        assert call(url, "ready") is False
        with pytest.raises(TimedOut):
            call(url, "wait_ready", 0.1)


def test_it_waits_until_the_server_is_ready(call, scripted, http_answer):
    starting = http_answer(503, {"status": 503, "code": "NOT_READY"}, retry_after="2")
    server = scripted(starting, starting, http_answer(200, {"status": "ready"}))
    call(server.url, "wait_ready", 20.0)
    assert [s.path for s in server.seen] == ["/readyz"] * 3


def test_the_key_goes_with_every_call_and_ids_are_quoted(call, scripted, http_answer, good):
    server = scripted(good, http_answer(200, {}))
    assert call(server.url, "plan_by_id", "a/b?c", api_key="Secret", headers={"X-Site": "North"}).succeeded
    assert call(server.url, "capabilities") == {}
    assert server.seen[0].path == "/v1/plans/a%2Fb%3Fc"
    assert (server.seen[0].headers["authorization"], server.seen[0].headers["x-site"]) == ("bearer secret", "north")
    assert (server.seen[1].path, "authorization" in server.seen[1].headers) == ("/v1/capabilities", False)


def test_waits_double_and_are_spread():
    calm, keen = Tries(RetryConfig(), jitter=lambda: 1.0), Tries(RetryConfig(), jitter=lambda: 0.0)
    error = error_of(FULL)
    assert [calm.after_refusal(503, error) for _ in range(4)] == [0.1, 0.2, 0.4, 0.8]
    assert [keen.after_refusal(503, error) for _ in range(4)] == [0.05, 0.1, 0.2, 0.4]
    asked = error_of(FULL, retry_after=4.0)
    waits = [Tries(RetryConfig(), jitter=lambda j=j: j).after_refusal(503, asked) for j in (0.0, 1.0)]
    assert waits == [4.0, 5.0]  # never sooner than asked


@pytest.mark.parametrize(("said", "wait"), [("1.5", 1.5), ("soon", None), ("", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)])
def test_when_to_come_again_is_a_number_or_a_date(scripted, http_answer, said, wait):
    server = scripted(http_answer(503, FULL, retry_after=said))
    with PlannerClient(server.url, retry=RetryConfig(retries=0)) as planner, pytest.raises(Overloaded) as caught:
        planner.plan(REQUEST)
    assert caught.value.retry_after == wait


def test_many_calls_share_a_client_between_threads(client, server_url, two_robots):
    from concurrent.futures import ThreadPoolExecutor

    with PlannerClient(server_url) as planner, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda seed: planner.plan(two_robots | {"options": {"seed": seed}}), range(24)))
    assert [plan.seed for plan in found] == list(range(24))
