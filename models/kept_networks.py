"""Compiled networks kept on disk, so that a start neither traces nor compiles what an earlier one has.

They lie where numba keeps its kernels: in the folder that NUMBA_CACHE_DIR names, else in this package's `__pycache__`. The
name of a file is a hash of all that its content depends on, so what is found is never out of date; a file that is not whole
is passed over, and so is a folder that cannot be written to.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PACKAGES = Path(__file__).resolve().parent, Path(__file__).resolve().parents[1] / "safety_filter"  # the sources of networks
MOST = 8  # files; beyond, those that were not used for longest are deleted
_HASH = hashlib.sha256().digest_size


def kept_folder() -> Path:
    """Where compiled networks are kept."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    return Path(given) if given else Path(__file__).resolve().parent / "__pycache__"


def network_key(*of: object) -> str:
    """A name for a compiled network.

    Args:
        of: all that it depends on, less the sources of the networks: weights, versions of libraries, the CPU, options.
    """
    digest = hashlib.sha256(repr(of).encode())
    for source in sorted(path for package in PACKAGES for path in package.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def find_network(key: str, folder: Path | None = None) -> bytes | None:
    """What was kept under a name; None where nothing was, or not all of it is there."""
    file = _file(key, folder)
    try:
        content = file.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content[_HASH:]).digest() != content[:_HASH]:
        return None
    with suppress(OSError):
        os.utime(file)
    return content[_HASH:]


def keep_network(key: str, content: bytes, folder: Path | None = None) -> None:
    """Keeps a compiled network, at once or not at all, where there is a folder that may be written to."""
    file = _file(key, folder)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=file.parent, prefix=".network-")
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(hashlib.sha256(content).digest() + content)
        os.chmod(partial, 0o644)  # an image is built by another user than runs it
        os.replace(partial, file)
    except OSError:
        with suppress(OSError):
            os.unlink(partial)
    _forget(file.parent.glob("network-*.bin"))


def _forget(files: Iterable[Path]) -> None:
    with suppress(OSError):  # another process may be at it
        for file in sorted(files, key=lambda file: -file.stat().st_mtime)[MOST:]:
            file.unlink()


def _file(key: str, folder: Path | None) -> Path:
    return (folder or kept_folder()) / f"network-{key}.bin"
