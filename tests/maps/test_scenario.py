import numpy as np
import pytest
import torch

from maps.errors import InvalidFleet, InvalidScenario
from maps.fleet import Fleet
from maps.sampling import sample_scenario
from maps.scenario import MovingObstacle, Scenario, ScenarioBatch
from maps.trajectory import TrajectoryBatch


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_a_moving_obstacle_goes_straight_between_its_places():
    cart = MovingObstacle("cart", 0.5, tensor([1.0, 3.0, 4.0]), tensor([[0.0, 0.0], [4.0, 2.0], [4.0, 0.0]]))
    expected = [[0, 0], [0, 0], [2, 1], [4, 2], [4, 1], [4, 0], [4, 0]]
    assert cart.at(tensor([0.0, 1.0, 2.0, 3.0, 3.5, 4.0, 9.0])).tolist() == expected
    assert MovingObstacle("post", 0.5, tensor([1.0]), tensor([[2.0, 3.0]])).at(tensor([0.0, 5.0])).tolist() == [[2, 3]] * 2


@pytest.mark.parametrize(
    ("radius", "time", "places"),
    [(0.5, [0.0, 0.0], 2), (0.5, [1.0, 0.0], 2), (0.0, [0.0, 1.0], 2), (-1.0, [0.0, 1.0], 2), (0.5, [], 0)],
)
def test_a_moving_obstacle_that_makes_no_sense_is_refused(radius, time, places):
    with pytest.raises(InvalidScenario):
        MovingObstacle("cart", radius, tensor(time), torch.zeros(places, 2, dtype=torch.float64))


@pytest.mark.parametrize("which", ["radius", "v_max", "a_max"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_sizes_and_limits_must_be_positive_and_finite(which, value):
    sizes = {"radius": tensor([1.0, 1.0]), "v_max": tensor([1.0, 1.0]), "a_max": tensor([1.0, 1.0])}
    sizes[which] = tensor([1.0, value])
    with pytest.raises(InvalidFleet) as error:
        Fleet(("a", "b"), **sizes)
    assert error.value.pointer.startswith("/robots/1/")
    assert error.value.pointer.endswith(which)


@pytest.mark.parametrize(("ids", "code"), [((), "NO_ROBOTS"), (("a", "b", "a"), "DUPLICATE_ID")])
def test_robots_need_names_of_their_own(ids, code):
    one = torch.ones(len(ids), dtype=torch.float64)
    with pytest.raises(InvalidFleet) as error:
        Fleet(ids, one, one, one)
    assert error.value.code == code


def test_a_batch_holds_every_scenario_and_pads_the_rest():
    rng = np.random.default_rng(0)
    scenarios = [sample_scenario(rng, n) for n in (3, 5, 1)]
    batch = ScenarioBatch.stack(scenarios)
    assert (len(batch), batch.sizes) == (3, (3, 5, 1))
    assert batch.mask.sum(1).tolist() == [3, 5, 1]
    for k, scenario in enumerate(scenarios):
        for name in ("start", "goal", "start_velocity", "start_acceleration"):
            assert torch.equal(getattr(batch, name)[k, : len(scenario)], getattr(scenario, name))
            assert (getattr(batch, name)[k, len(scenario) :] == 0).all()
        for name, fill in (("radius", 0), ("v_max", 1), ("a_max", 1)):
            assert torch.equal(getattr(batch, name)[k, : len(scenario)], getattr(scenario.fleet, name))
            assert (getattr(batch, name)[k, len(scenario) :] == fill).all()
        assert float(batch.horizon[k]) == scenario.horizon


def test_minimum_jerk_motions_meet_their_ends():
    batch = ScenarioBatch.stack([sample_scenario(np.random.default_rng(1), 4)])
    curves = TrajectoryBatch(batch.minimum_jerk(20), batch.horizon)
    ends = curves.position(np.array([0.0, 1.0]))
    torch.testing.assert_close(ends[:, :, 0], batch.start)
    torch.testing.assert_close(ends[:, :, 1], batch.goal)


def test_a_batch_needs_scenarios_with_horizons():
    scenario = sample_scenario(np.random.default_rng(2), 2)
    still = torch.zeros_like(scenario.start)
    with pytest.raises(InvalidScenario):
        ScenarioBatch.stack([])
    with pytest.raises(InvalidScenario) as error:
        ScenarioBatch.stack([scenario, Scenario(scenario.scene, scenario.fleet, scenario.start, scenario.goal, still, still)])
    assert error.value.pointer == "/horizon_s"
