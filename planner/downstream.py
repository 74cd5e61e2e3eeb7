"""What a generator is worth where it is used: certified share, rounds, lengths and diversity after the safety filter."""

from dataclasses import dataclass, field

import numpy as np

from maps.sampling import Family, sample_scenario
from maps.sampling import SamplingConfig as Scenes
from maps.scenario import Scenario
from planner.choose import different
from planner.generation import Proposer
from planner.plan import PlanOptions
from planner.task import Task
from planner.waves import Wave, run_wave
from safety_filter.problem import FilterConfig
from safety_filter.solver import SafetyFilter

FLOW_FILTER = FilterConfig(penalty=2.0, wall_penalty=8.0)  # for what a generator draws: walls and pairs hold at once


@dataclass(frozen=True)
class ValidationConfig:
    """A fixed set of scenarios that no training shard holds."""

    seed: int = 4_242_000
    cells: tuple[tuple[Family, int, int], ...] = (  # family, robots, scenarios
        ("open", 16, 4), ("discs", 16, 6), ("discs", 32, 2), ("boxes", 9, 6), ("polygons", 9, 6), ("rooms", 9, 8),
        ("racks", 9, 6), ("dense", 9, 6), ("mazes", 6, 6), ("grid", 8, 4),
    )  # fmt: skip
    candidates: int = 4
    scenes: Scenes = field(default_factory=Scenes)


def validation_scenarios(config: ValidationConfig) -> list[Scenario]:
    """The scenarios, always the same."""
    out = []
    for row, (family, robots, count) in enumerate(config.cells):
        out += [sample_scenario(np.random.default_rng([config.seed, row, k]), robots, family, config.scenes) for k in range(count)]
    return out


def judge_downstream(
    proposer: Proposer, scenarios: list[Scenario], candidates: int, filter_config: FilterConfig = FLOW_FILTER
) -> dict[str, float]:
    """Draws, filters and certifies.

    Returns:
        `certified_any` and `certified_each`: shares of scenarios with a certified plan and of candidates certified; of the
        cheapest plans the medians of `rounds`, `length_ratio` and `mean_sq_acc`, and the mean `cost`; `different`: mean
        number of plans of different homotopy.
    """
    safety_filter = SafetyFilter(pool=None)
    wave = Wave("flow", "generate", lambda task: proposer(task, candidates), filter_config)
    best, each, kinds = [], 0, 0
    for k, scenario in enumerate(scenarios):
        task = Task.begin(scenario, PlanOptions(seed=k, candidates=candidates))
        run_wave(task, wave, safety_filter)
        each += len(task.found)
        if task.found:
            best.append(min(task.found, key=lambda c: c.metrics.cost))
            kinds += len(different(task.found, candidates, scenario.scene))
    figures = {"rounds": [c.rounds for c in best], "length_ratio": [c.metrics.length_ratio for c in best]}
    figures["mean_sq_acc"] = [c.metrics.mean_sq_acc for c in best]
    medians = {name: float(np.median(values)) if values else float("nan") for name, values in figures.items()}
    cost = float(np.mean([c.metrics.cost for c in best])) if best else float("nan")
    shares = {"certified_any": len(best) / len(scenarios), "certified_each": each / (candidates * len(scenarios))}
    return shares | medians | {"cost": cost, "different": kinds / max(len(best), 1)}
