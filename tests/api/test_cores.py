"""How many threads plan: as many as the system gives, not as many as there are."""

import os
import subprocess
import sys

import pytest

from api.cores import MOST, cgroup_quota, cores_at_hand, planner_threads

THREADS = """
import os, sys, threading, torch
from api.cores import planner_threads
from planner.pipeline import Planner, PlannerConfig
planner = Planner(PlannerConfig(threads=planner_threads()))
print(planner.config.threads, torch.get_num_threads(), os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.parametrize(
    ("unified", "expected"), [("150000 100000", 1.5), ("max 100000", None), ("400000 100000", 4.0), ("nonsense", None), ("", None)]
)
def test_the_quota_of_a_container_is_read(tmp_path, unified, expected) -> None:
    (tmp_path / "cpu.max").write_text(unified)
    assert cgroup_quota((tmp_path / "cpu.max", tmp_path / "none")) == expected


@pytest.mark.parametrize(("quota", "expected"), [("50000", 0.5), ("-1", None)])
def test_the_quota_of_the_older_version_too(tmp_path, quota, expected) -> None:
    (tmp_path / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu.cfs_period_us").write_text("100000")
    assert cgroup_quota((tmp_path / "none", tmp_path / "cpu.cfs_quota_us")) == expected


def test_the_setting_goes_before_what_is_at_hand() -> None:
    assert planner_threads(7) == 7
    assert planner_threads() == min(cores_at_hand(), MOST)


def test_one_core_is_planned_on_by_one_thread_beside_a_rival_too() -> None:
    core = min(os.sched_getaffinity(0))
    rival = subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=lambda: os.sched_setaffinity(0, {core}))
    try:
        code = f"import os; os.sched_setaffinity(0, {{{core}}}); from api.cores import limit_threads; limit_threads()" + THREADS
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP", "NUMBA", "OPENBLAS"))}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=300)
    finally:
        rival.kill()
        rival.wait()
    assert done.stdout.split() == ["1", "1", "1", "PASSIVE"]
