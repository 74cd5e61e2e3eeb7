"""Builds the image without Docker and tries it as a container: `make image-test` (Debian, root).

Checked are its size and contents, its user, start, health check, a plan over HTTP, the end on SIGTERM while requests
are under way, and a start on a read-only root with an empty data folder. Arguments go to `buildah bud`.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from image_build import IMAGE, ROOT, build_image, install_tools, make_base
from image_container import DATA, Container, ReadOnlyContainer, answer, ready_within
from trim_image import size

LARGEST = 1_500  # MB, the base included
DRAIN = 20.0  # s, the server's own limit for what it has accepted
READY = 180.0  # s, a start on a machine that does other work too; that nothing is compiled is checked on its own
COMPILERS = {"cc", "gcc", "g++", "clang", "ld", "as", "make", "rustc", "cargo", "go", "nvcc"}
Kind = TypeVar("Kind", bound=Container)
REQUEST = json.loads((ROOT / "examples" / "warehouse_16.json").read_text())


def check(holds: bool, sentence: str) -> None:
    """Says what holds, or ends the test."""
    if not holds:
        sys.exit(f"FAILED  {sentence}")
    print(f"ok      {sentence}", flush=True)


@contextmanager
def started(kind: type[Kind]) -> Iterator[Kind]:
    """A container whose server is ready."""
    check(answer("/livez")[0] == 0, "port 8000 of this machine is free")
    container = kind()
    try:
        container.start()
        seconds = ready_within(READY)
        check(seconds is not None, f"ready within {READY:.0f} s" if seconds is None else f"ready after {seconds:.1f} s")
        yield container
    finally:
        container.remove()


def check_contents(container: Container) -> None:
    """What the image has, and what it has not."""
    root, config = container.root, container.config
    megabytes = size(root) / 1e6
    check(megabytes <= LARGEST, f"the image has {megabytes:.0f} MB, of {LARGEST} that it may have")
    user = config["User"].partition(":")[0]
    check(user.isdecimal() and user != "0", f"its user is {config['User']}, a number and not root")
    programs = {path.name for folder in ("bin", "sbin", "usr/local/bin", "opt/flowfleet/bin") for path in (root / folder).iterdir()}
    check(not programs & COMPILERS, "no compiler inside")
    site = next((root / "opt/flowfleet/lib").glob("python3*/site-packages"))
    caches = [path for name in ("root", "opt/flowfleet", DATA) for path in (root / name).rglob(".cache")]
    check(not (site / "pip").exists() and not caches, "no pip in the environment, and no cache of it")
    ours = [path for name in ("maps", "models", "safety_filter", "planner", "api") for path in (site / name).rglob("test*")]
    check(not ours and not (site / "tests").exists() and not (root / "src").exists(), "no tests and no sources of the build")
    writable = [path for path in (root / "opt/flowfleet").rglob("*") if not path.is_symlink() and path.lstat().st_mode & 0o022]
    owners = {path.lstat().st_uid for path in (root / "opt/flowfleet").rglob("*")}
    check(not writable and owners == {0}, "nothing of the code can be written to by the server")
    secrets = [name for name in ("run/secrets/pip", "etc/pip.conf") if (root / name).is_file() and (root / name).stat().st_size]
    check(not secrets, "no configuration of pip was left behind")


def check_process(container: Container) -> None:
    """Who the server is."""
    lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{container.server()}/status").read_text().splitlines() if ":\t" in line)
    user = container.config["User"].partition(":")[0]
    check(set(lines["Uid"].split()) == {user}, f"the server runs as user {user}")
    check(int(lines["CapEff"], 16) == 0, "and holds no privilege")


def check_plan() -> None:
    """A plan over HTTP."""
    status, plan = answer("/v1/plans", REQUEST)
    certified = status == 200 and plan["status"] == "succeeded" and plan["certificate"]["safe"] and plan["certificate"]["continuous"]
    check(certified, f"{len(REQUEST['robots'])} robots in the warehouse: planned and certified")


def check_drain(container: Container) -> None:
    """Requests under way when SIGTERM comes are answered; no new one is taken; the exit code is 0."""
    heavy = {**REQUEST, "options": {"candidates": 32, "alternatives": 4, "deadline_ms": 15_000}}
    with ThreadPoolExecutor(4) as callers:
        calls = [callers.submit(answer, "/v1/plans", heavy) for _ in range(4)]
        time.sleep(0.5)  # they are taken
        check(not any(call.done() for call in calls), "four requests are being planned")
        told = time.monotonic()
        container.stop()
        time.sleep(0.5)
        check(answer("/readyz")[0] in (0, 503), "half a second after SIGTERM: not ready, or no longer listening")
        code = container.ended(DRAIN)
        spent = time.monotonic() - told
        check(code == 0, f"exit code {code} after {spent:.1f} s, of {DRAIN:.0f} that it may take")
        answers = [call.result() for call in calls]
    statuses = [(status, plan and plan["status"]) for status, plan in answers]
    check(statuses == [(200, "succeeded")] * 4, "all four were answered with a plan")


def check_read_only(container: ReadOnlyContainer) -> None:
    """The root cannot be written to; the data folder has the shipped kernels, and no other."""
    read_only = os.statvfs(f"/proc/{container.server()}/root").f_flag & os.ST_RDONLY
    check(bool(read_only), "the root is read-only")
    check_plan()
    shipped = kernels(container.root / "opt/flowfleet/share/flowfleet/kernels")
    check(bool(shipped) and kernels(container.data / "kernels") == shipped, f"none of the {len(shipped)} kernels was compiled anew")
    container.stop()
    check(container.ended(DRAIN) == 0, "exit code 0 here too")


def kernels(folder: Path) -> set[str]:
    """Compiled kernels in a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.nbc")}


def main() -> None:
    """All of it."""
    install_tools()
    make_base()
    build_image(*sys.argv[1:])
    with started(Container) as container:
        check_contents(container)
        check_process(container)
        health = container.config["Healthcheck"]["Test"]
        check(health[0] == "CMD" and container.run(health[1:]) == 0, "the health check passes")
        check_plan()
        check_drain(container)
        check(container.run(health[1:]) != 0, "the health check fails where no server runs")
    with started(ReadOnlyContainer) as container:
        check_read_only(container)
    print(f"{IMAGE} is good")


if __name__ == "__main__":
    main()
