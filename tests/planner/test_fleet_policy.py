"""Released policies of fleets, and one tick by them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from maps.errors import InvalidCheckpoint, InvalidInput
from maps.scene import Scene
from models.policies.networks import NetworkConfig, Sizes
from models.policies.policy import Policy
from models.policies.registry import with_members
from models.policies.sac import SAC, SACConfig
from models.policies.sfp import SFP, SFPConfig
from planner.acting import Ground, Instant, act, after, look, stream
from planner.curve_tracks import CurveTracks
from planner.fleet_gym import MEMBERS
from planner.fleet_policy import FleetPolicy, load_fleet_policy, released_agents, save_fleet_policy
from planner.fleet_view import LAST_ACTION, OBSERVATION, Discs, FleetBodies, FleetState
from planner.shield import ShieldConfig
from safety_filter.timed_curve import TimedCurve

GROUND = Ground.of_scene(Scene((0.0, 0.0, 8.0, 4.0)), 0.25)


def _sfp(action: int = 8) -> Policy:
    config = SFPConfig(horizon=4, start=LAST_ACTION, flow=NetworkConfig((16, 16), time_width=8))
    return SFP(Sizes(OBSERVATION, action), with_members(config, MEMBERS), 3)


def _instant(x: float = 3.0, speed: float = 0.5) -> Instant:
    ends = np.array([[1.0, 2.0], [1.0, 2.0], [7.0, 2.0], [7.0, 2.0]])
    curves = [TimedCurve(3, np.repeat([0.0, 10.0], 4), ends), TimedCurve(3, np.repeat([0.0, 10.0], 4), ends[::-1])]
    place, velocity = torch.tensor([[[x, 2.0], [8.0 - x, 2.0]]]).double(), torch.tensor([[[speed, 0.0], [-speed, 0.0]]]).double()
    full, nothing = torch.ones(1, 2).double(), torch.zeros(1, 2, 2).double()
    state = FleetState(place, velocity, nothing, 4.0 * full, 0.0 * full, full)
    goal = torch.tensor([[[7.0, 2.0], [1.0, 2.0]]])
    nobody = Discs(torch.zeros(1, 0, 2), torch.zeros(1, 0, 2), torch.zeros(1, 0))
    return Instant(GROUND, FleetBodies(0.25 * full, full, full), state, CurveTracks.of_curves(curves), goal, nobody)


@pytest.fixture
def released(tmp_path) -> FleetPolicy:
    save_fleet_policy(tmp_path, _sfp(), "7", {"updates": 0})
    return load_fleet_policy("sfp", tmp_path)


def test_a_released_policy_acts_as_the_one_that_was_stored(tmp_path, released: FleetPolicy) -> None:
    observation = torch.randn(5, OBSERVATION, generator=torch.Generator().manual_seed(1))
    expected = _sfp().act(observation, torch.Generator().manual_seed(2))[:, :2]
    assert torch.equal(released.act(observation, torch.Generator().manual_seed(2)), expected)
    assert (released.agent, released.chunk, released.identity.version) == ("sfp", 4, "7")
    assert released_agents(tmp_path) == ("sfp",)


def test_only_policies_of_fleets_are_released(tmp_path) -> None:
    with pytest.raises(InvalidInput, match="no policy of fleets"):
        save_fleet_policy(tmp_path, SAC(Sizes(3, 1), SACConfig.cpu(), 0), "1", {})
    assert released_agents(tmp_path) == ()


def test_damaged_weights_are_refused(tmp_path, released: FleetPolicy) -> None:
    file = tmp_path / "fleet-sfp.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(InvalidCheckpoint):
        load_fleet_policy("sfp", tmp_path)


def test_the_order_of_robots_means_nothing(released: FleetPolicy) -> None:
    """Fails if anything is told by a robot's index: the other way round, each robot is asked to do the same."""
    instant = _instant()
    tracks = CurveTracks(*(part[::-1].copy() for part in vars(instant.tracks).values()))
    turned = {name: part.flip(1) for name, part in vars(instant.state).items()}
    swapped = replace(instant, state=FleetState(**turned), tracks=tracks, goal=instant.goal.flip(1))
    first, second = (act(released, one, torch.Generator()).wanted for one in (instant, swapped))
    assert np.allclose(first, second[::-1], atol=1e-6)


def test_a_stream_sends_what_one_tick_does_and_goes_on_from_there(released: FleetPolicy) -> None:
    """The first action is that of a single look; robots head for each other, and what is sent for later ticks keeps them apart, too."""
    config, instant = ShieldConfig(), _instant(3.1)
    alone = act(released, instant, torch.Generator().manual_seed(0), config)
    acted = list(stream(released, instant, torch.Generator().manual_seed(0), config.tick, config))
    assert len(acted) == 4
    assert np.array_equal(acted[0].acceleration, alone.acceleration)
    for one in acted:
        assert one.safe.all()
        instant = after(instant, one, config.tick)
        assert float((instant.state.position[0, 0] - instant.state.position[0, 1]).norm()) > 0.5
    assert torch.allclose(instant.state.along, torch.full((1, 2), 4.4, dtype=torch.float64))
    assert look(instant).observation.shape == (1, 2, OBSERVATION)
