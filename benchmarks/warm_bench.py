"""The learned initialisation, measured: rounds with and without it, its ablations, what it does to whole requests.

    python benchmarks/warm_bench.py [--parts rounds,ablations,requests] [--count 30] [--seed 91000] [--weights FOLDER] [--plot FILE]

`rounds` and `ablations` run the filter on the same proposals with and without; `requests` plans by turns with and without, one
request at a time in this process, and has score.py judge what comes out.
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
import score
import torch
from cells import table
from flow_bench import Instance, instances

from api.plan_wire import AnswerConfig, plan_document, to_json
from maps.scenario import Scenario, ScenarioBatch
from maps.scene_batch import SceneBatch
from maps.trajectory import TrajectoryBatch
from planner.assembly import load_planner
from planner.choose import measure
from planner.generation import load_generator
from planner.pipeline import Planner, PlannerConfig
from planner.plan import Plan, PlanOptions
from planner.task import Task
from planner.waves import DIGITS, searched, straight
from safety_filter.gradient import unroll
from safety_filter.problem import FilterConfig
from safety_filter.solver import FilterStatus, SafetyFilter
from safety_filter.verify import certify
from safety_filter.warm_start import WarmStart, load_warm_start

CELLS = (  # family, robots, source of the proposals, share of the cold rounds that is to be reached
    ("hall", 16, "lines", 1 / 3),
    ("hall", 32, "lines", 1 / 3),
    ("hall", 48, "lines", 0.5),
    ("hall", 64, "lines", 0.5),
    ("warehouse", 16, "flow", 1 / 3),
    ("shelf", 9, "flow", 0.5),
    ("room", 9, "flow", 0.5),
    ("dense", 9, "flow", None),
    ("clutter", 16, "flow", None),
    ("warehouse", 16, "search", None),
    ("shelf", 9, "search", None),
    ("room", 9, "search", None),
)
REQUESTS = (
    ("hall", 4),
    ("hall", 8),
    ("hall", 16),
    ("hall", 32),
    ("hall", 48),
    ("hall", 64),
    ("basic", 9),
    ("empty", 9),
    ("dense", 9),
    ("shelf", 9),
    ("room", 9),
    ("clutter", 16),
    ("warehouse", 16),
    ("shelf", 18),
    ("room", 18),
    ("conveyor", 18),
)
FASTER = {  # schedules that a cold run might have instead of the served one
    "served": {},
    "kept multipliers": {"multiplier_keep": 1.0},
    "growth 1.6": {"growth": 1.6},
    "penalty 0.1": {"penalty": 0.1},
    "penalty 0.1, kept": {"penalty": 0.1, "multiplier_keep": 1.0},
    "penalty 1": {"penalty": 1.0},
    "short": {"penalty": 3.0, "wall_penalty": 9.0, "growth": 1.7, "rounds": 48, "hopeless": 1.0},  # how draws are served at first
}
WORSE = 1.005  # of the served cost, at most, that a cold schedule may lead to and still be the best


@dataclass
class Runs:
    """What a way of filtering made of the proposals of one cell."""

    certified: np.ndarray  # (P,) bool
    rounds: np.ndarray  # (P,)
    cost: np.ndarray  # (P,), NaN where not certified
    again: np.ndarray  # (P,) bool

    def median(self, both: np.ndarray) -> float:
        """Median rounds of those that every way certifies."""
        return float(np.median(self.rounds[both])) if both.any() else float("nan")


def proposals(problems: list[Instance], source: str) -> list[tuple[Scenario, np.ndarray]]:
    """One proposal a problem; those for which there is none are left out."""
    proposer = load_generator(streams=1)
    made = {"lines": straight, "flow": lambda task: proposer(task, 1), "search": lambda task: searched(task, 1)}[source]
    out = []
    for k, problem in enumerate(problems):
        found = made(Task.begin(problem.scenario, PlanOptions(seed=k)))
        if len(found):
            out.append((problem.scenario, found[0].numpy()))
    return out


def filtered(given: list[tuple[Scenario, np.ndarray]], config: FilterConfig, start: WarmStart | None) -> Runs:
    """Runs the filter on each proposal, up to the first iterate that is certified."""
    safety_filter, rows = SafetyFilter(config), []
    for scenario, proposal in given:
        horizon = float(scenario.horizon or 0.0)
        batch = ScenarioBatch.stack([scenario])

        def accept(_s: int, _m: int, points: np.ndarray, scenario: Scenario = scenario, horizon: float = horizon) -> bool:
            return certify(np.round(points, DIGITS), horizon, scenario).safe

        candidates = TrajectoryBatch(torch.from_numpy(proposal)[None, None], batch.horizon[:, None])
        result = safety_filter.project(candidates, batch, accept, starter=start)
        good = int(result.status[0, 0]) == FilterStatus.PASSED
        points = np.round(result.trajectory.control_points[0, 0].numpy(), DIGITS)
        rows.append((good, int(result.rounds[0, 0]), measure(points, scenario, horizon).cost if good else np.nan, bool(result.again[0, 0])))
    columns = np.array(rows, dtype=float).T
    return Runs(columns[0] > 0, columns[1], columns[2], columns[3] > 0)


def rounds_table(count: int, seed: int, start: WarmStart) -> str:
    """Rounds until certified, with and without."""
    rows = []
    served = {"lines": PlannerConfig().lines, "flow": PlannerConfig().flow, "search": PlannerConfig().paths}
    for family, robots, source, mark in CELLS:
        given = proposals(instances(family, robots, count, seed), source)
        colds = {name: filtered(given, replace(served[source], **changes), None) for name, changes in FASTER.items()}
        warm = filtered(given, served[source], start.for_fleet(robots))
        same = filtered(given, start.for_fleet(robots).schedule.adapted(served[source]), None)
        cold = colds["served"]
        both = cold.certified & warm.certified

        def dearer(other: Runs, both: np.ndarray = both, cold: Runs = cold) -> float:
            shared = both & other.certified
            return float(np.mean(other.cost[shared]) / np.mean(cold.cost[shared])) if shared.any() else float("nan")

        able = {n: r for n, r in colds.items() if r.certified.mean() >= cold.certified.mean() and dearer(r) <= WORSE}
        best = min(able, key=lambda name: able[name].median(both & able[name].certified))
        p90 = float(np.quantile(warm.rounds[both], 0.9)) if both.any() else float("nan")
        fewest = able[best].median(both & able[best].certified)
        rows.append(
            [f"{family} {robots}, {source}", len(given), cold.median(both), fewest, best, same.median(both & same.certified),
             warm.median(both), warm.median(both) / max(fewest, 1.0), mark, p90, dearer(warm), dearer(same),
             cold.certified.mean(), same.certified.mean(), warm.certified.mean(), warm.again.mean()]
        )  # fmt: skip
        print(rows[-1], flush=True)
    header = ["cell", "proposals", "cold", "best", "best schedule", "cold on warm", "warm", "warm / best", "mark", "warm p90",
              "cost", "cost cold on warm", "certified", "cold on warm", "warm", "run again"]  # fmt: skip
    return table(header, rows)


ABLATIONS = (
    "(i) proposal, no multipliers",
    "(ii) zeros",
    "(iii) smoothness from scratch",
    "(iv) learned c_0",
    "(v) learned lambda_0",
    "(vi) both",
)


def ablated(name: str, scenario: Scenario, proposal: np.ndarray, start: WarmStart) -> tuple[np.ndarray, np.ndarray]:
    """First iterate and multipliers of one of the ways to start."""
    control, multiplier = start(scenario, proposal)
    still = np.zeros_like(multiplier)
    if name.startswith("(ii)"):
        zeros = proposal.copy()
        zeros[:, 3:-3] = 0.0
        return zeros, still
    if name.startswith("(iv)"):
        return control, still
    if name.startswith("(v)"):
        return proposal, multiplier
    return (control, multiplier) if name.startswith("(vi)") else (proposal, still)


class _Fixed(WarmStart):
    """A start that is known already."""

    def __init__(self, name: str, inner: WarmStart) -> None:
        super().__init__(inner.network, inner.schedule)
        self.name, self.inner = name, inner

    def __call__(self, scenario: Scenario, control_points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return ablated(self.name, scenario, control_points, self.inner)


def ablations(count: int, seed: int, start: WarmStart, plot: Path | None, cell: tuple[str, int] = ("hall", 16), steps: int = 40) -> str:
    """Six ways to start: rounds until certified, and the fixed-point residual of every round, in radii a control point."""
    given = proposals(instances(*cell, count, seed), "lines")
    config, rows, curves = PlannerConfig().lines, [], {}
    for name in ABLATIONS:
        schedule = config if name.startswith("(iii)") else start.schedule.adapted(config)
        runs = filtered(given, config, None if name.startswith("(iii)") else _Fixed(name, start))
        curves[name] = np.array([_residuals(s, ablated(name, s, p, start), p, schedule, steps) for s, p in given])
        rows.append([name, float(np.median(runs.rounds)), runs.certified.mean(), runs.again.mean(), float(np.nanmean(runs.cost)),
                     *(float(np.median(curves[name][:, k])) for k in (0, 5, 10, 20))])  # fmt: skip
        print(rows[-1], flush=True)
    if plot is not None:
        _draw(curves, plot)
    header = ["start", "rounds", "certified", "run again", "cost", "residual 1", "residual 6", "residual 11", "residual 21"]
    return table(header, rows)


def _residuals(
    scenario: Scenario, first: tuple[np.ndarray, np.ndarray], proposal: np.ndarray, config: FilterConfig, steps: int
) -> np.ndarray:
    batch, scenes = ScenarioBatch.stack([scenario]), SceneBatch.stack([scenario.scene])
    given = (torch.from_numpy(first[0])[None], torch.from_numpy(first[1])[None])
    with torch.no_grad():
        out = unroll(torch.from_numpy(proposal)[None], batch, scenes, steps, config, start=given)
    return out.residuals[0].numpy() / (float(scenario.fleet.radius.mean()) * np.sqrt(proposal.shape[0] * proposal.shape[1]))


def _draw(curves: dict[str, np.ndarray], file: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from planner.drawing import PALETTE

    figure = Figure(figsize=(9, 5), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for (name, values), color in zip(curves.items(), PALETTE, strict=False):
        low, middle, high = np.quantile(np.maximum(values, 1e-6), (0.25, 0.5, 0.75), axis=0)
        at = np.arange(1, len(middle) + 1)
        axes.plot(at, middle, color=color, label=name, linewidth=1.8)
        axes.fill_between(at, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set(yscale="log", xlabel="round", ylabel="fixed-point residual, radii a control point", ylim=(1e-4, None))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=9)
    figure.tight_layout()
    figure.savefig(file)


def requests_table(count: int, seed: int, start: WarmStart, lines: str | None) -> str:
    """Whole requests with default options, by turns with and without."""
    planner = load_planner(2)
    planner = Planner(planner.config, planner.proposer, start)
    if lines:
        least, most = map(int, lines.split("-"))
        planner = planner.replace(warm_lines=(least, most))
    planner.warm_up()
    rows = []
    for family, robots in REQUESTS:
        problems = instances(family, robots, count, seed)
        ways: dict[bool, list] = {True: [], False: []}
        for k, problem in enumerate(problems):
            for warm in (True, False) if k % 2 else (False, True):
                began = time.perf_counter()
                plan = planner.plan(problem.scenario, PlanOptions(seed=k, warm_start=warm))
                ways[warm].append((1000.0 * (time.perf_counter() - began), plan))
                _judge(problem, plan)
        figures = []
        for warm in (False, True):
            good = [plan for _, plan in ways[warm] if plan.status == "succeeded"]
            times = [ms for ms, _ in ways[warm]]
            cost, rounds = float(np.mean([p.metrics.cost for p in good])), float(np.median([p.diagnostics.filter_rounds for p in good]))
            figures.append((len(good) / len(problems), float(np.median(times)), float(np.quantile(times, 0.95)), cost, rounds))
        cold, warm_row = figures
        again = sum(plan.diagnostics.cold_runs for _, plan in ways[True])
        rows.append([f"{family} {robots}", len(problems), cold[0], warm_row[0], cold[1], warm_row[1], warm_row[1] / cold[1] - 1.0,
                     cold[2], warm_row[2], cold[3], warm_row[3], cold[4], warm_row[4], again])  # fmt: skip
        print(rows[-1], flush=True)
    header = [
        "cell",
        "instances",
        "solved cold",
        "warm",
        "p50 cold",
        "warm",
        "change",
        "p95 cold",
        "warm",
        "cost cold",
        "warm",
        "rounds cold",
        "warm",
        "run again",
    ]
    return table(header, rows)


def _judge(problem: Instance, plan: Plan) -> None:
    if plan.status == "succeeded" and problem.request is not None:
        verdict = score.judge(problem.request, orjson.loads(to_json(plan_document(plan, AnswerConfig()))))
        if verdict["fault"] is not None:
            raise SystemExit(f"succeeded, but the judge says {verdict}")


def main() -> None:
    """Runs the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="rounds,ablations,requests")
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=91_000)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--lines", help="fleets, as 12-40, whose straight lines start where the network says, whatever the planner's rule")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    start = load_warm_start(asked.weights)
    for part in asked.parts.split(","):
        if part == "rounds":
            print(rounds_table(asked.count, asked.seed, start), "\n")
        elif part == "ablations":
            print(ablations(asked.count, asked.seed, start, asked.plot), "\n")
        else:
            print(requests_table(asked.count, asked.seed, start, asked.lines), "\n")


if __name__ == "__main__":
    main()
