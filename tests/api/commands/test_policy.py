"""The commands for policies, in small, in an environment that comes with the tests."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from api.cli import app
from models.policies.bc import BC, BCConfig
from models.policies.fql import FQL
from models.policies.networks import Sizes
from models.policies.registry import policy_config, with_members
from models.policies.replay import read_npz
from planner.fleet_gym import MEMBERS
from planner.fleet_policy import load_fleet_policy, released_agents
from planner.fleet_view import OBSERVATION

SLIDE = Path(__file__).resolve().parents[2] / "models" / "policies"
SMALL = ("--set", "actor.hidden=[8]", "--set", "critic.hidden=[8]", "--batch", "8", "--episodes", "1")


def flowfleet(*arguments: str | Path, expect: int = 0) -> str:
    """Runs a command in this process; what it says."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == expect, done.output
    return done.output


def refusal(*arguments: str | Path) -> str:
    """The one line that a command ends with that cannot do what was asked."""
    said = flowfleet(*arguments, expect=1)
    assert said.startswith("flowfleet: ")
    assert said.count("\n") == 1
    return said


@pytest.fixture(autouse=True)
def _slide(monkeypatch):
    monkeypatch.syspath_prepend(SLIDE)


@pytest.fixture
def data(tmp_path):
    generator, path = np.random.default_rng(0), tmp_path / "recorded.npz"
    ends = np.zeros(40)
    ends[[19, 39]] = 1.0
    rows = {"observations": generator.normal(size=(40, 2)), "actions": generator.uniform(-1, 1, (40, 1)), "terminals": ends}
    np.savez(path, **rows)
    return path


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_policy_learns_offline_and_then_online(data, tmp_path):
    run, train = tmp_path / "run", ("train", "policy", "--agent", "fql", "--env", "slide:Slide", "--data", data, *SMALL)
    every = ("--log-every", "2", "--store-every", "4", "--evaluate-every", "4")
    said = flowfleet(*train, run, "--offline-steps", "4", "--online-steps", "6", *every, "--returns", "2")
    assert "success" in said
    assert "10 steps" in said
    log, judged = rows(run / "log.csv"), rows(run / "evaluation.csv")
    assert [row["step"] for row in log] == ["2", "4", "6", "8", "10"]
    assert [row["step"] for row in judged] == ["4", "8", "10"]
    assert {"minutes", "steps_per_second", "updates", "critic", "flow", "distill", "climb"} <= log[0].keys()
    assert {"return", "length", "success"} <= judged[0].keys()
    assert float(judged[0]["length"]) == 8.0
    assert list((run / "tensorboard").iterdir())
    assert "holds a run already" in refusal(*train, run, "--offline-steps", "4")
    flowfleet(*train, run, "--offline-steps", "4", "--online-steps", "8", *every, "--resume", "--no-tensorboard")
    assert [row["step"] for row in rows(run / "log.csv")] == ["2", "4", "6", "8", "10", "12"]
    assert "another config" in refusal(*train, run, "--offline-steps", "4", "--online-steps", "9", "--set", "alpha=2", "--resume")


@pytest.mark.parametrize("agent", [("bc", "flow.hidden=[8]"), ("sfp", "flow.hidden=[8]")])
def test_policies_of_chunks_act_too(data, tmp_path, agent):
    name, setting = agent
    chunk = ("--chunk", "3") if name == "bc" else ("--set", "horizon=3")
    train = ("train", "policy", "--agent", name, "--set", setting, "--env", "slide:Slide", "--data", data, "--episodes", "1", *chunk)
    flowfleet(*train, tmp_path / "run", "--offline-steps", "2", "--online-steps", "3", "--execute", "2", "--batch", "4", "--no-tensorboard")


def test_updates_are_spaced_and_observations_scaled_on_request(data, tmp_path):
    train = ("train", "policy", tmp_path / "run", "--agent", "fql", "--env", "slide:Slide", "--data", data, *SMALL, "--no-tensorboard")
    flowfleet(*train, "--online-steps", "6", "--update-every", "3", "--updates", "2", "--normalize")
    assert float(rows(tmp_path / "run" / "log.csv")[-1]["updates"]) == 4.0
    policy = FQL.load(tmp_path / "run" / "state-6" / "policy.safetensors")
    with np.load(data) as recorded:
        assert np.allclose(policy.middle, np.delete(recorded["observations"], [19, 39], 0).mean(0), atol=1e-5)


def test_commands_that_make_no_sense_are_refused(data, tmp_path):
    out = tmp_path / "out"
    train = ("train", "policy", out, "--env", "slide:Slide", *SMALL)
    fql = (*train, "--agent", "fql", "--offline-steps", "1")
    assert "how long" in refusal(*train, "--agent", "fql")
    assert "no agent 'dqn'" in refusal(*train, "--agent", "dqn", "--offline-steps", "1")
    assert "need recorded data" in refusal(*fql)
    assert "no such file" in refusal(*fql, "--data", tmp_path / "none.npz")
    assert "--returns is for single ones" in refusal(*fql, "--chunk", "2", "--returns", "3")
    assert "from --data" in refusal(*train, "--agent", "fql", "--online-steps", "1", "--normalize")
    assert "NAME=VALUE" in refusal(*fql, "--set", "alpha")
    assert "there is no 'gamma'" in refusal(*fql, "--set", "gamma=1")
    assert "holds no state" in refusal(*fql, "--data", data, "--resume")
    assert "no environment" in refusal("train", "policy", out, "--agent", "sac", "--env", "slide:Nothing", "--online-steps", "1")
    np.savez(tmp_path / "wide.npz", observations=np.zeros((4, 3)), actions=np.zeros((4, 1)), terminals=np.ones(4))
    assert "not 2 and 1" in refusal(*fql, "--data", tmp_path / "wide.npz")


def test_fleets_are_recorded_as_policies_read_them(tmp_path):
    assert "transitions" in flowfleet("make-data", "fleet", tmp_path / "fleet.npz", "--episodes", "1", "--steps", "2", "--seed", "3")
    recorded = read_npz(tmp_path / "fleet.npz")
    assert recorded.observation.shape == (len(recorded), OBSERVATION)
    assert recorded.action.shape[1] == 2
    assert recorded.terminated.sum() > 30  # of 64 robots, most arrive
    assert recorded.observation.isfinite().all()


def test_missing_packages_are_named_in_one_line(monkeypatch, tmp_path):
    for package in ("gymnasium", "ogbench"):
        monkeypatch.setitem(sys.modules, package, None)
        for module in [module for module in sys.modules if module.startswith(f"{package}.")]:
            monkeypatch.delitem(sys.modules, module)
    train = ("train", "policy", tmp_path / "out", "--agent", "sac", "--online-steps", "1", "--env", "Pendulum-v1")
    assert "pip install 'flowfleet[policies]'" in refusal(*train)
    assert "needs ogbench" in refusal("make-data", "pointmaze", tmp_path / "a.npz")


def test_data_are_made_and_learned_from(tmp_path):
    pytest.importorskip("ogbench", reason="an optional package")
    said = flowfleet("make-data", "pointmaze", tmp_path / "maze.npz", "--episodes", "2", "--steps", "21")
    assert "40 transitions" in said
    train = ("train", "policy", tmp_path / "run", "--agent", "fql", "--env", "pointmaze-medium-navigate-singletask-v0", *SMALL)
    flowfleet(*train, "--data", tmp_path / "maze.npz", "--offline-steps", "2", "--no-tensorboard")
    assert rows(tmp_path / "run" / "evaluation.csv")[0]["length"]
    assert "npz" in refusal("make-data", "cube", tmp_path / "cube")


def test_a_trained_policy_of_fleets_is_released(tmp_path):
    """What comes out of a run is what servers load; a run of something else, and one that never was, are refused in one line."""
    members = with_members(policy_config("bc", "cpu", {"flow.hidden": "[8]"}), MEMBERS)
    made, runs = BC(Sizes(OBSERVATION, 2), members, 1), tmp_path / "runs"
    made.save(runs / "fleet" / "state-5" / "policy.safetensors")
    said = flowfleet("train", "release-policy", runs / "fleet", "--version", "3", "--into", tmp_path / "weights")
    assert said.startswith("fleet-bc 3, sha256 ")
    released = load_fleet_policy("bc", tmp_path / "weights")
    seen = torch.zeros(2, OBSERVATION)
    expected = made.act(seen, torch.Generator().manual_seed(0))
    assert torch.equal(released.act(seen, torch.Generator().manual_seed(0)), expected)
    BC(Sizes(3, 2), BCConfig.cpu(), 1).save(runs / "other" / "state-5" / "policy.safetensors")
    assert "no policy of fleets" in refusal("train", "release-policy", runs / "other", "--version", "1", "--into", tmp_path / "weights")
    assert "holds no state" in refusal("train", "release-policy", runs / "none", "--version", "1")


def test_released_policies_are_listed():
    listed = [line.split("\t")[0] for line in flowfleet("agents").splitlines()]
    assert tuple(listed) == released_agents()
    assert {"flowrl", "fql", "gfp", "sfp"} <= set(listed)
