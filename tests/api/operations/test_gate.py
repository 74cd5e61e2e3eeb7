"""Who may call, and how often: decided before a body is read."""

import base64
import hmac
import json
import logging
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.testclient import WebSocketDenialResponse

from api.problems import Problem
from api.rates import RateConfig, Rates

SECRET = "0123456789abcdef" * 4
OPEN = ("/livez", "/healthz", "/version", "/metrics")
CLOSED = ("/v1/maps", "/v1/capabilities", "/openapi.json", "/docs", "/nowhere")


@pytest.fixture
def keyed(loading_client_of, tmp_path):
    (tmp_path / "keys").write_text("# of the depot\n\n  second-key \n")
    return loading_client_of(api_keys=("first-key",), api_keys_file=tmp_path / "keys")


def test_without_a_key_only_probes_are_answered(keyed) -> None:
    assert {keyed.get(path).status_code for path in OPEN} == {200}
    for path in CLOSED:
        answer = keyed.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED")
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "headers", [{"authorization": "Bearer first-key"}, {"authorization": "bearer second-key"}, {"x-api-key": "second-key"}]
)
def test_each_key_opens_by_either_header(keyed, headers) -> None:
    assert keyed.get("/v1/maps", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer first-ke"},
        {"authorization": "Bearer first-key-"},
        {"authorization": "Basic first-key"},
        {"authorization": "first-key"},
        {"authorization": "Bearer # of the depot"},
        {"x-api-key": ""},
        {"x-api-key": "FIRST-KEY"},
        {"x-api-key": b"\xff\xfe"},
    ],
)
def test_what_is_no_key_is_refused(keyed, headers) -> None:
    assert keyed.get("/v1/maps", headers=headers).status_code == 401


def test_metrics_are_closed_where_that_is_asked_for(loading_client_of) -> None:
    client = loading_client_of(api_keys=("k",), metrics_open=False)
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"x-api-key": "k"}).status_code == 200


def token(secret: str = SECRET, algorithm: str | None = "HS256", **claims: object) -> str:
    claims = {"sub": "depot", "exp": time.time() + 60, "aud": "fleet", "iss": "us"} | claims
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, secret if algorithm else None, algorithm or "none")


@pytest.fixture
def signed(loading_client_of):
    return loading_client_of(jwt_secret=SECRET, jwt_audience="fleet", jwt_issuer="us")


def test_a_signed_token_opens(signed) -> None:
    assert signed.get("/v1/maps", headers={"authorization": f"Bearer {token()}"}).status_code == 200


@pytest.mark.parametrize(
    "bad",
    [
        token(exp=time.time() - 60),
        token(exp=None),
        token(aud="another"),
        token(aud=None),
        token(iss="them"),
        token(secret=SECRET[::-1]),
        token(algorithm="HS512"),
        token(algorithm=None),
        token()[:-4],
        "a.b.c",
        "x" * 10_000,
    ],
    ids=["expired", "endless", "audience", "no-audience", "issuer", "forged", "other-algorithm", "unsigned", "cut", "none", "long"],
)
def test_another_token_does_not(signed, bad) -> None:
    assert signed.get("/v1/maps", headers={"authorization": f"Bearer {bad}"}).status_code == 401


def key_pair(algorithm: str) -> tuple[Any, str]:
    """A private key, and its public one in PEM."""
    private = rsa.generate_private_key(65537, 2048) if algorithm.startswith("RS") else ec.generate_private_key(ec.SECP256R1())
    pem = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, pem.decode()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_token_signed_by_the_private_key_opens_and_no_other(loading_client_of, algorithm) -> None:
    private, pem = key_pair(algorithm)
    client = loading_client_of(jwt_public_key=pem, jwt_algorithms=(algorithm,))
    head = {"alg": "HS256", "typ": "JWT"}  # the known confusion: the public key, which anybody may have, as a secret
    claims = {"sub": "depot", "exp": time.time() + 60}
    unsigned = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (head, claims))
    digest = hmac.digest(pem.encode(), unsigned.encode(), "sha256")
    confused = f"{unsigned}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
    tokens = [jwt.encode(claims, key, algorithm) for key in (private, key_pair(algorithm)[0])]
    answers = [client.get("/v1/maps", headers={"authorization": f"Bearer {t}"}).status_code for t in (*tokens, confused)]
    assert answers == [200, 401, 401]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(rates: Rates, caller: str) -> bool:
    try:
        rates.enter(caller)
    except Problem:
        return False
    rates.leave(caller)
    return True


def test_a_caller_gets_a_burst_and_then_a_steady_rate_whatever_others_do() -> None:
    clock = Clock()
    rates = Rates(RateConfig(per_s=2.0, burst=5), clock)
    assert [taken(rates, "a") for _ in range(7)] == [True] * 5 + [False] * 2
    assert taken(rates, "b")
    got = 0
    for _ in range(1000):  # ten seconds
        clock.now += 0.01
        got += taken(rates, "a")
    assert got in (19, 20)


def test_retry_after_is_when_there_is_room_again() -> None:
    clock = Clock()
    rates = Rates(RateConfig(per_s=0.1, burst=1), clock)
    rates.enter("a")
    with pytest.raises(Problem) as refused:
        rates.enter("a")
    assert refused.value.headers["Retry-After"] == "10"
    clock.now += 10.001
    rates.enter("a")


def test_very_many_callers_take_no_more_memory_than_the_cap() -> None:
    rates = Rates(RateConfig(per_s=1.0, burst=1, callers=100))
    assert all(taken(rates, f"10.0.{k // 256}.{k % 256}") for k in range(10_000))
    assert len(rates) == 100
    assert not rates._inflight


def test_so_many_requests_of_one_caller_run_at_a_time() -> None:
    rates = Rates(RateConfig(inflight=2))
    rates.enter("a")
    rates.enter("a")
    with pytest.raises(Problem):
        rates.enter("a")
    rates.enter("b")
    rates.leave("a")
    rates.enter("a")


def test_too_many_requests_are_answered_429_and_counted(loading_client_of) -> None:
    client = loading_client_of(api_keys=("k", "l"), rate_per_s=0.001, rate_burst=3)
    statuses = [client.get("/v1/maps", headers={"x-api-key": "k"}).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert client.get("/v1/maps", headers={"x-api-key": "l"}).status_code == 200
    refused = client.get("/v1/maps", headers={"x-api-key": "k"})
    assert int(refused.headers["retry-after"]) > 100
    text = client.get("/metrics").text
    assert 'planner_rejected_total{reason="too_many_requests"} 2.0' in text


def test_keys_are_never_logged(keyed, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    keyed.post("/v1/plans", content=b'{"secret-body": 1}', headers={"x-api-key": "first-key"})
    keyed.get("/v1/maps?key=second-key", headers={"authorization": "Bearer wrong-key"})
    lines = [record.__dict__ for record in caplog.records if record.name.startswith("flowfleet")]
    assert any(line.get("path") == "/v1/plans" for line in lines)
    said = json.dumps(lines, default=str)
    for word in ("first-key", "second-key", "wrong-key", "secret-body"):
        assert word not in said


def test_pages_of_other_origins_call_only_where_that_is_allowed(loading_client_of) -> None:
    asks = {"origin": "https://ui.example", "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    client = loading_client_of(api_keys=("k",), cors_origins=("https://ui.example",))
    assert client.options("/v1/plans", headers=asks).headers["access-control-allow-origin"] == "https://ui.example"
    refused = client.get("/v1/maps", headers=asks)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://ui.example")
    other = client.options("/v1/plans", headers=asks | {"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_a_full_queue_refuses_before_a_body_is_read(loading_client_of) -> None:
    client = loading_client_of(queue_size=1)
    spoiled = {"content": b"{", "headers": {"content-type": "application/json"}}
    assert client.post("/v1/plans", **spoiled).status_code == 400
    with client.app.state.desk.engine.place():
        answer = client.post("/v1/plans", **spoiled)
        assert (answer.status_code, answer.json()["code"]) == (503, "QUEUE_FULL")
        assert int(answer.headers["retry-after"]) >= 1
        assert client.get("/v1/maps").status_code == 200
        spoiled["headers"]["idempotency-key"] = "a"  # it may have its answer already
        assert client.post("/v1/plans", **spoiled).status_code == 400
    assert client.post("/v1/plans", **spoiled).status_code == 400


def test_pages_of_other_origins_open_no_stream(loading_client_of) -> None:
    """A browser would open it for any page that somebody visits; those named in the settings, one's own and what is no page may."""
    path, client = "/v1/agents/stream", loading_client_of(cors_origins=("https://fleet.example",))
    foreign = {"Origin": "https://elsewhere.example"}
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect(path, headers=foreign):
        pass
    assert (refused.value.status_code, refused.value.json()["code"]) == (403, "FOREIGN_ORIGIN")
    for headers in ({}, {"Origin": "https://fleet.example"}, {"Origin": "http://testserver"}):
        with client.websocket_connect(path, headers=headers):
            pass


def test_a_stream_needs_a_key_and_a_place(loading_client_of) -> None:
    path, right = "/v1/agents/stream", {"X-Api-Key": "first-key"}
    client = loading_client_of(api_keys=("first-key",), max_streams=1)
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect(path):
        pass
    assert (refused.value.status_code, refused.value.json()["code"]) == (401, "UNAUTHORIZED")
    for _ in range(2):  # the place is free again when a stream has ended
        with client.websocket_connect(path, headers=right):
            with pytest.raises(WebSocketDenialResponse) as full, client.websocket_connect(path, headers=right):
                pass
            assert (full.value.status_code, full.value.json()["code"]) == (503, "TOO_MANY_STREAMS")
            assert full.value.headers["retry-after"] == "5"
