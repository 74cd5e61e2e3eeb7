"""Fleets in a world that their plans do not know."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from maps.fleet import Fleet
from maps.scenario import Scenario
from maps.scene import Polygon, Scene
from planner.demonstrations import DemonstrationConfig, record_demonstrations
from planner.distance_fields import DistanceFields
from planner.executor import Executor
from planner.fleet_tracks import INTERVAL, WAIT_EVERY, FleetTracks
from planner.fleet_view import FEATURES, FIRST, LAST_ACTION, NEIGHBORS, OBSERVATION, Discs, FleetBodies, FleetState, view
from planner.pilots import Sidestepping, Tracking
from planner.pipeline import Planner, PlannerConfig
from planner.plan import Plan
from planner.rollout import FleetSimulation, RolloutConfig
from planner.strangers import StrangerConfig

NOBODY = RolloutConfig(strangers=StrangerConfig(0))
WALL = Polygon(np.array([[3.5, 2.6], [4.5, 2.6], [4.5, 3.4], [3.5, 3.4]]))
SCENE = Scene((0.0, 0.0, 8.0, 6.0), polygons=(WALL,))


def _scenario(start: list[list[float]], goal: list[list[float]], horizon: float = 14.0) -> Scenario:
    full = torch.ones(len(start), dtype=torch.float64)
    fleet = Fleet(tuple(f"r{k}" for k in range(len(start))), 0.25 * full, full, full)
    begin, end = torch.tensor(start, dtype=torch.float64), torch.tensor(goal, dtype=torch.float64)
    return Scenario(SCENE, fleet, begin, end, torch.zeros_like(begin), torch.zeros_like(begin), horizon, 0.05)


@pytest.fixture(scope="module")
def planner() -> Planner:
    return Planner(PlannerConfig(threads=1))


@pytest.fixture(scope="module")
def crossing(planner: Planner) -> tuple[Scenario, Plan]:
    """Four robots whose ways cross around a block."""
    scenario = _scenario([[1, 3], [7, 3.2], [2.5, 1], [5.5, 5]], [[7, 2.8], [1, 3], [2.5, 5], [5.5, 1]])
    return scenario, planner.plan(scenario)


def _run(simulation: FleetSimulation) -> list[torch.Tensor]:
    rewards = []
    while not bool(simulation.over.all()):
        rewards.append(simulation.step(simulation.nominal()).reward)
    return rewards


def test_a_plan_is_carried_out_as_it_is(crossing: tuple[Scenario, Plan]) -> None:
    """With nobody in the way all arrive within a second of the plan, touching nothing, and every robot earned by it."""
    simulation = FleetSimulation([crossing[0]], [crossing[1]], NOBODY, 0)
    rewards = torch.stack(_run(simulation))
    assert bool(simulation.arrived.all())
    assert not bool(simulation.collided.any())
    assert float(simulation.finish.max()) < 15.0
    assert (rewards.sum(0) > 0.5).all()
    assert (rewards.abs() <= 1.0).all()


def test_fleets_side_by_side_are_as_alone(crossing: tuple[Scenario, Plan]) -> None:
    """Without strangers nothing couples the fleets of a simulation."""
    other = _scenario([[1, 1], [1, 2], [1, 4], [1, 5]], [[7, 1], [7, 2], [7, 4], [7, 5]])
    plan = Planner(PlannerConfig(threads=1)).plan(other)
    together = FleetSimulation([crossing[0], other], [crossing[1], plan], NOBODY, 0)
    alone = FleetSimulation([other], [plan], NOBODY, 0)
    for _ in range(40):
        together.step(together.nominal())
        alone.step(alone.nominal())
    torch.testing.assert_close(together.state.position[1], alone.state.position[0], rtol=0.0, atol=1e-5)
    torch.testing.assert_close(together.view.observation[1], alone.view.observation[0], rtol=0.0, atol=1e-4)


def test_the_order_of_the_plan_holds_when_robots_are_late(crossing: tuple[Scenario, Plan]) -> None:
    """Robots that often stand still make the others wait where they would be met, at every tick; all arrive, nothing touches.

    Removed: the order: for one of the seeds at least, somebody goes where another was to be before it.
    """
    broken = {True: 0, False: 0}
    for keeps in (True, False):
        for seed in range(4):
            simulation = FleetSimulation([crossing[0]], [crossing[1]], replace(NOBODY, delays=0.2, order=keeps), seed)
            while not bool(simulation.over.all()):
                simulation.step(simulation.nominal())
                broken[keeps] += _out_of_order(simulation)
            assert not bool(simulation.collided.any())
            if keeps:
                assert bool(simulation.arrived.all())
                assert float(simulation.finish.max()) > 15.0
    assert broken[True] == 0
    assert broken[False] > 0


def _out_of_order(simulation: FleetSimulation) -> int:
    """How many robots are where another should have been before them."""
    along = simulation.state.along[0].numpy() / (INTERVAL * WAIT_EVERY)
    place = np.minimum(np.floor(along + 0.01).astype(int), simulation.waits.shape[-1] - 1)
    needed = simulation.waits[0][np.arange(len(along)), :, place]
    return int((needed > along + 0.05).any(1).sum())


def test_strangers_are_met_and_the_filter_keeps_clear_of_them(crossing: tuple[Scenario, Plan]) -> None:
    """Without filter, robots that follow their plans blindly run into strangers; with it and stepping aside, they do not."""
    blind = touched = 0
    for seed in range(6):
        plain = FleetSimulation([crossing[0]], [crossing[1]], RolloutConfig(shield=False, clocks=False), seed)
        _run(plain)
        blind += int(plain.collided.sum())
        outcome = Executor(Sidestepping(), None).run([crossing[0]], [crossing[1]], RolloutConfig(), seed)[0][0]
        touched += outcome.collided
    assert blind >= 4
    assert touched == 0


def test_the_same_seed_gives_the_same_rollout(crossing: tuple[Scenario, Plan]) -> None:
    """Strangers, delays and noise come from the seed alone."""
    world = RolloutConfig(delays=0.1, noise=0.05)
    ends = []
    for seed in (4, 4, 5):
        simulation = FleetSimulation([crossing[0]], [crossing[1]], world, seed)
        for _ in range(30):
            simulation.step(simulation.nominal())
        ends.append(simulation.state.position)
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_a_fleet_that_is_held_up_is_planned_anew(planner: Planner) -> None:
    """A stranger that stands on the only robot's way is planned around."""
    scenario = _scenario([[1, 1]], [[7, 1]], 9.0)
    plan = planner.plan(scenario)
    world = RolloutConfig(strangers=StrangerConfig(1, pace=(0.0, 0.0), apart=2.0))
    outcomes = {}
    for name, makes in (("kept", None), ("anew", planner.plan)):
        outcomes[name] = Executor(Tracking(), makes).run([scenario], [plan], world, 3)[0][0]
    assert outcomes["kept"].stuck == 1
    assert outcomes["anew"].success
    assert outcomes["anew"].replans >= 1


def test_new_plans_that_do_not_help_are_asked_for_ever_less_often(planner: Planner) -> None:
    """Removed: the growth of the waits: the third is too short."""
    scenario = _scenario([[1, 1]], [[7, 1]], 20.0)
    world = RolloutConfig(strangers=StrangerConfig(1, pace=(0.0, 0.0), apart=2.0))
    hurried = lambda asked, options: planner.plan(asked, replace(options, deadline=0.0))  # noqa: E731 - no time to find one
    executor = Executor(Tracking(), hurried)
    journey = executor.run([scenario], [planner.plan(scenario)], world, 3)[1]
    waits = np.diff([time for time, _, _ in journey.replans])
    least = np.minimum(executor.config.again * executor.config.longer ** np.arange(len(waits)), executor.config.patience)
    assert not any(found for _, _, found in journey.replans)
    assert len(waits) >= 5
    assert (waits > least - 0.05).all()


def _states(turn: float, shift: list[float], order: list[int] | None = None) -> torch.Tensor:
    c, s = np.cos(turn), np.sin(turn)
    matrix, moved = torch.tensor([[c, -s], [s, c]], dtype=torch.float32), torch.tensor(shift)
    generator = torch.Generator().manual_seed(0)
    place = torch.rand(1, 9, 2, generator=generator) * 4.0
    speed, last = torch.randn(1, 9, 2, generator=generator) * 0.3, torch.randn(1, 9, 2, generator=generator) * 0.3
    goal = torch.rand(1, 9, 2, generator=generator) * 4.0
    if order is not None:
        place, speed, last, goal = (part[:, order] for part in (place, speed, last, goal))
    share = torch.linspace(0.0, 1.0, 81)[:, None]
    way = place[:, :, None] + share * (goal - place)[:, :, None]
    velocity = ((goal - place) / 4.0)[:, :, None].expand_as(way)
    motion = torch.cat([way @ matrix.T + moved, velocity @ matrix.T, torch.zeros_like(way)], -1)
    zero = torch.zeros(1, 9)
    state = FleetState(place @ matrix.T + moved, speed @ matrix.T, last @ matrix.T, zero + 0.7, zero, zero + 1.0)
    ones = torch.ones(1, 9)
    disc = Discs(torch.tensor([[[2.0, 2.0]]]) @ matrix.T + moved, torch.tensor([[[0.2, 0.1]]]) @ matrix.T, torch.full((1, 1), 0.3))
    open_floor = DistanceFields(
        torch.full((1, 4, 4), 4.0), torch.full((1, 2), -100.0), torch.full((1,), 100.0), torch.full((1, 2), 4.0), torch.zeros(1)
    )
    bodies = FleetBodies(0.25 * ones, ones, ones)
    return view(state, FleetTracks(motion, torch.tensor([4.0]), ones), goal @ matrix.T + moved, (bodies, open_floor, disc)).observation


def test_turning_and_shifting_the_world_changes_nothing_that_robots_are_told() -> None:
    """Observations are in each robot's own frame."""
    plain, moved = _states(0.0, [0.0, 0.0]), _states(2.0, [5.0, -3.0])
    assert plain.shape == (1, 9, OBSERVATION)
    torch.testing.assert_close(plain, moved, rtol=0.0, atol=2e-4)
    assert (plain[..., FIRST:].unflatten(-1, (NEIGHBORS, FEATURES))[..., -1] == 1.0).all()
    assert not torch.allclose(plain[0, 0], plain[0, 1], atol=0.1)


def test_the_order_of_robots_means_nothing_to_what_they_are_told() -> None:
    """Robots in another order are told the same, each its own."""
    order = [3, 1, 8, 0, 2, 5, 7, 6, 4]
    torch.testing.assert_close(_states(0.0, [0.0, 0.0])[:, order], _states(0.0, [0.0, 0.0], order))


def test_distances_to_walls_are_those_of_the_scene() -> None:
    """Within a cell's size everywhere, also outside; scenes of several sizes side by side."""
    small = Scene((1.0, 1.0, 3.0, 4.0))
    fields, place = DistanceFields.of_scenes([SCENE, small], 0.1), torch.rand(2, 400, 2, generator=torch.Generator().manual_seed(1)) * 6.0
    exact = SCENE.signed_distance(place[0].double(), 4.0)
    bounds = torch.cat([place[0], torch.tensor([8.0, 6.0]) - place[0]], -1).amin(-1).double()
    assert float((fields.at(place)[0] - torch.minimum(exact, bounds)).abs().max()) < 0.1
    box = torch.cat([place[1] - torch.tensor([1.0, 1.0]), torch.tensor([3.0, 4.0]) - place[1]], -1).amin(-1)
    inside = box > 0.0
    assert float((fields.at(place)[1] - box)[inside].abs().max()) < 0.1
    low, high = torch.tensor([1.0, 1.0]), torch.tensor([3.0, 4.0])
    beyond = (place[1] - place[1].clamp(low, high)).norm(dim=-1)
    assert float((fields.at(place)[1] + beyond)[~inside].abs().max()) < 0.25  # cells reach up to two beyond the bounds


def test_an_open_floor_is_open_everywhere() -> None:
    """Without bounds, far from all obstacles is far from walls; near one, it is the distance to it."""
    pillar = Scene(discs=torch.tensor([[2.0, 1.0, 0.5]], dtype=torch.float64))
    fields = DistanceFields.of_scenes([Scene(), pillar], 0.1)
    place = torch.tensor([[[90.0, -40.0], [0.0, 0.0]], [[90.0, -40.0], [0.0, 1.0]]])
    torch.testing.assert_close(fields.at(place), torch.tensor([[4.0, 4.0], [4.0, 1.5]]), rtol=0.0, atol=0.02)


def test_the_corners_of_a_very_long_floor_can_be_asked() -> None:
    """So many cells that single precision does not tell the last one from the one before: fails if that one's neighbour is asked."""
    fields = DistanceFields.of_scenes([Scene((-1e6, 0.0, 10.0, 6.0))], 0.06)
    assert bool((fields.at(torch.tensor([[[5e6, 5e6], [-5e6, -5e6]]])) < -4e6).all())


def test_demonstrations_are_whole_episodes_of_what_was_done(crossing: tuple[Scenario, Plan]) -> None:
    """Every episode ends once; actions lie within the limits; the next observation holds the action that was done."""
    config = DemonstrationConfig(steps=600, seed=2)
    rows = record_demonstrations(lambda _: ([crossing[0]], [crossing[1]]), config, lambda _: None)
    count = len(rows["rewards"])
    assert count >= 600
    assert rows["observations"].shape == (count, OBSERVATION)
    assert rows["terminals"][-1]
    assert (rows["terminals"] >= (rows["masks"] == 0.0)).all()
    assert (np.linalg.norm(rows["actions"], axis=1) < 1.0 + 1e-5).all()
    size = np.linalg.norm(rows["next_observations"][:, LAST_ACTION : LAST_ACTION + 2], axis=1)
    np.testing.assert_allclose(size, np.linalg.norm(rows["actions"], axis=1), atol=1e-4)
    inner = ~rows["terminals"][:-1]
    np.testing.assert_array_equal(rows["next_observations"][:-1][inner], rows["observations"][1:][inner])


def test_whoever_leaves_its_goal_has_not_arrived_until_the_fleet_is_done(planner: Planner) -> None:
    """One stands at its goal, is pushed away and comes back, while the other is on its way; then what is done no longer counts."""
    scenario = _scenario([[1, 1], [1, 4]], [[1, 1], [4, 4]], 9.0)
    simulation = FleetSimulation([scenario], [planner.plan(scenario)], NOBODY, 0)

    def pushed(far: float) -> None:
        away = torch.tensor([[[far, 0.0], [0.0, 0.0]]])
        simulation.state = replace(simulation.state, position=simulation.state.position + away)
        simulation.step(simulation.nominal())

    pushed(0.0)
    assert simulation.arrived[0].tolist() == [True, False]
    first = float(simulation.finish[0, 0])
    pushed(0.2)
    assert simulation.arrived[0].tolist() == [True, False]
    pushed(0.3)
    assert simulation.arrived[0].tolist() == [False, False]
    assert simulation.reached[0].tolist() == [True, False]
    _run(simulation)
    assert bool(simulation.arrived.all())
    assert float(simulation.finish[0, 0]) > first + 0.5
    pushed(1.0)
    assert bool(simulation.arrived.all())
    assert bool(simulation.over.all())


def test_a_fleet_whose_time_is_over_does_not_arrive_later(planner: Planner) -> None:
    """Another fleet beside it has more time: fails if all count for as long as any is on its way."""
    short, long = _scenario([[1, 1]], [[7, 1]], 9.0), _scenario([[1, 5]], [[7, 5]], 30.0)
    world = replace(NOBODY, time_over_plan=0.5, spare_time=0.0)
    simulation = FleetSimulation([short, long], [planner.plan(short), planner.plan(long)], world, 0)
    _run(simulation)
    assert float((simulation.state.position[0, 0] - simulation.goal[0, 0]).norm()) < 0.05
    assert not bool(simulation.arrived.any())
    assert float(simulation.finish[0, 0]) == float("inf")


def test_a_new_plan_is_gone_along_as_fast_as_limits_allow(planner: Planner) -> None:
    """20 s for 3 m: as a new plan it takes half of that, and the plan that a fleet begins with keeps its time."""
    scenario = _scenario([[1, 1]], [[4, 1]], 20.0)
    plan = planner.plan(scenario)
    ends = []
    for anew in (False, True):
        simulation = FleetSimulation([scenario], [plan], NOBODY, 0)
        if anew:
            simulation.follow(0, plan)
        _run(simulation)
        ends.append(float(simulation.finish.max()))
    assert ends[0] > 15.0  # it counts as there a little before the end
    assert ends[1] < 0.6 * ends[0]
