"""Nothing that is installed with the server reports home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys, torch
from models.openvino_network import compile_module
compiled = compile_module(torch.nn.Linear(2, 3).eval(), (torch.zeros(5, 2),), 1, False)
assert compiled([torch.ones(5, 2).numpy()])[0].shape == (5, 3)
assert "openvino.tools.ovc" in sys.modules  # which sends, where it can
"""


def test_openvino_sends_nothing_and_leaves_no_files(tmp_path):
    pytest.importorskip("openvino")
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("CI", None)  # it keeps still there in any case
    ran = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert [path.name for path in tmp_path.rglob("*") if "openvino" in path.name or path.name == "intel"] == []
