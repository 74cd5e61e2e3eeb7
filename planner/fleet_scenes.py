"""Fleets to be carried out: scenarios in built-in and random maps, with their certified plans."""

from collections.abc import Callable

import numpy as np
import torch

from maps.feasibility import least_time
from maps.fleet import Fleet
from maps.library import load_map, map_ids
from maps.sampling import SamplingConfig, sample_scenario
from maps.sampling_places import Ground, place_fleet
from maps.sampling_ways import Ways
from maps.scenario import Scenario
from planner.pipeline import Planner
from planner.plan import Plan, PlanStatus

MARGIN = 0.05  # m that plans keep from everything: what carrying them out may take
SLACK = 1.4  # horizon over the least time of the robot with the longest way
PAUSE = 3.0  # s, added to it
TRIES = 200  # scenarios drawn for one that can be planned

Planned = tuple[list[Scenario], list[Plan]]


def library_scenarios(planner: Planner, robots: int, count: int, seed: int, maps: tuple[str, ...] | None = None) -> Planned:
    """Fleets in built-in maps, which take turns.

    Args:
        planner: makes the plans.
        robots: of each fleet; radius 0.25 m, 1 m/s, 1 m/s^2.
        count: scenarios.
        seed: of starts and goals.
        maps: ids; None: all built-in maps.

    Returns:
        Scenarios and their plans, all with a curve for every robot.

    Raises:
        ValueError: no such fleet could be planned in a map.
    """
    rng, chosen = np.random.default_rng(seed), maps or map_ids()
    scenes = [load_map(name) for name in chosen]
    full = torch.ones(robots, dtype=torch.float64)
    fleet = Fleet(tuple(f"r{k}" for k in range(robots)), 0.25 * full, full, full)
    needed = fleet.radius.numpy() + MARGIN

    def draw(number: int) -> Scenario | None:
        scene = scenes[number % len(scenes)]
        ways = Ways.of(scene, float(needed.max()))
        places = place_fleet(rng, Ground(scene, needed, 0.15, ways), "scattered")
        if places is None:
            return None
        start, goal = (torch.from_numpy(place.copy()) for place in places)
        rest, way = torch.zeros_like(start), np.stack([ways.length(*places), np.zeros(robots)], 1)
        horizon = SLACK * float(least_time(way, rest.numpy(), full.numpy(), full.numpy()).max()) + PAUSE
        return Scenario(scene, fleet, start, goal, rest, rest, horizon, MARGIN)

    return _planned(planner, draw, count)


def random_scenarios(planner: Planner, robots: int, count: int, seed: int) -> Planned:
    """Fleets in random scenes of all families, with sizes and limits of their own; else as `library_scenarios`."""
    rng = np.random.default_rng(seed)
    config = SamplingConfig(size=14.0, around=True, alike=0.7, slack=(1.4, 1.8))

    def draw(_: int) -> Scenario | None:
        return sample_scenario(rng, robots, config=config, margin=MARGIN)

    return _planned(planner, draw, count)


def mixed_scenarios(planner: Planner, robots: int, counts: tuple[int, int], seed: int) -> Planned:
    """So many in random scenes and so many in built-in maps; else as `library_scenarios`."""
    scenarios, plans = random_scenarios(planner, robots, counts[0], seed)
    more = library_scenarios(planner, robots, counts[1], seed + 1)
    return scenarios + more[0], plans + more[1]


def _planned(planner: Planner, draw: Callable[[int], Scenario | None], count: int) -> Planned:
    scenarios, plans = [], []
    for number in range(count):
        for _ in range(TRIES):
            scenario = draw(number)
            if scenario is None or any(scenario.check()):
                continue
            plan = planner.plan(scenario)
            if plan.status == PlanStatus.SUCCEEDED:
                scenarios.append(scenario)
                plans.append(plan)
                break
        else:
            raise ValueError(f"no fleet could be planned in {TRIES} tries")
    return scenarios, plans
