"""Plans as MessagePack and Arrow say what the JSON says; requests as MessagePack are held to the same rules."""

import io
import json
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
import pytest

from api.answers import PlanAnswer
from api.encodings import ARROW_KEY, MOST_CONTAINERS, Encoding, wanted_encoding

MSGPACK = "application/msgpack"
ARROW = "application/vnd.apache.arrow.stream"


def timeless(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in ("plan_id", "timings_ms")}


@pytest.fixture(scope="module")
def asked(two_robots):
    return two_robots | {"options": {"samples_dt": 0.5, "alternatives": 2}}


@pytest.fixture(scope="module")
def plain(client, asked):
    return client.post("/v1/plans", json=asked).json()


@pytest.mark.parametrize("kind", [MSGPACK, "application/vnd.msgpack", "application/json;q=0.5, application/x-msgpack"])
def test_messagepack_says_what_json_says(client, asked, plain, kind) -> None:
    answer = client.post("/v1/plans", json=asked, headers={"accept": kind})
    assert answer.headers["content-type"] == MSGPACK
    document = msgpack.unpackb(answer.content)
    PlanAnswer.model_validate(document)
    assert timeless(document) == timeless(plain)


def test_arrow_says_what_json_says(client, asked, plain) -> None:
    answer = client.post("/v1/plans", json=asked, headers={"accept": ARROW})
    assert answer.headers["content-type"] == ARROW
    table = pa.ipc.open_stream(io.BytesIO(answer.content)).read_all()
    rest = json.loads(table.schema.metadata[ARROW_KEY])
    assert timeless(rest) == {key: value for key, value in timeless(plain).items() if key != "robots"}
    for row, robot in zip(table.to_pylist(), plain["robots"], strict=True):
        assert {key: row[key] for key in ("id", "status", "source")} == {key: robot[key] for key in ("id", "status", "source")}
        assert row["degree"] == robot["curve"]["degree"]
        assert row["knots_s"] == robot["curve"]["knots_s"]
        assert row["control_points"] == robot["curve"]["control_points"]
        assert row["samples"] == robot["samples"]


def test_robots_without_a_curve_have_a_row_with_their_reason(client, two_robots) -> None:
    answer = client.post("/v1/plans", json=two_robots | {"horizon_s": 1}, headers={"accept": ARROW})
    rows = pa.ipc.open_stream(io.BytesIO(answer.content)).read_all().to_pylist()
    assert [(row["status"], row["control_points"], json.loads(row["reason"])["code"]) for row in rows] == [
        ("failed", None, "HORIZON_TOO_SHORT")
    ] * 2


@pytest.mark.parametrize("path", ["/v1/plans", "/v1/plans:validate"])
def test_a_request_may_be_messagepack(client, two_robots, path) -> None:
    headers = {"content-type": MSGPACK}
    as_json = client.post(path, json=two_robots).json()
    packed = client.post(path, content=msgpack.packb(two_robots), headers=headers)
    assert packed.status_code == 200
    assert timeless(packed.json()) == timeless(as_json)


def spoiled(body: dict[str, Any], **changes: Any) -> bytes:
    return msgpack.packb(body | changes)


NESTED = b"\x91" * 400 + b"\x90"
BAD = [
    (lambda b: b"", 400, "MALFORMED_MSGPACK", ""),
    (lambda b: b"\xc1", 400, "MALFORMED_MSGPACK", ""),
    (lambda b: msgpack.packb(b)[:-3], 400, "MALFORMED_MSGPACK", ""),
    (lambda b: msgpack.packb(b) + b"\x00", 400, "MALFORMED_MSGPACK", ""),
    (lambda b: b"\xdd\xff\xff\xff\xff", 400, "MALFORMED_MSGPACK", ""),
    (lambda b: b"\xdc\xff\xff" + b"\x90" * 10, 400, "MALFORMED_MSGPACK", ""),
    (lambda b: b"\xd9\x04\xff\xfe\xfd\xfc", 400, "MALFORMED_MSGPACK", ""),
    (lambda b: NESTED, 422, "LIMIT_EXCEEDED", ""),
    (lambda b: b"\x91" * 100_000 + b"\x90", 400, "MALFORMED_MSGPACK", ""),
    (lambda b: spoiled(b, horizon_s=float("nan")), 422, "NON_FINITE", "/horizon_s"),
    (lambda b: spoiled(b, horizon_s=float("inf")), 422, "NON_FINITE", "/horizon_s"),
    (lambda b: spoiled(b, previous_plan_id=b"\x00"), 422, "WRONG_TYPE", "/previous_plan_id"),
    (lambda b: spoiled(b, horizon_s=msgpack.Timestamp(1)), 400, "MALFORMED_MSGPACK", ""),
    (lambda b: msgpack.packb({b"map": 1}), 422, "WRONG_TYPE", ""),
    (lambda b: msgpack.packb({1: 1}), 400, "MALFORMED_MSGPACK", ""),
    (lambda b: spoiled(b, robots=[]), 422, "NO_ROBOTS", "/robots"),
    (lambda b: spoiled(b, colour=1), 422, "UNKNOWN_KEY", "/colour"),
    (lambda b: msgpack.packb(5), 422, "WRONG_TYPE", ""),
]


@pytest.mark.parametrize(("make", "status", "code", "where"), BAD, ids=range(len(BAD)))
def test_bad_messagepack_is_refused_with_its_place(client, two_robots, make, status, code, where) -> None:
    answer = client.post("/v1/plans", content=make(two_robots), headers={"content-type": MSGPACK})
    assert answer.status_code == status, answer.text
    assert (answer.json()["errors"][0]["code"], answer.json()["errors"][0]["pointer"]) == (code, where)


def test_a_body_of_very_many_small_lists_is_refused_before_they_are_all_made(client) -> None:
    rows, wide = 100, MOST_CONTAINERS // 100 + 1
    bomb = msgpack.packb([[[]] * wide] * rows)
    answer = client.post("/v1/plans", content=bomb, headers={"content-type": MSGPACK})
    assert (answer.status_code, answer.json()["code"]) == (422, "LIMIT_EXCEEDED")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", Encoding.JSON),
        ("*/*", Encoding.JSON),
        ("text/html", Encoding.JSON),
        ("application/json, application/msgpack;q=0.9", Encoding.JSON),
        ("application/json;q=0.1, application/msgpack;q=0.9", Encoding.MSGPACK),
        ("application/msgpack;q=0", Encoding.JSON),
        ("application/msgpack;q=x", Encoding.JSON),
        ("text/html, application/vnd.apache.arrow.stream", Encoding.ARROW),
    ],
)
def test_the_form_liked_best_is_taken(accept, expected) -> None:
    assert wanted_encoding(accept) is expected


def test_arrow_where_it_is_not_installed_is_a_problem(client, two_robots, monkeypatch) -> None:
    monkeypatch.setattr("api.encodings.find_spec", lambda name: None)
    answer = client.post("/v1/plans", json=two_robots, headers={"accept": ARROW})
    assert (answer.status_code, answer.json()["code"]) == (406, "NOT_ACCEPTABLE")


def test_numbers_arrive_bit_by_bit(client, two_robots, plain) -> None:
    document = msgpack.unpackb(client.post("/v1/plans", json=two_robots, headers={"accept": MSGPACK}).content)
    packed = np.array(document["robots"][0]["curve"]["control_points"])
    assert np.array_equal(packed, np.array(plain["robots"][0]["curve"]["control_points"]))
