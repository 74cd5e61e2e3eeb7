"""What the generator is told of a scenario follows the scenario: mirrored, turned, moved and scaled."""

import math
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from maps.fleet import Fleet
from maps.sampling import sample_scenario
from maps.scenario import Scenario
from maps.scene import Polygon, Scene
from models.checkpoint import save_weights
from models.condition import Surveyed
from models.dit import DiT, DiTConfig
from models.generator import Generator, SamplingConfig
from models.normalizer import Normalizer
from models.path_frame import SAMPLES
from planner.generation import RELEASED, Proposer, load_generator, network_config, survey
from planner.plan import PlanOptions
from planner.task import Task

Move = Callable[[np.ndarray], np.ndarray]


def lanes(seed: int) -> Scenario:
    """Four robots with free straight lines between pillars and blocks, some in motion."""
    rng = np.random.default_rng(seed)
    y = np.array([1.0, 3.0, 5.0, 7.0])
    start, goal = np.stack([rng.uniform(0, 2, 4), y], 1), np.stack([rng.uniform(6, 9, 4), y + rng.uniform(-0.2, 0.2, 4)], 1)
    discs = torch.from_numpy(np.stack([rng.uniform(2, 6, 3), [2.0, 4.0, 6.0], rng.uniform(0.2, 0.4, 3)], 1))
    block = Polygon(np.array([[2.0, 8.0], [6.0, 8.3], [6.0, 9.0], [2.0, 9.5]]))
    radius, velocity = torch.from_numpy(rng.uniform(0.2, 0.3, 4)), torch.from_numpy(rng.uniform(-0.2, 0.2, (4, 2)))
    fleet = Fleet(("a", "b", "c", "d"), radius, 1.0 + radius, 2.0 - radius)
    return Scenario(
        Scene(discs=discs, polygons=(block,)), fleet, torch.from_numpy(start), torch.from_numpy(goal), velocity, 0.5 * velocity, 15.0, 0.03
    )


def moved(scenario: Scenario, matrix: np.ndarray, shift: tuple[float, float], pace: float = 1.0) -> Scenario:
    """The world after a similarity, slower by `pace`."""
    scale = math.sqrt(abs(np.linalg.det(matrix)))
    turn = torch.from_numpy(matrix)
    by = torch.tensor(shift, dtype=torch.float64)
    scene, fleet = scenario.scene, scenario.fleet
    discs = torch.cat([scene.discs[:, :2] @ turn + by, scale * scene.discs[:, 2:]], 1)
    polygons = tuple(Polygon(p.outer @ matrix + by.numpy()) for p in scene.polygons)
    grown = Fleet(fleet.ids, scale * fleet.radius, scale * fleet.v_max / pace, scale * fleet.a_max / pace**2)
    ends = (scenario.start @ turn + by, scenario.goal @ turn + by)
    motion = (scenario.start_velocity @ turn / pace, scenario.start_acceleration @ turn / pace**2)
    return Scenario(Scene(discs=discs, polygons=polygons), grown, *ends, *motion, pace * 15.0, scale * scenario.margin)


def proposer() -> Proposer:
    generator = torch.Generator().manual_seed(0)
    config = network_config({"modes": 4, "width": 32, "layers": 2, "heads": 2, "pair": 8})
    assert config == DiTConfig(modes=4, width=32, layers=2, heads=2, pair=8)
    waves = torch.randn(100, SAMPLES, 2, generator=generator).cumsum(1)
    network = DiT(config, Normalizer.fit(waves / waves.std(), 4))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return Proposer(Generator(network, SamplingConfig(steps=2)))


def propose(scenario: Scenario, seed: int = 5) -> Tensor:
    return proposer()(Task.begin(scenario, PlanOptions(seed=seed)), 3)


def test_a_mirrored_scenario_is_surveyed_as_mirrored():
    scenario = lanes(1)
    known = survey(scenario, 15.0).surveyed.mirrored()
    found = survey(moved(scenario, np.diag([1.0, -1.0]), (0.0, 0.0)), 15.0).surveyed
    for field in fields(Surveyed):
        assert torch.allclose(getattr(found, field.name).double(), getattr(known, field.name).double(), atol=1e-9), field.name
    assert not torch.allclose(found.room, survey(scenario, 15.0).surveyed.room, atol=0.5)


def test_what_is_surveyed_is_the_scenario():
    scenario = lanes(2)
    drawn = survey(scenario, 12.0)
    known = drawn.surveyed
    assert torch.allclose(known.route[0, :, 0], scenario.start)
    assert torch.allclose(known.route[0, :, -1], scenario.goal)
    assert torch.equal(drawn.routes[:, 0], scenario.start)
    assert (float(known.horizon), float(known.margin)) == (12.0, scenario.margin)
    for name in ("radius", "v_max", "a_max"):
        assert torch.equal(getattr(known, name)[0], getattr(scenario.fleet, name))
    assert torch.equal(known.start_velocity[0], scenario.start_velocity)
    assert bool(known.mask.all())


@pytest.mark.parametrize(
    ("angle", "scale", "shift", "pace"),
    [(0.8, 1.0, (0.0, 0.0), 1.0), (0.0, 1.0, (1e5, -2e5), 1.0), (-2.0, 40.0, (3.0, 4.0), 1.0), (1.0, 0.05, (0.0, 0.0), 3.0)],
)
def test_proposals_follow_the_world(angle: float, scale: float, shift: tuple[float, float], pace: float):
    scenario = lanes(3)
    matrix = scale * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    known, found = propose(scenario), propose(moved(scenario, matrix, shift, pace))
    expected = known @ torch.from_numpy(matrix) + torch.tensor(shift)
    assert torch.allclose(found, expected, rtol=0.0, atol=5e-4 * scale)
    spread = (known - known.mean(0)).abs().amax()
    assert float(spread) > 0.05


def test_obstacles_that_are_far_or_shuffled_change_nothing():
    scenario = lanes(4)
    scene = scenario.scene
    more = torch.cat([torch.tensor([[900.0, 0.0, 5.0]]).double(), scene.discs.flip(0)])
    assert torch.equal(propose(replace(scenario, scene=replace(scene, discs=more))), propose(scenario))
    near = torch.cat([scene.discs, torch.tensor([[4.0, 5.9, 0.3]]).double()])
    assert not torch.allclose(propose(replace(scenario, scene=replace(scene, discs=near))), propose(scenario), atol=1e-4)


def test_proposals_depend_on_the_seed():
    assert torch.equal(propose(lanes(5), 1), propose(lanes(5), 1))
    assert not torch.allclose(propose(lanes(5), 1), propose(lanes(5), 2), atol=0.01)


@pytest.mark.parametrize("attention", [True, False])
def test_weights_of_any_run_draw_for_any_number_of_robots(attention: bool, tmp_path: Path):
    config = DiTConfig(width=16, layers=1, attention=attention)
    torch.manual_seed(0)
    network = DiT(config, Normalizer.blank(config.modes))
    saved = save_weights(tmp_path, RELEASED, "7", {"network": asdict(config)}, network.state_dict())
    load = load_generator(tmp_path)
    assert load.identity == saved
    for robots in (2, 5):
        scenario = sample_scenario(np.random.default_rng(robots), robots, "open")
        drawn = load(Task.begin(scenario, PlanOptions()), 3)
        assert drawn.shape[:2] == (3, robots)
        assert drawn.isfinite().all()
