"""How many cores this process may use, how many of them planning takes, and what libraries may start of their own."""

from __future__ import annotations

import os
from pathlib import Path

MOST = 2  # threads that plan, unless a setting says more
_QUOTAS = (Path("/sys/fs/cgroup/cpu.max"), Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))


def cores_at_hand() -> int:
    """Cores that the system lets this process run on: by its affinity, and by the quota of its container; at least one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota()
    return max(1, allowed if quota is None else min(allowed, int(quota)))


def cgroup_quota(files: tuple[Path, Path] = _QUOTAS) -> float | None:
    """Cores that the control group of this process may use on average; None: no limit is known.

    Args:
        files: of version 2 (quota and period in one file) and of version 1 (the period in another file beside it).
    """
    unified, quota = files
    try:
        if unified.exists():
            share, period = unified.read_text().split()
        else:
            share, period = quota.read_text().strip(), quota.with_name("cpu.cfs_period_us").read_text().strip()
    except (OSError, ValueError):
        return None
    return float(share) / float(period) if share.lstrip("-").isdecimal() and float(share) > 0 else None


def planner_threads(chosen: int | None = None) -> int:
    """Problems that the planner works on at once.

    By default no more than the cores at hand, so that threads do not take turns, and no more than two: a request's proposals
    share two cores well, and a larger machine serves more requests with one process for every two cores than with wider ones,
    since whatever is not compiled holds one interpreter's lock.

    Args:
        chosen: by whoever runs the server; goes before the default.
    """
    return chosen if chosen is not None else min(cores_at_hand(), MOST)


def limit_threads() -> None:
    """One thread for each numerical library, before any of them is loaded.

    They are used from several threads already, and more of them than cores slow each other down many times over.
    Waiting threads sleep rather than spin.
    """
    for name, value in (
        ("OMP_NUM_THREADS", "1"),
        ("NUMBA_NUM_THREADS", "1"),
        ("OPENBLAS_NUM_THREADS", "1"),
        ("OMP_WAIT_POLICY", "PASSIVE"),
    ):
        os.environ.setdefault(name, value)
