"""The server as a process: it stops without losing what it took, and does not start with weights that cannot be believed."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import safetensors.torch
import torch

from models.checkpoint import weights_folder

COMMAND = [sys.executable, "-m", "api.cli", "serve", "--port", "0"]


@contextmanager
def serving(**settings: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that is ready, and its address."""
    settings = {"log_level": "WARNING"} | settings  # nobody reads the log, and a pipe that is full would stop the server
    environment = os.environ | {f"FLOWFLEET_{name.upper()}": value for name, value in settings.items()}
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().split()[4]
    finally:
        process.kill()
        process.communicate()


def posted(url: str, body: bytes) -> tuple[int, dict, dict]:
    asked = urllib.request.Request(f"{url}/v1/plans", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return answer.status, json.load(answer), {name.lower(): value for name, value in answer.headers.items()}
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), {name.lower(): value for name, value in error.headers.items()}


class Callers:
    """Threads that send one request after another until the server is gone."""

    def __init__(self, url: str, body: bytes, count: int) -> None:
        self.answers: list[tuple[float, int, dict, dict]] = []  # when it was sent, and what came
        self.lost: list[float] = []  # when it was sent
        self.threads = [threading.Thread(target=self._call, args=(url, body)) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _call(self, url: str, body: bytes) -> None:
        while True:
            sent = time.monotonic()
            try:
                self.answers.append((sent, *posted(url, body)))
            except OSError:
                self.lost.append(sent)
                return

    def join(self) -> None:
        for thread in self.threads:
            thread.join(120)


def state_of(url: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url + path, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_stop_under_load_loses_nothing_that_was_taken(two_robots) -> None:
    body = json.dumps(two_robots).encode()
    with serving(drain_delay_s="1.5", planner_threads="1") as (process, url):
        assert state_of(url, "/readyz")[0] == 200
        callers = Callers(url, body, 6)
        while len(callers.answers) < 12:
            time.sleep(0.01)
        told = time.monotonic()
        process.terminate()
        status, text = state_of(url, "/readyz")
        while status == 200:  # the signal has not come through yet
            status, text = state_of(url, "/readyz")
        assert (status, json.loads(text)["detail"]) == (503, "the server is stopping")
        assert state_of(url, "/livez")[0] == 200
        callers.join()
        assert process.wait(30) == 0
        assert time.monotonic() - told < 1.5 + 20.0 + 3.0
    for sent, status, answer, headers in callers.answers:
        if status == 200:
            assert answer["status"] == "succeeded"
        else:
            assert (status, answer["code"]) == (503, "STOPPING")
            assert headers["retry-after"]
            assert sent > told
    assert any(sent > told and status == 200 for sent, status, _, _ in callers.answers)  # taken before balancers noticed
    assert all(sent > told + 1.4 for sent in callers.lost)  # only what came when nobody listened any more


def test_a_second_signal_ends_it_at_once() -> None:
    with serving(drain_delay_s="60", planner_threads="1") as (process, url):
        process.send_signal(signal.SIGTERM)
        while state_of(url, "/readyz")[0] == 200:
            time.sleep(0.01)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 1


def repacked(folder: Path, change) -> None:
    """Weights with a description that agrees with them."""
    weights, description = folder / "generator.safetensors", folder / "generator.json"
    tensors = safetensors.torch.load(weights.read_bytes())
    change(tensors)
    packed = safetensors.torch.save(tensors)
    weights.write_bytes(packed)
    described = json.loads(description.read_text())
    described |= {"sha256": hashlib.sha256(packed).hexdigest(), "bytes": len(packed)}
    description.write_text(json.dumps(described))


def poisoned(tensors: dict[str, torch.Tensor]) -> None:
    name = next(key for key, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name].view(-1)[0] = float("nan")


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "missing": (lambda folder: (folder / "generator.safetensors").unlink(), "cannot be read"),
    "truncated": (lambda folder: os.truncate(folder / "generator.safetensors", 1_000_000), "is truncated"),
    "corrupt": (lambda folder: flipped(folder / "warm-start.safetensors"), "sha256"),
    "nan": (lambda folder: repacked(folder, poisoned), "NaN"),
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory) -> dict[str, tuple[int, str, str]]:
    """How servers with damaged weights ended, all started at once: exit code, output, errors."""
    started = {}
    for name, (damage, _) in DAMAGES.items():
        folder = tmp_path_factory.mktemp(name) / "weights"
        shutil.copytree(weights_folder(), folder)
        damage(folder)
        environment = os.environ | {"FLOWFLEET_WEIGHTS": str(folder)}
        started[name] = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    ended = {}
    for name, process in started.items():
        out, errors = process.communicate(timeout=300)
        ended[name] = (process.returncode, out, errors)
    return ended


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_weights_are_refused_in_one_line_before_anybody_can_call(refusals, name) -> None:
    code, out, errors = refusals[name]
    assert (code, out) == (1, "")
    assert errors.count("\n") == 1, errors
    assert errors.startswith("flowfleet: ")
    assert DAMAGES[name][1] in errors
    assert "weights" in errors
