"""Actions streamed tick by tick."""

import copy
import json
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from api.agents.examples import STREAM_STATE
from api.agents.wire import StreamedAction

PATH = "/v1/agents/stream"


@pytest.fixture
def state() -> dict[str, Any]:
    return copy.deepcopy(STREAM_STATE) | {"options": {"tick_s": 0.02}}


def _chunk(socket: Any) -> list[StreamedAction]:
    """All messages up to the last of a chunk."""
    messages = [StreamedAction.model_validate(socket.receive_json())]
    while not messages[-1].last:
        messages.append(StreamedAction.model_validate(socket.receive_json()))
    return messages


def test_a_state_is_answered_by_a_chunk_of_actions(client: TestClient, state: dict[str, Any]) -> None:
    chunk = next(agent["chunk"] for agent in client.get("/v1/agents").json()["agents"] if agent["streams"])
    with client.websocket_connect(PATH) as socket:
        for look in range(2):
            socket.send_json(state)
            messages = _chunk(socket)
            assert [message.tick for message in messages] == list(range(chunk))
            assert {message.look for message in messages} == {look}
            assert all(np.hypot(*message.robots[0].acceleration) <= 1.0 + 1e-6 for message in messages)


def test_the_first_action_is_that_of_a_single_call(client: TestClient, state: dict[str, Any]) -> None:
    single = client.post("/v1/agents/act", json=state | {"agent": "sfp"}).json()
    with client.websocket_connect(PATH) as socket:
        socket.send_json(state)
        assert socket.receive_json()["robots"] == single["robots"]


def test_a_new_state_ends_the_chunk_of_the_one_before(client: TestClient, state: dict[str, Any]) -> None:
    """Ticks of a second: the second state is answered at once, not after the first one's chunk."""
    with client.websocket_connect(PATH) as socket:
        socket.send_json(state | {"options": {"tick_s": 1.0}})
        assert socket.receive_json()["look"] == 0
        socket.send_json(state)
        assert {message.look for message in _chunk(socket)} == {1}


def test_a_fault_of_the_server_is_told_and_the_stream_goes_on(client: TestClient, state: dict[str, Any], monkeypatch) -> None:
    """Fails if a chunk's fault is only logged: its caller would wait for ever."""
    with client.websocket_connect(PATH) as socket:
        with monkeypatch.context() as broken:
            broken.setattr("api.agents.service.stream", lambda *_: 1 / 0)
            socket.send_json(state)
            problem = socket.receive_json()["problem"]
        assert (problem["status"], problem["code"]) == (500, "INTERNAL_ERROR")
        socket.send_json(state)
        assert socket.receive_json()["tick"] == 0


def test_a_bad_state_is_told_what_is_wrong_and_the_stream_goes_on(client: TestClient, state: dict[str, Any]) -> None:
    with client.websocket_connect(PATH) as socket:
        for text, status, code in (
            ("{", 400, "MALFORMED_JSON"),
            (json.dumps(state | {"agent": "sfp"}), 422, "INVALID_REQUEST"),
            (json.dumps(state | {"robots": []}), 422, "INVALID_REQUEST"),
            ('{"map": NaN}', 422, "NON_FINITE"),
        ):
            socket.send_text(text)
            problem = socket.receive_json()["problem"]
            assert (problem["status"], problem["code"]) == (status, code)
        socket.send_bytes(b"{}")
        assert socket.receive_json()["problem"]["status"] == 415
        socket.send_json(state)
        assert socket.receive_json()["tick"] == 0
