"""The command line, run as its users run it."""

import http.client
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from api.answers import PlanAnswer
from api.map_wire import InlineMap

IMPOSSIBLE_HORIZON = 0.5


def flowfleet(*arguments: str | Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "api.cli", *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == expect, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def planned(tmp_path_factory, two_robots) -> tuple[Path, Path]:
    """A file of seven lines, three of them hopeless in one way or another, and its plans."""
    folder = tmp_path_factory.mktemp("lines")
    good = two_robots
    lines = [
        json.dumps(good),
        "{ no json",
        json.dumps(good | {"horizon_s": IMPOSSIBLE_HORIZON}),
        "",
        json.dumps(good | {"robots": []}),
        json.dumps(good | {"options": {"seed": 7}}),
        json.dumps(good | {"horizon_s": 15}),
    ]
    requests, plans = folder / "in.jsonl", folder / "out.jsonl"
    requests.write_text("\n".join(lines) + "\n")
    flowfleet("plan", requests, "-o", plans, "--batch-size", "2", expect=3)
    return requests, plans


def test_every_line_is_answered_in_its_place(planned) -> None:
    answers = [json.loads(line) for line in planned[1].read_text().splitlines()]
    assert [a["status"] for a in answers] == ["succeeded", "failed", "failed", "failed", "failed", "succeeded", "succeeded"]
    assert [a["problem"]["code"] for a in answers if "problem" in a] == ["MALFORMED_JSON", "MALFORMED_JSON", "INVALID_REQUEST"]
    for k in (0, 2, 5, 6):
        PlanAnswer.model_validate(answers[k])
    assert answers[2]["robots"][0]["reason"]["code"] == "HORIZON_TOO_SHORT"
    assert (answers[5]["seed"], answers[6]["horizon_s"]) == (7, 15)


def test_check_says_of_every_line_whether_it_is_safe(planned) -> None:
    rows = flowfleet("check", *planned, expect=3).stdout.splitlines()
    assert [row.split("\t")[:2] for row in rows] == [
        [str(k + 1), v] for k, v in enumerate(["safe", "failed", "failed", "failed", "failed", "safe", "safe"])
    ]


def test_check_finds_a_plan_that_was_tampered_with(planned, tmp_path) -> None:
    asked, made = (path.read_text().splitlines()[0] for path in planned)
    plan = json.loads(made)
    plan["robots"][0]["curve"]["control_points"][4][1] += 5.0
    (tmp_path / "in.jsonl").write_text(asked)
    (tmp_path / "plan.jsonl").write_text(json.dumps(plan))
    assert flowfleet("check", tmp_path / "in.jsonl", tmp_path / "plan.jsonl", expect=3).stdout.startswith("1\tunsafe\t")
    (tmp_path / "plan.jsonl").write_text(made)
    assert flowfleet("check", tmp_path / "in.jsonl", tmp_path / "plan.jsonl", expect=0).stdout.startswith("1\tsafe\t")


def test_render_draws_the_line_asked_for(planned, tmp_path) -> None:
    flowfleet("render", planned[1], "--request", planned[0], "--line", "6", "-o", tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    flowfleet("render", planned[1], "--request", planned[0], "--line", "9", "-o", tmp_path / "y.png", expect=1)
    flowfleet("render", planned[1], "--request", planned[0], "-o", tmp_path / "y.txt", expect=1)


def test_rollout_carries_the_plan_out(planned, tmp_path) -> None:
    """Alone, the robots arrive as planned; without filter and among many strangers, it says that they did not make it."""
    went = flowfleet("rollout", planned[1], "--request", planned[0], "--strangers", "0", "--line", "6", "-o", tmp_path / "x.png")
    told = json.loads(went.stdout)
    assert told["success"]
    assert told["over_plan"] < 1.2
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    blind = ("--strangers", "12", "--pilot", "tracking", "--no-filter", "--no-replan", "-o", tmp_path / "y.gif")
    bad = flowfleet("rollout", planned[1], "--request", planned[0], *blind, expect=3)
    assert json.loads(bad.stdout)["collided"] > 0
    assert (tmp_path / "y.gif").read_bytes().startswith(b"GIF8")
    flowfleet("rollout", planned[1], "--request", planned[0], "--line", "6", "--pilot", "fql", "--strangers", "0")
    flowfleet("rollout", planned[1], "--request", planned[0], "--pilot", "nobody", expect=1)
    flowfleet("rollout", planned[1], "--request", planned[0], "--line", "2", expect=1)
    flowfleet("rollout", planned[1], "--request", planned[0], "-o", tmp_path / "y.txt", expect=1)


def test_what_cannot_be_read_is_fatal(tmp_path) -> None:
    for verb in (["plan", tmp_path / "none", "-o", tmp_path / "out"], ["check", tmp_path / "none", tmp_path / "none"]):
        assert "No such file" in flowfleet(*verb, expect=1).stderr


def test_a_request_over_several_lines_is_one(planned, tmp_path) -> None:
    pretty = tmp_path / "one.json"
    pretty.write_text(json.dumps(json.loads(planned[0].read_text().splitlines()[0]), indent=2))
    flowfleet("plan", pretty, "-o", tmp_path / "out.jsonl")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1


def test_convert_gives_a_map_that_requests_can_hold(tmp_path) -> None:
    source, out = tmp_path / "yard.map", tmp_path / "yard.json"
    source.write_text("type octile\nheight 2\nwidth 3\nmap\n..@\n@..\n")
    flowfleet("convert", source, out, "--cell-size", "0.5")
    assert InlineMap.model_validate_json(out.read_bytes()).bounds == [0.0, 0.0, 1.5, 1.0]
    assert "cell size" in flowfleet("convert", source, out, expect=1).stderr
    (tmp_path / "yard.wkt").write_text("POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))")
    assert "not simple" in flowfleet("convert", tmp_path / "yard.wkt", out, expect=1).stderr


def test_a_setting_that_cannot_be_used_is_named() -> None:
    environment = os.environ | {"FLOWFLEET_MAX_ROBOTS": "many"}
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", "serve"], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (1, "flowfleet: the setting MAX_ROBOTS cannot be 'many'\n")


def test_version() -> None:
    assert flowfleet("version").stdout.startswith("flowfleet ")


def quickest(url: str) -> float:
    """The shortest time that a call takes on a connection that stays open, s."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    spent = []
    for _ in range(5):
        began = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        spent.append(time.perf_counter() - began)
    connection.close()
    return min(spent)


def test_serve_says_where_it_is_answers_and_ends_when_told() -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "api.cli", "serve", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        first = server.stdout.readline()
        assert first.startswith("flowfleet is ready on http://127.0.0.1:")
        url = first.split()[4]
        server.stdout.readline()
        call = server.stdout.readline()
        body = call[call.index("-d '") + 4 : call.rindex("'")]
        asked = urllib.request.Request(f"{url}/v1/plans", body.encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert json.load(answer)["status"] == "succeeded"
        assert quickest(url) < 0.03  # an answer in two packets, unless sent at once, waits 0.04 s
        began = time.monotonic()
        server.terminate()
        assert server.wait(20) in (0, -15)
        assert time.monotonic() - began < 10
    finally:
        server.kill()
        _, errors = server.communicate()
    for line in errors.splitlines():
        assert json.loads(line)["level"] in ("info", "warning")
