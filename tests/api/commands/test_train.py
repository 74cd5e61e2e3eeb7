"""From experts to released weights by the commands, in small."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from api.cli import app
from maps.world import obstacle_distances
from models.checkpoint import load_weights
from models.training.state import stored_states
from planner.dataset import MANIFEST, shards
from planner.experts_sheet import experts_of, stored_config

SMALL = ("--width", "32", "--layers", "1", "--robots-per-batch", "12", "--validation", "open,2,1")
DATASET = ("--scenarios", "8", "--shard", "8", "--robots", "2-3", "--workers", "1", "--seed", "3", "--held-out", "polygons,mazes")


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


@pytest.fixture(scope="module")
def experts(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("experts")
    flowfleet("dataset", folder, *DATASET)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, experts) -> Path:
    folder = tmp_path_factory.mktemp("run")
    said = flowfleet("train", "generator", experts, folder, *SMALL, "--steps", "20", "--version", "trial")
    assert "certified_any" in said
    return folder


def test_the_data_set_is_what_was_asked_for(experts) -> None:
    (path,) = shards(experts)
    with np.load(path) as shard:
        assert set(shard["robots"]) == {2, 3}
    told = json.loads((experts / MANIFEST).read_text())["config"]
    assert (told["seed"], told["held_out"]) == (3, ["polygons", "mazes"])


def test_the_same_command_makes_nothing_again_and_another_one_is_refused(experts) -> None:
    (path,) = shards(experts)
    made = path.stat().st_mtime_ns
    flowfleet("dataset", experts, *DATASET)
    assert path.stat().st_mtime_ns == made
    assert "choose another folder" in refusal("dataset", experts, *DATASET[:-4], "--seed", "4")


def test_experts_read_back_meet_their_ends_and_nothing_on_the_way(experts) -> None:
    (path,) = shards(experts)
    with np.load(path) as shard:
        count = len(shard["robots"])
    for expert in experts_of(path, stored_config(experts), np.arange(count)):
        scenario = expert.scenario
        radius, world = scenario.fleet.radius.numpy(), scenario.scene.world
        assert list(expert.cost) == sorted(expert.cost)
        for place in expert.place:
            np.testing.assert_allclose(place[:, (0, -1)], np.stack([scenario.start, scenario.goal], 1), atol=1e-4)
            room = obstacle_distances(np.ascontiguousarray(place.reshape(-1, 2)), world, 10.0)[0].reshape(place.shape[:2])
            assert (room > 0.95 * radius[:, None]).all()  # places are kept to a few hundredths of a radius
            apart = np.linalg.norm(place[0] - place[1], axis=-1) - radius[0] - radius[1]
            assert apart.min() > -0.05 * radius.max()


def test_the_sheet_is_a_picture_of_what_is_there(experts, tmp_path) -> None:
    said = flowfleet("dataset", experts, "--sheet", tmp_path / "sheet.png", "--count", "3")
    assert said.startswith("3 experts")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert "no data set" in refusal("dataset", tmp_path, "--sheet", tmp_path / "sheet.png")
    assert "not supported" in refusal("dataset", experts, "--sheet", tmp_path / "sheet.txt", "--count", "1")


def test_a_sheet_of_scenarios_drawn_otherwise_is_refused(experts, tmp_path) -> None:
    manifest = json.loads((experts / MANIFEST).read_text())
    manifest["config"]["sampling"]["area"] += 1.0
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    assert "does not have" in refusal("dataset", tmp_path, "--sheet", tmp_path / "sheet.png")
    manifest = json.loads((experts / MANIFEST).read_text())
    manifest["config"]["seed"] += 1
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    (tmp_path / "shard-00000.npz").write_bytes(shards(experts)[0].read_bytes())
    assert "draws otherwise" in refusal("dataset", tmp_path, "--sheet", tmp_path / "sheet.png")


def test_what_is_trained_is_released_and_nothing_else(run, tmp_path) -> None:
    said = flowfleet("train", "release", run, "--version", "0.1", "--into", tmp_path)
    identity, config, tensors = load_weights(tmp_path, "generator")
    assert identity.version == "0.1"
    assert identity.sha256 in said
    assert config["network"]["width"] == 32
    trained, _, before = load_weights(run, "generator")
    assert (trained.version, trained.sha256) == ("trial", identity.sha256)
    assert all(bool((before[name] == tensors[name]).all()) for name in before)


def test_weights_that_cannot_be_loaded_are_not_released(run, tmp_path) -> None:
    broken, target = tmp_path / "broken", tmp_path / "target"
    broken.mkdir()
    assert "cannot be read" in refusal("train", "release", broken, "--version", "1", "--into", target)
    (broken / "generator.safetensors").write_bytes((run / "generator.safetensors").read_bytes()[:-10])
    (broken / "generator.json").write_bytes((run / "generator.json").read_bytes())
    assert "truncated" in refusal("train", "release", broken, "--version", "1", "--into", target)
    (broken / "generator.safetensors").write_bytes((run / "generator.safetensors").read_bytes())
    for change, word in (({"width": 64}, "does not fit"), ({"depth": 2}, "no generator")):
        described = json.loads((run / "generator.json").read_text())
        described["config"]["network"] |= change
        (broken / "generator.json").write_text(json.dumps(described))
        assert word in refusal("train", "release", broken, "--version", "1", "--into", target)
    assert not target.exists()


def test_a_run_starts_from_weights(run, experts, tmp_path) -> None:
    flowfleet("train", "generator", experts, tmp_path, "--from-weights", run, "--steps", "1", *SMALL[4:])
    start, end = load_weights(run, "generator")[2], load_weights(tmp_path, "generator")[2]
    assert start.keys() == end.keys()
    assert bool((start["normalizer.modes"] == end["normalizer.modes"]).all())
    off = max(float((start[name] - end[name]).abs().max()) for name in start)
    assert 0.0 < off < 0.01


def test_a_stopped_run_stores_its_state_and_goes_on(experts, tmp_path) -> None:
    command = [sys.executable, "-m", "api.cli", "train", "generator", str(experts), str(tmp_path), *SMALL, "--minutes"]
    process = subprocess.Popen([*command, "5"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "log.csv").exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 3, errors
    assert "go on with --resume" in errors
    (state,) = stored_states(tmp_path)
    step = int(state.stem.removeprefix("state-"))
    flowfleet("train", "generator", experts, tmp_path, *SMALL, "--steps", str(step + 1), "--resume")
    assert stored_states(tmp_path)[-1].stem == f"state-{step + 1}"


def test_commands_that_make_no_sense_are_refused(run, experts, tmp_path) -> None:
    train = ("train", "generator", experts)
    assert "how long" in refusal(*train, tmp_path)
    assert "no shards" in refusal("train", "generator", tmp_path, tmp_path / "out", "--steps", "1")
    assert "holds a run already" in refusal(*train, run, *SMALL, "--steps", "1")
    assert "holds no state" in refusal(*train, tmp_path, *SMALL, "--steps", "1", "--resume")
    assert "does not fit" in refusal(*train, tmp_path, *SMALL, "--steps", "1", "--layers", "2", "--resume-from", run)
    assert "bring" in refusal(*train, tmp_path, "--steps", "1", "--from-weights", run, "--width", "64")
    assert "multiple of 4" in refusal(*train, tmp_path, "--steps", "1", "--width", "30")
    assert "no family 'caves'" in refusal(*train, tmp_path, "--steps", "1", "--validation", "caves,2,1")
    for robots in ("3-2", "0-4", "many", "2-"):
        assert "--robots" in refusal("dataset", tmp_path, "--robots", robots)
    assert "no family 'caves'" in refusal("dataset", tmp_path, "--held-out", "open,caves")
    assert not shards(tmp_path)


def test_help_needs_nothing_slow() -> None:
    code = "import sys, api.cli; print({'torch', 'numpy', 'numba', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "set()\n", done.stderr
