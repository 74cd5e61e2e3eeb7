"""Jobs as the clients see them, against a server that answers as the wire's description says and drops connections when told to."""

import asyncio
import json

import pytest

from api.client import (
    AsyncPlannerClient,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    NotFound,
    PlannerClient,
    Request,
    RetryConfig,
    Robot,
    TimedOut,
    Unreachable,
)
from api.examples import PLAN_ANSWER, PROBLEM

REQUEST = Request("depot", [Robot("a", start=(1, 2), goal=(9, 3), radius=0.3, v_max=1.5, a_max=1.0)])
QUICK = RetryConfig(timeout=10.0, first_wait=0.01, longest_wait=0.02, retries=3)
DROPPED = b""


def state(status: str, done: int = 0) -> dict:
    return {"job_id": "j1", "status": status, "done": done, "total": 3}


def event(number: int, document: dict, name: str = "progress") -> str:
    return f"id: {number}\nevent: {name}\ndata: {json.dumps(document)}\n\n"


def stream(*events: str, whole: bool = True, cut: int = 0) -> bytes:
    """An answer that is an event stream; one that is not whole ends with the connection, `cut` characters short."""
    text = ("retry: 10\n\n" + "".join(events)).encode()
    text = text[: len(text) - cut]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    return head + f"{len(text):x}\r\n".encode() + text + b"\r\n" + (b"0\r\n\r\n" if whole else b"")


@pytest.fixture(params=["threads", "coroutines"])
def call(request):
    """Makes one call with the one client or the other; what is streamed comes back as a list."""

    async def by_coroutine(url, name, args):
        async with AsyncPlannerClient(url, retry=QUICK) as planner:
            if name == "stream":
                return [event async for event in planner.stream(*args)]
            return await getattr(planner, name)(*args)

    def by_thread(url, name, args):
        with PlannerClient(url, retry=QUICK) as planner:
            made = getattr(planner, name)(*args)
            return list(made) if name == "stream" else made

    def make(url, name, *args):
        return by_thread(url, name, args) if request.param == "threads" else asyncio.run(by_coroutine(url, name, args))

    return make


def test_one_request_or_several_become_a_job_once(call, scripted, http_answer):
    accepted = http_answer(202, {"job_id": "j1", "status": "queued"}, location="/v1/jobs/j1")
    server = scripted(accepted, DROPPED, accepted)
    job = call(server.url, "submit", REQUEST)
    assert (job.job_id, job.status, job.finished) == ("j1", "queued", False)
    call(server.url, "submit", [REQUEST, REQUEST.to_dict()])
    assert {(s.method, s.path) for s in server.seen} == {("POST", "/v1/jobs")}
    bodies = [json.loads(s.body) for s in server.seen]
    assert bodies == [REQUEST.to_dict(), *[{"requests": [REQUEST.to_dict()] * 2}] * 2]
    keys = [s.headers["idempotency-key"] for s in server.seen]
    assert keys[0] != keys[1] == keys[2]


def test_a_job_that_is_refused_says_which_of_its_requests_is_wrong(call, scripted, http_answer):
    fault = PROBLEM["errors"][0] | {"pointer": "/requests/3/robots/0/goal"}
    with pytest.raises(InvalidRequest) as caught:
        call(scripted(http_answer(422, PROBLEM | {"errors": [fault]})).url, "submit", [REQUEST] * 4)
    assert caught.value.errors[0].pointer == "/requests/3/robots/0/goal"


def test_waiting_ends_with_the_plans(call, scripted, http_answer):
    states = [http_answer(200, state(s, d)) for s, d in (("queued", 0), ("running", 1), ("succeeded", 3))]
    result = http_answer(200, {"plans": [PLAN_ANSWER | {"plan_id": k} for k in "abc"]})
    server = scripted(*states[:2], DROPPED, states[2], result)
    assert [plan.plan_id for plan in call(server.url, "wait", "j1")] == ["a", "b", "c"]
    assert [s.path for s in server.seen] == ["/v1/jobs/j1"] * 4 + ["/v1/jobs/j1/result"]


@pytest.mark.parametrize(("status", "kind"), [("failed", JobFailed), ("cancelled", JobCancelled)])
def test_a_job_without_a_result_is_an_error(call, scripted, http_answer, status, kind):
    with pytest.raises(kind, match="j1"):
        call(scripted(http_answer(200, state(status))).url, "wait", "j1")


def test_waiting_has_an_end(call, scripted, http_answer):
    with pytest.raises(TimedOut):
        call(scripted(*[http_answer(200, state("running"))] * 30).url, "wait", "j1", 0.3)


def test_events_come_once_each_although_connections_drop(call, scripted, http_answer):
    events = [event(k, state("running", k)) for k in range(1, 4)]
    last = event(4, state("succeeded", 3), "done")
    server = scripted(
        stream(events[0], events[1], whole=False, cut=9),  # half of the second event
        DROPPED,
        http_answer(503, {"status": 503, "code": "NOT_READY"}, retry_after="0"),
        stream(events[1], events[2], whole=False),
        stream(last),
    )
    found = call(server.url, "stream", "j1")
    assert [(e.id, e.name, e.document["done"]) for e in found] == [
        ("1", "progress", 1),
        ("2", "progress", 2),
        ("3", "progress", 3),
        ("4", "done", 3),
    ]
    assert [s.headers.get("last-event-id") for s in server.seen] == [None, "1", "1", "1", "3"]
    assert {(s.path, s.headers["accept"]) for s in server.seen} == {("/v1/jobs/j1/events", "text/event-stream")}


def test_a_stream_that_ends_in_order_without_the_last_word_is_taken_up(call, scripted, http_answer):
    """The end of a job is told by its state where no event told it."""
    server = scripted(stream(event(1, {"done": 1})), stream(), http_answer(200, state("succeeded", 3)))
    assert [e.id for e in call(server.url, "stream", "j1")] == ["1"]
    assert [s.path for s in server.seen] == ["/v1/jobs/j1/events"] * 2 + ["/v1/jobs/j1"]


def test_a_plan_among_the_events_is_not_taken_for_the_end(call, scripted):
    server = scripted(stream(event(1, PLAN_ANSWER, "plan"), whole=False), stream(event(2, state("succeeded"))))
    assert [e.name for e in call(server.url, "stream", "j1")] == ["plan", "progress"]


def test_the_stream_may_begin_after_an_event_and_may_be_over(call, scripted):
    server = scripted(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
    assert call(server.url, "stream", "j1", "17") == []
    assert server.seen[0].headers["last-event-id"] == "17"


def test_a_stream_gives_up_where_nobody_is_any_more(call, scripted, http_answer):
    server = scripted(stream(event(1, {"done": 1}), whole=False), *[DROPPED] * 9)
    with pytest.raises(Unreachable):
        call(server.url, "stream", "j1")
    assert len(server.seen) == 1 + QUICK.retries
    with pytest.raises(NotFound):
        call(scripted(http_answer(404, {"status": 404, "code": "UNKNOWN_JOB"})).url, "stream", "j1")


def test_jobs_are_listed_page_by_page_and_cancelled(call, scripted, http_answer):
    pages = ({"jobs": [state("running")], "next_cursor": "x y"}, {"jobs": [state("succeeded") | {"job_id": "j2"}], "next_cursor": None})
    server = scripted(*[http_answer(200, page) for page in pages], http_answer(204))
    assert [(job.job_id, job.finished) for job in call(server.url, "jobs")] == [("j1", False), ("j2", True)]
    assert call(server.url, "cancel", "j1") is None
    assert [(s.method, s.path) for s in server.seen] == [("GET", "/v1/jobs"), ("GET", "/v1/jobs?cursor=x%20y"), ("DELETE", "/v1/jobs/j1")]
