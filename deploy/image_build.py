"""Builds the image with buildah on a Debian machine without Docker: its tools, a base image made by debootstrap, the build."""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BASE = "localhost/python:3.11-slim"
IMAGE = "localhost/flowfleet:test"
SUITE = "bookworm"  # Debian 12, whose Python is 3.11
MIRROR = "http://deb.debian.org/debian"
TOOLS = ("buildah", "debootstrap")
DISCARDED = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale", "var/log")
NOT_FOR_THE_BUILD = {"config-file", "no-cache-dir", "cache-dir", "user", "target", "require-virtualenv"}


BUILDAH = ("buildah", "--storage-driver=vfs")


def buildah(*arguments: str) -> str:
    """What a buildah command prints to standard output; its other output goes to ours."""
    return subprocess.run([*BUILDAH, *arguments], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()


def install_tools() -> None:
    """Installs what is missing of buildah and debootstrap."""
    if os.geteuid() != 0:
        sys.exit("the image test needs root: it makes a base image and mounts file systems")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "--quiet"], check=True, env=environment)
        subprocess.run(["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *missing], check=True, env=environment)


def make_base() -> None:
    """Makes an image that has what the official python:3.11-slim has, unless it is there already."""
    if buildah("images", "--quiet", "--filter", f"reference={BASE}"):
        return
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="flowfleet-base-") as folder:
        system = Path(folder) / "system"
        debootstrap(system)
        for name in DISCARDED:
            shutil.rmtree(system / name, ignore_errors=True)
            (system / name).mkdir(parents=True)
        for name in ("python", "python3"):  # where the official image has them
            (system / "usr/local/bin" / name).symlink_to("/usr/bin/python3")
        commit_base(system)


def debootstrap(system: Path) -> None:
    """Installs a small Debian with Python into a folder."""
    packages = "python3,python3-venv,ca-certificates"
    try:
        subprocess.run(["debootstrap", "--variant=minbase", f"--include={packages}", SUITE, str(system), MIRROR], check=True)
    finally:  # where it is interrupted, it leaves /proc mounted in a folder that is about to be deleted
        for name in ("proc", "sys"):
            subprocess.run(["umount", "--recursive", "--quiet", str(system / name)], check=False, stderr=subprocess.DEVNULL)


def commit_base(system: Path) -> None:
    """Makes the base image of a folder."""
    container = buildah("from", "scratch")
    try:
        buildah("add", "--quiet", container, str(system), "/")
        buildah("config", "--env", "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "--cmd", "python3", container)
        buildah("commit", "--quiet", container, BASE)
    finally:
        buildah("rm", container)


def build_image(*arguments: str) -> None:
    """Builds the Dockerfile on the base image.

    Args:
        arguments: further ones of `buildah bud`, such as --build-arg=TORCH_INDEX=ADDRESS.
    """
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="flowfleet-pip-") as folder:
        options = [
            "--isolation=chroot",
            "--network=host",
            "--format=docker",  # health checks are no part of the OCI format
            f"--build-arg=BASE_IMAGE={BASE}",
            f"--tag={IMAGE}",
            *pip_arguments(Path(folder)),
            *arguments,
        ]
        subprocess.run([*BUILDAH, "bud", *options, str(ROOT)], check=True)


def pip_arguments(folder: Path) -> list[str]:
    """Arguments that hand this machine's pip configuration to the build.

    Args:
        folder: where the configuration is written to.
    """
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    options = pip_options(listed.stdout)
    if not options:
        return []
    file = folder / "pip.conf"
    file.write_text("[global]\n" + "".join(f"{key} = {' '.join(value.split())}\n" for key, value in options.items()))
    return [f"--secret=id=pip,src={file}", *(f"--volume={path}:{path}:ro" for path in local_paths(options))]


def pip_options(listing: str) -> dict[str, str]:
    """The options in what `pip config list` prints; those of the environment go before those of files."""
    options: dict[str, str] = {}
    lines = [line.partition("=") for line in listing.splitlines() if "=" in line]
    for key, _, value in sorted(lines, key=lambda line: line[0].startswith(":env:")):
        section, _, name = key.rpartition(".")
        if section in ("global", "install", ":env:") and name not in NOT_FOR_THE_BUILD:
            options[name] = ast.literal_eval(value)
    return options


def local_paths(options: dict[str, str]) -> list[str]:
    """Files and folders of this machine that pip's options name; of an index also what lies beside it, where its links lead."""
    paths: set[Path] = set()
    for key, value in options.items():
        for word in value.split():
            path = Path(word.removeprefix("file://"))
            if path.is_absolute() and path.exists():
                paths.add(path.parent if key.endswith("index-url") else path)
    return sorted(map(str, paths))
