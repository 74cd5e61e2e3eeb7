"""The generator's wave under odd circumstances: late, far away, of all sizes; certified, repeatable and honest about its weights."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from maps.fleet import Fleet
from maps.sampling import Family, sample_scenario
from maps.scenario import Scenario, ScenarioBatch
from maps.scene import Polygon, Scene
from planner.choose import measure
from planner.generation import Proposer, load_generator
from planner.pipeline import Planner, PlannerConfig
from planner.plan import Plan, PlanOptions, PlanStatus
from planner.polish import PolishConfig
from planner.proposals import control_count
from planner.task import Task
from safety_filter.verify import certify

FLOW = ("flow",)


class Counting(Proposer):
    """A proposer that counts how often it draws."""

    draws = 0

    def __call__(self, task: Task, many: int, draw: int = 0) -> Float[Tensor, "M N n 2"]:
        self.draws += 1
        return super().__call__(task, many, draw)


@pytest.fixture(scope="module")
def proposer() -> Counting:
    released = load_generator()
    return Counting(released.generator, released.identity)


@pytest.fixture(scope="module")
def planner(proposer: Counting) -> Planner:
    return Planner(proposer=proposer)


def one_door(scale: float = 1.0, shift: float = 0.0, radius: tuple[float, float] = (0.2, 0.2)) -> Scenario:
    """Two robots whose straight lines end at a wall with one door."""

    def place(*rows: tuple[float, float]) -> np.ndarray:
        return scale * np.array(rows) + shift

    walls = tuple(Polygon(place((2.8, low), (3.2, low), (3.2, high), (2.8, high))) for low, high in ((-3.0, -0.35), (0.35, 3.0)))
    (x0, y0), (x1, y1) = place((-1.0, -3.0), (7.0, 3.0))
    two, rest = scale * torch.ones(2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    fleet = Fleet(("a", "b"), scale * torch.tensor(radius, dtype=torch.float64), 1.5 * two, 2.0 * two)
    ends = torch.from_numpy(place((0.0, -2.5), (0.0, 2.5))), torch.from_numpy(place((6.0, -2.5), (6.0, 2.5)))
    return Scenario(Scene((x0, y0, x1, y1), polygons=walls), fleet, *ends, rest, rest, 14.0)


def curves(plan: Plan) -> list[bytes]:
    return [robot.control_points.tobytes() for robot in plan.robots if robot.control_points is not None]


@pytest.mark.parametrize(
    "scenario",
    [
        one_door(),
        one_door(1e-3),
        one_door(1e3),
        one_door(1.0, 1e6),
        one_door(1.0, 0.0, (0.3, 0.003)),
        replace(one_door(), start_velocity=torch.tensor([[-1.2, 0.6], [0.0, -1.4]]).double()),
        replace(one_door(), horizon=3600.0),
        replace(one_door(), horizon=None),
        replace(one_door(), margin=0.1),
    ],
    ids=["metres", "millimetres", "kilometres", "far away", "radii", "in motion", "an hour", "no horizon", "margin"],
)
def test_what_is_drawn_alone_ends_certified_and_names_the_weights(planner, scenario):
    plan = planner.plan(scenario, PlanOptions(sources=FLOW))
    assert plan.status is PlanStatus.SUCCEEDED
    points = np.stack([robot.control_points for robot in plan.robots])
    assert certify(points, plan.horizon, replace(scenario, horizon=plan.horizon)).safe
    assert {robot.source for robot in plan.robots} == {"flow"}
    assert plan.model == planner.proposer.identity


@pytest.mark.parametrize("sources", [FLOW, ("flow", "search", "straight")])
def test_a_request_that_comes_too_late_draws_nothing_and_names_no_weights(planner, proposer, sources):
    before = proposer.draws
    late = PlanOptions(sources=sources, deadline=time.monotonic() - 1.0)
    assert planner.plan(one_door(), late).model is None
    assert planner.plan(one_door(), replace(late, deadline=None)).model is not None  # whatever was begun before is done by now
    assert proposer.draws == before + 1


def test_weights_are_named_for_the_members_of_a_batch_that_were_drawn_for(planner):
    drawn, late = PlanOptions(sources=FLOW), PlanOptions(sources=FLOW, deadline=time.monotonic() - 1.0)
    plans = planner.plan_batch([one_door()] * 3, [drawn, late, PlanOptions(sources=("search",))])
    assert [plan.model for plan in plans] == [planner.proposer.identity, None, None]


def test_drawn_plans_are_the_same_alone_in_company_and_in_another_order(planner):
    sizes: tuple[tuple[int, Family], ...] = ((2, "discs"), (5, "rooms"), (3, "grid"), (7, "open"), (4, "mazes"))
    scenarios = [sample_scenario(np.random.default_rng(k), robots, family) for k, (robots, family) in enumerate(sizes)]
    options = [PlanOptions(seed=(1 << 63) - 1 - k, sources=FLOW, candidates=c, alternatives=2) for k, c in enumerate((1, 8, 3, 8, 16))]
    alone = [planner.plan(scenario, option) for scenario, option in zip(scenarios, options, strict=True)]
    back = planner.plan_batch(scenarios[::-1], options[::-1])[::-1]
    assert any(curves(plan) for plan in alone)
    for mine, theirs in zip(alone, back, strict=True):
        assert mine.status is theirs.status
        assert curves(mine) == curves(theirs)
        assert mine.diagnostics == theirs.diagnostics


def ring(robots: int, radius: float) -> Scenario:
    """Robots on a circle that change places with those opposite."""
    angle = 2.0 * torch.pi * torch.arange(robots, dtype=torch.float64) / robots
    start = radius * torch.stack([angle.cos(), angle.sin()], dim=-1)
    ones, rest = torch.ones(robots, dtype=torch.float64), torch.zeros(robots, 2, dtype=torch.float64)
    fleet = Fleet(tuple(f"r{k}" for k in range(robots)), 0.2 * ones, 1.5 * ones, 2.0 * ones)
    return Scenario(Scene((-8.0, -8.0, 8.0, 8.0)), fleet, start, -start, rest, rest, 12.0)


def test_a_doubtful_plan_from_lines_has_the_generator_try_and_a_good_one_has_not(proposer):
    crowded, planner = ring(14, 3.0), Planner(PlannerConfig(polish=PolishConfig(passes=0)), proposer)
    lines = planner.plan(crowded, PlanOptions(sources=("straight",)))
    batch = ScenarioBatch.stack([crowded])
    undisturbed = measure(batch.minimum_jerk(control_count(crowded, 12.0))[0].numpy(), crowded, 12.0).cost
    known = lines.metrics.cost / undisturbed
    asked = replace(planner.config, doubt=known - 0.01)
    before = proposer.draws
    plan = Planner(asked, proposer).plan(crowded)
    assert proposer.draws == before + 1
    assert plan.model == proposer.identity
    assert plan.metrics.cost <= lines.metrics.cost
    content = Planner(replace(asked, doubt=known + 0.01), proposer).plan(crowded)
    assert proposer.draws == before + 1
    assert content.model is None
