"""The whole description of the API, fuzzed: whatever is sent, an answer is one that is described, and never a fault of the server."""

import time

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from api.app import create_app
from api.settings import Settings

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
MODES = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate])


@pytest.fixture(scope="module")
def served():
    """A server that plans no longer than a moment."""
    app = create_app(Settings(default_deadline_ms=50, max_deadline_ms=50, max_robots=8, max_horizon_s=30))
    with TestClient(app, raise_server_exceptions=False) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.05)
        yield client


@pytest.fixture(scope="module")
def operations(served):
    schema = schemathesis.openapi.from_dict(served.get("/openapi.json").json())
    return [found.ok() for found in schema.get_all_operations()]


def send(client: TestClient, case: schemathesis.Case):
    asked = case.as_transport_kwargs(base_url="http://testserver")
    body = asked.pop("data", None)
    sent = {"content": body} if isinstance(body, str | bytes) else {"data": body}
    allowed = {key: asked[key] for key in ("method", "url", "params", "headers", "json", "files") if asked.get(key) is not None}
    return client.request(**allowed, **({} if body is None else sent))


@FEW
@given(st.data())
def test_no_answer_is_a_fault_or_another_than_described(served, operations, data) -> None:
    operation = data.draw(st.sampled_from(operations))
    case = data.draw(operation.as_strategy(generation_mode=data.draw(st.sampled_from(MODES))))
    case.validate_response(send(served, case), checks=CHECKS)


def test_every_call_is_among_those_that_are_fuzzed(operations, served) -> None:
    described = served.get("/openapi.json").json()["paths"]
    assert {(o.method, o.path) for o in operations} == {(verb, path) for path, verbs in described.items() for verb in verbs}
