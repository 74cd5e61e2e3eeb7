"""Who works on what: requests are taken once, taken over from the dead, and never done twice."""

import threading

import pytest

from api.jobs import rows
from api.jobs.state import ItemAnswer, JobStatus, NewItem
from api.store import leases
from api.store.schema import items

PLAN = ItemAnswer("f" * 32, b'{"plan_id":"x"}', "succeeded")


@pytest.fixture
def filled(store_url, new_store, transact):
    """A store with one job of six requests; priorities 6, 6, 2, 6, 6, 2."""
    store = new_store(store_url)
    requests = [NewItem(b"{}", 2 if k % 3 == 2 else 6, None) for k in range(6)]
    transact(store, rows.add_job, "a" * 32, requests, {}, 100)
    return store


def lapse(connection, _) -> None:
    """All leases end now."""
    connection.execute(items.update().where(items.c.lease_until.is_not(None)).values(lease_until=1.0))


def numbers(claimed) -> list[int]:
    return [item.number for item in claimed]


def test_requests_are_taken_by_priority_then_in_order_and_only_once(filled, store_url, new_store, transact) -> None:
    other = new_store(store_url)
    assert numbers(transact(filled, leases.claim, filled.owner, 3, 60.0)) == [2, 5, 0]
    assert numbers(transact(other, leases.claim, other.owner, 9, 60.0)) == [1, 3, 4]
    assert transact(filled, leases.claim, filled.owner, 9, 60.0) == []


def test_claims_of_many_at_once_never_overlap(filled, store_url, new_store, transact) -> None:
    transact(filled, rows.add_job, "b" * 32, [NewItem(b"{}", 6, None)] * 200, {}, 100)
    stores = [new_store(store_url) for _ in range(4)]
    taken: list[tuple[str, int]] = []

    def work(store) -> None:
        for _ in range(15):
            taken.extend((item.job_id, item.number) for item in transact(store, leases.claim, store.owner, 4, 60.0))

    threads = [threading.Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while rest := transact(filled, leases.claim, filled.owner, 9, 60.0):  # those that were skipped while others claimed
        taken.extend((item.job_id, item.number) for item in rest)
    assert len(taken) == len(set(taken)) == 206


def test_a_lease_that_lapses_is_taken_over_and_what_its_holder_brings_later_is_dropped(filled, store_url, new_store, transact) -> None:
    other = new_store(store_url)
    assert len(transact(filled, leases.claim, filled.owner, 6, 60.0)) == 6
    assert transact(other, leases.claim, other.owner, 6, 60.0) == []
    transact(filled, lapse)
    assert transact(filled, leases.claim, filled.owner, 6, 60.0) == []  # its own are not taken over: it may still work on them
    taken = transact(other, leases.claim, other.owner, 6, 60.0)
    assert [item.attempts for item in taken] == 6 * [2]
    assert not transact(filled, rows.finish_item, "a" * 32, 0, PLAN, filled.owner)
    assert transact(other, rows.finish_item, "a" * 32, 0, PLAN, other.owner)
    assert not transact(other, rows.finish_item, "a" * 32, 0, PLAN, other.owner)
    assert transact(filled, rows.read_job, "a" * 32).done == 1
    assert transact(filled, leases.renew, filled.owner, 60.0) == set()


def test_a_lease_that_is_renewed_is_not_taken_over(filled, store_url, new_store, transact) -> None:
    other = new_store(store_url)
    transact(filled, leases.claim, filled.owner, 2, 60.0)
    transact(filled, lapse)
    assert transact(filled, leases.renew, filled.owner, 60.0) == {("a" * 32, 2), ("a" * 32, 5)}
    assert numbers(transact(other, leases.claim, other.owner, 9, 60.0)) == [0, 1, 3, 4]


def test_what_is_given_back_waits_again_and_was_not_tried(filled, transact) -> None:
    transact(filled, leases.claim, filled.owner, 6, 60.0)
    transact(filled, leases.give_back, filled.owner, [("a" * 32, 2)])
    assert [(i.number, i.attempts) for i in transact(filled, leases.claim, filled.owner, 9, 60.0)] == [(2, 1)]
    transact(filled, leases.give_all_back, filled.owner)
    assert len(transact(filled, leases.claim, filled.owner, 9, 60.0)) == 6


def test_an_answer_and_its_done_mark_are_one(filled, transact) -> None:
    """A plan id that is taken makes the answer fail: then the request is not done either."""
    transact(filled, leases.claim, filled.owner, 6, 60.0)
    assert transact(filled, rows.finish_item, "a" * 32, 0, PLAN, filled.owner)
    with pytest.raises(Exception, match=r"(?i)unique"):
        transact(filled, rows.finish_item, "a" * 32, 1, PLAN, filled.owner)
    state, told = transact(filled, rows.events_after, "a" * 32, 0, 100)
    assert (state.done, [e.kind for e in told]) == (1, ["status", "plan"])
    answers = transact(filled, rows.answers_from, "a" * 32, 0, 100)
    assert [a is not None for a in answers] == [True, False, False, False, False, False]


def test_the_last_answer_ends_the_job(filled, transact) -> None:
    for item in transact(filled, leases.claim, filled.owner, 6, 60.0):
        answer = ItemAnswer(f"{item.number:032d}", b"{}", "failed")
        assert transact(filled, rows.finish_item, item.job_id, item.number, answer, filled.owner)
    assert transact(filled, rows.read_job, "a" * 32).status is JobStatus.SUCCEEDED


def test_a_request_that_ended_the_server_too_often_is_given_up(serve, tmp_path, new_store, transact, request_body, until) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with serve(ready=False, store_url=url) as client:
        job_id = client.post("/v1/jobs", json={"requests": [request_body, request_body]}).json()["job_id"]
    store = new_store(url)
    transact(store, lambda connection, _: connection.execute(items.update().where(items.c.number == 1).values(attempts=10)))
    with serve(store_url=url) as client:
        until(lambda: client.get(f"/v1/jobs/{job_id}").json()["finished_at"])
        assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "failed"
        plans = client.get(f"/v1/jobs/{job_id}/result").json()["plans"]
        assert (plans[0]["status"], plans[1]["problem"]["code"]) == ("succeeded", "WORK_LOST")
