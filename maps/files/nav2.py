"""ROS occupancy maps: a YAML file and a PGM or PNG image, with the meaning that the map server of Nav2 gives them.

A pixel's darkness is p = 1 - level / top, or level / top with `negate`. Mode `trinary`: occupied (100) from
`occupied_thresh` up, free (0) up to `free_thresh`, else unknown (-1). Mode `scale`: as trinary, and between the thresholds
round(100 (p - free) / (occupied - free)). Mode `raw`: the level from 0 to 255 itself, unknown above 100. Pixels that are
not fully opaque are unknown, except in `raw`. Row 0 of the image is the top; `origin` is the pose of the lower-left corner.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import yaml
from jaxtyping import Int8

from maps.errors import InvalidMapFile, LimitExceeded
from maps.files.image import GreyImage, read_image
from maps.files.rotation import rotated
from maps.scene import Grid, Scene

MAX_CELLS = 16_000_000
MAX_YAML = 8_192  # bytes
MAX_BRACKETS = 64  # opening ones; the time to read nested ones grows with the square of their depth
MAX_IMAGE = 256_000_000  # bytes
FREE, OCCUPIED, UNKNOWN = 0, 100, -1
FURTHEST = 1e6  # m
Mode = Literal["trinary", "scale", "raw"]
Unknown = Literal["blocked", "free"]


@dataclass(frozen=True)
class Nav2Description:
    """What the YAML file says."""

    image: str  # file name, relative to the YAML
    resolution: float  # m, side of a pixel
    origin: tuple[float, float, float]  # x and y, m, and yaw, rad, of the image's lower-left corner
    negate: bool = False
    occupied_thresh: float = 0.65
    free_thresh: float = 0.25
    mode: Mode = "trinary"


def read_nav2(
    description: str | Path | bytes, image: bytes | None = None, *, unknown: Unknown = "blocked", max_cells: int = MAX_CELLS
) -> Scene:
    """The scene of a Nav2 map.

    A cell is free where its occupancy is 0 and blocked where it is 100; whatever lies between counts as unknown. A map with
    yaw is brought into the map frame by `maps.files.rotation.rotated`: a cell that overlaps any blocked one is blocked.

    Args:
        description: path of the YAML file, whose image is read from beside it, or the YAML's content.
        image: the image's content where the YAML's content is given.
        unknown: what unknown cells are.
        max_cells: most cells.

    Returns:
        A scene with one grid, whose extent is its bounds.

    Raises:
        InvalidMapFile: what cannot be read, or an image path that leaves the YAML's folder.
        LimitExceeded: too many cells, or a file too large.
    """
    if isinstance(description, bytes):
        told = parse_description(description)
        if image is None:
            raise InvalidMapFile("the image is missing", pointer="/image")
    else:
        path = Path(description)
        told = parse_description(_read_file(path, MAX_YAML))
        image = _read_file(_beside(path, told.image), MAX_IMAGE)
    values = occupancy(told, read_image(image, max_cells))[::-1]
    blocked = (values != FREE) if unknown == "blocked" else (values == OCCUPIED)
    x, y, yaw = told.origin
    grid = Grid(np.ascontiguousarray(blocked), told.resolution, (x, y))
    grid = grid if abs(math.remainder(yaw, math.tau)) < 1e-9 else rotated(grid, yaw, max_cells)
    if max(map(abs, grid.extent)) > FURTHEST:
        raise InvalidMapFile("the map reaches too far", pointer="/origin", value=max(map(abs, grid.extent)), limit=FURTHEST)
    return Scene(grid=grid)


def occupancy(told: Nav2Description, picture: GreyImage) -> Int8[np.ndarray, "H W"]:
    """Occupancy of every pixel as Nav2 computes it: 0 free to 100 occupied, -1 unknown; row 0 is the top."""
    shade = np.arange(picture.top + 1) / picture.top
    if told.mode == "raw":
        value = np.rint(shade * 255)
        table = np.where(value <= OCCUPIED, value, UNKNOWN)
    else:
        p = shade if told.negate else 1.0 - shade
        between = np.full_like(p, UNKNOWN)
        if told.mode == "scale" and told.occupied_thresh > told.free_thresh:
            between = np.rint(100.0 * (p - told.free_thresh) / (told.occupied_thresh - told.free_thresh))
        table = np.where(p >= told.occupied_thresh, OCCUPIED, np.where(p <= told.free_thresh, FREE, between))
    values = table.astype(np.int8)[picture.level]
    if picture.opaque is not None and told.mode != "raw":
        values[~picture.opaque] = UNKNOWN
    return values


def parse_description(content: bytes) -> Nav2Description:
    """What a YAML file says, checked.

    Raises:
        InvalidMapFile: no such file; with a JSON pointer to the key.
        LimitExceeded: the file is too large.
    """
    told = _load_yaml(content)
    image = told.get("image")
    if not isinstance(image, str) or not image:
        raise InvalidMapFile("the file name of the image is missing", pointer="/image")
    _refuse_elsewhere(image)
    mode = told.get("mode", "trinary")
    if mode not in get_args(Mode):
        raise InvalidMapFile("the mode is unknown", pointer="/mode", value=str(mode)[:40], limit=" ".join(get_args(Mode)))
    negate = told.get("negate", 0)
    if not isinstance(negate, int) or negate not in (0, 1):
        raise InvalidMapFile("negate is 0 or 1", pointer="/negate", value=str(negate)[:40])
    resolution = _number(told.get("resolution"), "/resolution")
    if not 1e-6 <= resolution <= FURTHEST:
        raise InvalidMapFile("the resolution must be positive", pointer="/resolution", value=resolution, limit=0.0)
    low, high = (_number(told.get(key, usual), f"/{key}") for key, usual in (("free_thresh", 0.25), ("occupied_thresh", 0.65)))
    if not 0.0 <= low <= high <= 1.0:
        raise InvalidMapFile("thresholds lie between 0 and 1, that of free cells lower", pointer="/free_thresh", value=low, limit=high)
    return Nav2Description(image, resolution, _origin(told.get("origin")), bool(negate), high, low, mode)


def _load_yaml(content: bytes) -> dict[str, Any]:
    """A mapping, without anchors: an alias inside an alias inside an alias is how a small file becomes a large one."""
    if len(content) > MAX_YAML:
        raise LimitExceeded(f"the YAML file may have {MAX_YAML} bytes", value=len(content), limit=MAX_YAML)
    if content.count(b"[") + content.count(b"{") > MAX_BRACKETS:
        raise InvalidMapFile("the YAML file is nested too deeply")
    try:
        if any(isinstance(token, yaml.AnchorToken | yaml.AliasToken) for token in _tokens(content)):
            raise InvalidMapFile("anchors and aliases are not allowed in the YAML file")
        told = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        if isinstance(error, InvalidMapFile):
            raise
        raise InvalidMapFile(f"the YAML file cannot be read: {str(error).splitlines()[0] if str(error) else 'too deep'}"[:120]) from None
    if not isinstance(told, dict):
        raise InvalidMapFile("the YAML file holds no keys")
    return told


def _tokens(content: bytes) -> Iterator[yaml.Token]:
    return yaml.scan(content, Loader=yaml.SafeLoader)


def _number(value: Any, pointer: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        raise InvalidMapFile(f"{pointer[1:]} must be a number", pointer=pointer, value=str(value)[:40])
    return float(value)


def _origin(value: Any) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) not in (2, 3):
        raise InvalidMapFile("the origin is x, y and yaw", pointer="/origin", value=str(value)[:40])
    x, y, yaw = (_number(v, f"/origin/{k}") for k, v in enumerate([*value, 0.0][:3]))
    if max(abs(x), abs(y)) > FURTHEST:
        raise InvalidMapFile("the origin lies too far away", pointer="/origin", value=max(abs(x), abs(y)), limit=FURTHEST)
    return x, y, yaw


def _refuse_elsewhere(image: str) -> None:
    parts = image.replace("\\", "/").split("/")
    if image.startswith(("/", "\\", "~")) or ":" in image or "\0" in image or ".." in parts:
        raise InvalidMapFile(
            "the image must lie in the folder of the YAML file", pointer="/image", code="PATH_NOT_ALLOWED", value=image[:80]
        )


def _beside(description: Path, image: str) -> Path:
    folder = description.parent.resolve()
    path = (folder / image).resolve()
    if not path.is_relative_to(folder):  # a link that leads out
        raise InvalidMapFile(
            "the image must lie in the folder of the YAML file", pointer="/image", code="PATH_NOT_ALLOWED", value=image[:80]
        )
    return path


def _read_file(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise InvalidMapFile(f"{path.name} cannot be read: {error.strerror}", pointer="/image") from None
    if len(content) > most:
        raise LimitExceeded(f"{path.name} may have {most} bytes", value=len(content), limit=most)
    return content
