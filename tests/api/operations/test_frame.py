"""What every answer and every log line carries."""

import gzip
import io
import json
import logging
import time

import pytest

from api.logs import set_up_logging

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def lines(monkeypatch):
    """Sets up logging as a server does, and gives back what it writes, parsed; puts logging back afterwards."""
    root = logging.getLogger()
    loggers = [root, logging.getLogger("flowfleet"), logging.getLogger("uvicorn")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    set_up_logging("info", "json")
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)


def test_a_request_is_one_line_with_its_ids(loading_client_of, lines) -> None:
    client = loading_client_of()
    headers = {"x-request-id": "r-1", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    answer = client.get("/v1/maps", headers=headers)
    (line,) = [line for line in lines() if line["logger"] == "flowfleet.access"]
    assert {key: line[key] for key in ("request_id", "trace_id", "method", "path", "status", "level", "message")} == {
        "request_id": "r-1",
        "trace_id": TRACE,
        "method": "GET",
        "path": "/v1/maps",
        "status": 200,
        "level": "info",
        "message": "request",
    }
    assert line["bytes"] == len(answer.content)
    assert line["ms"] > 0


@pytest.mark.parametrize("given", ["", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "00-xyz-b7ad6b7169203331-01", "a\nb"])
def test_what_is_no_trace_is_left_out(loading_client_of, lines, given) -> None:
    loading_client_of().get("/version", headers={"traceparent": given.replace("\n", " ")})
    (line,) = [line for line in lines() if line["logger"] == "flowfleet.access"]
    assert "trace_id" not in line


def test_lines_of_the_web_server_and_tracebacks_are_json_too(lines) -> None:
    logging.getLogger("uvicorn.error").info("started %d", 3, extra={"color_message": "\x1b[1m"})
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("flowfleet.engine").exception("failed", extra={"robots": 3})
    found = {line["message"]: line for line in lines()}  # servers of other tests may still be ending
    first, second = found["started 3"], found["failed"]
    assert (first["message"], first["logger"]) == ("started 3", "uvicorn.error")
    assert "color_message" not in first
    assert (second["message"], second["level"], second["robots"]) == ("failed", "error", 3)
    assert "ValueError: no" in second["exception"]


def test_a_terminal_gets_words(lines, monkeypatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    set_up_logging("info", "console")
    logging.getLogger("flowfleet.server").info("stopping", extra={"inflight": 2})
    assert "stopping" in written.getvalue()
    assert not written.getvalue().startswith("{")


def test_every_answer_has_the_headers_for_safety(loading_client_of) -> None:
    client = loading_client_of(api_keys=("k",))
    for path, keyed in (("/healthz", False), ("/v1/maps", True), ("/v1/maps", False), ("/nowhere", True), ("/docs", True)):
        headers = client.get(path, headers={"x-api-key": "k"} if keyed else {}).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "script-src 'unsafe" not in headers["content-security-policy"]
        assert "server" not in headers


def test_long_answers_are_compressed_for_those_who_can_read_that(loading_client_of) -> None:
    client = loading_client_of()
    plain = client.get("/openapi.json", headers={"accept-encoding": "identity"})
    packed = client.get("/openapi.json", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 3
    assert packed.content == plain.content
    assert len(gzip.compress(plain.content, 1)) == pytest.approx(int(packed.headers["content-length"]), rel=0.05)
    assert "content-encoding" not in client.get("/version", headers={"accept-encoding": "gzip"}).headers


def test_not_ready_before_the_planner_is_loaded_but_alive(loading_client_of) -> None:
    client = loading_client_of()
    refused = client.get("/readyz")
    assert (refused.status_code, refused.json()["detail"]) == (503, "the planner is starting")
    assert refused.headers["retry-after"]
    assert client.get("/livez").status_code == 200


def test_telemetry_is_off_unless_asked_for_and_leaves_probes_out(loading_client_of) -> None:
    off, on = (loading_client_of(telemetry=chosen).app._telemetry for chosen in (False, True))
    kinds = ("tracing", "metrics", "logs", "auto_configure")
    assert [off[kind] for kind in kinds] == [False] * 4
    assert [on[kind] for kind in kinds] == [True] * 4
    assert on["exclude"]({"path": "/readyz"})
    assert not on["exclude"]({"path": "/v1/plans"})


def test_a_flood_of_refusals_is_a_line_now_and_then(loading_client_of, lines, monkeypatch) -> None:
    monkeypatch.setattr("api.frame.QUIET", 0.5)
    client = loading_client_of(rate_per_s=0.001, rate_burst=1)
    assert [client.get("/v1/maps").status_code for _ in range(6)] == [200, *[429] * 5]
    time.sleep(0.6)
    assert client.get("/v1/maps").status_code == 429
    said = [line for line in lines() if line["logger"] == "flowfleet.access"]
    assert [line["status"] for line in said] == [200, 429, 429]
    assert [line.get("more_turned_away") for line in said] == [None, 0, 4]
