"""Keeps compiled kernels in step with their sources.

Numba caches each compiled function beside its source and looks at that one file to tell whether the cache is still
good. A kernel that calls kernels of other files is not made anew when those change. So once any source with kernels is
newer than a cached kernel, all cached kernels are dropped; the next call compiles them.
"""

from collections.abc import Iterable
from pathlib import Path

COMPILED = ("maps", "models", "planner", "safety_filter")  # packages with compiled kernels


def drop_stale_kernels(folders: Iterable[Path]) -> int:
    """Deletes the cached kernels in package folders if any is older than any source with kernels in them.

    Args:
        folders: folders of packages; their `__pycache__` is where numba caches, unless NUMBA_CACHE_DIR says otherwise.

    Returns:
        Number of files deleted. Folders that cannot be written to are left alone.
    """
    folders = list(folders)
    cached = [file for folder in folders for file in (folder / "__pycache__").glob("*.nb[ci]")]
    sources = [file for folder in folders for file in folder.glob("*.py") if "@njit" in file.read_text(encoding="utf-8")]
    if not cached or not sources or max(s.stat().st_mtime for s in sources) <= min(c.stat().st_mtime for c in cached):
        return 0
    deleted = 0
    for file in cached:
        try:
            file.unlink()
            deleted += 1
        except OSError:  # another process was faster, or the folder is read-only
            continue
    return deleted
