"""Whatever is sent: never a 500, never a success that the certificate does not bear out."""

import copy
import json
from typing import Any

from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from api.answers import CheckAnswer, PlanAnswer, ProblemAnswer

ODD = (
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, -1, 1e-7, 1e-300, 1e6, 1e7, 2**63, "", "a", "NaN", [], {}, [[]], [0, 0], {"x": 1}, "\u0000", "\U0001f600"])
    | st.integers(-(2**63), 2**63)
)
NEAR = st.floats(0.2, 9.8)
QUIET = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Every place in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [p for key, inner in items for p in places(inner, (*path, key))]


@st.composite
def mutations(draw, body: dict[str, Any]) -> dict[str, Any]:
    """The document with some values replaced, removed, doubled or added."""
    body = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(places(body)))
        inner: Any = body
        for key in way:
            inner = inner[key]
        what = draw(st.sampled_from(["replace", "remove", "add", "double"]))
        if what == "replace":
            inner[last] = draw(ODD)
        elif what == "remove":
            del inner[last]
        elif what == "double" and isinstance(inner, list):
            inner.append(copy.deepcopy(inner[last]))
        elif isinstance(inner, dict):
            inner[draw(st.text(max_size=4))] = draw(ODD)
        if not places(body):
            break
    return body


@st.composite
def fleets(draw) -> dict[str, Any]:
    """Requests that fit the schema, possible or not."""
    count = draw(st.integers(1, 5))
    robots = [
        {
            "id": f"r{k}",
            "start": {"x": draw(NEAR), "y": draw(NEAR), "vx": draw(st.sampled_from([0, 0, 0.5]))},
            "goal": {"x": draw(NEAR), "y": draw(NEAR)},
            "radius": draw(st.sampled_from([0.05, 0.2, 0.4])),
            "limits": {"v_max": draw(st.sampled_from([0.8, 2.0])), "a_max": draw(st.sampled_from([0.5, 2.0]))},
        }
        for k in range(count)
    ]
    circle = {"type": "circle", "x": draw(NEAR), "y": draw(NEAR), "radius": draw(st.floats(0.05, 2))}
    body = {
        "map": {"bounds": [0, 0, 10, 10], "obstacles": [circle]},
        "robots": robots,
        "options": {"deadline_ms": 300, "seed": draw(st.integers(0, 9))},
    }
    horizon = draw(st.sampled_from([None, 5, 12, 20]))
    body["options"]["allow_partial"] = draw(st.booleans())
    return body if horizon is None else body | {"horizon_s": horizon}


def judged(client, body: Any) -> int:
    """Sends a request and holds the answer against its schema and the certificate."""
    answer = client.post("/v1/plans", content=json.dumps(body), headers={"content-type": "application/json"})
    if answer.status_code == 503:  # a machine busy with other work: refused in good time is truthful, and shows nothing here
        assert ProblemAnswer.model_validate(answer.json()).code == "OVERLOADED"
        reject()
    if answer.status_code != 200:
        assert answer.status_code in (400, 422), answer.text
        assert ProblemAnswer.model_validate(answer.json()).errors
        return answer.status_code
    plan = PlanAnswer.model_validate(answer.json())
    if plan.status == "failed":
        assert any(r.reason for r in plan.robots)
        return 200
    assert (plan.status == "partial") == any(r.curve is None for r in plan.robots)
    verdict = client.post("/v1/plans:check", json={"request": body, "plan": answer.json()})
    assert CheckAnswer.model_validate(verdict.json()).certificate.safe, verdict.text
    return 200


@QUIET
@given(st.data())
def test_a_spoiled_request_is_refused_or_answered_truthfully(client, request_body, data) -> None:
    request_body |= {
        "options": {"deadline_ms": 300, "margin": 0.01},
        "moving_obstacles": [{"id": "m", "radius": 0.2, "t": [0, 5], "x": [2, 2], "y": [5, 6]}],
    }
    judged(client, data.draw(mutations(request_body)))


@settings(QUIET, max_examples=30)
@given(fleets())
def test_a_success_is_certified(client, body) -> None:
    assert judged(client, body) == 200


@QUIET
@given(st.binary(max_size=200))
def test_any_bytes_are_answered(client, body) -> None:
    answer = client.post("/v1/plans", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    ProblemAnswer.model_validate(answer.json())
