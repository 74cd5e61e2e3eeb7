"""Slow and silent callers over real connections: they are sent away in time, and others are answered meanwhile."""

import json
import re
import socket
import time
from contextlib import suppress

import pytest
from websockets.sync.client import connect


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def answered(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def sent(connection: socket.socket, part: bytes) -> bool:
    """Whether the other side still takes something."""
    try:
        connection.sendall(part)
    except OSError:
        return False
    return True


def healthy(port: int) -> bool:
    with connected(port) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        return answered(connection).startswith(b"HTTP/1.1 200")


HEAD = b"POST /v1/plans HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


@pytest.mark.parametrize(
    "length", [b"content-length: 100\r\n\r\n{", b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n"], ids=["said", "chunked"]
)
def test_a_body_that_does_not_come_is_answered_408(loading_port_of, length) -> None:
    port = loading_port_of(body_timeout_s=0.4)
    with connected(port) as connection:
        began = time.monotonic()
        connection.sendall(HEAD + length)
        time.sleep(0.2)
        assert healthy(port)
        answer = answered(connection)
        assert time.monotonic() - began >= 0.4
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"BODY_TIMEOUT"' in answer


def test_a_body_that_drips_is_not_given_more_time(loading_port_of) -> None:
    port = loading_port_of(body_timeout_s=0.5)
    with connected(port) as connection:
        connection.sendall(HEAD + b"content-length: 1000\r\n\r\n")
        connection.settimeout(0.1)
        answer = b""
        for _ in range(100):
            connection.sendall(b" ")
            with suppress(TimeoutError):
                answer = connection.recv(1000)
                break
    assert answer.startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nx-a: "], ids=["silent", "begun", "headers"])
def test_a_head_that_does_not_come_ends_the_connection(loading_port_of, said) -> None:
    port = loading_port_of(header_timeout_s=0.4)
    with connected(port) as connection:
        began = time.monotonic()
        connection.sendall(said)
        assert answered(connection) == b""
        assert 0.3 < time.monotonic() - began < 8


def test_a_drip_after_an_early_answer_ends_too(loading_port_of) -> None:
    port = loading_port_of(header_timeout_s=0.4, api_keys=("k",))
    with connected(port) as connection:
        connection.sendall(HEAD + b"content-length: 1000\r\n\r\n")
        began = time.monotonic()
        while time.monotonic() - began < 8 and sent(connection, b" "):
            time.sleep(0.05)
        assert time.monotonic() - began < 8


def test_silent_connections_make_room_for_callers(loading_port_of) -> None:
    port = loading_port_of(max_connections=8, header_timeout_s=60)
    silent = [connected(port) for _ in range(30)]
    try:
        assert healthy(port)
    finally:
        for connection in silent:
            connection.close()


def test_where_all_connections_are_busy_a_new_one_is_told(loading_port_of) -> None:
    port = loading_port_of(max_connections=3, body_timeout_s=5)
    busy = [connected(port) for _ in range(3)]
    try:
        for connection in busy:
            connection.sendall(HEAD + b"content-length: 100\r\n\r\n{")
        time.sleep(0.3)
        with connected(port) as late:
            answer = answered(late)
        assert answer.startswith(b"HTTP/1.1 503")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in head
        assert b"TOO_MANY_CONNECTIONS" in body
    finally:
        for connection in busy:
            connection.close()


def test_bodies_of_unsaid_length_are_counted(loading_port_of) -> None:
    port = loading_port_of(max_body_bytes=1000)
    with connected(port) as connection:
        connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"100\r\n" + b" " * 256 + b"\r\n")
        connection.sendall((b"100\r\n" + b" " * 256 + b"\r\n") * 4 + b"0\r\n\r\n")
        connection.settimeout(3)
        assert connection.recv(200).startswith(b"HTTP/1.1 413")


def test_all_bodies_together_have_a_limit(loading_port_of) -> None:
    port = loading_port_of(max_bodies_bytes=10_000, body_timeout_s=5)
    with connected(port) as first, connected(port) as second:
        first.sendall(HEAD + b"content-length: 9000\r\n\r\n" + b" " * 8000)
        time.sleep(0.3)
        second.sendall(HEAD + b"content-length: 9000\r\n\r\n" + b" " * 8000)
        assert second.recv(200).startswith(b"HTTP/1.1 503")
        first.sendall(b" " * 1000)  # nothing but blanks: complete, and no JSON
        assert first.recv(200).startswith(b"HTTP/1.1 400")
    assert healthy(port)


def test_a_head_without_end_is_told_so(loading_port_of) -> None:
    port = loading_port_of()
    with connected(port) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: " + b"y" * 60_000)
        time.sleep(0.3)
        connection.sendall(b"y" * 8_000)
        answer = answered(connection)
    assert answer.startswith(b"HTTP/1.1 431")
    assert b'"HEAD_TOO_LARGE"' in answer
    assert healthy(port)


def test_a_request_that_is_refused_early_leaves_its_connection_usable(loading_port_of) -> None:
    port = loading_port_of(api_keys=("k",))
    with connected(port) as connection:
        connection.sendall(HEAD + b"content-length: 200000\r\n\r\n" + b" " * 1000)
        assert one_answer(connection).startswith(b"HTTP/1.1 401")
        connection.sendall(b" " * 199_000 + b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert one_answer(connection).startswith(b"HTTP/1.1 200")


def one_answer(connection: socket.socket) -> bytes:
    """An answer whose length is said, and no byte more."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(1)
    length = re.search(rb"content-length: (\d+)", answer.lower())
    assert length is not None
    return answer + connection.recv(int(length[1]), socket.MSG_WAITALL)


def test_a_stream_may_last_longer_than_a_head_may_take(loading_port_of) -> None:
    """Fails if the time for a head goes on once the connection is for messages."""
    port = loading_port_of(header_timeout_s=0.3)
    with connect(f"ws://127.0.0.1:{port}/v1/agents/stream") as stream:
        for text, code in (("{", "NOT_READY"), ("{}", "NOT_READY")):
            time.sleep(0.6)
            stream.send(text)
            assert json.loads(stream.recv(timeout=5))["problem"]["code"] == code
