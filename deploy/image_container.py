"""Containers of the image under test, run by buildah or, with a read-only root, in a mount namespace of their own."""

import json
import os
import shlex
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from image_build import BUILDAH, IMAGE, buildah

URL = "http://127.0.0.1:8000"
INTERPRETER = b"/opt/flowfleet/bin/python"
DATA = "var/lib/flowfleet"


class Container:
    """A container that runs the image's own entrypoint and command as the image's own user."""

    def __init__(self) -> None:
        self.name = buildah("from", IMAGE)
        self.root = Path(buildah("mount", self.name))
        self.config: dict[str, Any] = json.loads(buildah("inspect", self.name))["Docker"]["config"]
        self._runner: subprocess.Popen[bytes] | None = None

    def command(self, words: list[str]) -> list[str]:
        """What starts a program in the container."""
        return [*BUILDAH, "run", "--isolation=chroot", "--network=host", self.name, "--", *words]

    def run(self, words: list[str]) -> int:
        """The exit code of a program in the container."""
        return subprocess.run(self.command(words), check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode

    def start(self) -> None:
        """Starts the server."""
        words = [*self.config["Entrypoint"], *self.config["Cmd"]]
        self._runner = subprocess.Popen(self.command(words), stdout=subprocess.DEVNULL)

    def server(self) -> int:
        """The process id of the server, as this machine counts."""
        if self._runner is None:
            raise RuntimeError("the container was not started")
        found = [pid for pid in descendants(self._runner.pid) if words_of(pid)[:1] == [INTERPRETER]]
        if not found:
            raise RuntimeError("no server runs in the container")
        return found[0]

    def stop(self) -> None:
        """Tells the server to end, as `docker stop` does."""
        os.kill(self.server(), getattr(signal, self.config.get("StopSignal") or "SIGTERM"))

    def ended(self, limit: float) -> int | None:
        """The server's exit code; None where it still runs after so many seconds."""
        if self._runner is None:
            raise RuntimeError("the container was not started")
        try:
            return self._runner.wait(limit)
        except subprocess.TimeoutExpired:
            return None

    def remove(self) -> None:
        """Ends whatever still runs, and deletes the container."""
        if self._runner is not None and self._runner.poll() is None:
            for pid in descendants(self._runner.pid):
                os.kill(pid, signal.SIGKILL)
            self._runner.wait()
        buildah("umount", self.name)
        buildah("rm", self.name)


class ReadOnlyContainer(Container):
    """The same with a root that cannot be written to, but for an empty data folder: as clusters run it."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(dir="/var/tmp", prefix="flowfleet-run-")
        self.view = Path(self._folder.name) / "root"
        self.data = Path(self._folder.name) / "data"
        self.view.mkdir()
        self.data.mkdir(mode=0o770)
        user, _, group = self.config["User"].partition(":")
        os.chown(self.data, int(user), int(group))

    def command(self, words: list[str]) -> list[str]:
        """What starts a program in the container."""
        view, data = shlex.quote(str(self.view)), shlex.quote(str(self.data))
        inside = ["env", "--ignore-environment", "--chdir", self.config["WorkingDir"], *self.config["Env"], *words]
        script = [
            f"mount --bind {shlex.quote(str(self.root))} {view}",
            f"mount --bind {data} {view}/{DATA}",
            f"mount --rbind /proc {view}/proc",
            f"mount --rbind /dev {view}/dev",
            f"mount --rbind /sys {view}/sys",
            f"mount -o remount,bind,ro {view}",
            f"exec chroot --userspec={shlex.quote(self.config['User'])} --groups= {view} {shlex.join(inside)}",
        ]
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", " && ".join(script)]

    def remove(self) -> None:
        """Ends whatever still runs, and deletes the container and its data."""
        super().remove()
        self._folder.cleanup()


def descendants(pid: int) -> list[int]:
    """A process and all that it has started, directly or not."""
    children: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        children += map(int, tasks.read_text().split())
    return [pid, *(found for child in children for found in descendants(child))]


def words_of(pid: int) -> list[bytes]:
    """The command line of a process; none where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def answer(path: str, body: Any = None, limit: float = 120.0) -> tuple[int, Any]:
    """Status and JSON of a call; status 0 where nobody listens."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, content, {"Content-Type": "application/json"})
    try:
        try:
            with urllib.request.urlopen(request, timeout=limit) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
    except OSError:  # refused, closed, or too slow
        return 0, None


def ready_within(limit: float) -> float | None:
    """How many seconds it took until the server was ready; None where it took longer than the limit."""
    began = time.monotonic()
    while (spent := time.monotonic() - began) < limit:
        if answer("/readyz", limit=2.0)[0] == 200:
            return spent
        time.sleep(0.2)
    return None
