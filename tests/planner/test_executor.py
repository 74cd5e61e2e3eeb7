"""New plans for robots that are held up: when they are asked for, and what they are told."""

from dataclasses import replace

import pytest
import torch

from maps.fleet import Fleet
from maps.scenario import Scenario
from maps.scene import Scene
from planner.executor import Executor, margin_here, scenario_from_here, strangers_ahead
from planner.fleet_view import Discs
from planner.pilots import Tracking
from planner.pipeline import Planner, PlannerConfig
from planner.plan import Plan, PlanOptions, PlanStatus
from planner.rollout import FleetSimulation, RolloutConfig
from planner.strangers import StrangerConfig

NOBODY = RolloutConfig(strangers=StrangerConfig(0))


@pytest.fixture(scope="module")
def passing() -> tuple[Scenario, Plan]:
    """Two robots that pass each other on an open floor."""
    full = torch.ones(2, dtype=torch.float64)
    fleet = Fleet(("a", "b"), 0.25 * full, full, full)
    start, goal = torch.tensor([[1.0, 2.8], [7.0, 3.2]]).double(), torch.tensor([[7.0, 3.0], [1.0, 3.0]]).double()
    rest = torch.zeros_like(start)
    scenario = Scenario(Scene((0.0, 0.0, 8.0, 6.0)), fleet, start, goal, rest, rest, 12.0, 0.05)
    return scenario, Planner(PlannerConfig(threads=1)).plan(scenario)


@pytest.fixture
def simulation(passing: tuple[Scenario, Plan]) -> FleetSimulation:
    return FleetSimulation([passing[0]], [passing[1]], NOBODY, 0)


def _met(simulation: FleetSimulation, place: list[float], velocity: list[float]) -> FleetSimulation:
    """With one stranger there."""
    seen = Discs(torch.tensor([[place]]), torch.tensor([[velocity]]), torch.full((1, 1), 0.25))
    simulation.seen_strangers = lambda: seen
    return simulation


@pytest.mark.parametrize(("off", "late", "asks"), [(0.0, 5.0, False), (0.3, 5.0, True), (0.3, 1.0, False), (0.0, 20.0, True)])
def test_who_only_waits_for_others_is_not_planned_anew(simulation: FleetSimulation, off: float, late: float, asks: bool) -> None:
    """A robot that stands on its plan waits by the order, one off it is held up: fails if lateness alone decides."""
    state = simulation.state
    place = state.position + torch.tensor([0.0, off])
    simulation.state = replace(state, position=place, velocity=torch.zeros_like(place), late=torch.full_like(state.late, late))
    executor = Executor(Tracking(), lambda *_: pytest.fail("asked"))
    assert bool(executor.too_late(simulation, torch.full((1,), -1.0))[0]) == asks
    assert not bool(executor.too_late(simulation, torch.full((1,), 1.0))[0])


def test_a_new_plan_begins_with_the_motion_that_robots_have(simulation: FleetSimulation) -> None:
    """Fails if robots are always planned anew from rest."""
    for _ in range(30):
        simulation.step(simulation.nominal())
    going = scenario_from_here(simulation, 0, (), (3.0, 0.02), on=True)
    resting = scenario_from_here(simulation, 0, (), (3.0, 0.02), on=False)
    assert torch.allclose(going.start_velocity.float(), simulation.state.velocity[0], atol=2e-3)
    assert float(going.start_velocity.norm(dim=-1).max()) > 0.2
    assert float(resting.start_velocity.abs().max()) == 0.0
    assert torch.equal(going.start, resting.start)
    assert not any(going.check())


def test_a_stranger_is_foreseen_past_the_goals(simulation: FleetSimulation) -> None:
    """One that would stand on the goal (7, 3) after 3 s is taken to go on; fails if it is taken to stand there."""
    ahead = strangers_ahead(_met(simulation, [5.5, 3.0], [0.5, 0.0]), 0, (3.0, 6.0), 0.05)
    assert len(ahead) == 1
    end = ahead[0].position[-1]
    assert float((end - torch.tensor([7.0, 3.0])).norm()) > 0.55
    assert float(end[0]) < 8.5
    assert torch.allclose((ahead[0].position[1] - ahead[0].position[0]) / ahead[0].time[1], torch.tensor([0.5, 0.0]).double())
    scenario = scenario_from_here(simulation, 0, ahead, (3.0, 0.05), on=False)
    assert not any(scenario.check())
    elsewhere = strangers_ahead(_met(simulation, [4.0, 1.0], [0.0, 0.5]), 0, (3.0, 6.0), 0.05)
    assert float(elsewhere[0].time[-1]) == 3.0


def test_a_stranger_that_stands_on_a_goal_is_left_out(simulation: FleetSimulation) -> None:
    """Nothing could be planned with it; fails if it is told."""
    assert strangers_ahead(_met(simulation, [7.0, 3.2], [0.0, 0.0]), 0, (3.0, 6.0), 0.05) == ()


def test_a_stranger_that_is_very_near_lowers_the_margin(simulation: FleetSimulation) -> None:
    """Robot a is at (1, 2.8): a start that is nearer to a stranger than the margin would be refused."""
    assert margin_here(simulation, 0) == pytest.approx(0.05)
    near = _met(simulation, [1.0, 3.32], [0.0, 0.0])
    assert margin_here(near, 0) == pytest.approx(0.02, abs=1e-3)
    moving = strangers_ahead(near, 0, (3.0, 6.0), 0.05)
    assert not any(scenario_from_here(near, 0, moving, (3.0, margin_here(near, 0)), on=False).check())


def test_every_try_has_time_of_its_own(passing: tuple[Scenario, Plan]) -> None:
    """The first tries take all that they may and fail; the last one is made with time left."""
    scenario, plan = passing
    failed, left = replace(plan, status=PlanStatus.FAILED), []

    def planner(_: Scenario, options: PlanOptions) -> Plan:
        assert options.deadline is not None
        left.append(options.deadline - now[0])
        now[0] = options.deadline
        return failed if len(left) < 4 else plan

    now = [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("planner.executor.time.monotonic", lambda: now[0])
        executor = Executor(Tracking(), planner)
        simulation = FleetSimulation([scenario], [plan], NOBODY, 0)
        assert executor._replan(simulation, 0)
    assert left == pytest.approx([executor.config.deadline] * 4)
