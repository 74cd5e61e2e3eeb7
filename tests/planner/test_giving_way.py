"""Backing off from a stranger that one stands before."""

import numpy as np
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
