"""Jobs over HTTP, with the real planner, on both kinds of store."""

import copy
import json

from sqlalchemy import select

from api.answers import JobAnswer, JobResult, JobsAnswer, PlanAnswer, ProblemAnswer, UnplannedAnswer
from api.store.schema import items


def with_seeds(body: dict, count: int) -> dict:
    return {"requests": [body | {"options": {"seed": k}} for k in range(count)]}


def posted(client, body: dict) -> str:
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    accepted = answer.json()
    assert accepted == {"job_id": accepted["job_id"], "status": "queued"}
    assert answer.headers["location"] == f"/v1/jobs/{accepted['job_id']}"
    return accepted["job_id"]


def job(client, job_id: str) -> JobAnswer:
    return JobAnswer.model_validate(client.get(f"/v1/jobs/{job_id}").json())


def ended(client, job_id: str, until) -> JobAnswer:
    until(lambda: job(client, job_id).finished_at)
    return job(client, job_id)


def problem(answer, status: int) -> ProblemAnswer:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return ProblemAnswer.model_validate(answer.json())


def events(client, job_id: str, **headers: str) -> list[dict]:
    """All events of a job that has ended, or the rest of them as it ends."""
    with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        text = stream.read().decode()
    out = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if lines:
            out.append({"id": int(lines["id"]), "event": lines["event"]} | json.loads(lines["data"]))
    return out


def test_a_job_is_answered_in_the_order_of_its_requests(serve, store_url, request_body, until) -> None:
    with serve(store_url=store_url) as client:
        job_id = posted(client, with_seeds(request_body, 5))
        state = ended(client, job_id, until)
        assert (state.status, state.done, state.total) == ("succeeded", 5, 5)
        result = client.get(f"/v1/jobs/{job_id}/result")
        plans = [PlanAnswer.model_validate(plan) for plan in result.json()["plans"]]
        assert [p.seed for p in plans] == list(range(5))
        assert all(p.status == "succeeded" for p in plans)
        alone = PlanAnswer.model_validate(client.post("/v1/plans", json=request_body | {"options": {"seed": 3}}).json())
        assert alone.robots == plans[3].robots
        assert client.get(f"/v1/plans/{plans[3].plan_id}").json() == result.json()["plans"][3]


def test_one_request_alone_is_a_job_of_one(serve, request_body, until) -> None:
    with serve() as client:
        request_body["horizon_s"] = 0.5
        state = ended(client, posted(client, request_body), until)
        assert (state.status, state.total) == ("succeeded", 1)  # a plan that was not found is an answer
        plan = client.get(f"/v1/jobs/{state.job_id}/result").json()["plans"][0]
        assert plan["robots"][0]["reason"]["code"] == "HORIZON_TOO_SHORT"


def test_a_large_result_is_sent_in_parts_and_whole(serve, request_body, until) -> None:
    with serve() as client:
        state = ended(client, posted(client, with_seeds(request_body | {"horizon_s": 0.5}, 130)), until)
        plans = client.get(f"/v1/jobs/{state.job_id}/result").json()["plans"]
        assert [p["seed"] for p in plans] == list(range(130))


def test_bad_requests_are_refused_with_their_place_in_the_job(serve, request_body) -> None:
    bad = copy.deepcopy(request_body)
    bad["robots"][0]["goal"] = 5
    with serve(max_job_requests=3) as client:
        found = problem(client.post("/v1/jobs", json={"requests": [request_body, bad]}), 422)
        assert found.errors[0].pointer == "/requests/1/robots/0/goal"
        assert problem(client.post("/v1/jobs", json=bad), 422).errors[0].pointer == "/robots/0/goal"
        for body, pointer in (
            ({"requests": []}, "/requests"),
            ({"requests": {}}, "/requests"),
            ({"requests": [5]}, "/requests/0"),
            ({"requests": 4 * [request_body]}, "/requests"),
            ({"requests": [request_body], "colour": 1}, "/colour"),
            ({"requests": [request_body | {"map": {"id": "nowhere"}}]}, "/requests/0/map/id"),
            ([], ""),
        ):
            assert problem(client.post("/v1/jobs", json=body), 422).errors[0].pointer == pointer
        problem(client.post("/v1/jobs", content=b"{"), 400)
        problem(client.post("/v1/jobs", content=b"{}", headers={"content-type": "text/plain"}), 415)
        assert client.get("/v1/jobs").json()["jobs"] == []


def test_unknown_jobs_and_plans_are_404_and_calls_that_make_no_sense_422(serve, request_body) -> None:
    with serve(ready=False) as client:
        for job_id in ("0" * 32, "x", "%00", "a" * 3000):
            for method, rest in (("GET", ""), ("DELETE", ""), ("GET", "/result"), ("GET", "/events")):
                assert problem(client.request(method, f"/v1/jobs/{job_id}{rest}"), 404).code == "UNKNOWN_JOB"
            assert problem(client.get(f"/v1/plans/{job_id}"), 404).code == "UNKNOWN_PLAN"
        for query in ("status=lost", "limit=0", "limit=201", "limit=x", "cursor=x", "cursor=é", "cursor=bmFuIDA"):
            problem(client.get(f"/v1/jobs?{query}"), 422)
        job_id = posted(client, request_body)
        problem(client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "x"}), 422)


def test_a_job_that_waits_says_so_and_too_many_are_refused(serve, store_url, request_body) -> None:
    with serve(ready=False, store_url=store_url, max_jobs=2) as client:
        job_id = posted(client, with_seeds(request_body, 2))
        assert (job(client, job_id).status, job(client, job_id).done) == ("queued", 0)
        waits = client.get(f"/v1/jobs/{job_id}/result")
        assert (problem(waits, 409).code, waits.headers["retry-after"]) == ("JOB_UNFINISHED", "1")
        assert client.get(f"/v1/jobs/{job_id}/result?partial=true").json() == {"plans": [None, None]}
        posted(client, request_body)
        full = client.post("/v1/jobs", json=request_body)
        assert (problem(full, 503).code, "retry-after" in full.headers) == ("TOO_MANY_JOBS", True)


def test_a_cancelled_job_is_never_started(serve, store_url, request_body, until) -> None:
    with serve(ready=False, store_url=store_url) as client:
        cancelled, kept = posted(client, with_seeds(request_body, 2)), posted(client, request_body)
        assert client.delete(f"/v1/jobs/{cancelled}").json()["status"] == "cancelled"
        assert problem(client.get(f"/v1/jobs/{cancelled}/result"), 410).code == "JOB_CANCELLED"
    with serve(store_url=store_url) as client:
        assert ended(client, kept, until).status == "succeeded"
        assert client.delete(f"/v1/jobs/{kept}").json()["status"] == "succeeded"  # it has ended: nothing to cancel
        assert (job(client, cancelled).status, job(client, cancelled).done) == ("cancelled", 0)
        assert [e["status"] for e in events(client, cancelled)] == ["queued", "cancelled"]


def test_cancelling_keeps_what_is_answered_and_ends_the_rest(serve, store_url, request_body, until) -> None:
    with serve(store_url=store_url, batch_size=1, jobs_in_flight=8) as client:
        job_id = posted(client, with_seeds(request_body, 300))
        until(lambda: job(client, job_id).done)
        engine = client.app.state.desk.engine
        state = client.delete(f"/v1/jobs/{job_id}").json()
        assert 0 < state["done"] < 300
        until(lambda: engine.depth == 0)
        told = events(client, job_id)
        assert told[-1]["status"] == "cancelled"
        plans = client.get(f"/v1/jobs/{job_id}/result?partial=true").json()["plans"]
        made = [p for p in plans if p is not None]
        assert len(made) == state["done"] == job(client, job_id).done
        assert {p["plan_id"] for p in made} == {e["plan_id"] for e in told if e["event"] == "plan"}


def test_events_tell_all_in_order_and_go_on_from_where_a_listener_was(serve, store_url, request_body) -> None:
    with serve(store_url=store_url) as client:
        job_id = posted(client, with_seeds(request_body, 4))
        told = events(client, job_id)  # listens while the job runs, and ends with it
        assert [e["id"] for e in told] == list(range(1, 8))
        assert [e["event"] for e in told] == ["status", "status", *4 * ["plan"], "status"]
        assert [e["status"] for e in told if e["event"] == "status"] == ["queued", "running", "succeeded"]
        assert [e["done"] for e in told] == [0, 0, 1, 2, 3, 4, 4]
        assert sorted(e["index"] for e in told if e["event"] == "plan") == [0, 1, 2, 3]
        assert events(client, job_id) == told
        assert events(client, job_id, **{"Last-Event-ID": "4"}) == told[4:]
        assert events(client, job_id, **{"Last-Event-ID": "7"}) == []


def test_the_list_has_every_job_once_page_by_page(serve, store_url, request_body) -> None:
    with serve(ready=False, store_url=store_url) as client:
        ids = [posted(client, request_body) for _ in range(5)]
        client.delete(f"/v1/jobs/{ids[2]}")
        seen, cursor = [], None
        while cursor is not None or not seen:
            page = client.get("/v1/jobs", params={"limit": 2} | ({} if cursor is None else {"cursor": cursor}))
            found = JobsAnswer.model_validate(page.json())
            seen.append([j.job_id for j in found.jobs])
            cursor = found.next_cursor
        assert [len(part) for part in seen] == [2, 2, 1]
        assert [name for part in seen for name in part] == ids[::-1]
        assert [j["job_id"] for j in client.get("/v1/jobs?status=cancelled").json()["jobs"]] == [ids[2]]


def test_a_job_keeps_the_map_that_it_was_accepted_with(serve, store_url, request_body, until) -> None:
    inline = request_body["map"]
    walled = {"bounds": [0, 0, 10, 6], "obstacles": [{"type": "polygon", "vertices": [[4, -1], [6, -1], [6, 7], [4, 7]]}]}
    with serve(ready=False, store_url=store_url) as client:
        assert client.put("/v1/maps/yard", json=inline).status_code == 201
        job_id = posted(client, request_body | {"map": {"id": "yard"}})
        assert client.put("/v1/maps/yard", json=walled).status_code == 200
    with serve(store_url=store_url) as client:  # knows no such map
        assert ended(client, job_id, until).status == "succeeded"
        assert client.get(f"/v1/jobs/{job_id}/result").json()["plans"][0]["status"] == "succeeded"


def test_a_request_that_no_longer_fits_fails_its_job_but_not_its_companions(serve, store_url, request_body, until) -> None:
    with serve(ready=False, store_url=store_url) as client:
        job_id = posted(client, {"requests": [request_body, request_body | {"robots": request_body["robots"][:1]}]})
    with serve(store_url=store_url, max_robots=1) as client:
        assert ended(client, job_id, until).status == "failed"
        result = JobResult.model_validate(client.get(f"/v1/jobs/{job_id}/result").json())
        assert isinstance(result.plans[0], UnplannedAnswer)
        assert result.plans[0].problem.code == "LIMIT_EXCEEDED"
        assert isinstance(result.plans[1], PlanAnswer)


def test_an_engine_that_is_full_makes_jobs_wait_not_fail(serve, request_body, until) -> None:
    with serve(queue_size=1, batch_size=1) as client:
        first, second = (posted(client, with_seeds(request_body, 10)) for _ in range(2))
        for _ in range(20):
            client.post("/v1/plans", json=request_body)
        assert ended(client, first, until).status == ended(client, second, until).status == "succeeded"


def test_requests_of_jobs_go_behind_single_calls_unless_they_say_otherwise(serve, store_url, request_body, transact, new_store) -> None:
    with serve(ready=False, store_url=store_url) as client:
        posted(client, {"requests": [request_body, request_body | {"options": {"priority": 2}}, request_body | {"options": {"seed": 1}}]})
    rows = transact(new_store(store_url), lambda c, _: c.execute(select(items.c.priority).order_by(items.c.number)).scalars().all())
    assert rows == [6, 2, 6]


def test_an_urgent_job_overtakes_one_that_was_there_before(serve, request_body, until) -> None:
    with serve(batch_size=1, jobs_in_flight=4) as client:
        patient = posted(client, with_seeds(request_body, 200))
        until(lambda: job(client, patient).done)
        urgent = posted(client, request_body | {"options": {"priority": 0}})
        assert ended(client, urgent, until).status == "succeeded"
        assert job(client, patient).status == "running"
        client.delete(f"/v1/jobs/{patient}")
