"""The generator, measured: certified shares, rounds, cost against lines and search, diversity, the time of the network.

    python benchmarks/flow_bench.py [--parts certified,rounds,default,diversity,network] [--count 25] [--seed 60000]
    python benchmarks/flow_bench.py --networks NAME=FOLDER,NAME=FOLDER [--count 25] [--seed 60000]

Plans are made in this process, one request at a time, and judged by score.py. `--networks` compares those of several training
runs instead; one that is named `regression` is asked without noise, so all its candidates are alike.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy, as the server does

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import orjson
import scenarios
import score
import torch
from cells import MAPS_FOLDER, table

from api.intake import Intake
from api.maps_store import MapsStore
from api.plan_wire import AnswerConfig, plan_document, to_json
from api.settings import Settings
from maps.sampling import sample_scenario
from maps.scenario import Scenario
from models.generator import SamplingConfig
from planner.assembly import load_planner
from planner.choose import count_homotopies, mean_pairwise_distance
from planner.generation import load_generator, survey
from planner.pipeline import Planner
from planner.plan import Plan, PlanOptions
from planner.proposals import control_count
from planner.task import Task, without
from planner.waves import Wave, run_wave
from safety_filter.problem import FilterConfig
from safety_filter.solver import SafetyFilter

SMALL = ("empty", "conveyor", "highways", "drop", "shelf", "room", "basic", "dense")
CERTIFIED = (
    [("hall", n, m) for n, m in ((16, 0.97), (32, 0.9), (48, 0.8), (64, 0.6))]
    + [(f, 9, 0.85 if f in ("basic", "dense") else 0.95) for f in SMALL]
    + [(f, 18, 0.6) for f in SMALL]
    + [("warehouse", 16, 0.9), ("clutter", 16, 0.7), ("random rooms", 9, None), ("held-out polygons", 9, 0.8)]
    + [(name, 8, 0.8) for name in ("aws005", "room-32-32-4", "warehouse-10-20")]
)
QUICK = FilterConfig(penalty=3.0, wall_penalty=8.0)  # for what is drawn, where rounds count
MAP_FILES = {
    "aws005": ("nav2/aws005_map.yaml", None),
    "room-32-32-4": ("movingai/room-32-32-4.map", 1.0),
    "warehouse-10-20": ("movingai/warehouse-10-20-10-2-1.map", 1.0),
}
SAMPLED = {"random rooms": "rooms", "held-out polygons": "polygons"}
DEFAULT = [("shelf", 18), ("room", 18), ("dense", 18), ("warehouse", 16), ("hall", 16), ("hall", 32)]


@dataclass(frozen=True)
class Instance:
    """A problem, with the request that the judge reads where there is one."""

    scenario: Scenario
    request: dict | None


def instances(family: str, robots: int, count: int, seed: int) -> list[Instance]:
    """Problems of one cell; none where the map file is missing."""
    if family in SAMPLED:
        rngs = [np.random.default_rng([seed, 77, k]) for k in range(count)]
        return [Instance(sample_scenario(rng, robots, SAMPLED[family]), None) for rng in rngs]  # type: ignore[arg-type]
    if family in MAP_FILES:
        path, cell = MAP_FILES[family]
        if not (MAPS_FOLDER / path).exists():
            return []
        requests = scenarios.on_grid(str(MAPS_FOLDER / path), robots, count, 0.3, cell=cell, seed=seed)
    else:
        requests = [scenarios.instance(family, robots, seed + k) for k in range(count)]
    settings = Settings()
    intake = Intake(settings, MapsStore(settings))
    bodies = [orjson.dumps(request, option=orjson.OPT_SERIALIZE_NUMPY) for request in requests]
    return [Instance(intake.order(b, time.monotonic()).scenario, orjson.loads(b)) for b in bodies]


@dataclass
class Row:
    """Plans of one cell."""

    plans: list[Plan]
    seconds: list[float]

    def solved(self) -> list[bool]:
        """Which were."""
        return [plan.status == "succeeded" for plan in self.plans]

    def p50(self) -> float:
        """Median, ms."""
        return 1000.0 * float(np.median(self.seconds))


def planned(planner: Planner, problems: list[Instance], options: PlanOptions) -> Row:
    """Plans one by one; a plan that the judge faults ends the measurement."""
    row = Row([], [])
    for k, problem in enumerate(problems):
        asked = replace(options, seed=k)
        began = time.perf_counter()
        plan = planner.plan(problem.scenario, asked)
        row.seconds.append(time.perf_counter() - began)
        row.plans.append(plan)
        if problem.request is not None and plan.status == "succeeded":
            verdict = score.judge(problem.request, orjson.loads(to_json(plan_document(plan, AnswerConfig()))))
            if verdict["fault"] is not None:
                raise SystemExit(f"instance {k}: succeeded, but the judge says {verdict}")
    return row


def mean(values: list) -> float | None:
    return float(np.mean(values)) if values else None


def certified(planner: Planner, count: int, seed: int) -> None:
    """Shares that are solved by what the generator draws, eight candidates, nothing else allowed."""
    rows = []
    for family, robots, mark in CERTIFIED:
        problems = instances(family, robots, max(count // 3, 5) if robots > 40 or family in MAP_FILES else count, seed)
        if not problems:
            continue
        row = planned(planner, problems, PlanOptions(sources=("flow",), candidates=8))
        good = [p for p in row.plans if p.metrics is not None]
        one = [p.diagnostics.certified / max(p.diagnostics.candidates, 1) for p in row.plans]
        metrics = [mean([getattr(p.metrics, name) for p in good]) for name in ("length_ratio", "mean_sq_acc", "cost")]
        rounds = float(np.median([p.diagnostics.filter_rounds for p in good])) if good else None
        rows.append([f"{family} {robots}", len(problems), mean(row.solved()), mark, mean(one), rounds, *metrics, row.p50()])
        print(rows[-1], flush=True)
    head = ["cell", "instances", "certified", "mark", "each candidate", "rounds", "length ratio", "mean sq acc", "cost", "p50 ms"]
    print(table(head, rows), flush=True)


def rounds(planner: Planner, count: int, seed: int) -> None:
    """Rounds and cost of flow and straight lines on the requests that both solve, each with the schedule that suits it."""
    rows, planner = [], planner.replace(flow=QUICK)
    for robots in (16, 32, 64):
        problems = instances("hall", robots, count if robots < 64 else max(count // 2, 5), seed)
        flow, line = (planned(planner, problems, PlanOptions(sources=(source,))).plans for source in ("flow", "straight"))
        both = [(a, b) for a, b in zip(flow, line, strict=True) if a.metrics and b.metrics]
        taken = [[float(np.median([pair[k].diagnostics.filter_rounds for pair in both])) for k in (0, 1)]]
        costs = [[mean([pair[k].metrics.cost for pair in both]) for k in (0, 1)]]
        rows.append([f"hall {robots}", len(both), *taken[0], taken[0][0] / taken[0][1], *costs[0]])
    print(table(["cell", "both solve", "rounds flow", "rounds line", "ratio", "cost flow", "cost line"], rows), flush=True)


def lone_cost(planner: Planner, scenario: Scenario) -> float:
    """Cost of a fleet each of whose robots has the place to itself: about what is left if nobody is in anybody's way."""
    planner = planner.replace(polish=replace(planner.config.polish, passes=8, enough=1.0))
    plans = [planner.plan(without(scenario, [], [k])).metrics for k in range(len(scenario))]
    straight = float((scenario.goal - scenario.start).norm(dim=-1).sum())
    length, bent = sum(m.path_length for m in plans), float(np.mean([m.mean_sq_acc for m in plans]))
    return length / straight + 0.5 * bent / float(((scenario.fleet.a_max / 2) ** 2).mean())


def default(planner: Planner, count: int, seed: int) -> None:
    """Default sources against search and straight lines alone, and against fleets whose robots do not meet."""
    rows = []
    for family, robots in DEFAULT:
        problems = instances(family, robots, count, seed)
        with_flow = planned(planner, problems, PlanOptions())
        search = planned(planner, problems, PlanOptions(sources=("search", "straight")))
        both = [(a.metrics.cost, b.metrics.cost) for a, b in zip(with_flow.plans, search.plans, strict=True) if a.metrics and b.metrics]
        cost = [mean([pair[k] for pair in both]) for k in (0, 1)]
        lone = mean([lone_cost(planner, problem.scenario) for problem in problems])
        figures = [mean(with_flow.solved()), mean(search.solved()), *cost, cost[0] / cost[1] - 1.0, lone / cost[1] - 1.0]
        rows.append([f"{family} {robots}", *figures, with_flow.p50(), search.p50(), with_flow.p50() / search.p50()])
        print(rows[-1], flush=True)
    head = ["cell", "solved", "without", "cost", "without", "change", "alone", "p50 ms", "without", "ratio"]
    print(table(head, rows), flush=True)


def diversity(planner: Planner, count: int, seed: int) -> None:
    """Homotopies among sixteen candidates of a swap of eight."""
    rows = []
    for family, robots in (("swap", 8), ("room", 9), ("hall", 16)):
        kinds, apart = [], []
        for k, problem in enumerate(instances(family, robots, count, seed)):
            task = Task.begin(problem.scenario, PlanOptions(seed=k, candidates=16))
            run_wave(task, Wave("flow", "generate", lambda t: planner.proposer(t, 16), planner.config.flow), SafetyFilter())
            kinds.append(count_homotopies(task.found, problem.scenario.scene))
            apart.append(mean_pairwise_distance(task.found))
        share = float(np.mean([many >= 4 for many in kinds]))
        rows.append([f"{family} {robots}", float(np.median(kinds)), share, float(np.mean(apart))])
    print(table(["cell", "homotopies of 16, median", "share with 4 or more", "mean pairwise distance, m"], rows), flush=True)


def network(planner: Planner, count: int, seed: int) -> None:
    """Milliseconds of encoding and sampling, and of finding the routes."""
    rows, generator = [], planner.proposer.generator
    for robots, scenes, candidates, mark in ((16, 1, 8, 20.0), (32, 1, 8, 40.0), (64, 1, 8, None), (16, 32, 1, 100.0)):
        problems = instances("hall", robots, scenes, seed)
        began = time.perf_counter()
        drawn = [survey(p.scenario, float(p.scenario.horizon)) for p in problems]
        surveyed = 1000.0 * (time.perf_counter() - began)
        counts = {control_count(p.scenario, float(p.scenario.horizon)) for p in problems}
        whole = [drawn[0].surveyed] if scenes == 1 else [_joined([d.surveyed for d in drawn])]
        ways = torch.stack([d.routes for d in drawn]) if len(counts) == 1 else None
        taken = []
        for _ in range(count):
            began = time.perf_counter()
            generator.sample(whole[0], ways, candidates, list(range(scenes)))
            taken.append(1000.0 * (time.perf_counter() - began))
        rows.append([f"N = {robots}, {scenes} x {candidates}", float(np.median(taken[2:])), mark, surveyed])
    print(table(["what", "encode + sample, ms", "mark", "routes and room, ms"], rows), flush=True)


def networks(planners: dict[str, Planner], count: int, seed: int) -> None:
    """Networks side by side: what is certified of eight candidates, the best of them, and how many differ."""
    rows = []
    for family, robots in (("hall", 32), ("dense", 18), ("room", 18), ("shelf", 18), ("warehouse", 16)):
        problems = instances(family, robots, count, seed)
        for name, planner in planners.items():
            tasks = [Task.begin(problem.scenario, PlanOptions(seed=k)) for k, problem in enumerate(problems)]
            wave = Wave("flow", "generate", lambda t, p=planner: p.proposer(t, 8), planner.config.flow)
            for task in tasks:
                run_wave(task, wave, SafetyFilter())
            solved = [task for task in tasks if task.found]
            cost = mean([min(c.metrics.cost for c in task.found) for task in solved])
            kinds = mean([count_homotopies(task.found, task.scenario.scene) for task in solved])
            each = mean([len(task.found) / 8 for task in tasks])
            rows.append([f"{family} {robots}", name, len(solved) / len(tasks), each, cost, kinds])
            print(rows[-1], flush=True)
    print(table(["cell", "network", "certified", "each candidate", "cost of the best", "homotopies of 8"], rows), flush=True)


def _joined(surveyed: list) -> object:
    names = surveyed[0].__dataclass_fields__
    return type(surveyed[0])(**{name: torch.cat([getattr(s, name) for s in surveyed]) for name in names})


PARTS = {"certified": certified, "rounds": rounds, "default": default, "diversity": diversity, "network": network}


def _planner(name: str, folder: Path) -> Planner:
    """A planner with the network of a training run."""
    sampling = SamplingConfig(steps=0, temperature=0.0) if name == "regression" else None
    return Planner(proposer=load_generator(folder, sampling))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the generator.")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--count", type=int, default=25, help="instances of a cell")
    parser.add_argument("--seed", type=int, default=60_000, help="instance k of a cell is made from seed + k")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--networks", default="", metavar="NAME=FOLDER,...", help="training runs to compare")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.networks:
        planners = {name: _planner(name, Path(folder)) for name, folder in (entry.split("=") for entry in arguments.networks.split(","))}
        networks(planners, arguments.count, arguments.seed)
        return
    planner = load_planner(arguments.threads)
    planner.warm_up()
    for name in arguments.parts.split(","):
        PARTS[name](planner, arguments.count, arguments.seed)


if __name__ == "__main__":
    main()
