"""New plans for robots that are held up: when they are asked for, and what they are told."""

from dataclasses import replace

import pytest
import torch

from maps.fleet import Fleet
from maps.scenario import MovingObstacle, Scenario
from maps.scene import Scene
from planner.executor import Executor, margin_here, remembered, scenario_from_here, strangers_ahead
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


def _ahead(simulation: FleetSimulation) -> tuple[MovingObstacle, ...]:
    return strangers_ahead(simulation, 0, simulation.seen_strangers(), (3.0, 6.0), 0.05)


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
    ahead = _ahead(_met(simulation, [5.5, 3.0], [0.5, 0.0]))
    assert len(ahead) == 1
    end = ahead[0].position[-1]
    assert float((end - torch.tensor([7.0, 3.0])).norm()) > 0.55
    assert float(end[0]) < 8.5
    assert torch.allclose((ahead[0].position[1] - ahead[0].position[0]) / ahead[0].time[1], torch.tensor([0.5, 0.0]).double())
    scenario = scenario_from_here(simulation, 0, ahead, (3.0, 0.05), on=False)
    assert not any(scenario.check())
    elsewhere = _ahead(_met(simulation, [4.0, 1.0], [0.0, 0.5]))
    assert float(elsewhere[0].time[-1]) == 3.0


def test_a_stranger_that_stands_on_a_goal_is_left_out(simulation: FleetSimulation) -> None:
    """Nothing could be planned with it; fails if it is told."""
    assert _ahead(_met(simulation, [7.0, 3.2], [0.0, 0.0])) == ()


def test_a_stranger_that_is_very_near_lowers_the_margin(simulation: FleetSimulation) -> None:
    """Robot a is at (1, 2.8): a start that is nearer to a stranger than the margin would be refused."""
    assert margin_here(simulation, 0) == pytest.approx(0.05)
    near = _met(simulation, [1.0, 3.32], [0.0, 0.0])
    assert margin_here(near, 0) == pytest.approx(0.02, abs=1e-3)
    moving = _ahead(near)
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
        assert executor._replan(simulation, 0, simulation.seen_strangers())
    assert left == pytest.approx([executor.config.deadline] * 4)


class _ToAndFro(FleetSimulation):
    """With one stranger that goes to and fro on 0.2 m in the robots' way, and never looks."""

    def seen_strangers(self) -> Discs:
        beat = round(10 * self.time) % 8
        place = 4.0 + 0.05 * (beat if beat < 4 else 8 - beat)
        velocity = 0.5 if beat < 4 else -0.5
        return Discs(torch.tensor([[[place, 3.0]]]), torch.tensor([[[velocity, 0.0]]]), torch.full((1, 1), 0.25))


def test_a_stranger_that_goes_to_and_fro_is_foreseen_where_it_is(passing: tuple[Scenario, Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    """Foreseen by its velocity of the moment it would be 1.5 m away in 3 s: fails if executors go by that."""
    scenario, plan = passing
    far = []

    def planner(asked: Scenario, _: PlanOptions) -> Plan:
        far.extend(float((one.position[-1] - torch.tensor([4.1, 3.0])).norm()) for one in asked.moving)
        return replace(plan, status=PlanStatus.FAILED)

    monkeypatch.setattr("planner.executor.FleetSimulation", _ToAndFro)
    Executor(Tracking(), planner).run([scenario], [plan], RolloutConfig(strangers=StrangerConfig(1), time_over_plan=1.0, spare_time=8.0))
    assert far
    assert max(far) < 0.4


def test_who_walks_straight_on_is_remembered_so() -> None:
    """The mean over any time is the velocity itself; fails if another time than that between first and last counts."""
    start, velocity, size = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[0.4, -0.2]]]), torch.full((1, 1), 0.25)
    seen = [Discs(start + 0.1 * k * velocity, 3.0 * velocity, size) for k in range(6)]
    found = remembered(seen, 0.1)
    assert torch.allclose(found.velocity, velocity, atol=1e-5)
    assert torch.equal(found.position, seen[-1].position)
    assert remembered(seen[:1], 0.1) is seen[0]
