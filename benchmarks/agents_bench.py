"""Acting over HTTP and streaming: what a tick of a fleet costs, how soon a stream's first action comes, and how even its beat is.

python benchmarks/agents_bench.py [--robots 100] [--seconds 10]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx2 as httpx
import numpy as np
import torch
import websockets
from cells import table
from server import running_server

from api.agents.intake import AgentIntake
from api.intake import Intake
from api.maps_store import MapsStore
from api.settings import Settings
from planner.acting import act
from planner.fleet_policy import load_fleet_policy, released_agents
from planner.shield import ShieldConfig

SPACE = 1.5  # m between robots of the grid that they begin on


def fleet(robots: int, seed: int) -> dict:
    """Robots on a grid, on their way to another's place, one in three beside a stranger."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(robots)))
    places = SPACE * (1.0 + np.stack(np.divmod(np.arange(robots), side), 1))
    goals = places[rng.permutation(robots)]
    size = SPACE * (side + 1.0)
    listed = []
    for k, (place, goal) in enumerate(zip(places.tolist(), goals.tolist(), strict=True)):
        points = np.linspace(place, goal, 16).tolist()
        knots = [0.0] * 6 + np.linspace(0.0, 20.0, 12)[1:-1].tolist() + [20.0] * 6
        listed.append(
            {
                "id": f"r{k}",
                "state": {"x": place[0], "y": place[1], "vx": float(rng.uniform(-0.3, 0.3)), "vy": float(rng.uniform(-0.3, 0.3))},
                "radius": 0.25,
                "limits": {"v_max": 1.0, "a_max": 1.0},
                "curve": {"degree": 5, "knots_s": knots, "control_points": points},
                "t_s": 1.0,
            }
        )
    others = [{"x": x + 0.7, "y": y + 0.7, "vx": 0.3, "vy": 0.0, "radius": 0.2} for x, y in places[::3].tolist()]
    return {"map": {"bounds": [0, 0, size, size]}, "robots": listed, "others": others}


def in_process(document: dict, agent: str, count: int) -> list[float]:
    """Times of one tick once the request is read, ms."""
    settings = Settings()
    _, order = AgentIntake(Intake(settings, MapsStore(settings))).act(document | {"agent": agent})
    policy, config, times = load_fleet_policy(agent), ShieldConfig(), []
    for k in range(count + 5):
        began = time.perf_counter()
        act(policy, order.instant, torch.Generator().manual_seed(k), config)
        times.append(1e3 * (time.perf_counter() - began))
    return times[5:]


def over_http(url: str, document: dict, agent: str, count: int) -> list[float]:
    """Times of a call, ms."""
    body, times = json.dumps(document | {"agent": agent}).encode(), []
    with httpx.Client() as client:
        for _ in range(count + 5):
            began = time.perf_counter()
            answer = client.post(f"{url}/v1/agents/act", content=body, headers={"content-type": "application/json"})
            times.append(1e3 * (time.perf_counter() - began))
            if answer.status_code != 200:
                raise SystemExit(answer.text)
    return times[5:]


async def streamed(url: str, document: dict, seconds: float, tick: float) -> tuple[list[float], list[float]]:
    """From a state's sending to its first action, and how far later ones are off the beat, ms."""
    first, off = [], []
    body = json.dumps(document | {"options": {"tick_s": tick}})
    async with websockets.connect(url.replace("http", "ws") + "/v1/agents/stream", compression=None) as socket:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            sent = time.perf_counter()
            await socket.send(body)
            last, begun = False, 0.0
            while not last:
                message = json.loads(await socket.recv())
                now = time.perf_counter()
                if "problem" in message:
                    raise SystemExit(str(message))
                if message["tick"] == 0:
                    begun = now
                    first.append(1e3 * (now - sent))
                else:
                    off.append(1e3 * abs(now - begun - message["tick"] * tick))
                last = message["last"]
    return first[1:], off


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--robots", type=int, default=100)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    document, rows = fleet(asked.robots, asked.seed), []

    def row(what: str, times: list[float]) -> None:
        rows.append([what, len(times), *(float(np.percentile(times, share)) for share in (50, 95, 99))])

    for agent in released_agents():
        row(f"{agent}, a tick of {asked.robots} robots in process", in_process(document, agent, asked.count))
    with running_server(None, {}, Path("out/agents-server.log")) as server:
        for robots in (1, asked.robots):
            row(f"fql over HTTP, {robots} robots", over_http(server.url, fleet(robots, asked.seed), "fql", asked.count))
        first, off = asyncio.run(streamed(server.url, fleet(1, asked.seed), asked.seconds, 0.1))
        row("stream of one robot: state to first action", first)
        row("stream of one robot: off the beat of 100 ms", off)
    print(table(["what", "count", "p50 ms", "p95 ms", "p99 ms"], rows))


if __name__ == "__main__":
    main()
