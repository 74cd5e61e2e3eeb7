"""Where compiled kernels lie where NUMBA_CACHE_DIR names a folder: in one of its own for each version of the code.

Numba notices that a kernel's own file has changed, not that a file has whose kernels are compiled into it; in a folder
that outlives an upgrade, old kernels could then run in new code. An image ships the kernels of its version; they are copied
into that folder, because numba reads from no folder that it cannot write to, and images are best mounted read-only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from maps.kernel_cache import COMPILED

if TYPE_CHECKING:
    from collections.abc import MutableMapping

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = Path(sys.prefix) / "share" / "flowfleet" / "kernels"
_VARIABLE = "NUMBA_CACHE_DIR"


def settle_kernels(environment: MutableMapping[str, str], root: Path = ROOT, shipped: Path = SHIPPED) -> None:
    """Lets NUMBA_CACHE_DIR, where it is given, name the folder of this version's kernels; to be called before numba is imported.

    Args:
        environment: changed in place.
        root: the folder of the packages.
        shipped: a folder of kernels by version, which may not exist.
    """
    given = environment.get(_VARIABLE)
    if not given:
        return
    stamp = source_stamp(root)
    folder = Path(given)
    if folder.name != stamp:  # a process started by this one has inherited the very folder
        folder = folder / stamp
    if not folder.exists() and (shipped / stamp).is_dir():
        _copy_at_once(shipped / stamp, folder)
    environment[_VARIABLE] = str(folder)


def source_stamp(root: Path) -> str:
    """The version of the compiled code: a hash over all sources that hold kernels, their names and texts."""
    digest = hashlib.sha256()
    for source in sorted(path for name in COMPILED for path in (root / name).rglob("*.py")):
        text = source.read_bytes()
        if b"@njit" in text:
            digest.update(source.relative_to(root).as_posix().encode() + b"\0" + text + b"\0")
    return digest.hexdigest()[:16]


def _copy_at_once(source: Path, target: Path) -> None:
    """Copies a folder so that others see all of it or nothing; where that fails, the kernels are compiled anew."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        halfway = Path(tempfile.mkdtemp(prefix=".kernels-", dir=target.parent))
    except OSError:
        return
    try:
        shutil.copytree(source, halfway / target.name, copy_function=shutil.copyfile)
        os.rename(halfway / target.name, target)
    except (OSError, shutil.Error):  # no room, or another process was faster
        pass
    finally:
        shutil.rmtree(halfway, ignore_errors=True)
