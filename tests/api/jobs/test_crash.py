"""Real servers in processes of their own, killed and restarted."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Served:
    """A server process, and calls to it."""

    def __init__(self, store_url: str, **chosen: Any) -> None:
        settings = {"STORE_URL": store_url, "BATCH_SIZE": 2, "JOBS_IN_FLIGHT": 4, "JOBS_LEASE_S": 2, "MAX_JOB_ATTEMPTS": 100} | chosen
        environment = os.environ | {f"FLOWFLEET_{name}": str(value) for name, value in settings.items()}
        command = [sys.executable, "-m", "api.cli", "serve", "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[4]

    def call(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)

    def end(self, how: int) -> int:
        self.process.send_signal(how)
        code = self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


@contextmanager
def server(store_url: str, **chosen: Any) -> Iterator[Served]:
    made = Served(store_url, **chosen)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.end(signal.SIGKILL)


def seeds(body: dict, count: int) -> dict:
    return {"requests": [body | {"options": {"seed": k}} for k in range(count)]}


def answers(served: Served, job_id: str) -> list[str | None]:
    """Plan ids of the answers so far."""
    plans = served.call(f"/v1/jobs/{job_id}/result?partial=true")["plans"]
    return [None if plan is None else plan["plan_id"] for plan in plans]


def test_a_server_that_is_killed_loses_no_job_and_repeats_none_that_was_done(store_url, two_robots, until) -> None:
    seen: dict[tuple[str, int], str] = {}
    jobs: dict[str, int] = {}
    for _ in range(3):
        with server(store_url) as served:
            accepted = served.call("/v1/jobs", seeds(two_robots, 20))["job_id"]
            jobs[accepted] = 20
            before = len(seen)

            def look(served=served, before=before) -> bool:
                for job_id in jobs:
                    for k, plan_id in enumerate(answers(served, job_id)):
                        if plan_id is not None:
                            assert seen.setdefault((job_id, k), plan_id) == plan_id, "it was planned again"
                return len(seen) >= before + 3

            until(look)
            late = served.call("/v1/jobs", seeds(two_robots, 2))["job_id"]
            jobs[late] = 2
            served.end(signal.SIGKILL)
    with server(store_url, BATCH_SIZE=32, JOBS_IN_FLIGHT=32) as served:
        for job_id, count in jobs.items():
            until(lambda job_id=job_id: served.call(f"/v1/jobs/{job_id}")["status"] == "succeeded")
            ids = answers(served, job_id)
            assert (len(ids), len(set(ids)), None in ids) == (count, count, False)
            assert all(ids[k] == plan_id for (name, k), plan_id in seen.items() if name == job_id)
            told = urllib.request.urlopen(f"{served.url}/v1/jobs/{job_id}/events", timeout=60).read().decode()
            assert told.count("event: plan") == count


def test_another_server_takes_over_from_a_dead_one(postgres, two_robots, until) -> None:
    url = postgres.new_database()
    with server(url, BATCH_SIZE=1) as first, server(url, BATCH_SIZE=1) as second:
        job_id = first.call("/v1/jobs", seeds(two_robots, 60))["job_id"]
        until(lambda: sum(plan_id is not None for plan_id in answers(second, job_id)) >= 3)
        seen = answers(second, job_id)
        first.end(signal.SIGKILL)
        until(lambda: second.call(f"/v1/jobs/{job_id}")["status"] == "succeeded")
        ids = answers(second, job_id)
        assert len(set(ids)) == 60
        assert all(was in (None, now) for was, now in zip(seen, ids, strict=True))


def test_a_server_told_to_stop_leaves_the_rest_to_the_next_start_at_once(tmp_path, two_robots, until) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with server(url, BATCH_SIZE=1) as served:
        job_id = served.call("/v1/jobs", seeds(two_robots, 150))["job_id"]
        until(lambda: served.call(f"/v1/jobs/{job_id}")["done"])
        listener = urllib.request.urlopen(f"{served.url}/v1/jobs/{job_id}/events", timeout=60)  # must not hold it up
        assert served.end(signal.SIGTERM) in (0, -signal.SIGTERM)
        told = listener.read().decode()
        assert '"running"' in told
        assert '"succeeded","done":150' not in told
    with server(url, BATCH_SIZE=32, JOBS_IN_FLIGHT=32, JOBS_LEASE_S=600) as served:
        until(lambda: served.call(f"/v1/jobs/{job_id}")["status"] == "succeeded")
        assert len(set(answers(served, job_id))) == 150
