"""A server that is killed again and again while it works on jobs: what was lost, what was done twice, how soon it is back.

    python benchmarks/crash.py [--kills 50] [--store-url URL] [--requests 40] [--seed 0]

Each round starts `flowfleet serve` on the same store, posts jobs and single calls, and kills the process (SIGKILL) at a moment
drawn from the seed. In the end every job that was answered 202 must have every answer, and an answer that was ever seen must
still be the same plan, by its id. The exit code is 1 where that is not so.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import numpy as np
from cells import table
from server import START_LIMIT, greeted

HEADER = ["store", "kills", "jobs accepted", "requests", "lost", "done twice", "seen before a kill", "ready p50 s", "ready max s"]
LONGEST_ROUND = 4.0  # s, from readiness to the kill at most
FINISH_LIMIT = 600.0  # s, for what is left after the last kill
ROBOT = {"radius": 0.3, "limits": {"v_max": 1.5, "a_max": 1.0}}


@dataclass
class Ledger:
    """What the server has promised, and what it was seen to have done."""

    accepted: dict[str, int] = field(default_factory=dict)  # requests of each job that was answered 202
    seen: dict[tuple[str, int], str] = field(default_factory=dict)  # plan ids of answers
    twice: set[tuple[str, int]] = field(default_factory=set)  # answers whose plan id changed
    ready_s: list[float] = field(default_factory=list)

    def look(self, client: httpx2.Client, job_id: str) -> int:
        """Notes the answers that a job has by now; returns how many."""
        plans = client.get(f"/v1/jobs/{job_id}/result", params={"partial": "true"}).raise_for_status().json()["plans"]
        ids = {(job_id, k): plan["plan_id"] for k, plan in enumerate(plans) if plan is not None and "plan_id" in plan}
        for key, plan_id in ids.items():
            if self.seen.setdefault(key, plan_id) != plan_id:
                self.twice.add(key)
        self.twice |= {key for key in self.seen if key[0] == job_id and key not in ids}  # it was there, and is gone
        return len(ids)


def main() -> None:
    arguments = _arguments()
    ledger, chance = Ledger(), random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.store_url or f"sqlite:///{Path(folder) / 'crash.db'}"
        for k in range(arguments.kills):
            _round(url, ledger, chance, arguments.requests, first_seed=100_000 * k)
            print(f"kill {k + 1}: {len(ledger.accepted)} jobs accepted, {len(ledger.seen)} answers seen", file=sys.stderr, flush=True)
        killed_at = len(ledger.seen)
        lost = _finish(url, ledger)
    total = sum(ledger.accepted.values())
    spent = [float(np.median(ledger.ready_s)), max(ledger.ready_s)]
    row = [url.partition(":")[0], arguments.kills, len(ledger.accepted), total, lost, len(ledger.twice), killed_at, *spent]
    print(table(HEADER, [row]))
    raise SystemExit(1 if lost or ledger.twice else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kills a server again and again, and counts what it loses or does twice.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--requests", type=int, default=40, help="of each job")
    parser.add_argument("--store-url", help="an empty database; a new SQLite file by default")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    return parser.parse_args()


@contextmanager
def _served(store_url: str, ledger: Ledger) -> Iterator[tuple[subprocess.Popen, httpx2.Client]]:
    """A server on the store, ready; killed on the way out."""
    environment = os.environ | {"FLOWFLEET_STORE_URL": store_url, "FLOWFLEET_LOG_LEVEL": "ERROR", "FLOWFLEET_MAX_JOB_ATTEMPTS": "1000"}
    command = [str(Path(sys.executable).with_name("flowfleet")), "serve", "--port", "0"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        address = greeted(process)
        ledger.ready_s.append(time.perf_counter() - started)
        with httpx2.Client(base_url=address, timeout=START_LIMIT) as client:
            yield process, client
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def _round(store_url: str, ledger: Ledger, chance: random.Random, requests: int, first_seed: int) -> None:
    """One life of the server: jobs and single calls until it is killed."""
    with _served(store_url, ledger) as (process, client):
        timer = threading.Timer(chance.uniform(0.3, LONGEST_ROUND), process.send_signal, [signal.SIGKILL])
        timer.start()
        try:
            _load(client, ledger, requests, first_seed)
        except httpx2.TransportError:
            pass  # killed while it answered
        finally:
            timer.join()
            process.wait(60)


def _load(client: httpx2.Client, ledger: Ledger, requests: int, first_seed: int) -> None:
    """Posts jobs and single calls, and looks at answers, until the connection breaks."""
    for k in range(1_000_000):
        body = {"requests": [_request(first_seed + requests * k + j) for j in range(requests)]}
        answer = client.post("/v1/jobs", json=body)
        if answer.status_code == 202:
            ledger.accepted[answer.json()["job_id"]] = requests
        for _ in range(10):
            client.post("/v1/plans", json=_request(first_seed + k))
            ledger.look(client, list(ledger.accepted)[k % len(ledger.accepted)])
            ledger.look(client, list(ledger.accepted)[-1])


def _finish(store_url: str, ledger: Ledger) -> int:
    """Lets a last server finish all jobs; returns the number of requests that never got an answer, or whose job is gone."""
    with _served(store_url, ledger) as (_, client):
        deadline, lost = time.monotonic() + FINISH_LIMIT, 0
        for job_id, total in ledger.accepted.items():
            state = client.get(f"/v1/jobs/{job_id}").json()
            while state.get("finished_at") is None and "job_id" in state and time.monotonic() < deadline:
                time.sleep(0.2)
                state = client.get(f"/v1/jobs/{job_id}").json()
            lost += total - (ledger.look(client, job_id) if "job_id" in state else 0)
        return lost


def _request(seed: int) -> dict:
    """Four robots that cross a hall with a pillar, at places drawn from the seed."""
    place = random.Random(seed)
    ends = [(1.0, 10.0), (10.0, 1.0), (1.0, 10.0), (10.0, 1.0)]
    robots = [
        ROBOT | {"id": str(k), "start": {"x": a, "y": 1.5 + 2 * k}, "goal": {"x": b, "y": 1.5 + 2 * (3 - k) + place.uniform(-0.4, 0.4)}}
        for k, (a, b) in enumerate(ends)
    ]
    pillar = {"type": "circle", "x": 5.5, "y": 4.5, "radius": 0.6}
    return {"map": {"bounds": [0, 0, 11, 9], "obstacles": [pillar]}, "horizon_s": 14, "robots": robots, "options": {"seed": seed}}


if __name__ == "__main__":
    main()
