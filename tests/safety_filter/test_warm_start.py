"""The learned initialisation: symmetries, what it leaves alone, the guard behind it, its files."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from maps.errors import InvalidCheckpoint
from maps.fleet import Fleet
from maps.sampling import SamplingConfig, sample_scenario
from maps.scenario import Scenario, ScenarioBatch
from maps.scene import Scene
from maps.trajectory import TrajectoryBatch
from models.checkpoint import save_weights
from models.condition import condition_on, survey_along
from models.openvino_network import available
from planner.proposals import straight_lines
from safety_filter.problem import FilterConfig
from safety_filter.sine_modes import sine_modes, to_control, to_modes
from safety_filter.solver import FilterStatus, SafetyFilter, cold_run
from safety_filter.tensor_filter import TensorSafetyFilter
from safety_filter.warm_start import (
    RELEASED,
    WarmSchedule,
    WarmStart,
    WarmStartConfig,
    WarmStartNetwork,
    load_warm_start,
    nearest_features,
)

SMALL = WarmStartConfig(width=32, layers=2, heads=4, pair=16)
FILTERS = [SafetyFilter, TensorSafetyFilter]


def network(scale: float = 0.3) -> WarmStartNetwork:
    """One with opinions: weights that are not zero anywhere."""
    torch.manual_seed(4)
    out = WarmStartNetwork(SMALL)
    with torch.no_grad():
        for parameter in out.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
        out.spread.fill_(scale)
    return out.eval()


def problem(robots: int = 5, seed: int = 3, family: str = "discs") -> Scenario:
    return sample_scenario(np.random.default_rng(seed), robots, family, SamplingConfig(size=7.0, moving=0.4))


def lines(scenario: Scenario, count: int = 24) -> torch.Tensor:
    return straight_lines(ScenarioBatch.stack([scenario]), count)[0]


def started(net: WarmStartNetwork, scenario: Scenario, proposal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        start = net.start(survey_along([scenario], proposal), proposal)
    return start.control[0] - proposal[0], start.multiplier[0]


def test_an_untrained_network_changes_nothing():
    scenario = problem()
    start = WarmStart(WarmStartNetwork(SMALL))(scenario, lines(scenario)[0].numpy())
    assert np.array_equal(start[0], lines(scenario)[0].numpy())
    assert not start[1].any()


@pytest.mark.parametrize("count", [24, 31])
def test_what_is_predicted_leaves_the_ends_alone(count):
    scenario = problem()
    change, multiplier = started(network(), scenario, lines(scenario, count))
    for values in (change, multiplier):
        assert float(values[:, 3:-3].abs().max()) > 1e-3
        assert not values[:, :3].any()
        assert not values[:, -3:].any()


def test_the_order_of_robots_makes_no_difference():
    scenario, order = problem(6), torch.tensor([4, 0, 5, 2, 1, 3])
    fleet = scenario.fleet
    shuffled = replace(
        scenario,
        fleet=Fleet(tuple(fleet.ids[k] for k in order.tolist()), fleet.radius[order], fleet.v_max[order], fleet.a_max[order]),
        **{name: getattr(scenario, name)[order] for name in ("start", "goal", "start_velocity", "start_acceleration")},
    )
    there, here = started(network(), shuffled, lines(scenario)[:, order]), started(network(), scenario, lines(scenario))
    for a, b in zip(there, here, strict=True):
        assert torch.allclose(a, b[order], atol=1e-5)


def test_padding_and_company_make_no_difference():
    net, small, large = network(), problem(3, 5), problem(8, 6)
    proposal = torch.zeros(2, 8, 24, 2, dtype=torch.float64)
    proposal[0, :3], proposal[1] = lines(small)[0], lines(large)[0]
    with torch.no_grad():
        start = net.start(survey_along([small, large], proposal), proposal)
    change = start.control - proposal
    for k, (scenario, robots) in enumerate(((small, 3), (large, 8))):
        alone = started(net, scenario, lines(scenario))
        assert torch.allclose(change[k, :robots], alone[0], atol=1e-5)
        assert torch.allclose(start.multiplier[k, :robots], alone[1], atol=1e-5)
    assert not change[0, 3:].any()
    assert not start.multiplier[0, 3:].any()


def test_the_world_may_be_turned_shifted_and_scaled():
    scale, shift = 2.5, torch.tensor([40.0, -7.0], dtype=torch.float64)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    scenario = replace(problem(), scene=Scene((-90.0, -90.0, 90.0, 90.0), torch.tensor([[3.0, 3.0, 0.6]], dtype=torch.float64)))
    fleet = scenario.fleet

    def moved(place: torch.Tensor) -> torch.Tensor:
        return scale * place @ turn.T + shift

    disc = scenario.scene.discs[0]
    other = replace(
        scenario,
        scene=Scene((-900.0, -900.0, 900.0, 900.0), torch.cat([moved(disc[:2]), scale * disc[2:]])[None]),
        fleet=Fleet(fleet.ids, scale * fleet.radius, scale * fleet.v_max, scale * fleet.a_max),
        start=moved(scenario.start),
        goal=moved(scenario.goal),
        start_velocity=scale * scenario.start_velocity @ turn.T,
        start_acceleration=scale * scenario.start_acceleration @ turn.T,
    )
    there, here = started(network(), other, moved(lines(scenario))), started(network(), scenario, lines(scenario))
    for a, b in zip(there, here, strict=True):
        assert torch.allclose(a, scale * b @ turn.T, atol=1e-4)
    assert float(here[0].abs().max()) > 1e-2


@pytest.mark.parametrize(("robots", "family", "count"), [(1, "open", 24), (5, "discs", 24), (7, "polygons", 31), (4, "grid", 40)])
def test_what_serves_is_what_was_trained(robots, family, count):
    scenario, net = replace(problem(robots, 11, family), margin=0.03), network()
    proposal = lines(scenario, count)
    change, multiplier = started(net, scenario, proposal)
    served = WarmStart(net)(scenario, proposal[0].numpy())
    assert np.allclose(served[0] - proposal[0].numpy(), change.numpy(), atol=1e-5)
    assert np.allclose(served[1], multiplier.numpy(), atol=1e-5)
    assert float(change.abs().max()) > 1e-2


@pytest.mark.skipif(not available(), reason="OpenVINO is not installed")
def test_openvino_says_what_torch_says():
    net = network()
    fast = WarmStart(net, streams=1)
    for scenario in (problem(5, 11), problem(1, 12), problem(9, 13)):
        proposal = lines(scenario)[0].numpy()
        for ours, theirs in zip(fast(scenario, proposal), WarmStart(net)(scenario, proposal), strict=True):
            assert np.abs(ours - theirs).max() < 0.02  # m: bfloat16, of changes of decimetres


def test_the_closest_approach_of_a_pair_is_seen_where_and_when_it_is():
    two = torch.ones(2, dtype=torch.float64)
    ends = torch.tensor([[0.0, 0.0], [4.0, 0.3]], dtype=torch.float64)
    scenario = Scenario(Scene(), Fleet(("a", "b"), 0.2 * two, two, two), ends, torch.tensor([[4.0, 0.0], [0.0, 0.3]]).double(),
                        torch.zeros_like(ends), torch.zeros_like(ends), 8.0)  # fmt: skip
    proposal = ScenarioBatch.stack([scenario]).minimum_jerk(24)
    surveyed = survey_along([scenario], proposal)
    forward, left, near, when = nearest_features(surveyed, condition_on(surveyed))[0, 0, 1].tolist()
    assert when == pytest.approx(0.5, abs=0.02)
    distance = 0.3 / 0.4
    assert near == pytest.approx(1.0 / (1.0 + distance**2), abs=0.01)
    assert forward == pytest.approx(0.0, abs=0.05)
    assert left == pytest.approx(distance / (1.0 + distance), abs=0.01)  # b passes on the left of a


def test_modes_hold_whatever_the_control_points_say():
    scenario = problem()
    surveyed = survey_along([scenario], lines(scenario))
    values = torch.zeros(1, 5, 24, 2, dtype=torch.float64)
    values[:, :, 3:-3] = torch.randn(1, 5, 18, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(to_control(to_modes(values, surveyed, 18), surveyed, 24), values, atol=1e-9)
    modes = sine_modes(30, 18)
    assert np.allclose(modes.T @ modes, np.eye(18))


def test_a_start_where_the_long_run_ended_needs_no_round():
    scenario = sample_scenario(np.random.default_rng(4), 8, "discs", SamplingConfig(size=10.0))
    status, control, multiplier = cold_run(scenario, lines(scenario)[0].numpy(), FilterConfig())
    assert status == FilterStatus.PASSED

    class Known(WarmStart):
        def __call__(self, scenario, control_points):
            return control, multiplier

    batch = ScenarioBatch.stack([scenario])
    given = TrajectoryBatch(lines(scenario)[None], batch.horizon[:, None])
    cold = SafetyFilter().project(given, batch)
    warm = SafetyFilter().project(given, batch, starter=Known(WarmStartNetwork(SMALL)))
    assert int(cold.rounds) > 20
    assert int(warm.rounds) == 0
    assert not warm.again.any()


@pytest.mark.parametrize("kind", FILTERS)
def test_a_start_that_leads_nowhere_is_run_again_from_the_proposal(kind):
    scenarios = [problem(4, 7), problem(4, 8)]
    batch = ScenarioBatch.stack(scenarios)
    given = TrajectoryBatch(straight_lines(batch, 24), batch.horizon[:, None])
    bad = WarmStart(network(60.0), WarmSchedule(rounds=6))
    cold = kind().project(given, batch)
    warm = kind().project(given, batch, starter=bad)
    assert warm.again.all()
    assert torch.equal(warm.status, cold.status)
    assert torch.allclose(warm.trajectory.control_points, cold.trajectory.control_points, atol=1e-9)
    assert (warm.rounds > cold.rounds).all()
    assert not cold.again.any()


def test_both_filters_start_alike():
    scenarios = [problem(3, 9), problem(5, 10)]
    batch = ScenarioBatch.stack(scenarios)
    given = TrajectoryBatch(straight_lines(batch, 24), batch.horizon[:, None])
    start = WarmStart(network(0.3), WarmSchedule(penalty=1.0))
    compiled, tensors = (kind().project(given, batch, starter=start) for kind in FILTERS)
    assert torch.equal(compiled.status, tensors.status)
    assert torch.equal(compiled.rounds, tensors.rounds)
    for s, scenario in enumerate(scenarios):
        ours, theirs = (r.trajectory.control_points[s, :, : len(scenario)] for r in (compiled, tensors))
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_late_warm_run_is_not_run_again():
    scenario = problem(6)
    batch = ScenarioBatch.stack([scenario])
    given = TrajectoryBatch(lines(scenario)[None], batch.horizon[:, None])
    result = SafetyFilter().project(given, batch, stops=[lambda: True], starter=WarmStart(network(60.0)))
    assert int(result.status) == FilterStatus.STOPPED
    assert not result.again.any()


def test_weights_come_back_as_they_were(tmp_path):
    net, scenario = network(), problem()
    identity = save_weights(tmp_path, RELEASED, "7", {"network": asdict(SMALL)}, net.state_dict())
    loaded = load_warm_start(tmp_path)
    assert loaded.identity == identity
    proposal = lines(scenario)[0].numpy()
    for a, b in zip(loaded(scenario, proposal), WarmStart(net)(scenario, proposal), strict=True):
        assert np.array_equal(a, b)
    assert all(torch.equal(value, loaded.network.state_dict()[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("sizes", "word"),
    [
        (None, "sizes are not"),
        ({"width": 32}, "sizes are not"),
        (asdict(SMALL) | {"width": 30}, "no network"),
        (asdict(SMALL) | {"layers": "2"}, "no network"),
        (asdict(SMALL) | {"layers": 3}, "does not fit"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path, sizes, word):
    save_weights(tmp_path, RELEASED, "1", {"network": sizes}, network().state_dict())
    with pytest.raises(InvalidCheckpoint, match=word):
        load_warm_start(tmp_path)


def test_damaged_files_are_refused(tmp_path):
    save_weights(tmp_path, RELEASED, "1", {"network": asdict(SMALL)}, network().state_dict())
    described = json.loads((tmp_path / f"{RELEASED}.json").read_text())
    (tmp_path / f"{RELEASED}.json").write_text(json.dumps(described | {"sha256": "0" * 64}))
    with pytest.raises(InvalidCheckpoint, match="sha256"):
        load_warm_start(tmp_path)
