"""What the API's description says about each call: schemas and examples of bodies, taken by the routes as keywords."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api import answers, examples
from api.capabilities import CapabilitiesAnswer
from api.judge import JudgedPlan
from api.map_wire import InlineMap
from api.problems import MEDIA_TYPE
from api.wire import PlanRequest

if TYPE_CHECKING:
    from fastapi import FastAPI

_SCHEMA = "#/components/schemas/"


class CheckRequest(BaseModel):
    """A request and a plan for it."""

    request: PlanRequest
    plan: JudgedPlan


_REQUESTS: tuple[type[BaseModel], ...] = (PlanRequest, CheckRequest, InlineMap)
_ERRORS = {
    400: "malformed JSON",
    404: "no such map",
    409: "the map is built in",
    413: "the body is too large",
    401: "no key, or one that is not valid",
    406: "the form that is asked for is not installed",
    408: "the body did not come in time",
    415: "wrong media type",
    422: "the body does not fit the schema, is over a cap, or names an unknown map",
    429: "too many requests of one caller; see Retry-After",
    500: "the server failed",
    503: "the queue is full, or the server is not ready or stopping; see Retry-After",
}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {MEDIA_TYPE: {"schema": {"$ref": f"{_SCHEMA}ProblemAnswer"}, "example": examples.PROBLEM}}
    return {status: {"description": _ERRORS[status], "content": content} for status in statuses}


def _answer(model: type[BaseModel], example: Any, description: str = "the answer", status: int = 200) -> dict[int | str, dict[str, Any]]:
    return {status: {"description": description, "model": model, "content": {"application/json": {"example": example}}}}


def _body(schema: str, example: Any, more: dict[str, Any] | None = None) -> dict[str, Any]:
    """A body as JSON, and in the further forms of `more`."""
    content = {"application/json": {"schema": {"$ref": f"{_SCHEMA}{schema}"}, "example": example}} | (more or {})
    return {"requestBody": {"required": True, "content": content}}


_GATE = (401, 429, 503)
_BODY_ERRORS = (400, 408, 413, 415, 422, 500, *_GATE)
_UPLOAD = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "properties": {
                "yaml": {"type": "string", "format": "binary", "description": "Nav2 map YAML; goes with `image`"},
                "image": {"type": "string", "format": "binary", "description": "PGM or PNG that the YAML describes"},
                "file": {"type": "string", "format": "binary", "description": "one map file; goes with `format`"},
                "format": {"type": "string", "enum": ["movingai", "geojson", "wkt"]},
                "cell_size": {"type": "number", "description": "m, of a MovingAI map"},
            },
        },
        "example": {"file": "type octile\nheight 1\nwidth 2\nmap\n.@\n", "format": "movingai", "cell_size": 1.0},
    }
}
_PICTURE = {200: {"description": "a picture", "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}}

PLAN: dict[str, Any] = {
    "responses": _answer(answers.PlanAnswer, examples.PLAN_ANSWER, "a plan, found or not") | _problems(406, *_BODY_ERRORS),
    "openapi_extra": _body("PlanRequest", examples.PLAN_REQUEST),
}
VALIDATE: dict[str, Any] = {
    "responses": _answer(answers.ValidationAnswer, examples.VALIDATION_ANSWER) | _problems(*_BODY_ERRORS),
    "openapi_extra": _body("PlanRequest", examples.PLAN_REQUEST),
}
CHECK: dict[str, Any] = {
    "responses": _answer(answers.CheckAnswer, examples.CHECK_ANSWER) | _problems(*_BODY_ERRORS),
    "openapi_extra": _body("CheckRequest", examples.CHECK_REQUEST),
}
MAPS: dict[str, Any] = {"responses": _answer(answers.MapsAnswer, examples.MAPS_ANSWER) | _problems(*_GATE)}
MAP: dict[str, Any] = {"responses": _answer(InlineMap, examples.INLINE_MAP) | _problems(404, *_GATE)}
PUT_MAP: dict[str, Any] = {
    "responses": _answer(answers.MapSummary, examples.MAP_SUMMARY, "registered anew")
    | _answer(answers.MapSummary, examples.MAP_SUMMARY, "registered", 201)
    | _problems(409, *_BODY_ERRORS),
    "openapi_extra": _body("InlineMap", examples.INLINE_MAP, _UPLOAD),
}
DELETE_MAP: dict[str, Any] = {"status_code": 204, "response_class": Response, "responses": _problems(404, 409, 422, *_GATE)}
PREVIEW: dict[str, Any] = {"response_class": Response, "responses": _PICTURE | _problems(404, *_GATE)}
HEALTH: dict[str, Any] = {"responses": _answer(answers.HealthAnswer, examples.HEALTH_ANSWER)}
READY: dict[str, Any] = {"responses": _answer(answers.HealthAnswer, examples.HEALTH_ANSWER) | _problems(503)}
CAPABILITIES: dict[str, Any] = {"responses": _answer(CapabilitiesAnswer, examples.CAPABILITIES_ANSWER) | _problems(*_GATE)}
METRICS: dict[str, Any] = {
    "response_class": Response,
    "responses": {
        200: {
            "description": "counters, gauges and histograms",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": examples.METRICS_TEXT}},
        }
    },
}
VERSION: dict[str, Any] = {"responses": _answer(answers.VersionAnswer, examples.VERSION_ANSWER)}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The description of an application, with the schemas of the bodies that its routes read by themselves."""
    document = get_openapi(title=app.title, version=app.version, summary=app.summary, description=app.description, routes=app.routes)
    _, requests = models_json_schema([(model, "validation") for model in _REQUESTS], ref_template=_SCHEMA + "{model}")
    _, problem = models_json_schema([(answers.ProblemAnswer, "serialization")], ref_template=_SCHEMA + "{model}")
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    _leave_out_unused(document, schemas)
    schemas.update(problem["$defs"])
    schemas.update(requests["$defs"])
    return document


def _leave_out_unused(document: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Takes out the framework's own error, which no call ever answers with."""
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for verbs in document["paths"].values():
        for call in verbs.values():
            if "HTTPValidationError" in str(call["responses"].get("422", "")):
                del call["responses"]["422"]
