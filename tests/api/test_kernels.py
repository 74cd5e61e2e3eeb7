import os
import subprocess
import sys
from pathlib import Path

import pytest

from api.kernels import ROOT, settle_kernels, source_stamp

KERNEL = "from numba import njit\n\n\n@njit(cache=True)\ndef twice(x):\n    return 2 * x\n"


@pytest.fixture
def code(tmp_path):
    """Packages with one kernel."""
    root = tmp_path / "code"
    (root / "maps").mkdir(parents=True)
    (root / "maps" / "twice.py").write_text(KERNEL)
    (root / "maps" / "plain.py").write_text("x = 1\n")
    return root


def ship(folder: Path, stamp: str) -> None:
    (folder / stamp / "maps_0").mkdir(parents=True)
    (folder / stamp / "maps_0" / "twice.nbi").write_bytes(b"compiled")


def test_every_version_of_the_kernels_has_its_own_folder(code, tmp_path):
    before = {"NUMBA_CACHE_DIR": str(tmp_path / "kernels")}
    settle_kernels(before, code, tmp_path / "none")
    (code / "maps" / "twice.py").write_text(KERNEL.replace("2 *", "3 *"))
    after = {"NUMBA_CACHE_DIR": str(tmp_path / "kernels")}
    settle_kernels(after, code, tmp_path / "none")
    assert before != after
    assert {Path(e["NUMBA_CACHE_DIR"]).parent for e in (before, after)} == {tmp_path / "kernels"}


def test_code_without_kernels_does_not_count(code):
    stamp = source_stamp(code)
    (code / "maps" / "plain.py").write_text("x = 2\n")
    assert source_stamp(code) == stamp
    (code / "maps" / "twice.py").rename(code / "maps" / "double.py")
    assert source_stamp(code) != stamp


def test_shipped_kernels_are_copied_once_and_then_left_alone(code, tmp_path):
    stamp = source_stamp(code)
    ship(tmp_path / "shipped", stamp)
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "kernels")}
    settle_kernels(environment, code, tmp_path / "shipped")
    copied = tmp_path / "kernels" / stamp / "maps_0" / "twice.nbi"
    assert copied.read_bytes() == b"compiled"
    copied.write_bytes(b"compiled here")
    settle_kernels({"NUMBA_CACHE_DIR": str(tmp_path / "kernels")}, code, tmp_path / "shipped")
    assert copied.read_bytes() == b"compiled here"
    assert [path.name for path in (tmp_path / "kernels").iterdir()] == [stamp]  # nothing half done is left


def test_a_child_process_uses_the_folder_of_its_parent(code, tmp_path):
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "kernels")}
    settle_kernels(environment, code, tmp_path / "none")
    inherited = dict(environment)
    settle_kernels(inherited, code, tmp_path / "none")
    assert inherited == environment


def test_nothing_is_copied_where_no_folder_is_named_or_can_be_made(code, tmp_path):
    ship(tmp_path / "shipped", source_stamp(code))
    environment: dict[str, str] = {}
    settle_kernels(environment, code, tmp_path / "shipped")
    assert environment == {}
    (tmp_path / "file").write_text("")
    settle_kernels({"NUMBA_CACHE_DIR": str(tmp_path / "file" / "kernels")}, code, tmp_path / "shipped")  # goes on without
    assert sorted(path.name for path in tmp_path.iterdir()) == ["code", "file", "shipped"]


def test_numba_compiles_into_the_folder_that_the_command_line_chose(tmp_path):
    program = (
        "import sys; sys.argv[1:] = ['version']\n"
        "from api import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "from maps.world import gap_at\n"
        "print(gap_at._cache.cache_path)\n"
    )
    program = program.replace("gap_at", a_kernel())
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert ran.returncode == 0, ran.stderr
    assert Path(ran.stdout.splitlines()[-1]).parent == tmp_path / source_stamp(ROOT)


def a_kernel() -> str:
    """The name of some compiled function of maps/world.py."""
    lines = (ROOT / "maps" / "world.py").read_text().splitlines()
    marked = next(number for number, line in enumerate(lines) if line.startswith("@njit"))
    return lines[marked + 1].removeprefix("def ").split("(")[0]
