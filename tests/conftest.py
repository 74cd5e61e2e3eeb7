"""Compiled functions are left out of the shape checker: numba compiles and caches the plain function, not a wrapper of it."""

import ast

from jaxtyping import _import_hook

_is_marked = _import_hook._is_no_type_check


def _is_compiled_or_marked(decorator: ast.AST) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (isinstance(called, ast.Name) and called.id in {"njit", "vectorize"}) or _is_marked(decorator)


_import_hook._is_no_type_check = _is_compiled_or_marked


def pytest_sessionstart() -> None:
    from pathlib import Path

    from maps.kernel_cache import drop_stale_kernels

    drop_stale_kernels(Path(__file__).resolve().parents[1] / name for name in ("maps", "planner", "safety_filter"))
