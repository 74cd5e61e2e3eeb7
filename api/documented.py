"""What the API's description says about each call: schemas and examples of bodies, taken by the routes as keywords."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api import answers, examples
from api.capabilities import CapabilitiesAnswer
from api.encodings import Encoding
from api.judge import JudgedPlan
from api.map_wire import InlineMap
from api.problems import MEDIA_TYPE
from api.wire import PlanRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI

_SCHEMA = "#/components/schemas/"
IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 255},
    "description": "1 to 255 visible ASCII characters; the same call with the same key is answered again, not done again",
}


class CheckRequest(BaseModel):
    """A request and a plan for it."""

    request: PlanRequest
    plan: JudgedPlan


class JobRequest(BaseModel):
    """Requests to be planned in the background; a single request may also stand alone, as for a single call."""

    requests: list[PlanRequest]


_REQUESTS: tuple[type[BaseModel], ...] = (PlanRequest, CheckRequest, InlineMap, JobRequest)
_ERRORS = {
    400: "malformed JSON",
    404: "there is none of this id",
    409: "it cannot be done as things are: the map is built in, the job has not ended, the call with this key still runs",
    410: "the job was cancelled",
    413: "the body is too large",
    401: "no key, or one that is not valid",
    406: "the form that is asked for is not installed",
    408: "the body did not come in time",
    415: "wrong media type",
    422: "the body does not fit the schema, is over a cap, or names an unknown map",
    429: "too many requests of one caller; see Retry-After",
    500: "the server failed",
    503: "the queue is full, the planner is not ready or stopping, or the store is away; see Retry-After",
}


def described_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Answers that are errors."""
    content = {MEDIA_TYPE: {"schema": {"$ref": f"{_SCHEMA}ProblemAnswer"}, "example": examples.PROBLEM}}
    return {status: {"description": _ERRORS[status], "content": content} for status in statuses}


def described_answer(
    model: type[BaseModel], example: Any, description: str = "the answer", status: int = 200
) -> dict[int | str, dict[str, Any]]:
    """An answer and an example of it."""
    return {status: {"description": description, "model": model, "content": {"application/json": {"example": example}}}}


def _in_other_forms(answer: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """The answer, which may be asked for as MessagePack or Arrow too."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    others = {kind.value: binary for kind in (Encoding.MSGPACK, Encoding.ARROW)}
    return {status: entry | {"content": entry["content"] | others} for status, entry in answer.items()}


def described_body(schema: str, example: Any, more: dict[str, Any] | None = None) -> dict[str, Any]:
    """The body of a request, in other media types too."""
    content = {"application/json": {"schema": {"$ref": f"{_SCHEMA}{schema}"}, "example": example}} | (more or {})
    return {"requestBody": {"required": True, "content": content}}


GATE = (401, 429, 503)  # what the gate and the queue may answer to any call
BODY_ERRORS = (400, 408, 413, 415, 422, 500, *GATE)
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
    "responses": _in_other_forms(described_answer(answers.PlanAnswer, examples.PLAN_ANSWER, "a plan, found or not"))
    | described_problems(406, 409, *BODY_ERRORS),
    "openapi_extra": described_body("PlanRequest", examples.PLAN_REQUEST) | {"parameters": [IDEMPOTENCY_KEY]},
}
VALIDATE: dict[str, Any] = {
    "responses": described_answer(answers.ValidationAnswer, examples.VALIDATION_ANSWER) | described_problems(*BODY_ERRORS),
    "openapi_extra": described_body("PlanRequest", examples.PLAN_REQUEST),
}
CHECK: dict[str, Any] = {
    "responses": described_answer(answers.CheckAnswer, examples.CHECK_ANSWER) | described_problems(*BODY_ERRORS),
    "openapi_extra": described_body("CheckRequest", examples.CHECK_REQUEST),
}
MAPS: dict[str, Any] = {"responses": described_answer(answers.MapsAnswer, examples.MAPS_ANSWER) | described_problems(*GATE)}
MAP: dict[str, Any] = {"responses": described_answer(InlineMap, examples.INLINE_MAP) | described_problems(404, *GATE)}
PUT_MAP: dict[str, Any] = {
    "responses": described_answer(answers.MapSummary, examples.MAP_SUMMARY, "registered anew")
    | described_answer(answers.MapSummary, examples.MAP_SUMMARY, "registered", 201)
    | described_problems(409, *BODY_ERRORS),
    "openapi_extra": described_body("InlineMap", examples.INLINE_MAP, _UPLOAD),
}
DELETE_MAP: dict[str, Any] = {"status_code": 204, "response_class": Response, "responses": described_problems(404, 409, 422, *GATE)}
PREVIEW: dict[str, Any] = {"response_class": Response, "responses": _PICTURE | described_problems(404, *GATE)}
HEALTH: dict[str, Any] = {"responses": described_answer(answers.HealthAnswer, examples.HEALTH_ANSWER)}
READY: dict[str, Any] = {"responses": described_answer(answers.HealthAnswer, examples.HEALTH_ANSWER) | described_problems(503)}
CAPABILITIES: dict[str, Any] = {"responses": described_answer(CapabilitiesAnswer, examples.CAPABILITIES_ANSWER) | described_problems(*GATE)}
METRICS: dict[str, Any] = {
    "response_class": Response,
    "responses": {
        200: {
            "description": "counters, gauges and histograms",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": examples.METRICS_TEXT}},
        }
    },
}
VERSION: dict[str, Any] = {"responses": described_answer(answers.VersionAnswer, examples.VERSION_ANSWER)}


def openapi_document(app: FastAPI, more: tuple[type[BaseModel], ...] = (), extensions: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The description of an application, with the schemas of the bodies that its routes read by themselves.

    Args:
        app: the application.
        more: models of messages that no call of the framework's own description has.
        extensions: further keys of the document, `x-...`.
    """
    document = get_openapi(title=app.title, version=app.version, summary=app.summary, description=app.description, routes=app.routes)
    _, requests = models_json_schema([(model, "validation") for model in (*_REQUESTS, *more)], ref_template=_SCHEMA + "{model}")
    _, problem = models_json_schema([(answers.ProblemAnswer, "serialization")], ref_template=_SCHEMA + "{model}")
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    _leave_out_unused(document, schemas)
    schemas.update(problem["$defs"])
    schemas.update(requests["$defs"])
    return document | dict(extensions or {})


def _leave_out_unused(document: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Takes out the framework's own error, which no call ever answers with."""
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for verbs in document["paths"].values():
        for call in verbs.values():
            if "HTTPValidationError" in str(call["responses"].get("422", "")):
                del call["responses"]["422"]
