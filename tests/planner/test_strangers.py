"""People and carts that no plan knows."""

import numpy as np
import torch

from maps.scene import Polygon, Scene
from planner.distance_fields import DistanceFields
from planner.strangers import StrangerConfig, Strangers

TICK = 0.1
CLOSET = Polygon(np.array([[6.0, 0.0], [6.2, 0.0], [6.2, 6.0], [6.0, 6.0]]))
FIELDS = DistanceFields.of_scenes([Scene((0.0, 0.0, 7.0, 6.0), polygons=(CLOSET,))], 0.06)


def _strangers(ways: torch.Tensor, count: int = 1, seed: int = 0) -> Strangers:
    size = torch.full((1, ways.shape[1]), 0.25)
    return Strangers(FIELDS, ways, (size, 4.0 * size), StrangerConfig(count), torch.Generator().manual_seed(seed))


def _open_way() -> torch.Tensor:
    """One robot's way along the room, m."""
    return torch.stack([torch.linspace(0.6, 5.4, 40), torch.full((40,), 3.0)], -1)[None, None]


def _walk(strangers: Strangers, robot: list[float], ticks: int) -> torch.Tensor:
    places = []
    for _ in range(ticks):
        strangers.walk(torch.tensor([[robot]]), torch.tensor([[0.25]]), TICK)
        places.append(strangers.position[0, 0].clone())
    return torch.stack(places)


def test_nobody_begins_where_there_is_no_way_on() -> None:
    """Most of the way's places lie in a closet too small to walk in: fails if places are drawn without regard to where they lead."""
    closet = torch.tensor([6.6, 3.0]).expand(1, 1, 120, 2)
    for seed in range(20):
        strangers = _strangers(torch.cat([_open_way(), closet], 2), seed=seed)
        places = _walk(strangers, [0.3, 5.7], 30)
        assert float((places[-1] - places[0]).norm()) + float((places[15] - places[0]).norm()) > 0.1


def test_a_stranger_halts_before_a_robot_in_its_way_and_then_turns_back() -> None:
    strangers = _strangers(_open_way())
    robot = strangers.places[0, strangers.target[0, 0]].tolist()
    places = _walk(strangers, robot, 150)
    apart = (places - torch.tensor(robot)).norm(dim=-1)
    nearest = int(apart.argmin())
    assert 0.5 < float(apart.min()) < 0.5 + 0.3 + TICK
    assert float(apart[nearest:].max()) > float(apart.min()) + 0.3


def test_a_stranger_walks_past_a_robot_beside_its_way() -> None:
    """Fails if whoever is anywhere ahead and near stops it."""
    strangers = _strangers(_open_way())
    goal = strangers.places[0, strangers.target[0, 0]].clone()
    heading = torch.sign(goal[0] - strangers.position[0, 0, 0])
    beside = [float(strangers.position[0, 0, 0] + 0.5 * heading), 3.0 + 0.5 + 0.1]
    places = _walk(strangers, beside, 100)
    assert float((places - goal).norm(dim=-1).min()) < 0.15
    assert float((places[:5].diff(dim=0).norm(dim=-1)).min()) > 0.0


def test_in_a_crowd_strangers_begin_as_far_from_all_as_can_be() -> None:
    """Robots every 0.8 m along the way: fails if, where nowhere is far enough, any place will do."""
    starts = torch.stack([0.6 + 0.8 * torch.arange(6), torch.full((6,), 3.0)], -1)
    between = torch.stack([torch.linspace(0.6, 5.4, 40), torch.full((40,), 3.0)], -1)
    ways = torch.cat([starts[None, :, None], between.expand(1, 6, 40, 2)], 2)
    for seed in range(20):
        strangers = _strangers(ways, seed=seed)
        assert float(torch.cdist(strangers.position, starts[None]).min()) > 0.25


def test_where_one_place_is_good_the_second_stranger_takes_the_next_best() -> None:
    """A robot stands where all other places are: fails if, once the good ones are taken, any will do."""
    strangers = _strangers(_open_way())
    strangers.config = StrangerConfig(2)
    places = torch.zeros_like(strangers.places)
    places[0, 0], places[0, 1] = torch.tensor([5.0, 0.0]), torch.tensor([0.8, 0.0])
    strangers.places, strangers.joined = places, torch.ones_like(strangers.joined)
    for seed in range(50):
        strangers.generator.manual_seed(seed)
        assert set(strangers._first(torch.zeros(1, 1, 2), torch.full((1, 1), 0.25))[0].tolist()) == {0, 1}
