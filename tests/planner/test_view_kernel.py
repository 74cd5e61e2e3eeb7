"""What robots are told by the compiled kernel is what tensors say, formula by formula."""

import math

import pytest
import torch
from torch import Tensor

from maps.sampling import SamplingConfig, sample_scenario
from planner.distance_fields import DistanceFields
from planner.fleet_tracks import FleetTracks, Reference
from planner.fleet_view import AHEAD, OBSERVATION, Discs, FleetBodies, FleetState, into_frame, out_of_frame, view
from planner.view_kernel import FEATURES, FEEL, NEIGHBORS, RING

Around = tuple[FleetBodies, DistanceFields, Discs]


def _told(state: FleetState, tracks: FleetTracks, goal: Tensor, around: Around) -> tuple[Tensor, Tensor, Tensor]:
    """Observation, axis and nominal acceleration, in tensors."""
    bodies, fields, discs = around
    size, speed = bodies.radius[..., None], bodies.v_max[..., None]
    stopping = bodies.v_max / bodies.a_max
    times = state.along[..., None] + tracks.haste[..., None] * stopping[..., None] * torch.tensor([0.0, *AHEAD])
    reference = _hastened(tracks, times)
    way = reference.position - state.position[..., None, :]
    axis = _axis(reference.velocity[..., 0, :], way[..., 1, :], goal - state.position, bodies)
    nominal = _nominal(state, tracks, bodies)
    wide = axis[..., None, :]
    home = goal - state.position
    far = home.norm(dim=-1, keepdim=True)
    ahead = into_frame(way[..., 1:, :], wide) / (speed * stopping[..., None])[..., None]
    parts = [
        into_frame(state.velocity, axis) / speed,
        into_frame(state.last, axis) / bodies.a_max[..., None],
        (into_frame(way[..., 0, :], axis) / (4.0 * size)).clamp(-1.0, 1.0),
        into_frame(reference.velocity[..., 0, :], axis) / speed,
        into_frame(nominal, axis) / bodies.a_max[..., None],
        ahead.clamp(-3.0, 3.0).flatten(-2),
        (far / (20.0 * size)).clamp_max(1.0),
        into_frame(home, axis) / far.clamp_min(size),
        (state.late / 5.0).clamp(0.0, 1.0)[..., None],
        state.rate[..., None],
        _walls(state.position, axis, bodies.radius, fields),
        _neighbors(state, axis, bodies, discs),
    ]
    return torch.cat(parts, -1), axis, nominal


def _hastened(tracks: FleetTracks, times: Tensor) -> Reference:
    """Plans that are gone along faster: velocities grow with the pace, accelerations with its square."""
    at, haste = tracks.at(times), tracks.haste.view(*tracks.haste.shape, *(1,) * (times.ndim - 1))
    return Reference(at.position, haste * at.velocity, haste**2 * at.acceleration)


def _nominal(state: FleetState, tracks: FleetTracks, bodies: FleetBodies) -> Tensor:
    at, rate = _hastened(tracks, state.along), state.rate[..., None]
    pace = (2.0 * bodies.a_max / bodies.v_max)[..., None]  # 1/s
    pull = pace * pace * (at.position - state.position) + 2.0 * pace * (rate * at.velocity - state.velocity)
    wanted = rate * rate * at.acceleration + pull
    return wanted * (bodies.a_max / wanted.norm(dim=-1).clamp_min(1e-9)).clamp_max(1.0)[..., None]


def _axis(velocity: Tensor, ahead: Tensor, home: Tensor, bodies: FleetBodies) -> Tensor:
    moving = velocity.norm(dim=-1, keepdim=True) > 0.05 * bodies.v_max[..., None]
    leading = ahead.norm(dim=-1, keepdim=True) > 0.25 * bodies.radius[..., None]
    chosen = torch.where(moving, velocity, torch.where(leading, ahead, home))
    length = chosen.norm(dim=-1, keepdim=True)
    return torch.where(length > 1e-6, chosen / length.clamp_min(1e-6), torch.tensor([1.0, 0.0]))


def _walls(position: Tensor, axis: Tensor, radius: Tensor, fields: DistanceFields) -> Tensor:
    angle = 2.0 * torch.pi * torch.arange(RING) / RING
    ring = torch.stack([angle.cos(), angle.sin()], -1) * (FEEL * radius)[..., None, None]
    felt = torch.cat([position[..., None, :], position[..., None, :] + out_of_frame(ring, axis[..., None, :])], -2)
    return ((fields.at(felt) - radius[..., None]) / (FEEL * radius)[..., None]).clamp(-1.0, 1.0)


def _neighbors(state: FleetState, axis: Tensor, bodies: FleetBodies, discs: Discs) -> Tensor:
    count = state.position.shape[1]
    place, velocity = (torch.cat([a, b], 1) for a, b in ((state.position, discs.position), (state.velocity, discs.velocity)))
    size = torch.cat([bodies.radius, discs.radius], 1)
    between = place[:, None] - state.position[:, :, None]
    moving = velocity[:, None] - state.velocity[:, :, None]
    apart = between.norm(dim=-1).clamp_min(1e-6)
    room = apart - bodies.radius[..., None] - size[:, None]
    closing = -(between * moving).sum(-1) / apart
    meeting = torch.where(closing > 1e-3, room.clamp_min(0.0) / closing.clamp_min(1e-3), torch.full_like(room, 1e3))
    gone = torch.eye(count, size.shape[1], dtype=torch.bool) | (size[:, None] <= 0.0)
    stopping = (bodies.v_max / bodies.a_max)[..., None]
    urgency = torch.where(gone, torch.inf, torch.minimum(meeting, 4.0 * stopping) * bodies.v_max[..., None] + room)
    most = min(NEIGHBORS, urgency.shape[-1])
    nearest = urgency.topk(most, dim=-1, largest=False).indices
    present = ~gone.expand_as(urgency).gather(-1, nearest)
    own, limit = bodies.radius[..., None], bodies.v_max[..., None]

    def of(value: Tensor) -> Tensor:
        return value.gather(-1, nearest)

    def vectors(value: Tensor, scale: Tensor) -> Tensor:
        chosen = value.gather(2, nearest[..., None].expand(*nearest.shape, 2))
        return (into_frame(chosen, axis[..., None, :]) / scale[..., None]).clamp(-3.0, 3.0)

    rest = [
        of(size[:, None].expand_as(room)) / own,
        (of(room) / (4.0 * own)).clamp(-1.0, 2.0),
        torch.exp(-of(meeting) / stopping),
        (nearest < count).float(),
        torch.ones_like(nearest, dtype=torch.float32),
    ]
    told = torch.cat([vectors(between, 8.0 * own), vectors(moving, limit), torch.stack(rest, -1)], -1)
    told = torch.where(present[..., None], told, 0.0)
    lacking = NEIGHBORS - most
    return torch.nn.functional.pad(told, (0, 0, 0, lacking)).flatten(-2)


def _fleets(robots: int, discs: int, seed: int) -> tuple[FleetState, FleetTracks, Tensor, Around]:
    """Two fleets in random scenes, off their plans, some of them at rest on plans that stand."""
    import numpy as np

    rng, g = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    drawn = [sample_scenario(rng, 3, config=SamplingConfig(size=8.0)) for _ in range(12)]
    scenes = [scenario.scene for scenario in drawn if scenario is not None][:2]
    uniform = lambda *shape: torch.rand(*shape, generator=g).double()  # noqa: E731
    start, goal = 8.0 * uniform(2, robots, 2), 8.0 * uniform(2, robots, 2)
    goal[:, 0] = start[:, 0]
    share = torch.linspace(0.0, 1.0, 81).double()[:, None]
    way = start[:, :, None] + share * (goal - start)[:, :, None]
    motion = torch.cat([way, ((goal - start) / 4.0)[:, :, None].expand_as(way), 0.1 * uniform(2, robots, 81, 2)], -1)
    one = torch.ones(2, robots).double()
    state = FleetState(
        start + 0.3 * uniform(2, robots, 2),
        uniform(2, robots, 2) - 0.5,
        uniform(2, robots, 2) - 0.5,
        4.5 * one * uniform(2, robots),
        6.0 * uniform(2, robots),
        uniform(2, robots),
    )
    bodies = FleetBodies(0.2 + 0.2 * uniform(2, robots), 0.5 + uniform(2, robots), 0.5 + uniform(2, robots))
    size = 0.3 * uniform(2, discs)
    size[:, ::3] = 0.0  # not there
    seen = Discs(8.0 * uniform(2, discs, 2), uniform(2, discs, 2) - 0.5, size)
    return (
        state,
        FleetTracks(motion, torch.tensor([4.0, 4.0]), 1.0 + 2.0 * uniform(2, robots)),
        goal,
        (bodies, DistanceFields.of_scenes(scenes, 0.1), seen),
    )


@pytest.mark.parametrize(("robots", "discs"), [(1, 0), (1, 2), (3, 1), (12, 5)])
def test_compiled_numbers_are_those_of_tensors(robots: int, discs: int) -> None:
    """Fewer neighbours than are told, more of them, absent ones; inside and outside of the bounds."""
    for seed in range(4):
        fleets = _fleets(robots, discs, seed)
        found, (observation, axis, nominal) = view(*fleets), _told(*fleets)
        assert found.observation.shape == (2, robots, OBSERVATION)
        torch.testing.assert_close(found.axis, axis, rtol=0.0, atol=1e-9)
        torch.testing.assert_close(found.nominal, nominal, rtol=0.0, atol=1e-9)
        torch.testing.assert_close(found.observation, observation.double(), rtol=0.0, atol=2e-6)


def test_single_precision_comes_back_as_it_went_in() -> None:
    state, tracks, goal, around = _fleets(4, 2, 0)
    single = FleetState(*(part.float() for part in vars(state).values()))
    assert {part.dtype for part in vars(view(single, tracks, goal, around)).values()} == {torch.float32}


def test_a_ring_has_its_rays_evenly() -> None:
    """Room to a wall at y = 0 is felt by the rays that point there."""
    from maps.scene import Scene

    fields = DistanceFields.of_scenes([Scene((-20.0, 0.0, 20.0, 20.0))], 0.05)
    one, nothing = torch.ones(1, 1).double(), torch.zeros(1, 1, 2).double()
    state = FleetState(torch.tensor([[[0.0, 0.9]]]).double(), nothing, nothing, 0.0 * one, 0.0 * one, one)
    still = torch.tensor([[[[0.0, 0.9, 0, 0, 0, 0]] * 3]]).double()
    around = (FleetBodies(0.25 * one, one, one), fields, Discs(torch.zeros(1, 0, 2), torch.zeros(1, 0, 2), torch.zeros(1, 0)))
    told = view(state, FleetTracks(still, torch.tensor([1.0]), one), torch.tensor([[[5.0, 0.9]]]).double(), around).observation[0, 0]
    ring = told[-NEIGHBORS * FEATURES - RING : -NEIGHBORS * FEATURES] * FEEL * 0.25 + 0.25
    angle = 2.0 * math.pi * torch.arange(RING) / RING
    expected = (0.9 + FEEL * 0.25 * angle.sin()).clamp(0.25 - FEEL * 0.25, 0.25 + FEEL * 0.25)
    torch.testing.assert_close(ring, expected.double(), rtol=0.0, atol=1e-3)
