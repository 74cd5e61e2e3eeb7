import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3] / "models"
CODE = """
import torch
from models.policies.fql import FQL, FQLConfig
from models.policies.networks import NetworkConfig, Sizes
from models.policies.replay import DrawConfig, ReplayBuffer, ReplayConfig, read_npz

experience = read_npz("recorded.npz")
buffer = ReplayBuffer(ReplayConfig(3, 2, 100))
buffer.add(experience)
policy = FQL(Sizes(3, 2), FQLConfig(critic=NetworkConfig((8,)), actor=NetworkConfig((8,))))
generator = torch.Generator().manual_seed(0)
for _ in range(3):
    policy.update(buffer.sample(DrawConfig(batch=8, steps=2), generator))
print(tuple(policy.act(experience.observation[:4], generator).shape))
"""


def test_policies_learn_where_nothing_else_is(tmp_path):
    import numpy as np

    shutil.copytree(SOURCE / "policies", tmp_path / "models" / "policies", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(SOURCE / "__init__.py", tmp_path / "models")
    generator = np.random.default_rng(0)
    ends = np.zeros(40)
    ends[[19, 39]] = 1.0
    arrays = {"observations": generator.normal(size=(40, 3)), "actions": generator.uniform(-1, 1, (40, 2)), "terminals": ends}
    np.savez(tmp_path / "recorded.npz", **arrays)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", CODE]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, "(4, 2)"), ran.stderr
