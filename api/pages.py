"""The description of the API as a page to try it from: Swagger UI, from files of this package and from nowhere else."""

from __future__ import annotations

from functools import cache
from importlib import resources

from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException

router = APIRouter(include_in_schema=False)

_KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_FILES = {
    "docs.js": "docs.js",
    "swagger-ui-bundle.js": "swagger/swagger-ui-bundle.js",
    "swagger-ui.css": "swagger/swagger-ui.css",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("/docs")
async def docs() -> Response:
    """All calls, to read and to try."""
    return _file("docs.html", {"Content-Security-Policy": _POLICY})


@router.get("/docs/{name}")
async def docs_file(name: str) -> Response:
    """What that page is made of."""
    if name not in _FILES:
        raise HTTPException(404)
    return _file(_FILES[name], {"Cache-Control": "max-age=3600"})


def _file(name: str, headers: dict[str, str]) -> Response:
    kind = _KINDS[name[name.rindex(".") :]]
    return Response(_content(name), headers=headers, media_type=kind)


@cache
def _content(name: str) -> bytes:
    return (resources.files("api") / "web" / name).read_bytes()
