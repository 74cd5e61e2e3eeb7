"""Idempotency-Key: a call that is sent again is answered again, not done again."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.idempotency import Replay, reserve
from api.store.schema import replays

KEY = {"Idempotency-Key": "7f1c"}


def post(client, body: dict, path: str = "/v1/plans", **headers: str):
    return client.post(path, content=json.dumps(body).encode(), headers={"content-type": "application/json"} | headers)


def test_the_same_call_is_answered_again(serve, store_url, request_body) -> None:
    with serve(store_url=store_url) as client:
        for path in ("/v1/plans", "/v1/jobs"):
            first, second = (post(client, request_body, path, **{"Idempotency-Key": path}) for _ in range(2))
            assert (first.status_code, first.content) == (second.status_code, second.content)
            assert first.headers.get("location") == second.headers.get("location")
            assert ("idempotent-replayed" in first.headers, second.headers["idempotent-replayed"]) == (False, "true")
        assert len(client.get("/v1/jobs").json()["jobs"]) == 1
        plan_id = post(client, request_body, **{"Idempotency-Key": '"/v1/plans"'}).json()["plan_id"]  # quoted, as the standard has it
        assert client.get(f"/v1/plans/{plan_id}").json()["plan_id"] == plan_id
    with serve(store_url=store_url) as client:  # after a restart too
        assert post(client, request_body, **{"Idempotency-Key": "/v1/plans"}).json()["plan_id"] == plan_id


def test_a_key_with_another_body_or_another_address_is_refused(serve, store_url, request_body) -> None:
    with serve(store_url=store_url) as client:
        assert post(client, request_body, **KEY).status_code == 200
        for body, path in ((request_body | {"horizon_s": 13}, "/v1/plans"), (request_body, "/v1/jobs")):
            answer = post(client, body, path, **KEY)
            assert (answer.status_code, answer.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
        assert client.get("/v1/jobs").json()["jobs"] == []


def test_a_key_belongs_to_whoever_sent_it(serve, request_body) -> None:
    with serve() as client:
        whose = [{}, {"Authorization": "Bearer a"}, {"Authorization": "Bearer b"}, {"X-API-Key": "a"}]
        answers = [post(client, request_body, **KEY, **headers) for headers in whose for _ in range(2)]
        assert len({a.json()["plan_id"] for a in answers}) == 4
        assert all(first.content == second.content for first, second in zip(answers[::2], answers[1::2], strict=True))


@pytest.mark.parametrize("path", ["/v1/plans", "/v1/jobs"])
def test_calls_at_the_same_time_are_done_once(serve, store_url, request_body, path) -> None:
    with serve(store_url=store_url) as client, ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda _: post(client, request_body, path, **KEY), range(8)))
        done = [a for a in answers if a.status_code in (200, 202)]
        assert len({a.content for a in done}) == 1
        assert {a.json()["code"] for a in answers if a not in done} <= {"STILL_RUNNING"}
        assert sum("idempotent-replayed" not in a.headers for a in done) == 1
        assert len(client.get("/v1/jobs").json()["jobs"]) == (path == "/v1/jobs")


def test_a_call_that_still_runs_elsewhere_is_409_until_its_process_is_dead(
    serve, store_url, new_store, transact, request_body, until
) -> None:
    other = new_store(store_url)
    with serve(store_url=store_url) as client:
        post(client, request_body, **KEY)
        rows = transact(other, lambda connection, _: connection.execute(replays.select()).all())
        replay = Replay(rows[0].scope, "elsewhere", rows[0].fingerprint)
        assert transact(other, reserve, replay, other.owner, 600.0) is None
        answer = post(client, request_body, **{"Idempotency-Key": "elsewhere"})
        assert (answer.status_code, answer.json()["code"], "retry-after" in answer.headers) == (409, "STILL_RUNNING", True)
        transact(
            other, lambda connection, _: connection.execute(replays.update().where(replays.c.key == "elsewhere").values(lease_until=1.0))
        )
        assert post(client, request_body, **{"Idempotency-Key": "elsewhere"}).status_code == 200


def test_what_is_refused_leaves_the_key_free(serve, store_url, request_body) -> None:
    with serve(store_url=store_url) as client:
        for path in ("/v1/plans", "/v1/jobs"):
            key = {"Idempotency-Key": path}
            assert post(client, request_body | {"robots": []}, path, **key).status_code == 422
            assert post(client, request_body, path, **key).status_code in (200, 202)


@pytest.mark.parametrize("key", ["", "a b", "a" * 256, 'a"b', "a\\b"])
def test_what_is_no_key_is_refused(serve, request_body, key) -> None:
    with serve(ready=False) as client:
        for path in ("/v1/plans", "/v1/jobs"):
            answer = post(client, request_body, path, **{"Idempotency-Key": key})
            assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_IDEMPOTENCY_KEY")
