"""The load generator: it sends what it says at the times it says, and counts what comes back as what it is."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from api.examples import PLAN_ANSWER

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def load():
    """The generator's modules, which are scripts beside each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import load_figures
        import load_loops
        import load_wire
        import server

        yield SimpleNamespace(figures=load_figures, loops=load_loops, wire=load_wire, server=server)


def test_answers_are_told_apart(load, scripted, http_answer):
    steps = [
        http_answer(200, PLAN_ANSWER),
        http_answer(200, PLAN_ANSWER | {"status": "failed"}),
        http_answer(503, {"status": 503}, retry_after="2"),
        b"",
        http_answer(200, PLAN_ANSWER)[:-5],
        http_answer(200, PLAN_ANSWER),
    ]
    server = scripted(*steps)
    message = load.wire.encoded({"map": {"id": "depot"}})

    async def send_all():
        connection = load.wire.Connection(server.url)
        return [await connection.send(message) for _ in steps]

    replies = asyncio.run(send_all())
    assert [(r.status, r.good) for r in replies] == [(200, True), (200, False), (503, False), (0, False), (0, False), (200, True)]
    assert [r.retry_after for r in replies] == [None, None, 2.0, None, None, None]
    assert {(s.method, s.path, s.body) for s in server.seen} == {("POST", "/v1/plans", b'{"map":{"id":"depot"}}')}
    figures = load.figures
    assert (len(figures.accepted(replies)), len(figures.refused(replies)), figures.broken(replies)) == (3, 1, 2)


def test_an_answer_that_does_not_come_counts_as_none(load, scripted):
    async def send():
        return await load.wire.Connection(scripted([1.0]).url, patience=0.2).send(load.wire.looking("/healthz"))

    reply = asyncio.run(send())
    assert reply.status == 0
    assert 0.2 <= reply.latency < 0.9


def test_arrivals_are_those_of_the_seed_whatever_the_answers(load, server_url):
    rate, seconds, seed = 60.0, 1.0, 5
    replies = asyncio.run(load.loops.open_loop(server_url, [load.wire.looking("/healthz")], rate, seconds, seed))
    due = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, 140))
    expected = due[due < seconds]
    found = np.sort([r.at for r in replies])
    assert len(found) == len(expected)
    assert np.allclose(found - found[0], expected - expected[0])
    assert {r.status for r in replies} == {200}


def test_those_over_the_limit_are_counted_not_sent(load, scripted):
    server = scripted(*[[0.6]] * 50)
    replies = asyncio.run(load.loops.open_loop(server.url, [load.wire.looking("/healthz")], 100.0, 0.3, 0, most=3))
    assert len(server.seen) <= 6  # three at a time, for as long as one takes
    assert len(replies) > 15
    assert load.figures.broken(replies) == len(replies)


def test_a_closed_loop_ends_in_time_and_has_no_more_callers_than_it_says(load, server_url):
    began = time.perf_counter()
    replies = asyncio.run(load.loops.closed_loop(server_url, [load.wire.looking("/healthz")], 4, 0.5))
    assert time.perf_counter() - began < 5.0
    spans = [(r.at, r.at + r.latency) for r in replies]
    most = max(sum(a <= begin < b for a, b in spans) for begin, _ in spans)
    assert {r.status for r in replies} == {200}
    assert 1 < most <= 4
    kept = asyncio.run(load.loops.measured(server_url, [load.wire.looking("/healthz")], 2, 0.3, 0.3))
    assert len(kept) > 0
    assert max(r.at + r.latency for r in kept) - min(r.at + r.latency for r in kept) <= 0.3


def test_a_body_that_drips_is_given_up(load, server_url):
    message = load.wire.encoded({"map": {"id": "depot"}})
    began = time.perf_counter()
    reply = asyncio.run(load.wire.dripped(server_url, message, 0.4, 0.1))
    assert reply.status == 0
    assert time.perf_counter() - began < 5.0


def test_memory_grows_as_fast_as_it_does(load):
    watch = load.figures.Watch()
    for t in range(41):
        watch.t.append(float(t))
        watch.resident_mb.append(300.0 - 40.0 * max(0, 10 - t) + 0.01 * t)  # fills at first, then creeps
    assert watch.slope_mb_per_hour() == pytest.approx(36.0)
    assert load.figures.Watch().slope_mb_per_hour() is None


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not tell what a process holds")
def test_a_process_is_watched_and_one_that_is_not_ours_is_not(load):
    code = "import time; held = [open('/dev/null') for _ in range(20)]; print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)

    async def watch(watched_process):
        async with load.figures.watched(load.server.Server("", watched_process, 0.0), every=0.05) as seen:
            await asyncio.sleep(0.3)
        return seen

    with process:
        assert process.stdout is not None
        process.stdout.readline()
        seen = asyncio.run(watch(process))
        process.terminate()
    assert len(seen.t) == len(seen.resident_mb) == len(seen.files) >= 3
    assert min(seen.files) >= 23
    assert min(seen.resident_mb) > 1.0
    assert asyncio.run(watch(None)).t == []
