"""Item 8: a frame in which nothing happens, against a bare read that finds nothing.

Both on the client's own socket. The server is in a thread that sleeps meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator

from timing import Timed

from mpgameserver import EventHandler, ServerContext, ThreadedServer, UdpClient

QUIET = 4.0
"""Seconds between keep-alives and between ticks: rare, and below the idle timeout."""
PATIENCE = 5.0
"""Seconds until the client must be connected."""


@contextlib.contextmanager
def quiet_client() -> Iterator[UdpClient]:
    """A connected client, and a server that says nothing while it is measured."""
    context = ServerContext(EventHandler())
    context.setInterval(QUIET)
    context.setKeepAliveInterval(QUIET)
    with ThreadedServer(context, ("127.0.0.1", 0)) as server, UdpClient() as client:
        client.setKeepAliveInterval(QUIET)
        client.connect(server.address)
        end = time.monotonic() + PATIENCE
        while not client.connected():
            client.update()
            if time.monotonic() > end:
                raise TimeoutError("the client did not connect")
            time.sleep(0.001)
        for _ in range(20):  # the last acks
            client.update()
            time.sleep(0.01)
        yield client


def idle_frame(client: UdpClient, count: int) -> Timed:
    """`update` with nothing to do."""

    def timed() -> float:
        update = client.update
        began = time.perf_counter()
        for _ in range(count):
            update()
        return (time.perf_counter() - began) / count * 1e6

    return timed


@contextlib.contextmanager
def same_socket(client: UdpClient) -> Iterator[socket.socket]:
    """The client's socket, as an object of the socket module."""
    with socket.socket(fileno=os.dup(client.fileno())) as sock:
        yield sock


def failing_read(sock: socket.socket, count: int) -> Timed:
    """`recvfrom` that finds nothing, and the exception that says so."""

    def timed() -> float:
        recvfrom = sock.recvfrom
        began = time.perf_counter()
        for _ in range(count):
            try:
                recvfrom(65536)
            except BlockingIOError:
                continue
        return (time.perf_counter() - began) / count * 1e6

    return timed
