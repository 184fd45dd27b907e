"""Real sockets: a head that does not end, one that never begins, and clients that pause between requests."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from clipadapt.service.connections import heads_within

SECONDS = 0.5


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Once all of a request is there."""
    await Request(scope, receive).body()
    await PlainTextResponse("yes")(scope, receive, send)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a server that answers every request."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(  # so patient between requests that nothing else ends a connection
        answer, http=heads_within(SECONDS), log_level="error", lifespan="off", timeout_keep_alive=60
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join(20)


def closed_after(port: int, first: bytes, again: bytes) -> float:
    """Seconds until the server closes a connection on which `again` is sent ten times a second."""
    started = time.monotonic()  # before the server's clock begins, or a busy machine makes it look too quick
    with socket.create_connection(("127.0.0.1", port), timeout=0.1) as connection:
        connection.sendall(first)
        while time.monotonic() < started + 30:
            try:
                if connection.recv(1_000) == b"":
                    break
            except TimeoutError:
                connection.sendall(again)
            except ConnectionError:
                break
        return time.monotonic() - started


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
@pytest.mark.parametrize("again", [b"", b"y"])
def test_a_head_that_does_not_arrive_ends_the_connection(port: int, first: bytes, again: bytes):
    assert SECONDS * 0.9 < closed_after(port, first, again) < 20


def test_the_head_of_a_second_request_is_no_other(port: int):
    whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert SECONDS * 0.9 < closed_after(port, whole + b"GET /", b"y") < 20


def test_a_kept_connection_may_pause_between_requests_and_in_a_body(port: int):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for _ in range(2):
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1")
            time.sleep(SECONDS * 1.5)
            connection.sendall(b"2")
            answer = b""
            while not answer.endswith(b"yes"):
                part = connection.recv(1_000)
                assert part, "closed"
                answer += part
            assert answer.startswith(b"HTTP/1.1 200")
            time.sleep(SECONDS * 1.5)
