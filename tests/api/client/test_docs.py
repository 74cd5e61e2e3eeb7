"""What docs/client.md shows is what happens: its examples are run, in order, against a real server."""

import re
import warnings
from pathlib import Path

import pytest

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs/client.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
SHOWN = [(line, said) for block in BLOCKS for line, said in re.findall(r"(print\(.*\))  # (\S+(?: \S+)*)$", block, re.MULTILINE)]


@pytest.fixture(scope="module")
def printed(server_url, tmp_path_factory):
    """What the examples print, one after the other in one namespace."""
    folder = tmp_path_factory.mktemp("maps")
    (folder / "floor.yaml").write_text(
        "image: floor.pgm\nresolution: 0.5\norigin: [0, 0, 0]\nnegate: 0\noccupied_thresh: 0.65\nfree_thresh: 0.25\n"
    )
    (folder / "floor.pgm").write_bytes(b"P5\n4 2\n255\n" + bytes([254] * 8))
    (folder / "tiles.map").write_text("type octile\nheight 2\nwidth 3\nmap\n..@\n...\n")
    lines: list[str] = []
    space = {"__name__": "example", "print": lambda *words: lines.append(" ".join(map(str, words)))}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(folder)
        for block in BLOCKS:
            exec(compile(block.replace("http://127.0.0.1:8000", server_url), "docs/client.md", "exec"), space)
        for map_id in ("floor", "tiles"):
            with space["PlannerClient"](server_url) as planner:
                planner.delete_map(map_id)
    return lines


def test_the_examples_run(printed):
    assert len(BLOCKS) == 10
    assert "floor" in next(line for line in printed if "depot" in line)
    assert sum(line.split()[:1] == ["16"] for line in printed) == 1


def test_what_they_print_is_what_is_shown(printed):
    shown = ["failed GOAL_OCCUPIED", "False", "422 /robots/0/radius OUT_OF_RANGE"]
    assert [said.split(",")[0] for _, said in SHOWN] == shown
    assert [line for line in printed if line in shown] == shown


def test_jobs_are_shown_with_calls_that_there_are():
    from api.client import AsyncPlannerClient, PlannerClient

    block = re.search(r"```python notest\n(.*?)```", DOCUMENT, re.DOTALL)
    assert block is not None
    named = set(re.findall(r"planner\.(\w+)\(", block[1]))
    assert named == {"submit", "stream", "wait", "jobs", "job", "cancel", "plan_by_id"}
    assert all(hasattr(client, name) for client in (PlannerClient, AsyncPlannerClient) for name in named)


def test_every_error_in_the_table_is_one(printed):
    import api.client as package

    rows = re.findall(r"^\| (`.*?`) \|", DOCUMENT, re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert len(names) >= 10
    assert all(issubclass(getattr(package, name), package.PlannerError) for name in names)
