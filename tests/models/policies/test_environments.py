"""Environments behind one face, and how policies act and are judged in them."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.policies.bc import BC, BCConfig
from models.policies.environments import Environment, MissingPackage, make_environment
from models.policies.fpmd_r import FPMDR, FPMDRConfig
from models.policies.networks import Sizes
from models.policies.policy import Losses, Policy
from models.policies.recording import RecordingConfig, record_cube, record_pointmaze, recorded_steps
from models.policies.replay import read_npz
from models.policies.rollouts import Actor, EvaluationConfig, evaluate


@pytest.fixture
def slide(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("slide")


class Best(Policy):
    """The best actions, or chunks of them, of the slide."""

    def __init__(self, actions=1):
        super().__init__(Sizes(2, actions), None, 0)
        self.asked, self.weight = 0, nn.Parameter(torch.zeros(1))

    def losses(self, transitions, draws):
        return Losses({})

    def choose(self, observation, draws):
        self.asked += 1
        place, moves = observation[:, :1], []
        for _ in range(self.sizes.action):
            moves.append((-2.0 * place).clamp(-1.0, 1.0))
            place = place + 0.5 * moves[-1]
        return torch.cat(moves, 1)


def test_actions_are_scaled_and_observations_flat(slide):
    environment = Environment(slide.Slide())
    assert (environment.observation, environment.action) == (2, 1)
    start = environment.reset(5)
    assert start.dtype == torch.float32
    step = environment.step(torch.tensor([9.0]))  # clipped
    assert float(step.observation[0]) == pytest.approx(min(1.0, float(start[0]) + 0.5))
    assert step.reward == pytest.approx(-abs(float(step.observation[0])))


def test_episodes_follow_from_their_seeds_and_numpy_is_left_alone(slide):
    """Removed: numpy's state of the environment's own: other starts, and draws outside that change."""
    one, other = Environment(slide.Slide()), Environment(slide.Slide())
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    start = one.reset(3)
    other.reset(4)
    one.step(torch.zeros(1))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert torch.equal(other.reset(3), start)
    assert not torch.equal(other.reset(4), start)


def test_evaluation_knows_the_best_return(slide):
    """The same episodes each time, of which the first ones do not depend on how many there are."""
    environment, policy = Environment(slide.Slide()), Best()
    single = [evaluate(policy, environment, EvaluationConfig(1, seed)) for seed in range(3)]
    assert single == [evaluate(policy, Environment(slide.Slide()), EvaluationConfig(1, seed)) for seed in range(3)]
    many = evaluate(policy, environment, EvaluationConfig(20, 7))
    assert (many["length"], many["success"]) == (8.0, 1.0)
    starts = []
    reset = environment.reset
    environment.reset = lambda seed: starts.append(reset(seed)) or starts[-1]  # type: ignore[method-assign]
    assert evaluate(policy, environment, EvaluationConfig(20, 7)) == many
    assert many["return"] == pytest.approx(-np.mean([max(abs(float(start[0])) - 0.5, 0.0) for start in starts]), abs=1e-6)
    assert evaluate(policy, environment, EvaluationConfig(1, 7))["return"] == pytest.approx(
        -max(abs(float(starts[0][0])) - 0.5, 0), abs=1e-6
    )
    assert evaluate(policy, environment, EvaluationConfig(5, 7, steps=3))["length"] == 3.0
    assert evaluate(policy, Environment(slide.Ending()), EvaluationConfig(20, 7))["length"] < 3.0


def test_chunks_are_done_before_looking_anew(slide):
    for execute, asked in ((0, 2), (2, 4), (1, 8)):
        policy = Best(4)
        rated = evaluate(policy, Environment(slide.Slide()), EvaluationConfig(1, 2, execute=execute))
        assert policy.asked == asked
        assert rated["return"] == pytest.approx(evaluate(Best(), Environment(slide.Slide()), EvaluationConfig(1, 2))["return"], abs=1e-6)
    for action, execute in ((3, 0), (1, 5)):
        with pytest.raises(ValueError, match="cannot give"):
            Actor(Best(4), action, execute, 0)


def test_noise_of_acting_follows_from_the_seed(slide, small):
    policy = BC(Sizes(2, 1), small(BCConfig()))
    environment = Environment(slide.Slide())
    once, again = (evaluate(policy, environment, EvaluationConfig(2, seed))["return"] for seed in (1, 1))
    assert once == again != evaluate(policy, environment, EvaluationConfig(2, 2))["return"]


def test_a_policy_is_judged_without_its_exploration_and_explores_on_after_that(slide, small):
    """Removed: `eval()` within an evaluation: noise on the actions, and another return."""
    policy, environment = FPMDR(Sizes(2, 1), small(FPMDRConfig())), Environment(slide.Slide())
    judged = evaluate(policy, environment, EvaluationConfig(3))
    assert policy.training
    assert evaluate(policy.eval(), environment, EvaluationConfig(3)) == judged
    assert not policy.training


def test_environments_that_are_not_there_are_refused(slide):
    for name in ("slide:Nothing", "nowhere:Slide"):
        with pytest.raises(ValueError, match="no environment"):
            make_environment(name)
    with pytest.raises(ValueError, match="bounded box"):
        make_environment("slide:Discrete")


@pytest.mark.parametrize(
    ("name", "package"),
    [("Pendulum-v1", "gymnasium"), ("dm_control/cheetah-run", "dm_control"), ("pointmaze-medium-navigate-singletask-v0", "ogbench")],
)
def test_missing_packages_are_named(monkeypatch, tmp_path, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    for module in [module for module in sys.modules if module.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(MissingPackage, match=rf"needs {package}: pip install 'flowfleet\[policies\]'"):
        make_environment(name)
    if package == "ogbench":
        with pytest.raises(MissingPackage, match="needs ogbench"):
            record_pointmaze(tmp_path / "a.npz", "medium", RecordingConfig(1, 10), lambda done: None)


@pytest.mark.parametrize(
    ("name", "package", "sizes"),
    [
        ("Pendulum-v1", "gymnasium", (3, 1)),
        ("dm_control/point_mass-easy", "dm_control", (4, 2)),
        ("pointmaze-medium-navigate-singletask-v0", "ogbench", (2, 2)),
    ],
)
def test_the_packages_environments_follow_from_their_seeds(name, package, sizes):
    pytest.importorskip(package, reason="an optional package")
    environment, other = make_environment(name), make_environment(name)
    assert (environment.observation, environment.action) == sizes
    for seed in (1, 2):
        assert torch.equal(environment.reset(seed), other.reset(seed))
        for _ in range(5):
            one, same = (made.step(torch.full((sizes[1],), 0.3)) for made in (environment, other))
            assert torch.equal(one.observation, same.observation)
            assert (one.success is None) == (package != "ogbench")
    with pytest.raises(ValueError, match="no environment"):
        make_environment(name.replace("point", "pint").replace("Pend", "Pent"))


def test_pointmaze_is_recorded_as_ogbench_has_it(tmp_path):
    """Actions head along the shortest way, with the noise that was asked for; both readers agree."""
    ogbench = pytest.importorskip("ogbench", reason="an optional package")
    path, name, told = tmp_path / "deep" / "maze.npz", "pointmaze-medium-navigate-singletask-task1-v0", []
    assert record_pointmaze(path, "medium", RecordingConfig(10, 101, 0.0), told.append) == 1000
    assert told[-1] == 1.0
    _, train, validation = ogbench.make_env_and_datasets(name, dataset_path=str(path))
    assert (len(train["observations"]), len(validation["observations"])) == (1000, 100)
    steps, raw = recorded_steps(path, name), read_npz(path)
    assert torch.equal(steps.reward, torch.from_numpy(train["rewards"]))
    assert torch.equal(raw.next_observation, torch.from_numpy(train["next_observations"]))
    assert int(raw.ended.sum()) == 10
    assert bool(steps.ended[steps.terminated].all())
    np.testing.assert_allclose(raw.action.norm(dim=-1).numpy(), 1.0, atol=2e-3)
    moved = raw.next_observation - raw.observation
    free = (moved.norm(dim=-1) - 0.2).abs() < 1e-3  # no wall in the way
    assert float(free.float().mean()) > 0.9
    again = tmp_path / "again.npz"
    record_pointmaze(again, "medium", RecordingConfig(10, 101, 0.0), told.append)
    assert torch.equal(read_npz(again).observation, raw.observation)
    with pytest.raises(ValueError, match="no maze"):
        record_pointmaze(path, "tiny", RecordingConfig(1), told.append)
    path.with_name("maze-val.npz").unlink()
    with pytest.raises(ValueError, match=r"maze-val\.npz: no such file"):
        recorded_steps(path, name)


@pytest.mark.filterwarnings("ignore:.*precision lowered:UserWarning")
def test_a_cube_is_recorded_as_ogbench_has_it(tmp_path):
    ogbench = pytest.importorskip("ogbench", reason="an optional package")
    path = tmp_path / "cube.npz"
    assert record_cube(path, RecordingConfig(2, 151), lambda done: None) == 300
    _, train, _ = ogbench.make_env_and_datasets("cube-single-play-singletask-v0", dataset_path=str(path))
    assert train["observations"].shape == (300, 28)
    assert float(train["observations"].std(0).max()) > 0.1
    assert set(np.unique(train["rewards"])) <= {-1.0, 0.0}
