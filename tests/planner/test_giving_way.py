"""Backing off from a stranger that one stands before."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from maps.fleet import Fleet
from maps.scenario import Scenario
from maps.scene import Polygon, Scene
from planner.fleet_view import Discs
from planner.giving_way import GivingWay, GivingWayConfig
from planner.pilots import Pilot, Tracking
from planner.pipeline import Planner, PlannerConfig
from planner.rollout import FleetSimulation, RolloutConfig
from planner.strangers import StrangerConfig

STREET = Scene(
    (0.0, 0.0, 10.0, 4.0),
    polygons=tuple(Polygon(np.array([[0.0, y], [10.0, y], [10.0, y + 1.3], [0.0, y + 1.3]])) for y in (0.0, 2.7)),
)


def _nearest(pilot: Pilot, seconds: float) -> list[float]:
    """Room to a stranger that stands in a street, which leaves no room to pass, tick by tick."""
    one = torch.ones(1, dtype=torch.float64)
    rest = torch.zeros(1, 2, dtype=torch.float64)
    start, goal = torch.tensor([[1.0, 2.0]], dtype=torch.float64), torch.tensor([[9.0, 2.0]], dtype=torch.float64)
    scenario = Scenario(STREET, Fleet(("a",), 0.25 * one, one, one), start, goal, rest, rest, 14.0, 0.05)
    plan = Planner(PlannerConfig(threads=1)).plan(scenario)
    simulation = FleetSimulation([scenario], [plan], RolloutConfig(strangers=StrangerConfig(1)), 0)
    place, still = torch.tensor([[[5.0, 2.0]]]), torch.zeros(1, 1, 2)
    simulation.strangers.walk = lambda *_: None
    simulation.strangers.seen = lambda: Discs(place, still, torch.full((1, 1), 0.25))
    room = []
    for _ in range(round(10 * seconds)):
        simulation.step(pilot.act(simulation))
        room.append(float((simulation.state.position - place).norm()) - 0.5)
    return room


def test_who_stands_before_a_stranger_backs_off_and_comes_again() -> None:
    """Fails if the pilot inside is always obeyed."""
    waits, gives_way = _nearest(Tracking(), 25.0), _nearest(GivingWay(Tracking(), GivingWayConfig(away=3.0)), 25.0)
    assert max(waits[-100:]) < 0.4
    arrived = next(k for k, room in enumerate(gives_way) if room < 0.4)
    assert max(gives_way[arrived:]) > 1.0
    assert min(gives_way) > 0.0
    backed = int(np.argmax(gives_way[arrived:])) + arrived
    assert min(gives_way[backed:]) < 0.6


@pytest.mark.parametrize(("walks", "wanted"), [(False, True), (True, True), (False, False)])
def test_who_has_arrived_makes_way_for_a_stranger_that_is_in_somebodys_way(walks: bool, wanted: bool) -> None:
    """Robot a is at its goal before a stranger that stands; b, on its way, is held up behind that one or far from it.

    Fails if those that have arrived are left out, if they make way whether or not anybody is held up, or if they stay away.
    """
    two = torch.ones(2, dtype=torch.float64)
    start = torch.tensor([[5.0, 3.0], [3.5, 3.0] if wanted else [1.0, 5.5]], dtype=torch.float64)
    goal, rest = start + torch.tensor([[0.0, 0.0], [0.0, -2.0]]), torch.zeros(2, 2, dtype=torch.float64)
    scenario = Scenario(Scene((0.0, 0.0, 10.0, 6.0)), Fleet(("a", "b"), 0.25 * two, two, two), start, goal, rest, rest, 6.0, 0.05)
    plan = Planner(PlannerConfig(threads=1)).plan(scenario)
    simulation = FleetSimulation([scenario], [plan], RolloutConfig(strangers=StrangerConfig(1), spare_time=60.0), 0)
    where, still = torch.tensor([[[4.3, 3.0]]]), torch.zeros(1, 1, 2)
    heading = torch.tensor([[[0.5, 0.0]]])  # it was seen to walk towards the robot, and halted
    simulation.strangers.walk = lambda *_: None
    pilot, far = GivingWay(Tracking(), GivingWayConfig(patience=(3.0, 3.0), away=4.0)), []
    for k in range(120):
        velocity = heading if walks or k == 0 else still
        simulation.strangers.position, simulation.strangers.velocity = where, velocity
        held = replace(simulation.state, position=simulation.state.position.clone(), velocity=simulation.state.velocity.clone())
        held.position[0, 1], held.velocity[0, 1] = start[1].float(), 0.0  # b stands, and its plan goes on without it
        simulation.state = replace(held, along=torch.full_like(held.along, 3.0))
        simulation.step(pilot.act(simulation))
        far.append(simulation.state.position[0, 0] - start[0].float())
    aside = torch.stack(far)
    if walks or not wanted:
        assert float(aside.norm(dim=-1).max()) < 0.1
        return
    assert float(aside[:25].norm(dim=-1).max()) < 0.1
    gone = int(aside.norm(dim=-1).argmax())
    assert float(aside[gone, 1].abs()) > 0.6  # beside the line of the stranger, not along it
    assert float(aside[gone:].norm(dim=-1).min()) < 0.1
    assert not bool(simulation.collided[0, 0])


def test_a_place_to_make_way_to_is_free() -> None:
    """A wall is on one side of the robot and another robot beyond its left: it goes where neither is."""
    two = torch.ones(2, dtype=torch.float64)
    place = torch.tensor([[5.0, 1.0], [6.0, 2.2]], dtype=torch.float64)
    rest = torch.zeros(2, 2, dtype=torch.float64)
    scenario = Scenario(Scene((0.0, 0.5, 10.0, 6.0)), Fleet(("a", "b"), 0.25 * two, two, two), place, place, rest, rest, 4.0, 0.05)
    plan = Planner(PlannerConfig(threads=1)).plan(scenario)
    simulation = FleetSimulation([scenario], [plan], RolloutConfig(strangers=StrangerConfig(0)), 0)
    stranger = Discs(torch.tensor([[[4.3, 1.0]] * 2]), torch.tensor([[[1.0, 0.0]] * 2]), torch.full((1, 2), 0.25))
    found = GivingWay(Tracking())._places(simulation, stranger)[0]
    assert float(found[0, 1]) > 1.4
    assert float((found[0] - place[1]).norm()) > 0.6
    assert float(simulation.fields.at(found[None])[0].min()) > 0.25
