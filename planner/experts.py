"""Certified plans of high quality for one scenario: what the generator learns from."""

from dataclasses import dataclass, field
from functools import partial

from jaxtyping import Float
from torch import Tensor

from maps.scenario import Scenario, ScenarioBatch
from planner.choose import Candidate, different
from planner.generation import Proposer
from planner.plan import PlanOptions
from planner.polish import PolishConfig, polish
from planner.proposals import control_count, straight_lines
from planner.routes import routes
from planner.search import SearchOptions
from planner.search_problem import Tuning
from planner.task import Task
from planner.waves import Wave, perturbed, run_through, run_wave, searched, straight
from safety_filter.problem import FilterConfig
from safety_filter.solver import SafetyFilter


def _quick_search() -> SearchOptions:
    """Gives up early: what search finds hard is rare, and would take most of the time."""
    return SearchOptions(orders=1, tuning=Tuning(weight=20.0, wait=0.1, repairs=2, group=3), nodes=30_000, states=6_000_000)


_patient = partial(FilterConfig, pair_weight=2.0)  # bounds a pair's block for any move: rounds do not count here, failures do


@dataclass(frozen=True)
class ExpertConfig:
    """Many starts, a soft and long schedule, several passes of polish."""

    soft: FilterConfig = field(default_factory=lambda: _patient(penalty=0.01, growth=1.3))  # for lines
    paths: FilterConfig = field(default_factory=lambda: _patient(penalty=0.1, wall_penalty=2.0, growth=1.3))  # around walls
    tight: FilterConfig = field(default_factory=lambda: _patient(penalty=1.0, wall_penalty=4.0))  # where none of those led to a plan
    flow: FilterConfig = field(default_factory=lambda: _patient(penalty=0.3, wall_penalty=2.0))  # what a generator draws
    polish: PolishConfig = field(default_factory=lambda: PolishConfig(passes=5, enough=1.0, enough_of_many=1.0))
    search: SearchOptions = field(default_factory=_quick_search)
    bent: int = 1  # perturbed lines
    searched: int = 4  # paths asked of search
    drawn: int = 6  # trajectories drawn by a generator, where there is one; search is then asked for half as many paths
    kept: int = 4  # most plans of a scenario
    worst: float = 1.25  # cost of a plan over that of the best, beyond which it is dropped


def find_experts(
    scenario: Scenario, seed: int, safety_filter: SafetyFilter, config: ExpertConfig | None = None, proposer: Proposer | None = None
) -> list[Candidate]:
    """Plans that differ in who passes whom and what on which side, best first.

    Args:
        scenario: the problem, its horizon chosen.
        seed: of perturbations and search orders.
        safety_filter: repairs the proposals.
        config: how many starts, and how they are filtered.
        proposer: a trained generator whose trajectories are starts as well: what it learns from gets better as it does.

    Returns:
        At most `config.kept` certified plans; none where no start led to one.
    """
    config = config or ExpertConfig()
    task = Task.begin(scenario, PlanOptions(seed=seed, candidates=config.bent, alternatives=config.kept))
    paths = searched(task, config.searched if proposer is None else config.searched // 2, config.search)
    for wave in _waves(paths, config, proposer):
        run_wave(task, wave, safety_filter)
    if not task.found:
        run_wave(task, Wave("search", "search", lambda _: paths, config.tight), safety_filter)
    if not task.found:
        return []
    run_through(polish(task, config.polish), task, safety_filter)
    plans = different(task.found, config.kept, scenario.scene)
    return [plan for plan in plans if plan.metrics.cost <= config.worst * plans[0].metrics.cost]


def _waves(paths: Float[Tensor, "M N n 2"], config: ExpertConfig, proposer: Proposer | None) -> list[Wave]:
    drawn = [] if proposer is None else [Wave("flow", "generate", lambda task: proposer(task, config.drawn), config.flow)]
    return [
        *drawn,
        Wave("straight", "generate", straight, config.soft),
        Wave("straight", "generate", partial(perturbed, many=config.bent), config.soft),
        Wave("straight", "generate", _along_routes, config.paths),
        Wave("search", "search", lambda _: paths, config.paths),
    ]


def _along_routes(task: Task) -> Float[Tensor, "1 N n 2"]:
    """Every robot's own way, with the same hair of bend as straight lines have."""
    count = control_count(task.scenario, task.horizon)
    batch = ScenarioBatch.stack([task.scenario])
    hair = straight_lines(batch, count)[0] - batch.minimum_jerk(count)
    return routes(task.scenario, task.horizon, count)[None] + hair
