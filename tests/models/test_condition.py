"""What the network is told of a scene: free of frame, unit, order and padding, and known where it can be computed by hand."""

import math
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from models.condition import Condition, RobotEncoder, Surveyed, condition_on, pair_features, room_aside
from models.path_frame import SAMPLES
from models.surroundings import ASIDE

FRAMED = ("place", "heading")  # these turn with the world; all else stays
OF_PAIRS = 17  # each of forward, left and nearness


def turned(vector: Tensor, angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return vector @ torch.tensor([[c, s], [-s, c]], dtype=vector.dtype)


def close(first: Condition, second: Condition, *, but: tuple[str, ...] = (), atol: float = 1e-5) -> bool:
    names = [f.name for f in fields(Condition) if f.name not in but]
    return all(torch.allclose(getattr(first, name), getattr(second, name), atol=atol) for name in names)


@pytest.mark.parametrize("angle", [0.4, math.pi, -2.0])
def test_turning_the_world_turns_places_and_headings_alone(fleet, angle: float):
    surveyed = fleet(1, 5)
    moved = replace(surveyed, route=turned(surveyed.route, angle), start_velocity=turned(surveyed.start_velocity, angle))
    before, after = condition_on(surveyed), condition_on(moved)
    assert close(before, after, but=FRAMED)
    assert torch.allclose(after.place, turned(before.place, angle), atol=1e-5)
    assert torch.allclose(after.heading, turned(before.heading, angle), atol=1e-5)
    assert not torch.allclose(after.place, before.place, atol=0.5)


def test_shift_changes_nothing(fleet):
    surveyed = fleet(2, 5)
    moved = replace(surveyed, route=surveyed.route + torch.tensor([3e5, -2e5]))
    assert close(condition_on(surveyed), condition_on(moved), atol=1e-4)


@pytest.mark.parametrize("scale", [0.01, 30.0])
def test_scale_of_space_changes_nothing(fleet, scale: float):
    surveyed = fleet(3, 5)
    lengths = ("route", "radius", "v_max", "a_max", "start_velocity", "margin")
    grown = replace(surveyed, **{name: scale * getattr(surveyed, name) for name in lengths})
    assert close(condition_on(surveyed), condition_on(grown))


@pytest.mark.parametrize("pace", [0.1, 7.0])
def test_scale_of_time_changes_nothing(fleet, pace: float):
    s = fleet(4, 5)
    slower = replace(
        s, horizon=pace * s.horizon, v_max=s.v_max / pace, start_velocity=s.start_velocity / pace, a_max=s.a_max / pace**2
    )  # fmt: skip
    assert close(condition_on(s), condition_on(slower))


def test_every_quantity_leaves_a_trace(fleet):
    # no field is forgotten: doubling each alone is seen
    surveyed = fleet(5, 3)
    before = condition_on(surveyed)
    for name in ("route", "room", "radius", "v_max", "a_max", "start_velocity", "horizon", "margin"):
        assert not close(before, condition_on(replace(surveyed, **{name: 2.0 * getattr(surveyed, name)})), atol=1e-3), name


def test_order_of_robots_is_only_carried_along(fleet):
    surveyed, order = fleet(6, 5), torch.tensor([3, 0, 4, 1, 2])
    per_robot = {f.name: getattr(surveyed, f.name)[:, order] for f in fields(Surveyed) if f.name not in ("horizon", "margin")}
    before, after = condition_on(surveyed), condition_on(replace(surveyed, **per_robot))
    assert torch.allclose(after.pair, before.pair[:, order][:, :, order], atol=1e-5)
    assert torch.allclose(after.fleet, before.fleet, atol=1e-6)
    for name in ("place", "heading", "radius", "room", "robot"):
        assert torch.allclose(getattr(after, name), getattr(before, name)[:, order], atol=1e-5), name


def test_padding_and_companions_change_nothing(fleet, stacked):
    fleets = [fleet(7, 3), fleet(8, 5)]
    batch = condition_on(stacked(fleets, robots=7))
    for s, alone in enumerate(map(condition_on, fleets)):
        n = alone.mask.shape[1]
        assert torch.allclose(batch.pair[s, :n, :n], alone.pair[0], atol=1e-6)
        assert torch.allclose(batch.fleet[s], alone.fleet[0], atol=1e-6)
        for name in ("place", "heading", "radius", "room", "robot"):
            assert torch.allclose(getattr(batch, name)[s, :n], getattr(alone, name)[0], atol=1e-6), name
    assert all(bool(getattr(batch, f.name).isfinite().all()) for f in fields(Condition))


def test_mirror_swaps_left_and_right(fleet):
    surveyed = fleet(9, 4)
    before, after = condition_on(surveyed), condition_on(surveyed.mirrored())
    assert close(condition_on(surveyed.mirrored().mirrored()), before)
    forward, left, near = before.pair.split(OF_PAIRS, -1)
    assert torch.allclose(after.pair, torch.cat([forward, -left, near], -1), atol=1e-5)
    assert torch.equal(after.room, before.room.flip(-1))
    assert float(left.abs().max()) > 0.1


def straight(distance: list[float]) -> Surveyed:
    """Robots that go north at an even pace from (0, 0) and (1, 0), of radius 0.5, at most 2 m/s and 3 m/s^2, for 10 s."""
    u = torch.linspace(0.0, 1.0, SAMPLES, dtype=torch.float64)[:, None]
    start = torch.stack([torch.arange(float(len(distance))), torch.zeros(len(distance))], -1).double()
    way = torch.tensor(distance, dtype=torch.float64)[:, None, None] * torch.tensor([0.0, 1.0])
    ones = torch.ones(1, len(distance), dtype=torch.float64)
    return Surveyed(
        (start[:, None] + u * way)[None], torch.zeros(1, len(distance), 17, 5).double(), 0.5 * ones, 2.0 * ones, 3.0 * ones,
        torch.tensor([0.6, 0.8]).double().expand(1, len(distance), 2), ones[0, :1] * 10.0, ones[0, :1] * 0.05, ones > 0,
    )  # fmt: skip


def test_features_of_a_straight_way():
    condition = condition_on(straight([8.0]))
    shape, speed, scalars, start = condition.robot[0, 0].split([34, 16, 6, 2])
    u = torch.linspace(0.0, 1.0, 17)
    assert torch.allclose(shape.view(17, 2), torch.stack([8.0 * u / 8.05, torch.zeros(17)], -1), atol=1e-6)
    assert torch.allclose(speed, torch.full((16,), 0.4), atol=1e-6)  # 0.8 m/s of 2 m/s
    known = [math.log(16.1) / 2 - 1.5, 8.05 / 20, math.log(300 / 8.05) / 2 - 1.5, 8.0 / 8.05, 0.1, 0.0]
    assert scalars.tolist() == pytest.approx(known, abs=1e-6)
    assert start.tolist() == pytest.approx([0.4, -0.3], abs=1e-6)  # north is ahead, east is to the right
    assert condition.fleet.tolist() == [[pytest.approx(math.log(10.0 / math.sqrt(0.5 / 3.0)) - 4.0)]]


def test_robots_side_by_side_see_each_other_on_their_sides():
    condition = condition_on(straight([8.0, 8.0]))
    forward, left, near = condition.pair[0].split(OF_PAIRS, -1)
    assert torch.allclose(forward, torch.zeros(2, 2, OF_PAIRS), atol=1e-5)
    # touching: one sum of radii apart, faded by 1 / (1 + 1)
    assert torch.allclose(left[:, :, 5], torch.tensor([[0.0, -0.5], [0.5, 0.0]]), atol=1e-5)
    assert torch.allclose(near[:, :, 5], torch.tensor([[1.0, 0.5], [0.5, 1.0]]), atol=1e-5)


def test_each_robot_sees_the_others_in_its_own_frame():
    # the first looks east and has the second three sums of radii to the north; the second looks north
    place = torch.tensor([[0.0, 0.0], [0.0, 9.0]])[None, None, :, None].expand(1, 1, 2, 17, 2)
    heading = torch.tensor([[1.0, 0.0], [0.0, 1.0]])[None, :, None].expand(1, 2, 17, 2)
    forward, left, near = pair_features(place, heading, torch.tensor([[1.0, 2.0]]))[0, 0].split(OF_PAIRS, -1)
    assert torch.allclose(forward[..., 0], torch.tensor([[0.0, 0.0], [-0.75, 0.0]]), atol=1e-6)
    assert torch.allclose(left[..., 0], torch.tensor([[0.0, 0.75], [0.0, 0.0]]), atol=1e-6)
    assert torch.allclose(near[..., 0], torch.tensor([[1.0, 0.1], [0.1, 1.0]]), atol=1e-6)


def test_pair_features_fade_with_distance():
    place = torch.zeros(1, 1, 2, 17, 2)
    place[0, 0, 1, :, 0] = torch.logspace(0.0, 6.0, 17)
    heading = torch.tensor([1.0, 0.0]).expand(1, 2, 17, 2)
    forward, _, near = pair_features(place, heading, torch.ones(1, 2))[0, 0, 0, 1].split(OF_PAIRS)
    assert bool((forward.diff() >= 0).all())
    assert forward[-1].item() == pytest.approx(1.0, abs=1e-5)
    assert bool((near.diff() < 0).all())
    assert near[-1].item() < 1e-10


def test_fleets_that_stand_still_are_described_too():
    condition = condition_on(straight([0.0, 0.0]))
    assert all(bool(getattr(condition, f.name).isfinite().all()) for f in fields(Condition))
    assert torch.equal(condition.heading, torch.tensor([1.0, 0.0]).expand(1, 2, 17, 2))
    assert torch.equal(condition.robot[0, :, :50], torch.zeros(2, 50))


def test_room_aside_is_known_at_the_offsets_and_straight_between():
    room = torch.randn(2, 3, 17, 5, generator=torch.Generator().manual_seed(1))
    for k, aside in enumerate(ASIDE):
        assert torch.allclose(room_aside(room, torch.full((2, 4, 3, 17), aside)), room[:, None, :, :, k].expand(2, 4, 3, 17), atol=1e-6)
    between = room_aside(room, torch.full((2, 1, 3, 17), 2.5))
    assert torch.allclose(between[:, 0], 0.75 * room[..., 3] + 0.25 * room[..., 4], atol=1e-6)
    for far, k in ((-1e3, 0), (1e3, 4)):
        assert torch.equal(room_aside(room, torch.full((2, 1, 3, 17), far))[:, 0], room[..., k])


def test_a_robot_is_encoded_on_its_own(fleet):
    condition = condition_on(fleet(11, 4))
    encoder = RobotEncoder(16)
    before = encoder(condition)
    robot = condition.robot.clone()
    robot[0, 1] += 1.0
    changed = (encoder(replace(condition, robot=robot)) - before).abs().amax(-1)[0] > 1e-6
    assert changed.tolist() == [False, True, False, False]
