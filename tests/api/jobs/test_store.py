"""The store itself: what survives, what is deleted, and what happens when the database is away or full."""

import asyncio
import time

import pytest
from sqlalchemy import func, insert, select, update

from api.packing import packed, unpacked
from api.store import schema
from api.store.retention import RetentionConfig, delete_expired
from api.store.store import Store, StoreUnavailable
from maps.errors import InvalidInput

TABLES = [t for t in schema.TABLES.sorted_tables if t is not schema.version]


def counts(store, transact) -> dict[str, int]:
    return transact(store, lambda c, _: {t.name: c.scalar(select(func.count()).select_from(t)) for t in TABLES})


@pytest.mark.parametrize("body", [b"{}", b"[" + b"1," * 9000 + b"1]"])
def test_packing_is_undone(body) -> None:
    assert unpacked(packed(body)) == body
    assert len(packed(body)) <= max(len(body), 1024)


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite", "postgresql+pg8000://x/y", "postgres:///x?host=/tmp\n://"])
def test_an_address_of_no_database_is_named(url) -> None:
    if url.startswith("postgres:"):
        Store(url)  # the plain names of PostgreSQL mean the driver that is there
        return
    with pytest.raises(InvalidInput, match="STORE_URL"):
        Store(url)


def test_a_store_of_a_later_version_is_not_touched(store_url, new_store, transact) -> None:
    first = new_store(store_url)
    transact(first, lambda connection, _: connection.execute(update(schema.version).values(version=99)))
    with pytest.raises(StoreUnavailable):
        transact(new_store(store_url), lambda connection, _: connection.execute(select(schema.jobs)))
    assert transact(first, lambda connection, _: connection.scalar(select(schema.version.c.version))) == 99


def test_processes_that_start_at_once_make_the_tables_once(store_url, new_store) -> None:
    async def all_at_once() -> list[int]:
        stores = [new_store(store_url) for _ in range(4)]
        return await asyncio.gather(*(s.run(lambda c, _: c.scalar(select(func.count()).select_from(schema.version))) for s in stores))

    assert asyncio.run(all_at_once()) == [1, 1, 1, 1]


def test_plans_of_single_calls_can_be_read_by_id_at_once_and_after_a_restart(serve, store_url, request_body) -> None:
    with serve(store_url=store_url) as client:
        plan = client.post("/v1/plans", json=request_body).json()
        assert client.get(f"/v1/plans/{plan['plan_id']}").json() == plan
        assert client.app.state.desk.store.find_plan(plan["plan_id"]) is not None
    with serve(ready=False, store_url=store_url) as client:
        assert client.get(f"/v1/plans/{plan['plan_id']}").json() == plan
        store = client.app.state.desk.store
        assert store.find_plan(plan["plan_id"]) is not None
        assert store.find_plan("0" * 32) is store.find_plan("x") is None


def test_plans_are_not_kept_where_that_is_switched_off(serve, store_url, request_body) -> None:
    with serve(store_url=store_url, keep_plans=False) as client:
        plan = client.post("/v1/plans", json=request_body).json()
        assert client.get(f"/v1/plans/{plan['plan_id']}").status_code == 404


def test_keeping_a_plan_costs_its_caller_next_to_nothing(store_url, new_store) -> None:
    store, body = new_store(store_url), b"[" + b"1.23456789," * 20_000 + b"0]"

    async def keep() -> float:
        await store.run(lambda *_: None)
        spent = []
        for k in range(100):
            began = time.perf_counter()
            store.keep(f"{k:032d}", body)
            spent.append(time.perf_counter() - began)
            await asyncio.sleep(0)
        return sorted(spent)[50]

    assert asyncio.run(keep()) < 2e-4


def test_a_plan_that_finds_no_room_in_the_backlog_is_not_kept_and_nothing_breaks(store_url, new_store, transact, caplog) -> None:
    store = new_store(store_url)

    async def keep() -> None:
        for k in range(store.config.backlog + 3):
            store.keep(f"{k:032d}", b"{}")

    asyncio.run(keep())
    asyncio.run(store.close())
    assert counts(new_store(store_url), transact)["flowfleet_plans"] == store.config.backlog
    assert caplog.text.count("a plan is not kept") == 3


def test_what_has_expired_is_deleted_with_all_that_belongs_to_it(serve, store_url, new_store, transact, request_body, until) -> None:
    def aged(connection, _) -> None:
        connection.execute(update(schema.jobs).where(schema.jobs.c.id == old).values(finished=schema.jobs.c.finished - 7200))
        connection.execute(update(schema.plans).where(schema.plans.c.id == plan["plan_id"]).values(created=1.0))
        connection.execute(update(schema.replays).values(created=1.0))

    with serve(store_url=store_url) as client:
        old, young = (client.post("/v1/jobs", json={"requests": 2 * [request_body]}).json()["job_id"] for _ in range(2))
        plan, kept = (client.post("/v1/plans", json=request_body, headers={"Idempotency-Key": key}).json() for key in "ab")
        for job_id in (old, young):
            until(lambda job_id=job_id: client.get(f"/v1/jobs/{job_id}").json()["finished_at"])
        gone = client.get(f"/v1/jobs/{old}/result").json()["plans"][0]["plan_id"]
    store = new_store(store_url)
    transact(store, aged)
    asyncio.run(delete_expired(store, RetentionConfig(keep=3600.0)))
    assert counts(store, transact) == {
        "flowfleet_jobs": 1,
        "flowfleet_items": 2,
        "flowfleet_job_maps": 0,
        "flowfleet_events": 5,
        "flowfleet_plans": 3,
        "flowfleet_replays": 0,
    }
    assert [store.find_plan(name) is None for name in (gone, plan["plan_id"], kept["plan_id"])] == [True, True, False]
    asyncio.run(delete_expired(store, RetentionConfig(keep=3600.0, plans=0)))
    assert store.find_plan(kept["plan_id"]) is None
    assert counts(store, transact)["flowfleet_plans"] == 2  # those of the job stay for as long as it does


def test_a_server_deletes_what_has_expired_by_itself(serve, store_url, new_store, transact, until) -> None:
    store = new_store(store_url)
    transact(store, lambda c, _: c.execute(insert(schema.plans).values(id="0" * 32, created=1.0, body=b"{}")))
    with serve(ready=False, store_url=store_url):
        until(lambda: store.find_plan("0" * 32) is None)


def refused(answer) -> None:
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "STORE_UNAVAILABLE", "5")


def test_a_full_disk_refuses_jobs_but_not_plans_and_is_overcome(serve, tmp_path, request_body, until) -> None:
    with serve(store_url=f"sqlite:///{tmp_path / 'store.db'}") as client:
        store = client.app.state.desk.store
        running = client.post("/v1/jobs", json={"requests": 5 * [request_body]}).json()["job_id"]
        asyncio.run(store.run(lambda c, _: c.exec_driver_sql(f"PRAGMA max_page_count = {c.exec_driver_sql('PRAGMA page_count').scalar()}")))
        big = {"requests": [request_body | {"options": {"seed": k}} for k in range(400)]}
        refused(client.post("/v1/jobs", json=big))
        plan = client.post("/v1/plans", json=request_body, headers={"Idempotency-Key": "k"})
        assert (plan.status_code, plan.json()["status"]) == (200, "succeeded")
        asyncio.run(store.run(lambda c, _: c.exec_driver_sql("PRAGMA max_page_count = 1000000")))
        assert client.post("/v1/jobs", json=big).status_code == 202
        until(lambda: client.get(f"/v1/jobs/{running}").json()["status"] == "succeeded")


def test_a_file_that_cannot_be_opened_refuses_jobs_but_not_plans(serve, tmp_path, request_body) -> None:
    with serve(store_url=f"sqlite:///{tmp_path / 'nowhere' / 'store.db'}") as client:
        refused(client.post("/v1/jobs", json=request_body))
        refused(client.get("/v1/jobs"))
        assert client.post("/v1/plans", json=request_body).json()["status"] == "succeeded"
        (tmp_path / "nowhere").mkdir()
        assert client.post("/v1/jobs", json=request_body).status_code == 202


def test_a_database_server_that_stops_is_waited_for(serve, postgres, request_body, until) -> None:
    with serve(store_url=postgres.new_database(), batch_size=1, jobs_in_flight=4) as client:
        job_id = client.post("/v1/jobs", json={"requests": 40 * [request_body]}).json()["job_id"]
        until(lambda: client.get(f"/v1/jobs/{job_id}").json()["done"])
        postgres.stop()
        try:
            refused(client.post("/v1/jobs", json=request_body))
            plan = client.post("/v1/plans", json=request_body).json()
            assert plan["status"] == "succeeded"
            assert client.get(f"/v1/plans/{plan['plan_id']}").json() == plan  # from memory
        finally:
            postgres.start()
        until(lambda: client.get(f"/v1/jobs/{job_id}").json().get("status") == "succeeded")
        ids = [p["plan_id"] for p in client.get(f"/v1/jobs/{job_id}/result").json()["plans"]]
        assert len(set(ids)) == 40
