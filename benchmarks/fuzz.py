"""Sends a live server whatever fits its description, whatever does not, and valid bodies spoiled in many ways; counts faults and hangs.

python benchmarks/fuzz.py                  # 10,000 cases by the schema, 10,000 spoiled bodies
python benchmarks/fuzz.py --cases 300      # a quick look
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx2
import msgpack
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from server import running_server
from tqdm import tqdm

from api.agents.examples import ACT_REQUEST
from api.examples import CHECK_REQUEST, INLINE_MAP, PLAN_REQUEST

HANG = 15.0  # s without an answer
BUSY = 503  # the server says that it has no time now: an answer, not a fault
TARGETS = (
    ("POST", "/v1/plans", PLAN_REQUEST),
    ("POST", "/v1/plans:validate", PLAN_REQUEST),
    ("POST", "/v1/plans:check", CHECK_REQUEST),
    ("POST", "/v1/agents/act", ACT_REQUEST),
)
MAP_TARGET = ("PUT", "/v1/maps/fuzzed", INLINE_MAP)
ODD: tuple[Any, ...] = (None, True, "", "x" * 5000, "\x00", -1, 0, 1e-300, 1e308, 2**63, -(2**63), 2**64, [], {}, [[]], {"x": {}}, "NaN")


class Tally:
    """Sends requests and counts how they end."""

    def __init__(self, url: str, name: str, count: int) -> None:
        self._name = name
        self._client = httpx2.Client(base_url=url, timeout=HANG)
        self.statuses: Counter[int] = Counter()
        self.faults: list[str] = []
        self.slowest = 0.0  # s
        self._progress = tqdm(desc=name, total=count, unit="request", mininterval=1.0)

    def send(self, method: str, path: str, body: bytes, kind: str) -> None:
        """One request; a fault or a hang is kept with its body."""
        began = time.perf_counter()
        try:
            status = self._client.request(method, path, content=body, headers={"content-type": kind}).status_code
        except httpx2.TimeoutException:
            status = 0
        except httpx2.RemoteProtocolError:
            status = -1
        self.note(status, time.perf_counter() - began, f"{method} {path} {kind} {body[:400]!r}")

    def note(self, status: int, seconds: float, what: str) -> None:
        """How a request ended: 0 is a hang, -1 a broken connection."""
        self.statuses[status] += 1
        self.slowest = max(self.slowest, seconds)
        self._progress.update()
        if status <= 0 or (status >= 500 and status != BUSY):
            self.faults.append(f"{status}: {what}")

    def row(self) -> str:
        """A row of a table; ends the progress bar."""
        self._progress.close()
        faults = sum(count for status, count in self.statuses.items() if status >= 500 and status != BUSY)
        told = ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items()))
        return f"| {self._name} | {self.statuses.total()} | {faults} | {self.statuses[0]} | {self.slowest:.2f} | {told} |"


def by_schema(url: str, tally: Tally, count: int, seed: int) -> None:
    """Cases that fit the description, and cases that do not, over all calls."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]

    def check(data: Any) -> None:
        operation = data.draw(st.sampled_from(operations))
        case = data.draw(operation.as_strategy(generation_mode=data.draw(st.sampled_from(modes))))
        began = time.perf_counter()
        try:
            status = case.call(base_url=url, timeout=HANG).status_code
        except OSError:
            status = 0
        tally.note(status, time.perf_counter() - began, f"{operation.method} {operation.path} {str(case.body)[:400]}")

    many = settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    many(seeded(seed)(given(st.data())(check)))()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(inner, (*path, key))


def swapped(body: Any, draw: random.Random) -> Any:
    """The document with another value, of another type or size, at one to three places."""
    body = json.loads(json.dumps(body))
    for _ in range(draw.randint(1, 3)):
        found = list(places(body))
        if not found:
            break
        *way, last = draw.choice(found)
        inner = body
        for key in way:
            inner = inner[key]
        if draw.random() < 0.2:
            del inner[last]
        else:
            inner[last] = deepcopy(draw.choice(ODD))
    return body


def _flip(text: bytes, draw: random.Random) -> bytes:
    out = bytearray(text)
    for _ in range(draw.randint(1, 8)):
        out[draw.randrange(len(out))] ^= 1 << draw.randrange(8)
    return bytes(out)


def _huge(text: bytes, draw: random.Random) -> bytes:
    digits = draw.choice([b"1e400", b"-1e400", b"1" * 400, b"1e-400", b"NaN", b"-Infinity", b"0x10", b"01", b"1.", b"2" + b"0" * 40])
    numbers = [k for k in range(1, len(text)) if text[k : k + 1].isdigit() and not text[k - 1 : k].isdigit()]
    at = draw.choice(numbers)
    return text[:at] + digits + text[at + 1 :]


def _deep(text: bytes, draw: random.Random) -> bytes:
    depth = draw.choice([10, 100, 1000, 5000])
    left, right = draw.choice([(b"[", b"]"), (b'{"map":', b"}")])
    return left * depth + text + right * depth


def _doubled(text: bytes, draw: random.Random) -> bytes:
    key = draw.choice([b'"robots"', b'"map"', b'"options"', b'"horizon_s"'])
    value = draw.choice([b"null", b"[]", b"{}", b"1", b'"x"'])
    return b"{" + key + b":" + value + b"," + text[1:] if draw.random() < 0.5 else text[:-1] + b"," + key + b":" + value + b"}"


def _encoded(text: bytes, draw: random.Random) -> bytes:
    return text.decode().encode(draw.choice(["utf-16", "utf-32", "utf-16-le", "utf-8-sig", "utf-7"]))


SPOILED: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip,
    lambda text, draw: text[: draw.randrange(len(text))],
    _huge,
    _deep,
    _doubled,
    _encoded,
    lambda text, draw: text + text[: draw.randrange(1, 50)],
    lambda text, draw: draw.randbytes(draw.randrange(1, 300)),
)


def spoiled(tally: Tally, count: int, seed: int) -> None:
    """Valid bodies, spoiled, as JSON and as MessagePack."""
    draw = random.Random(seed)
    for _ in range(count):
        method, path, example = draw.choice((*TARGETS, MAP_TARGET))
        body = example if path == MAP_TARGET[1] or ":" in path else example | {"options": {"deadline_ms": 100}}
        if draw.random() < 0.35:
            body = swapped(body, draw)
        if path != MAP_TARGET[1] and draw.random() < 0.25:
            packed = msgpack.packb(json.loads(json.dumps(body), parse_int=lambda text: max(-(2**63), min(2**64 - 1, int(text)))))
            tally.send(method, path, draw.choice((SPOILED[0], SPOILED[1], SPOILED[6]))(packed, draw), "application/msgpack")
        else:
            text = json.dumps(body).encode()
            tally.send(method, path, draw.choice((lambda t, _: t, *SPOILED))(text, draw), "application/json")


def main() -> None:
    """Prints a table; exit code 1 where there was a fault or a hang."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="of a running server; by default one is started")
    parser.add_argument("--cases", type=int, default=10_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    os.environ |= {"FLOWFLEET_DEFAULT_DEADLINE_MS": "100", "FLOWFLEET_MAX_DEADLINE_MS": "1000", "FLOWFLEET_LOG_LEVEL": "ERROR"}
    print("| what | requests | 500 and above but 503 | hangs | slowest, s | answers |\n|---|---|---|---|---|---|")
    faults: list[str] = []
    with running_server(chosen.url) as server:
        for name, run in (("by the schema", lambda t: by_schema(server.url, t, chosen.cases, chosen.seed)), ("spoiled bodies", None)):
            tally = Tally(server.url, name, chosen.cases)
            run(tally) if run else spoiled(tally, chosen.cases, chosen.seed)
            print(tally.row(), flush=True)
            faults += tally.faults
    print("\n".join(faults[:20]))
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
