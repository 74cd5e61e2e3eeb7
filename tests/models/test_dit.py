"""The network's symmetries, with random weights none of which is zero: order, padding, companions, turns, and what it cannot see."""

import math
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor, nn

from models.condition import Surveyed, condition_on
from models.dit import DiT

TIMES = torch.tensor([[0.0, 0.3, 0.8]])


def state_of(scenes: int, robots: int, modes: int, seed: int = 0) -> Tensor:
    return torch.randn(scenes, 3, robots, modes, 2, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def answer(network: DiT, surveyed: Surveyed, state: Tensor, t: Tensor = TIMES) -> Tensor:
    condition = condition_on(surveyed)
    return network(state, t.expand(len(state), -1), condition, network.encode(condition))


def reordered(surveyed: Surveyed, order: Tensor) -> Surveyed:
    names = [f.name for f in fields(Surveyed) if f.name not in ("horizon", "margin")]
    return replace(surveyed, **{name: getattr(surveyed, name)[:, order] for name in names})


def with_route(surveyed: Surveyed, robot: int, shift: float) -> Surveyed:
    """The same with a robot's route bent aside in the middle; its ends stay."""
    route = surveyed.route.clone()
    route[:, robot] += shift * torch.linspace(0.0, math.pi, route.shape[2], dtype=route.dtype).sin()[:, None]
    return replace(surveyed, route=route)


def with_walls(surveyed: Surveyed, robot: int) -> Surveyed:
    room = surveyed.room.clone()
    room[:, robot] = room[:, robot].flip(-1) - 1.0
    return replace(surveyed, room=room)


def change(network: DiT, first: Surveyed, second: Surveyed) -> list[float]:
    """By how much each robot's answer differs."""
    state = state_of(1, first.mask.shape[1], network.config.modes)
    return (answer(network, first, state) - answer(network, second, state)).abs().amax((0, 1, 3, 4)).tolist()


def test_order_of_robots_is_only_carried_along(fleet, network):
    surveyed, net, order = fleet(1, 6), network(), torch.tensor([3, 5, 0, 4, 1, 2])
    state = state_of(1, 6, net.config.modes)
    before = answer(net, surveyed, state)
    after = answer(net, reordered(surveyed, order), state[:, :, order])
    assert torch.allclose(after, before[:, :, order], atol=1e-5)
    assert not torch.allclose(after, before, atol=0.1)


@pytest.mark.parametrize("robots", [4, 5, 16])
def test_padding_changes_nothing(fleet, stacked, network, robots: int):
    surveyed, net = fleet(2, 4), network()
    state = state_of(1, robots, net.config.modes)
    padded = answer(net, stacked([surveyed], robots), state)
    assert torch.allclose(padded[:, :, :4], answer(net, surveyed, state[:, :, :4]), atol=1e-5)
    assert bool(padded.isfinite().all())


def test_companions_in_a_batch_change_nothing(fleet, stacked, network):
    fleets, net = [fleet(3, 2), fleet(4, 5), fleet(5, 1), fleet(6, 3)], network()
    state, t = state_of(4, 5, net.config.modes), torch.rand(4, 3, generator=torch.Generator().manual_seed(2))
    batch = answer(net, stacked(fleets), state, t)
    for s, surveyed in enumerate(fleets):
        n = surveyed.mask.shape[1]
        assert torch.allclose(batch[s, :, :n], answer(net, surveyed, state[s : s + 1, :, :n], t[s : s + 1])[0], atol=1e-5)


def test_candidates_do_not_see_each_other(fleet, network):
    surveyed, net = fleet(7, 4), network()
    state = state_of(1, 4, net.config.modes)
    together = answer(net, surveyed, state)
    for m in range(3):
        assert torch.allclose(together[:, m], answer(net, surveyed, state[:, m : m + 1], TIMES[:, m : m + 1])[:, 0], atol=1e-5)


@pytest.mark.parametrize("angle", [0.6, -2.5])
def test_turning_moving_and_scaling_the_world_changes_nothing(fleet, network, angle: float):
    s, net = fleet(8, 5), network()
    c, d = 3.0 * math.cos(angle), 3.0 * math.sin(angle)
    matrix = torch.tensor([[c, d], [-d, c]], dtype=torch.float64)
    moved = replace(
        s, route=s.route @ matrix + 70.0, start_velocity=s.start_velocity @ matrix,
        radius=3.0 * s.radius, v_max=3.0 * s.v_max, a_max=3.0 * s.a_max, margin=3.0 * s.margin,
    )  # fmt: skip
    state = state_of(1, 5, net.config.modes)
    assert torch.allclose(answer(net, moved, state), answer(net, s, state), atol=2e-5)


def test_every_input_is_seen(fleet, network):
    surveyed, net = fleet(9, 4), network()
    assert min(change(net, surveyed, with_route(surveyed, 0, 1.0))) > 1e-3  # by all robots
    assert change(net, surveyed, with_walls(surveyed, 0))[0] > 1e-3
    state = state_of(1, 4, net.config.modes)
    before = answer(net, surveyed, state)
    assert float((answer(net, surveyed, state, TIMES + 0.1) - before).abs().min(-1).values.max()) > 1e-3
    state[:, :, 2] += 1.0
    assert float((answer(net, surveyed, state) - before).abs().amax((0, 1, 3, 4)).min()) > 1e-4


def silent(*layers: nn.Linear | None) -> None:
    with torch.no_grad():
        for layer in layers:
            if layer is not None:
                layer.weight.zero_()


def test_walls_are_looked_at_where_the_flow_is(fleet, network):
    surveyed, net = fleet(13, 3), network()
    silent(net.robot.map)  # which sees all of them, wherever the flow is
    state = torch.zeros(1, 3, 3, net.config.modes, 2)
    at_knots = net.normalizer.decode_at_knots(state + torch.tensor([0.0, 1.0]))[0, 0, 0, :, 1]
    knot = int(at_knots.abs().argmax())
    state[..., 1] = 3.9 / at_knots[knot]  # 3.9 radii to the left at this knot
    effect = []
    for aside in range(5):
        room = surveyed.room.clone()
        room[:, :, knot, aside] += 2.0
        effect.append(float((answer(net, replace(surveyed, room=room), state) - answer(net, surveyed, state)).abs().max()))
    assert effect[:3] == [0.0, 0.0, 0.0]
    assert 0.0 < effect[3] < 0.2 * effect[4]
    assert effect[4] > 1e-3


def test_robots_meet_where_the_flow_is(fleet, network):
    # on parallel ways, all moved aside by as many metres, whatever their radii: they meet as before
    net, surveyed = network(), fleet(14, 4)
    ways = surveyed.route[:, :, :1] + torch.linspace(0.0, 6.0, 97, dtype=torch.float64)[:, None] * torch.tensor([0.6, 0.8])
    surveyed = replace(surveyed, route=ways)
    silent(net.state, net.walls)
    moved = torch.ones(1, 3, 4, net.config.modes, 2) / surveyed.radius.float()[..., None, None]
    before = answer(net, surveyed, torch.zeros_like(moved))
    assert torch.allclose(answer(net, surveyed, moved), before, atol=1e-5)
    assert not torch.allclose(answer(net, surveyed, torch.ones_like(moved)), before, atol=1e-3)


def test_without_attention_robots_are_blind_to_each_other(fleet, network, small):
    surveyed, net = fleet(10, 4), network(replace(small, attention=False))
    before = change(net, surveyed, with_route(surveyed, 0, 1.0))
    assert before[0] > 1e-3
    assert max(before[1:]) < 1e-6
    state = state_of(1, 4, net.config.modes)
    moved = state.clone()
    moved[:, :, 2] += 1.0
    seen = (answer(net, surveyed, state) - answer(net, surveyed, moved)).abs().amax((0, 1, 3, 4)) > 1e-6
    assert seen.tolist() == [False, False, True, False]


def test_without_map_encoder_the_net_is_blind_to_walls(fleet, network, small):
    surveyed, net = fleet(11, 4), network(replace(small, map_encoder=False))
    assert change(net, surveyed, with_walls(surveyed, 1)) == [0.0] * 4
    assert min(change(net, surveyed, with_route(surveyed, 0, 1.0))) > 1e-3


def test_untrained_the_answer_is_the_route_itself(fleet, network):
    surveyed, fitted = fleet(12, 3), network()
    state = state_of(1, 3, fitted.config.modes)
    assert torch.equal(answer(DiT(fitted.config, fitted.normalizer), surveyed, state), torch.zeros_like(state))
    assert float(answer(fitted, surveyed, state).abs().min()) > 0.0
