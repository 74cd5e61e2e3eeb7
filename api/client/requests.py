"""Planning requests as typed values; `to_dict` gives the wire form, in which what is left out is left to the server."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

Place = tuple[float, float]  # x, y in m, in the map frame: x right, y up


@dataclass(frozen=True)
class Circle:
    """A disc that robots keep out of."""

    x: float  # m
    y: float  # m
    radius: float  # m

    def to_dict(self) -> dict[str, Any]:
        """The wire form."""
        return {"type": "circle", "x": self.x, "y": self.y, "radius": self.radius}


@dataclass(frozen=True)
class Polygon:
    """Any simple polygon that robots keep out of, not only a convex one."""

    vertices: Sequence[Place]  # m, either orientation; the first is not repeated
    holes: Sequence[Sequence[Place]] = ()  # m, free inside

    def to_dict(self) -> dict[str, Any]:
        """The wire form."""
        document: dict[str, Any] = {"type": "polygon", "vertices": [list(v) for v in self.vertices]}
        return document | ({"holes": [[list(v) for v in hole] for hole in self.holes]} if self.holes else {})


@dataclass(frozen=True)
class Grid:
    """Square cells, occupied or free."""

    resolution: float  # m, side of a cell
    origin: Place  # m, lower-left corner
    shape: tuple[int, int]  # rows, columns
    data: str  # bits over the flattened grid, row 0 the lowest, packed, deflated, in base64

    @classmethod
    def of(cls, occupied: ArrayLike, resolution: float, origin: Place = (0.0, 0.0)) -> Self:
        """The grid of an array of shape (rows, columns): true or not zero where occupied, row 0 the lowest."""
        import numpy as np

        cells = np.asarray(occupied, dtype=bool)
        if cells.ndim != 2:
            raise ValueError(f"a grid has rows and columns; the array has {cells.ndim} dimensions")
        packed = zlib.compress(np.packbits(cells).tobytes())
        return cls(resolution, origin, (cells.shape[0], cells.shape[1]), base64.b64encode(packed).decode())

    def to_dict(self) -> dict[str, Any]:
        """The wire form."""
        return {
            "resolution": self.resolution,
            "origin": list(self.origin),
            "shape": list(self.shape),
            "encoding": "packbits+zlib+base64",
            "data": self.data,
        }


@dataclass(frozen=True)
class Map:
    """A map within a request, or to be registered: bounds, obstacles and a grid, any of them together."""

    bounds: tuple[float, float, float, float] | None = None  # m: xmin, ymin, xmax, ymax; the grid's extent by default
    obstacles: Sequence[Circle | Polygon] = ()
    grid: Grid | None = None

    def to_dict(self) -> dict[str, Any]:
        """The wire form."""
        document: dict[str, Any] = {}
        if self.bounds is not None:
            document["bounds"] = list(self.bounds)
        if self.obstacles:
            document["obstacles"] = [obstacle.to_dict() for obstacle in self.obstacles]
        return document | ({"grid": self.grid.to_dict()} if self.grid is not None else {})


@dataclass(frozen=True)
class MapFile:
    """A map in one of the formats of other tools, to be registered."""

    parts: Mapping[str, bytes]  # of a form: yaml and image, or file and format

    @classmethod
    def nav2(cls, yaml: str | Path, image: str | Path, unknown: Literal["blocked", "free"] = "blocked") -> Self:
        """A Nav2 map: its YAML and the picture that this names."""
        return cls({"yaml": Path(yaml).read_bytes(), "image": Path(image).read_bytes(), "unknown": unknown.encode()})

    @classmethod
    def one(cls, file: str | Path, format: Literal["movingai", "geojson", "wkt"], cell_size: float | None = None) -> Self:
        """A map in one file; `cell_size`, m, is what a MovingAI map needs."""
        sized = {} if cell_size is None else {"cell_size": repr(float(cell_size)).encode()}
        return cls({"file": Path(file).read_bytes(), "format": format.encode()} | sized)


@dataclass(frozen=True)
class Robot:
    """One disc of the fleet. It arrives at rest; limits are Euclidean norms, held at every instant."""

    id: str
    start: Place | None  # m; None only where a previous plan says it
    goal: Place  # m
    radius: float  # m
    v_max: float  # m/s
    a_max: float  # m/s^2
    velocity: Place = (0.0, 0.0)  # m/s, at the start
    acceleration: Place = (0.0, 0.0)  # m/s^2, at the start
    frozen: bool = False  # with a previous plan: keeps its curve, the others plan around it

    def to_dict(self) -> dict[str, Any]:
        """The wire form."""
        document: dict[str, Any] = {"id": self.id, "goal": {"x": self.goal[0], "y": self.goal[1]}, "radius": self.radius}
        document["limits"] = {"v_max": self.v_max, "a_max": self.a_max}
        if self.start is not None:
            document["start"] = {"x": self.start[0], "y": self.start[1]} | self._motion()
        return document | ({"frozen": True} if self.frozen else {})

    def _motion(self) -> dict[str, float]:
        (vx, vy), (ax, ay) = self.velocity, self.acceleration
        return {key: value for key, value in {"vx": vx, "vy": vy, "ax": ax, "ay": ay}.items() if value != 0.0}


@dataclass(frozen=True)
class MovingObstacle:
    """A disc on a known, piecewise linear path; it stands at its first place before t[0] and at its last after the last."""

    id: str
    radius: float  # m
    t: Sequence[float]  # s, increasing
    x: Sequence[float]  # m
    y: Sequence[float]  # m

    def to_dict(self) -> dict[str, Any]:
        """The wire form."""
        return {"id": self.id, "radius": self.radius, "t": list(self.t), "x": list(self.x), "y": list(self.y)}


@dataclass(frozen=True)
class Options:
    """How to plan; None leaves it to the server."""

    seed: int | None = None  # 0 to 2^63 - 1; the same request and seed give the same plan
    candidates: int | None = None  # joint trajectories proposed at once
    alternatives: int | None = None  # different certified plans to return, best first
    margin: float | None = None  # m, extra room kept from everything
    deadline_ms: float | None = None  # wall clock from receipt; the client waits no longer than this and a moment
    allow_partial: bool | None = None  # leave out robots that cannot be planned, with a reason
    samples_dt: float | None = None  # s; also return samples of every curve at this step
    sources: Sequence[Literal["flow", "search", "straight"]] | None = None
    warm_start: bool | None = None
    priority: int | None = None  # 0 (first) to 9, in the server's queue

    def to_dict(self) -> dict[str, Any]:
        """The wire form."""
        said = {f.name: getattr(self, f.name) for f in fields(self)}
        document = {key: value for key, value in said.items() if value is not None}
        return document | ({"sources": list(self.sources)} if self.sources is not None else {})


@dataclass(frozen=True)
class Request:
    """A map, robots and how to plan them. Metres, radians, seconds; x right, y up."""

    map: str | Map | Mapping[str, Any]  # an id, or the map itself
    robots: Sequence[Robot]
    horizon_s: float | None = None  # every curve spans exactly [0, horizon_s]; None: the shortest that can be certified
    moving_obstacles: Sequence[MovingObstacle] = ()
    options: Options = Options()
    previous_plan_id: str | None = None
    previous_plan: Mapping[str, Any] | None = None  # a plan's wire form, such as PlanResult.raw
    commit_s: float | None = None  # s; with a previous plan: its curves are kept up to here

    def to_dict(self) -> dict[str, Any]:
        """The wire form."""
        document: dict[str, Any] = {"map": self._map(), "robots": [robot.to_dict() for robot in self.robots]}
        if self.moving_obstacles:
            document["moving_obstacles"] = [obstacle.to_dict() for obstacle in self.moving_obstacles]
        if options := self.options.to_dict():
            document["options"] = options
        for name in ("horizon_s", "previous_plan_id", "previous_plan", "commit_s"):
            if getattr(self, name) is not None:
                document[name] = getattr(self, name)
        return document

    def _map(self) -> dict[str, Any]:
        if isinstance(self.map, str):
            return {"id": self.map}
        return self.map.to_dict() if isinstance(self.map, Map) else dict(self.map)


AnyRequest = Request | dict[str, Any]  # the wire form will do wherever a request is asked for
AnyMap = Map | MapFile | dict[str, Any]
