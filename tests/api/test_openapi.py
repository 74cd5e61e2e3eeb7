"""The description of the API: every call has its schemas and examples, and the examples hold."""

import json
import re

import pytest

from api import examples
from api.agents import examples as agent_examples
from api.agents.wire import ActAnswer, ActRequest, AgentsAnswer, FleetRequest, StreamedAction
from api.answers import (
    CheckAnswer,
    HealthAnswer,
    JobAccepted,
    JobAnswer,
    JobResult,
    JobsAnswer,
    MapsAnswer,
    PlanAnswer,
    ProblemAnswer,
    ValidationAnswer,
    VersionAnswer,
)
from api.capabilities import CapabilitiesAnswer
from api.encodings import Encoding
from api.map_wire import InlineMap

CALLS = {
    ("post", "/v1/plans"),
    ("post", "/v1/plans:validate"),
    ("post", "/v1/plans:check"),
    ("get", "/v1/plans/{plan_id}"),
    ("post", "/v1/jobs"),
    ("get", "/v1/jobs"),
    ("get", "/v1/jobs/{job_id}"),
    ("delete", "/v1/jobs/{job_id}"),
    ("get", "/v1/jobs/{job_id}/result"),
    ("get", "/v1/jobs/{job_id}/events"),
    ("get", "/v1/maps"),
    ("get", "/v1/maps/{map_id}"),
    ("put", "/v1/maps/{map_id}"),
    ("delete", "/v1/maps/{map_id}"),
    ("get", "/v1/maps/{map_id}/preview.png"),
    ("get", "/healthz"),
    ("get", "/livez"),
    ("get", "/readyz"),
    ("get", "/version"),
    ("get", "/metrics"),
    ("get", "/v1/capabilities"),
    ("get", "/v1/agents"),
    ("post", "/v1/agents/act"),
}


@pytest.fixture(scope="module")
def description(client):
    return client.get("/openapi.json").json()


def test_every_call_is_described(description) -> None:
    assert {(verb, path) for path, verbs in description["paths"].items() for verb in verbs} == CALLS


def test_every_reference_leads_somewhere(description) -> None:
    schemas = description["components"]["schemas"]
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(description)))
    assert references
    assert references <= schemas.keys()


@pytest.mark.parametrize(("verb", "path"), sorted(CALLS))
def test_every_body_has_a_schema_and_an_example(description, verb, path) -> None:
    call = description["paths"][path][verb]
    bodies = [content for status, answer in call["responses"].items() for content in answer.get("content", {}).items()]
    bodies += call.get("requestBody", {}).get("content", {}).items()
    assert bodies or verb == "delete"
    for kind, body in bodies:
        assert body["schema"]
        assert body["schema"].get("format") == "binary" or body["example"], kind
    assert ("requestBody" in call) == (verb in ("post", "put"))


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (PlanAnswer, examples.PLAN_ANSWER),
        (ValidationAnswer, examples.VALIDATION_ANSWER),
        (CheckAnswer, examples.CHECK_ANSWER),
        (InlineMap, examples.INLINE_MAP),
        (MapsAnswer, examples.MAPS_ANSWER),
        (HealthAnswer, examples.HEALTH_ANSWER),
        (VersionAnswer, examples.VERSION_ANSWER),
        (CapabilitiesAnswer, examples.CAPABILITIES_ANSWER),
        (ProblemAnswer, examples.PROBLEM),
        (JobAccepted, examples.JOB_ACCEPTED),
        (JobAnswer, examples.JOB_ANSWER),
        (JobAnswer, examples.JOB_CANCELLED),
        (JobsAnswer, examples.JOBS_ANSWER),
        (JobResult, examples.JOB_RESULT),
        (AgentsAnswer, agent_examples.AGENTS_ANSWER),
        (ActAnswer, agent_examples.ACT_ANSWER),
        (ActRequest, agent_examples.ACT_REQUEST),
        (FleetRequest, agent_examples.STREAM_STATE),
        (StreamedAction, agent_examples.STREAM_MESSAGE),
    ],
)
def test_example_answers_fit_their_schemas(model, example) -> None:
    model.model_validate(example)


def test_example_requests_are_answered_as_described(client) -> None:
    plan = PlanAnswer.model_validate(client.post("/v1/plans", json=examples.PLAN_REQUEST).json())
    assert plan.status == "succeeded"
    assert ValidationAnswer.model_validate(client.post("/v1/plans:validate", json=examples.PLAN_REQUEST).json()).valid
    assert not CheckAnswer.model_validate(client.post("/v1/plans:check", json=examples.CHECK_REQUEST).json()).certificate.safe
    HealthAnswer.model_validate(client.get("/healthz").json())
    HealthAnswer.model_validate(client.get("/livez").json())
    VersionAnswer.model_validate(client.get("/version").json())
    accepted = JobAccepted.model_validate(client.post("/v1/jobs", json=examples.JOB_REQUEST).json())
    assert JobAnswer.model_validate(client.get(f"/v1/jobs/{accepted.job_id}").json()).total == 2
    MapsAnswer.model_validate(client.get("/v1/maps").json())


def test_the_page_for_reading_needs_nothing_from_elsewhere(client) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    used = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert "docs/swagger-ui-bundle.js" in used
    for name in used:
        if name != "data:,":
            found = client.get(f"/{name}")
            assert (found.status_code, found.headers["x-content-type-options"]) == (200, "nosniff"), name
    assert re.search(r"<script(?! src)", page.text) is None
    assert client.get("/docs/../app.py").status_code == client.get("/docs/none.js").status_code == 404


def test_what_the_server_can_do_is_what_it_does(client, request_body) -> None:
    told = CapabilitiesAnswer.model_validate(client.get("/v1/capabilities").json())
    assert {model["name"] for model in told.models} == {"generator", "warm-start"}
    most = int(told.caps["max_candidates"])
    for candidates, status in ((most, 200), (most + 1, 422)):
        body = request_body | {"options": {"candidates": candidates}}
        assert client.post("/v1/plans:validate", json=body).status_code == status
    assert client.post("/v1/plans:validate", json=request_body | {"options": told.options}).status_code == 200


def test_answers_carry_ids_and_headers_for_safety(client) -> None:
    answer = client.get("/healthz", headers={"X-Request-ID": "abc-1"})
    assert answer.headers["x-request-id"] == "abc-1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in client.get("/healthz", headers={"Origin": "https://example.com"}).headers
    made = client.get("/healthz", headers={"X-Request-ID": "a b\tc" * 100}).headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", made)


def test_the_other_forms_of_a_plan_are_described(description) -> None:
    content = description["paths"]["/v1/plans"]["post"]["responses"]["200"]["content"]
    assert set(content) == {kind.value for kind in Encoding}
    assert content["application/json"]["schema"]["$ref"].endswith("/PlanAnswer")


def test_the_messages_of_streams_are_described(description) -> None:
    told = description["x-websocket"]["/v1/agents/stream"]
    for way, model in (("receives", FleetRequest), ("sends", StreamedAction)):
        assert told[way]["schema"]["$ref"].split("/")[-1] in description["components"]["schemas"]
        model.model_validate(told[way]["example"])
