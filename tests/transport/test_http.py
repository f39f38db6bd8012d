"""An HTTP server that takes a bounded number of requests, each for a bounded time."""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.request
from collections.abc import Iterator

import pytest

from mpgameserver.transport import http
from mpgameserver.transport.http import MAX_REQUESTS, BoundedHttpServer


class Server(BoundedHttpServer):
    """Queues all the connections of a test: one that finds no room is retried after a second."""

    request_queue_size = 128


@contextlib.contextmanager
def running() -> Iterator[tuple[str, int]]:
    """A server that says hello."""

    def hello(environ: object, start_response: object) -> list[bytes]:
        start_response("200 OK", [])
        return [b"hello"]

    server = Server(("127.0.0.1", 0))
    server.set_app(hello)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02))
    thread.start()
    try:
        yield ("127.0.0.1", server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def read(address: tuple[str, int]) -> bytes:
    with urllib.request.urlopen("http://{}:{}/".format(*address), timeout=10) as answer:
        return answer.read()


def test_unfinished_requests_keep_few_threads_and_others_are_answered() -> None:
    before = threading.active_count()
    with running() as address, contextlib.ExitStack() as unfinished:
        for number in range(80):
            sock = unfinished.enter_context(socket.create_connection(address, timeout=10))
            sock.send(b"GET / HTTP/1.1\r\nHost:")
            if number % 20 == 0:
                assert read(address) == b"hello"
            assert threading.active_count() <= before + 1 + MAX_REQUESTS
        assert read(address) == b"hello"


def test_a_request_that_takes_too_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_REQUEST_SECONDS", 0.05)
    with running() as address, socket.create_connection(address, timeout=10) as slow:
        slow.send(b"GET / HTTP/1.1\r\n")
        assert slow.recv(100) == b""


def test_closing_ends_what_is_in_progress() -> None:
    with running() as address:
        sock = socket.create_connection(address, timeout=10)
        sock.send(b"GET /")
        assert read(address) == b"hello"
    with sock:
        assert sock.recv(100) == b""
