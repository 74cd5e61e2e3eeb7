"""From nothing to released weights of the learned initialisation by the commands, in small."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli import app
from models.checkpoint import load_weights

SMALL = ("--width", "16", "--layers", "1", "--proposals", "16", "--robots", "1-3", "--rounds", "1", "--workers", "1", "--from-scratch")


def flowfleet(*arguments: str | Path, expect: int = 0) -> str:
    """Runs a command in this process; what it says."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == expect, done.output
    return done.output


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("warm")
    said = flowfleet("train", "warm-start", folder, *SMALL, "--steps", "4", "--version", "trial")
    assert "rounds_cold" in said
    return folder


def test_what_is_trained_is_released(run, tmp_path):
    said = flowfleet("train", "release", run, "--version", "0.1", "--into", tmp_path)
    identity, told, _ = load_weights(tmp_path, "warm-start")
    assert identity.version == "0.1"
    assert identity.sha256 in said
    assert told["network"]["width"] == 16
    assert not (tmp_path / "generator.json").exists()


def test_a_run_starts_from_weights_and_refuses_those_of_other_sizes(run, tmp_path):
    flowfleet("train", "warm-start", tmp_path / "next", *SMALL, "--steps", "1", "--from-weights", run)
    said = flowfleet("train", "warm-start", tmp_path / "other", *SMALL, "--layers", "2", "--steps", "1", "--from-weights", run, expect=1)
    assert "does not fit" in said


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ((), "--minutes, --steps or both"),
        (("--steps", "1", "--robots", "0-3"), "from 1 up"),
        (("--steps", "1", "--width", "30"), "multiple of 4"),
        (("--steps", "1", "--resume", "--resume-from", "x"), "one of them"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(tmp_path, options, word):
    said = flowfleet("train", "warm-start", tmp_path / "run", *options, expect=1)
    assert said.startswith("flowfleet: ")
    assert word in said
    assert said.count("\n") == 1


def test_a_folder_that_holds_a_run_is_not_overwritten(run):
    assert "holds a run" in flowfleet("train", "warm-start", run, *SMALL, "--steps", "1", expect=1)
