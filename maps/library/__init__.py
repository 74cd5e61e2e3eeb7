"""The maps that come with the product, by id.

    open_hall   20 x 15 m with pillars
    warehouse   30 x 20 m, racks of 4.0 x 0.9 m, aisles in which two carts of 0.35 m radius pass each other
    office      24 x 16 m, eleven rooms on a corridor, doors of 1.0 to 1.2 m
    depot       30 x 15 m, an occupancy map of 0.05 m with machines, walls and clutter, as a robot's mapping gives it
    crossing    12 x 12 m, two corridors that cross

They are of our own making: `maps/library/generate.py` writes them (`python -m maps.library.generate`).
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from maps.errors import UnknownMap

if TYPE_CHECKING:
    from maps.scene import Scene

_FOLDER = Path(__file__).parent


@lru_cache(maxsize=1)
def map_ids() -> tuple[str, ...]:
    """The ids of all built-in maps, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.iterdir() if path.suffix in (".json", ".yaml")))


@lru_cache(maxsize=16)
def load_map(map_id: str) -> "Scene":
    """A built-in map; the same object every time.

    Raises:
        UnknownMap: no built-in map has this id.
    """
    if map_id not in map_ids():
        raise UnknownMap(map_id)
    if (_FOLDER / f"{map_id}.yaml").exists():
        from maps.files.nav2 import read_nav2

        return read_nav2(_FOLDER / f"{map_id}.yaml")
    from maps.files.inline import read_inline

    return read_inline(json.loads((_FOLDER / f"{map_id}.json").read_text(encoding="utf-8")))
