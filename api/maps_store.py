"""Maps by id: the built-in ones, which stay as they are, and those that callers register."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from api.map_wire import outside_bounds, scene_bytes
from api.plan_wire import to_json
from api.problems import Fault, Problem
from maps import library
from maps.errors import UnknownMap
from maps.files.inline import write_inline
from maps.files.shapes import frame_warnings

if TYPE_CHECKING:
    from api.settings import Settings
    from maps.scene import Scene

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class StoredMap:
    """A map and what is worth keeping beside it."""

    id: str
    scene: Scene
    built_in: bool
    warnings: tuple[str, ...]
    _kept: dict[str, bytes] = field(default_factory=dict, compare=False)

    def summary(self) -> dict[str, Any]:
        """The map in a list of maps."""
        grid = self.scene.grid
        return {
            "id": self.id,
            "built_in": self.built_in,
            "bounds": self.scene.bounds,
            "obstacles": len(self.scene.discs) + len(self.scene.polygons),
            "grid": None if grid is None else {"shape": list(grid.occupied.shape), "resolution": grid.resolution},
            "warnings": list(self.warnings),
        }

    def body(self) -> bytes:
        """The inline wire form as JSON."""
        if "body" not in self._kept:
            self._kept["body"] = to_json(write_inline(self.scene))
        return self._kept["body"]

    def preview(self) -> bytes:
        """A picture, PNG."""
        if "preview" not in self._kept:
            from planner.render import render_scene_png

            self._kept["preview"] = render_scene_png(self.scene)
        return self._kept["preview"]


class MapsStore:
    """All maps of one server; safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        """Only the built-in maps are there at first, each loaded when it is first asked for."""
        self._settings = settings
        self._maps: dict[str, StoredMap] = {}
        self._lock = threading.RLock()
        self._built_in = frozenset(library.map_ids())

    def ids(self) -> list[str]:
        """The ids of all maps."""
        with self._lock:
            return sorted(self._built_in | self._maps.keys())

    def find(self, map_id: str) -> StoredMap:
        """A map.

        Raises:
            UnknownMap: no map has this id.
        """
        with self._lock:
            if map_id not in self._maps:
                if map_id not in self._built_in:
                    raise UnknownMap(map_id)
                self._maps[map_id] = _stored(map_id, library.load_map(map_id), built_in=True)
            return self._maps[map_id]

    def put(self, map_id: str, scene: Scene) -> tuple[StoredMap, bool]:
        """Registers a map, in place of an earlier one of this id.

        Returns:
            The map, and whether it is new.

        Raises:
            Problem: 409 for a built-in map, 422 for an id that is none or over a cap.
        """
        self.refuse_id(map_id)
        stored = _stored(map_id, scene, built_in=False)
        with self._lock:
            others = [m for m in self._maps.values() if not m.built_in and m.id != map_id]
            self._refuse_excess(len(others) + 1, sum(scene_bytes(m.scene) for m in [*others, stored]))
            is_new = map_id not in self._maps
            self._maps[map_id] = stored
        return stored, is_new

    def delete(self, map_id: str) -> None:
        """Forgets a registered map.

        Raises:
            Problem: 409 for a built-in map.
            UnknownMap: no map has this id.
        """
        self._refuse_built_in(map_id)
        with self._lock:
            if self._maps.pop(map_id, None) is None:
                raise UnknownMap(map_id)

    def refuse_id(self, map_id: str) -> None:
        """Refuses an id under which no map can be registered.

        Raises:
            Problem: 409 for a built-in map, 422 for an id that is none.
        """
        self._refuse_built_in(map_id)
        if _ID.fullmatch(map_id) is None:
            raise Problem(422, "INVALID_MAP_ID", "a map's id has 1 to 64 letters, digits, dots, underscores or hyphens")

    def _refuse_built_in(self, map_id: str) -> None:
        if map_id in self._built_in:
            raise Problem(409, "BUILT_IN_MAP", f"the map {map_id!r} is built in and cannot be changed")

    def _refuse_excess(self, maps: int, size: int) -> None:
        for found, limit, what in ((maps, self._settings.max_maps, "maps"), (size, self._settings.max_maps_bytes, "bytes of maps")):
            if found > limit:
                message = f"at most {limit} {what} may be registered"
                raise Problem(422, "LIMIT_EXCEEDED", message, [Fault("", "LIMIT_EXCEEDED", message, found, limit)])


def _stored(map_id: str, scene: Scene, *, built_in: bool) -> StoredMap:
    return StoredMap(map_id, scene, built_in, (*outside_bounds(scene), *frame_warnings(scene)))
