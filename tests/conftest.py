"""Numerical libraries keep to one thread here as they do in `flowfleet`; compiled functions are left out of the shape checker.

Two threads for a small network wait for each other more than they work wherever another process is busy. Numba compiles
and caches the plain function, not a checking wrapper of it.
"""

import ast

import jaxtyping
import pytest
from jaxtyping import _import_hook

from api.cores import limit_threads

limit_threads()

_is_marked = _import_hook._is_no_type_check


def _is_compiled_or_marked(decorator: ast.AST) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (isinstance(called, ast.Name) and called.id in {"njit", "vectorize"}) or _is_marked(decorator)


_import_hook._is_no_type_check = _is_compiled_or_marked


def pytest_sessionstart(session) -> None:
    if hasattr(session.config, "workerinput"):  # the process that started the workers has done it
        return
    from pathlib import Path

    from maps.kernel_cache import COMPILED, drop_stale_kernels

    drop_stale_kernels(Path(__file__).resolve().parents[1] / name for name in COMPILED)


@pytest.fixture
def unchecked(monkeypatch):
    """No shapes are checked: for tests that learn over hundreds of updates, the shapes of which other tests have checked."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
