"""The calls about maps."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from api.documented import DELETE_MAP, MAP, MAPS, PREVIEW, PUT_MAP
from api.plan_wire import to_json
from api.uploads import read_upload, scene_of

if TYPE_CHECKING:
    from api.desk import Desk
    from api.maps_store import MapsStore, StoredMap
    from api.uploads import Upload

router = APIRouter(tags=["maps"])
JSON = "application/json"


@router.get("/v1/maps", **MAPS)
async def list_maps(request: Request) -> Response:
    """All maps, built in and registered."""
    desk: Desk = request.app.state.desk
    return Response(await desk.aside(partial(_listed, desk.maps)), media_type=JSON)


@router.get("/v1/maps/{map_id}", **MAP)
async def read_map(request: Request, map_id: str) -> Response:
    """A map in its inline form."""
    desk: Desk = request.app.state.desk
    return Response(await desk.aside(lambda: desk.maps.find(map_id).body()), media_type=JSON)


@router.put("/v1/maps/{map_id}", **PUT_MAP)
async def put_map(request: Request, map_id: str) -> Response:
    """Registers a map: the inline form as JSON, or files as multipart (a Nav2 YAML and its image, or one file and its format)."""
    desk: Desk = request.app.state.desk
    upload = await read_upload(request, desk.settings.max_body_bytes)
    stored, is_new = await desk.aside(partial(_registered, desk, map_id, upload))
    return Response(to_json(stored.summary()), 201 if is_new else 200, {"Location": f"/v1/maps/{map_id}"}, JSON)


@router.delete("/v1/maps/{map_id}", **DELETE_MAP)
async def delete_map(request: Request, map_id: str) -> Response:
    """Forgets a registered map."""
    desk: Desk = request.app.state.desk
    desk.maps.delete(map_id)
    return Response(status_code=204)


@router.get("/v1/maps/{map_id}/preview.png", **PREVIEW)
async def preview_map(request: Request, map_id: str) -> Response:
    """A picture of a map."""
    desk: Desk = request.app.state.desk
    return Response(await desk.aside(lambda: desk.maps.find(map_id).preview()), media_type="image/png")


def _listed(maps: MapsStore) -> bytes:
    return to_json({"maps": [maps.find(map_id).summary() for map_id in maps.ids()]})


def _registered(desk: Desk, map_id: str, upload: Upload) -> tuple[StoredMap, bool]:
    desk.maps.refuse_id(map_id)
    return desk.maps.put(map_id, scene_of(upload, desk.settings))
