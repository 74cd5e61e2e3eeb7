"""Two filters behind one interface: compiled on the CPU, and tensors on any device."""

import numpy as np
import pytest
import torch

from maps.sampling import SamplingConfig, sample_scenario
from maps.scenario import ScenarioBatch
from maps.trajectory import TrajectoryBatch
from planner.proposals import straight_lines
from safety_filter.problem import FilterConfig
from safety_filter.solver import FilterStatus, SafetyFilter
from safety_filter.tensor_filter import TensorSafetyFilter
from safety_filter.verify import certify

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(21)
    config = SamplingConfig(size=7.0, slack=(1.3, 1.8))
    scenarios = [sample_scenario(rng, n, family, config) for n, family in ((4, "discs"), (8, "open"), (3, "boxes"), (5, "discs"))]
    batch = ScenarioBatch.stack(scenarios)
    return batch, TrajectoryBatch(straight_lines(batch, 24), batch.horizon[:, None])


def accept_for(batch):
    return lambda s, m, points: certify(np.ascontiguousarray(points), batch.scenarios[s].horizon, batch.scenarios[s]).safe


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("config", [FilterConfig(), FilterConfig(penalty=0.5, wall_penalty=2.0)], ids=["lines", "paths"])
def test_both_filters_agree(given, device, config):
    batch, candidates = given
    compiled = SafetyFilter(config).project(candidates, batch, accept_for(batch))
    tensors = TensorSafetyFilter(config, device).project(candidates, batch, accept_for(batch))
    passed = compiled.status == FilterStatus.PASSED
    assert int(passed.sum()) >= 3
    assert torch.equal(compiled.status, tensors.status)
    assert torch.equal(compiled.rounds[passed], tensors.rounds[passed])
    difference = (compiled.trajectory.control_points - tensors.trajectory.control_points).abs()
    assert float(difference[passed].max()) < 1e-4


def test_deadline_stops_the_batch(given):
    batch, candidates = given
    slow = FilterConfig(growth=1.0, penalty=1e-6)
    result = TensorSafetyFilter(slow).project(candidates, batch, stops=[lambda: True] * len(batch))
    assert set(result.status.flatten().tolist()) == {int(FilterStatus.STOPPED)}


def test_refused_iterates_end_after_widening(given):
    batch, candidates = given
    result = TensorSafetyFilter().project(candidates, batch, lambda _s, _m, _points: False)
    assert int(FilterStatus.PASSED) not in result.status.flatten().tolist()
