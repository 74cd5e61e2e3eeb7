"""The safety filter alone, from straight lines: what its linear system, its multipliers and its schedule are worth.

    python benchmarks/filter_bench.py [--count 40] [--seed 50000]

Rounds until the certificate holds, and the cost of what is then certified, over hall and swap instances.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import numpy as np
from cells import table
from scenarios import instance

from api.intake import Intake
from api.maps_store import MapsStore
from api.settings import Settings
from maps.scenario import Scenario, ScenarioBatch
from maps.trajectory import TrajectoryBatch
from planner.choose import measure
from planner.proposals import control_count, straight_lines
from safety_filter.problem import FilterConfig
from safety_filter.solver import FilterStatus, SafetyFilter
from safety_filter.verify import certify

SERVED = FilterConfig()
VARIANTS = {
    "as served": SERVED,
    "lengths not weighed": replace(SERVED, length_weight=0.0),
    "two-mode linear system": replace(SERVED, two_mode=True),
    "multipliers kept": replace(SERVED, multiplier_keep=1.0),
    "two-mode, multipliers kept, doubled every 20 rounds": replace(
        SERVED, two_mode=True, multiplier_keep=1.0, growth=2.0, stage_rounds=20, rounds=400
    ),
    "slower growth (5 rounds a stage)": replace(SERVED, stage_rounds=5),
}
CELLS = (("hall", 16), ("hall", 32), ("hall", 64), ("swap", 16))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures variants of the safety filter.")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=50_000)
    arguments = parser.parse_args()
    rows = []
    for family, robots in CELLS:
        count = max(1, arguments.count // (4 if robots == 64 else 1))
        requests = [instance(family, robots, arguments.seed + k) for k in range(count)]
        scenarios = [_scenario(request) for request in requests]
        for name, config in VARIANTS.items():
            rows.append([f"{family} {robots}", name, *_measure(scenarios, config)])
            print(rows[-1], flush=True)
    print(table(["cell", "filter", "certified", "rounds, median", "ms, median", "length ratio", "mean sq acc", "cost"], rows))


def _scenario(request: dict) -> Scenario:
    settings = Settings()
    return Intake(settings, MapsStore(settings)).order(json.dumps(request).encode(), time.monotonic()).scenario


def _measure(scenarios: list, config: FilterConfig) -> list:
    rounds, times, metrics = [], [], []
    for scenario in scenarios:
        batch = ScenarioBatch.stack([scenario])
        lines = straight_lines(batch, control_count(scenario, scenario.horizon))
        began = time.perf_counter()
        result = SafetyFilter(config).project(
            TrajectoryBatch(lines, batch.horizon[:, None]),
            batch,
            lambda _s, _m, points, scenario=scenario: certify(points, scenario.horizon, scenario).safe,
        )
        times.append(1e3 * (time.perf_counter() - began))
        rounds.append(int(result.rounds[0, 0]))
        if int(result.status[0, 0]) == FilterStatus.PASSED:
            metrics.append(measure(result.trajectory.control_points[0, 0].numpy(), scenario, scenario.horizon))
    mean = [float(np.mean([getattr(m, name) for m in metrics])) if metrics else None for name in ("length_ratio", "mean_sq_acc", "cost")]
    return [f"{len(metrics)}/{len(scenarios)}", float(np.median(rounds)), float(np.median(times)), *mean]


if __name__ == "__main__":
    main()
