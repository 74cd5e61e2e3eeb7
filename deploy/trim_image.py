"""Makes an installed environment smaller, while an image is built: nothing that a server runs is touched.

    python trim_image.py prune      # deletes what never runs: headers, tests, plugins of devices that are not used
    python trim_image.py bytecode   # rewrites the bytecode written so far so that it holds whatever times files carry

Bytecode is kept for modules that have been imported once before, which saves hundreds of megabytes.
"""

import importlib.util
import py_compile
import shutil
import sys
import sysconfig
from pathlib import Path

SITE = Path(sysconfig.get_path("purelib"))

# Only what is known to be dead weight. Some of it is there on some processors only; what matches nothing is told.
DEAD = (
    "torch/include",  # headers, for extensions that are compiled at run time
    "torch/bin/protoc*",  # torch_shm_manager beside them is needed
    "torch/bin/test_*",
    "torch/bin/*Test",
    "torch/test",
    "torch/lib/*_test*",
    "openvino_telemetry",  # OpenVINO reports its use to its makers where it finds this
    "openvino/include",
    "openvino/libs/libopenvino_intel_npu_plugin.so",
    "openvino/libs/libopenvino_intel_gpu_plugin.so",
    "openvino/libs/cache.json",  # of the GPU plugin
    "openvino/libs/libopenvino_onnx_frontend.so*",  # the networks come from torch
    "openvino/libs/libopenvino_tensorflow*_frontend.so*",
    "openvino/libs/libopenvino_paddle_frontend.so*",
    "openvino/libs/libopenvino_gguf_frontend.so*",
    "openvino/libs/libopenvino_jax_frontend.so*",
    "scs",  # a solver of cvxpy's; the reference that the tests use asks another one, a server none
    "scs.libs",
    "numba/tests",
    "scipy/*/tests",
    "sympy/*/tests",
    "matplotlib/tests",
    "networkx/*/tests",
    "shapely/tests",
)


def prune(site: Path, patterns: tuple[str, ...] = DEAD) -> int:
    """Deletes what matches in a folder of installed packages.

    Returns:
        Bytes deleted.
    """
    freed = 0
    for pattern in patterns:
        found = sorted(site.glob(pattern))
        if not found:
            print(f"nothing matches {pattern}")
        for path in found:
            freed += size(path)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    return freed


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.lstat().st_size for file in files if file.is_file() or file.is_symlink())


def settle_bytecode(site: Path) -> int:
    """Compiles anew what has bytecode, such that it is used unchecked: times of files change on the way into an image.

    Returns:
        Number of modules.
    """
    count = 0
    for cached in sorted(site.rglob("__pycache__/*.pyc")):
        source = importlib.util.source_from_cache(str(cached))
        if not Path(source).exists():
            cached.unlink()
            continue
        py_compile.compile(source, str(cached), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH, quiet=1)
        count += 1
    return count


def main() -> None:
    """One of the two steps."""
    if sys.argv[1:] == ["prune"]:
        print(f"{prune(SITE) / 1e6:.0f} MB deleted")
    elif sys.argv[1:] == ["bytecode"]:
        print(f"{settle_bytecode(SITE)} modules with bytecode")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
