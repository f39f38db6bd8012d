"""No file descriptor, no thread, no codec is left: nothing is half made, and nothing is open."""

from __future__ import annotations

import asyncio
import errno
import importlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.echo import EchoServer
from support.patience import PATIENCE

from mpgameserver import aio
from mpgameserver.client import UdpClient
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import ConnectFailure, ConnectionStatus
from mpgameserver.monitorchannel import MonitorChannel
from mpgameserver.netsim import LinkConditions
from mpgameserver.server import ThreadedServer, UdpServer
from mpgameserver.server.context import ServerContext
from mpgameserver.server.handler import EventHandler
from mpgameserver.transport.address import resolve
from mpgameserver.transport.http import ACCEPT_PAUSE, MAX_REQUESTS
from mpgameserver.udpproxy import UdpProxy

LOOPBACK = ("127.0.0.1", 0)
DESCRIPTORS = Path("/proc/self/fd")

pytestmark = pytest.mark.skipif(not DESCRIPTORS.exists(), reason="counts descriptors in /proc")


def open_descriptors() -> int:
    return len(list(DESCRIPTORS.iterdir()))


@pytest.fixture
def nothing_stays_open() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert open_descriptors() == before


class Shortage:
    """Lets `left` more sockets be made, or threads be started; then there is none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = sys.maxsize
        self._monkeypatch = monkeypatch

    def _take(self, count: int, error: Exception) -> None:
        if self.left < count:
            raise error
        self.left -= count

    def of_sockets(self, left: int) -> None:
        self.left = left
        full = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        new_socket, new_pair = socket.socket, socket.socketpair

        class Rationed(new_socket):  # type: ignore[misc,valid-type]
            def __init__(sock, *args: Any, **options: Any) -> None:
                if len(args) < 4 and "fileno" not in options:  # else one that is open already
                    self._take(1, full)
                super().__init__(*args, **options)

        def pair(*args: Any) -> tuple[socket.socket, socket.socket]:
            self._take(2, full)
            return new_pair(*args)

        self._monkeypatch.setattr(socket, "socket", Rationed)
        self._monkeypatch.setattr(socket, "socketpair", pair)

    def of_threads(self, left: int) -> None:
        self.left = left
        start = threading.Thread.start

        def rationed(thread: threading.Thread) -> None:
            self._take(1, RuntimeError("can't start new thread"))
            start(thread)

        self._monkeypatch.setattr(threading.Thread, "start", rationed)

    def end(self) -> None:
        self._monkeypatch.undo()


@pytest.fixture
def shortage(monkeypatch: pytest.MonkeyPatch) -> Shortage:
    return Shortage(monkeypatch)


def outcome_of(client: UdpClient, address: tuple[str, int], seconds: float = 0.2) -> list[bool]:
    """Connect until the callback comes: what it was called with."""
    outcome: list[bool] = []
    client.setConnectionTimeout(seconds)
    client.connect(address, outcome.append)
    while not outcome:
        client.update()
    return outcome


@pytest.mark.usefixtures("nothing_stays_open")
class TestConnect:
    def test_without_a_thread_a_name_is_unresolved(self, shortage: Shortage) -> None:
        shortage.of_threads(0)
        with UdpClient() as client:
            assert outcome_of(client, ("localhost", 9)) == [False]
            assert client.failure == ConnectFailure.UNRESOLVED

    @pytest.mark.parametrize("left", [0, 1])
    def test_without_a_descriptor_a_name_is_unresolved(self, shortage: Shortage, left: int) -> None:
        shortage.of_sockets(left)
        with UdpClient() as client:
            assert outcome_of(client, ("localhost", 9)) == [False]
            assert client.failure == ConnectFailure.UNRESOLVED

    def test_without_a_descriptor_an_address_fails_by_the_callback(
        self, shortage: Shortage
    ) -> None:
        shortage.of_sockets(0)
        with UdpClient() as client:
            assert outcome_of(client, ("127.0.0.1", 9)) == [False]
            assert client.failure is not None

    def test_what_is_raised_leaves_the_connection_as_it_was(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with EchoServer() as server, UdpClient(server.public_key) as client:
            assert outcome_of(client, server.address, 5.0) == [True]

            def fail(*_: object, **options: object) -> None:
                raise MemoryError

            calls: list[bool] = []
            with monkeypatch.context() as patched:
                patched.setattr("mpgameserver.client.connect.ClientHandshake2", fail)
                with pytest.raises(MemoryError):
                    client.connect(("127.0.0.1", 9), calls.append)
            client.update()
            assert client.status() == ConnectionStatus.CONNECTED
            assert calls == []

    def test_what_is_raised_in_the_middle_of_an_attempt_closes_its_sockets(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr("mpgameserver.client.handshake.ClientHandshake.add_path", fail)
        with pytest.raises(MemoryError):
            UdpClient().connect(("127.0.0.1", 9))

    def test_asyncio_raises_what_it_documents(self, shortage: Shortage) -> None:
        async def fail() -> None:
            shortage.of_threads(0)
            with pytest.raises(ConnectionError, match="could not be resolved"):
                async with aio.connect(("localhost", 9)):
                    pass
            shortage.end()

        asyncio.run(fail())


class TestNamesWithoutIdna:
    """A frozen game that was built without `encodings.idna`."""

    @pytest.fixture(autouse=True)
    def idna_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = socket.getaddrinfo

        def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
            if isinstance(host, str):  # as in C, for addresses too
                raise LookupError("unknown encoding: idna")
            return real(host, *args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
    def test_an_address_and_an_ascii_name_need_none(self, host: str) -> None:
        assert resolve(host, 9)[0][1][1] == 9

    @pytest.mark.parametrize("host", ["bücher.invalid", "a..b.invalid", "x" * 300])
    def test_what_has_no_name_for_the_resolver_is_an_os_error(self, host: str) -> None:
        with pytest.raises(socket.gaierror):
            resolve(host, 9)

    def test_a_server_and_a_client_meet(self) -> None:
        with EchoServer() as server, UdpClient(server.public_key) as client:
            assert outcome_of(client, server.address, 5.0) == [True]


def make_server() -> None:
    UdpServer(ServerContext(EventHandler()), LOOPBACK)


def start_threaded_server() -> None:
    ThreadedServer(ServerContext(EventHandler()), LOOPBACK).start()


def make_proxy() -> None:
    UdpProxy(LOOPBACK, ("127.0.0.1", 9), LinkConditions())


@pytest.mark.usefixtures("nothing_stays_open")
class TestServers:
    @pytest.mark.parametrize("make", [make_server, start_threaded_server, make_proxy])
    @pytest.mark.parametrize("left", range(3))
    def test_without_a_descriptor_nothing_is_made(
        self, shortage: Shortage, make: Callable[[], None], left: int
    ) -> None:
        shortage.of_sockets(left)
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            make()

    def test_without_a_thread_a_server_does_not_start_and_may_later(
        self, shortage: Shortage
    ) -> None:
        server = ThreadedServer(ServerContext(EventHandler()), LOOPBACK)
        shortage.of_threads(0)
        with pytest.raises(RuntimeError, match="thread"):
            server.start()
        shortage.end()
        server.start()
        server.stop()

    def test_without_a_thread_a_proxy_can_still_be_driven_and_stopped(
        self, shortage: Shortage
    ) -> None:
        proxy = UdpProxy(LOOPBACK, ("127.0.0.1", 9), LinkConditions())
        shortage.of_threads(0)
        with pytest.raises(RuntimeError, match="thread"):
            proxy.start()
        proxy.run_once(0)
        proxy.stop()

    @pytest.mark.parametrize("lacking", ["of_sockets", "of_threads"])
    def test_asyncio_serves_nothing_where_it_cannot_wait_for_sockets(
        self, shortage: Shortage, monkeypatch: pytest.MonkeyPatch, lacking: str
    ) -> None:
        def refuse(watch: object, readers: set[int], writer: int | None) -> None:
            if readers:
                raise NotImplementedError

        async def serve() -> None:
            monkeypatch.setattr("mpgameserver.aio.watch.LoopWatch.set", refuse)
            getattr(shortage, lacking)(1 if lacking == "of_sockets" else 0)
            with pytest.raises((OSError, RuntimeError)):
                async with aio.serve(ServerContext(EventHandler()), LOOPBACK):
                    pass
            shortage.end()

        asyncio.run(asyncio.wait_for(serve(), 5))


def is_read(address: tuple[str, int]) -> bool:
    """True if the metrics server answers."""
    with socket.create_connection(address, PATIENCE) as sock:
        sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        try:
            return sock.recv(64).startswith(b"HTTP/1.0 200")
        except ConnectionResetError:
            return False


@pytest.mark.usefixtures("nothing_stays_open")
class TestMonitorChannel:
    @pytest.fixture
    def context(self) -> ServerContext:
        return ServerContext(EventHandler(), EllipticCurvePrivateKey.new())

    @pytest.mark.parametrize("left", [0, 1, 2])
    def test_without_a_descriptor_it_does_not_start_and_can_be_started_later(
        self, context: ServerContext, shortage: Shortage, left: int
    ) -> None:
        channel = MonitorChannel(context, EllipticCurvePrivateKey.new(), LOOPBACK)
        shortage.of_sockets(left)
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            channel.start()
        shortage.end()
        with channel:
            assert channel.address[1] > 0

    def test_without_a_thread_it_does_not_start_and_can_be_started_later(
        self, context: ServerContext, shortage: Shortage
    ) -> None:
        channel = MonitorChannel(context, EllipticCurvePrivateKey.new(), LOOPBACK)
        shortage.of_threads(0)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            channel.start()
        shortage.end()
        with channel:
            assert channel.address[1] > 0

    def test_one_that_cannot_be_made_leaves_the_context_as_it_was(
        self, context: ServerContext
    ) -> None:
        with pytest.raises(ValueError, match="port"):
            MonitorChannel(context, EllipticCurvePrivateKey.new(), ("127.0.0.1", 70000))
        assert context.meter is None


@pytest.mark.usefixtures("nothing_stays_open")
class TestMetricsServer:
    @pytest.fixture
    def context(self) -> ServerContext:
        return ServerContext(EventHandler())

    @pytest.fixture
    def make(self) -> Any:
        pytest.importorskip("prometheus_client")
        return importlib.import_module("mpgameserver.metrics").MetricsServer

    def test_without_a_descriptor_it_is_not_made(
        self, context: ServerContext, make: Any, shortage: Shortage
    ) -> None:
        shortage.of_sockets(0)
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            make(context, LOOPBACK)
        assert context.meter is None

    def test_without_a_thread_it_is_not_made(
        self, context: ServerContext, make: Any, shortage: Shortage
    ) -> None:
        shortage.of_threads(0)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            make(context, LOOPBACK)
        assert context.meter is None

    def test_a_request_without_a_thread_is_refused_and_takes_no_room(
        self, context: ServerContext, make: Any, shortage: Shortage
    ) -> None:
        with make(context, LOOPBACK) as metrics, ThreadedServer(context, LOOPBACK):
            shortage.of_threads(0)
            assert not any(is_read(metrics.address) for _ in range(MAX_REQUESTS + 1))
            shortage.end()
            assert is_read(metrics.address)

    def test_a_request_without_a_descriptor_waits_and_keeps_no_core_busy(
        self, context: ServerContext, make: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tried: list[float] = []

        def full(sock: socket.socket) -> Any:
            tried.append(time.monotonic())
            if len(tried) == 3:
                monkeypatch.undo()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        with make(context, LOOPBACK) as metrics, ThreadedServer(context, LOOPBACK):
            monkeypatch.setattr(socket.socket, "accept", full)
            assert is_read(metrics.address)
        assert tried[2] - tried[0] >= 2 * ACCEPT_PAUSE
