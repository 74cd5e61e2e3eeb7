"""What the README shows is what happens."""

import json
import re
import subprocess
import sys
from pathlib import Path

from starlette.testclient import TestClient

from api.app import create_app
from api.settings import Settings
from maps.library import map_ids

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def wait_until_ready(client: TestClient) -> None:
    import time

    for _ in range(1200):
        if client.get("/readyz").status_code == 200:
            return
        time.sleep(0.1)
    raise TimeoutError("the server did not become ready")


def test_the_curl_is_answered_as_shown():
    command = next(block for block in SHELL if "curl" in block)
    path = re.search(r"127\.0\.0\.1:8000(/\S+)", command).group(1)
    body = re.search(r"-d '(.*)'", command, re.DOTALL).group(1)
    shown = json.loads(re.search(r"```json\n(.*?)```", README, re.DOTALL).group(1))
    with TestClient(create_app(Settings())) as client:
        wait_until_ready(client)
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"}).json()
    assert answer["status"] == shown["status"]
    assert answer["horizon_s"] == shown["horizon_s"]
    assert answer["certificate"]["closest_pair"] == shown["certificate"]["closest_pair"]
    assert set(shown["certificate"]) <= set(answer["certificate"])
    assert abs(answer["metrics"]["length_ratio"] - shown["metrics"]["length_ratio"]) < 1e-3


def test_the_commands_run(tmp_path):
    block = next(block for block in SHELL if "flowfleet plan" in block)
    for name in ("examples", "maps"):
        (tmp_path / name).symlink_to(ROOT / name)
    for line in block.strip().splitlines():
        words = line.split("#")[0].split()
        assert words[0] == ".venv/bin/flowfleet"
        done = subprocess.run([sys.executable, "-m", "api.cli", *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert {"plans.jsonl", "plan.gif", "depot.json"} <= {file.name for file in tmp_path.iterdir()}


def test_the_maps_named_are_the_maps_there_are():
    named = re.search(r"Built-in maps: (.*?)\. ", README.replace("\n", " ")).group(1)
    assert set(re.findall(r"`(\w+)`", named)) == set(map_ids())
