"""Maps that callers send or have on disk, in any of the formats, as scenes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from api.body import media_type, read_body, refuse_encoded, require_json
from api.caps import check_map
from api.map_wire import InlineMap, to_scene
from api.parsing import parse_json
from api.problems import Problem, of_validation
from maps.errors import InvalidMapFile
from maps.files.geojson import read_geojson
from maps.files.movingai import read_movingai
from maps.files.nav2 import read_nav2
from maps.files.shapes import ShapeCaps
from maps.files.wkt import read_wkt

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import Message

    from api.settings import Settings
    from maps.scene import Scene

FORMATS = ("movingai", "geojson", "wkt")


@dataclass(frozen=True)
class Upload:
    """What a caller sent: the inline form as JSON, or the parts of a form."""

    json: bytes | None = None
    parts: dict[str, bytes] = field(default_factory=dict)


async def read_upload(request: Request, limit: int) -> Upload:
    """The parts of an upload.

    Args:
        request: the request.
        limit: bytes of the whole body.

    Raises:
        Problem: 413, 415, or 400 for a form that is none.
    """
    if media_type(request) != "multipart/form-data":
        require_json(request)
        return Upload(json=await read_body(request, limit))
    refuse_encoded(request)
    return Upload(parts=await _form_parts(request, await read_body(request, limit)))


async def _form_parts(request: Request, body: bytes) -> dict[str, bytes]:
    async def replay() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        async with Request(request.scope, replay).form(max_files=4, max_fields=8, max_part_size=len(body)) as form:
            return {name: part.encode() if isinstance(part, str) else await part.read() for name, part in form.items()}
    except (MultiPartException, KeyError, UnicodeError) as error:
        said = getattr(error, "message", None) or "parts cannot be told apart"
        raise Problem(400, "MALFORMED_FORM", f"the form cannot be read: {said[:100]}") from None


def scene_of(upload: Upload, settings: Settings) -> Scene:
    """The scene of an upload.

    Raises:
        Problem: 400 or 422 for an inline form that is none.
        InvalidInput: a file that cannot be read, or is over a cap.
    """
    if upload.json is not None:
        return _inline(parse_json(upload.json), settings)
    parts = dict(upload.parts)
    if "yaml" in parts or "image" in parts:
        return _nav2(parts, settings)
    kind = parts.pop("format", b"").decode("ascii", "replace")
    cell_size = _number(parts.pop("cell_size", b""))
    if kind not in FORMATS:
        message = "a form has the parts yaml and image, or one file and its format"
        raise InvalidMapFile(message, pointer="/format", code="NOT_ALLOWED", value=kind[:40], limit=", ".join(FORMATS))
    if len(parts) != 1:
        raise InvalidMapFile("exactly one file is expected", pointer="/file", code="WRONG_LENGTH", value=len(parts), limit=1)
    return _shaped(next(iter(parts.values())), kind, cell_size, settings)


def _inline(document: Any, settings: Settings) -> Scene:
    check_map(document, settings)
    try:
        return to_scene(InlineMap.model_validate(document))
    except ValidationError as error:
        raise of_validation(error) from None


def _nav2(parts: dict[str, bytes], settings: Settings) -> Scene:
    for name in ("yaml", "image"):
        if name not in parts:
            raise InvalidMapFile(f"the part {name} is missing", pointer=f"/{name}", code="MISSING")
    unknown = parts.get("unknown", b"blocked")
    if unknown not in (b"blocked", b"free"):
        raise InvalidMapFile("unknown is blocked or free", pointer="/unknown", code="NOT_ALLOWED", limit="blocked, free")
    extra = sorted(parts.keys() - {"yaml", "image", "unknown"})
    if extra:
        raise InvalidMapFile("is not a known part beside yaml and image", pointer="/" + extra[0][:40], code="UNKNOWN_KEY")
    treated = "free" if unknown == b"free" else "blocked"
    return read_nav2(parts["yaml"], parts["image"], unknown=treated, max_cells=settings.max_grid_cells)


def _shaped(content: bytes, kind: str, cell_size: float | None, settings: Settings) -> Scene:
    if kind == "movingai":
        if cell_size is None:
            raise InvalidMapFile("a MovingAI map needs a cell size, m", pointer="/cell_size", code="MISSING")
        return read_movingai(content, cell_size, settings.max_grid_cells)
    caps = ShapeCaps(settings.max_obstacles, settings.max_map_vertices, settings.max_polygon_vertices, settings.max_body_bytes)
    return read_geojson(content, caps) if kind == "geojson" else read_wkt(content, caps=caps)


def _number(text: bytes) -> float | None:
    """The number of a form's field; None where there is none."""
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidMapFile(
            "cell_size must be a number", pointer="/cell_size", code="WRONG_TYPE", value=text[:40].decode("ascii", "replace")
        )
    return value


def read_map_file(path: Path, cell_size: float | None, settings: Settings) -> Scene:
    """The scene of a map file, whose ending names its format.

    Args:
        path: ends in .yaml or .yml (Nav2; its image lies beside it), .map (MovingAI), .geojson or .json, .wkt.
        cell_size: m, of a MovingAI map.
        settings: the caps.

    Raises:
        InvalidInput: another ending, a file that is not what its ending says, or one over a cap.
        OSError: the file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in (".yaml", ".yml"):
        return read_nav2(path, max_cells=settings.max_grid_cells)
    kinds = {".map": "movingai", ".geojson": "geojson", ".json": "geojson", ".wkt": "wkt"}
    if suffix not in kinds:
        raise InvalidMapFile("the name of a map ends in .yaml, .map, .geojson or .wkt", code="UNKNOWN_FORMAT", value=suffix[:40])
    return _shaped(path.read_bytes(), kinds[suffix], cell_size, settings)
