"""UdpClient over real sockets on loopback: what only they can show."""

from __future__ import annotations

import errno
import gc
import logging
import os
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import wire
from support.echo import EchoServer
from support.patience import PATIENCE

from mpgameserver.client import UdpClient
from mpgameserver.client.connect import server_address
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import ConnectFailure, ConnectionStatus, RetryMode
from mpgameserver.errors import MpGameServerError, NotConnectedError
from mpgameserver.transport import sockets

LIMIT = 8_389_011
Address = tuple[str, int]


def run_until(client: UdpClient, condition: Callable[[], object]) -> None:
    """Call `update` frame by frame until the condition holds."""
    end = time.perf_counter() + PATIENCE
    while not condition():
        assert time.perf_counter() < end, f"still waiting: {client!r}"
        client.update()
        time.sleep(0.002)


def connect(client: UdpClient, address: Address) -> None:
    outcome: list[bool] = []
    client.connect(address, outcome.append)
    run_until(client, lambda: outcome)
    assert outcome == [True], client.failure


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as running:
        yield running


@pytest.fixture
def client(server: EchoServer) -> Iterator[UdpClient]:
    """A client that is connected to `server`."""
    with UdpClient(server.public_key) as connected:
        connect(connected, server.address)
        yield connected


@pytest.fixture
def silent_address() -> Iterator[Address]:
    """The address of a socket that nobody reads."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


@pytest.fixture
def free_address() -> Address:
    """An address that no socket is bound to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        address: Address = sock.getsockname()
    return address


class TestThreads:
    """Two at once are refused; one after the other is nobody's affair."""

    @staticmethod
    def elsewhere(call: Callable[[], object]) -> BaseException | None:
        """Return what a call raises on another thread."""
        raised: list[BaseException | None] = []

        def make() -> None:
            try:
                call()
            except RuntimeError as error:
                raised.append(error)
            else:
                raised.append(None)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return raised[0]

    def test_no_call_is_made_while_another_thread_is_in_update(self, client: UdpClient) -> None:
        calls: list[Callable[[], object]] = [
            client.update,
            lambda: client.connect(("127.0.0.1", 1)),
            lambda: client.send(b""),
            lambda: client.send_guaranteed(b""),
            client.getMessage,
            client.getMessages,
            client.disconnect,
            client.forceDisconnect,
        ]
        raised: list[BaseException | None] = []
        client.send(b"", -1, lambda acked: raised.extend(map(self.elsewhere, calls)))
        run_until(client, lambda: raised)
        assert [str(error) for error in raised] == ["another thread uses this client"] * len(calls)
        assert client.connected()
        client.getMessages()

    def test_threads_may_take_turns(self, client: UdpClient) -> None:
        outcomes: list[bool] = []
        assert self.elsewhere(client.update) is None
        assert self.elsewhere(lambda: client.send(b"", -1, outcomes.append)) is None
        run_until(client, lambda: outcomes)
        assert outcomes == [True]

    def test_two_that_update_at_once_are_told_and_harm_nothing(self, client: UdpClient) -> None:
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        refused: list[RuntimeError] = []
        is_over = threading.Event()

        def update() -> None:
            while not is_over.is_set():
                try:
                    client.update()
                except RuntimeError as error:
                    refused.append(error)

        threads = [threading.Thread(target=update) for _ in range(3)]
        try:
            for thread in threads:
                thread.start()
            end = time.perf_counter() + PATIENCE
            while not refused and time.perf_counter() < end:
                time.sleep(0.001)
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
            sys.setswitchinterval(interval)
        assert {str(error) for error in refused} == {"another thread uses this client"}
        outcomes: list[bool] = []
        client.send(b"still here", -1, outcomes.append)
        run_until(client, lambda: outcomes)
        assert outcomes == [True]


class TestBeforeConnecting:
    def test_everything_is_zero_empty_and_safe(self) -> None:
        client = UdpClient()
        client.update()
        client.disconnect()
        client.waitForDisconnect()
        client.forceDisconnect()
        assert client.status() == ConnectionStatus.DISCONNECTED
        assert not client.connected()
        assert (client.token(), client.latency(), client.pending) == (0, 0.0, 0)
        assert (client.fileno(), client.failure) == (-1, None)
        assert not client.hasMessages()
        assert client.getMessages() == []
        stats = client.stats()
        assert (stats.sent, stats.received, stats.dropped) == (0, 0, 0)
        for name in ("bytes_sent", "bytes_recv", "pkts_sent", "pkts_recv", "latency"):
            assert getattr(stats, name) == [0] * 300

    def test_getting_a_message_is_an_index_error(self) -> None:
        with pytest.raises(IndexError):
            UdpClient().getMessage()

    @pytest.mark.parametrize("method", ["send", "send_guaranteed"])
    def test_sending_is_a_connection_error_that_names_the_status(self, method: str) -> None:
        with pytest.raises(NotConnectedError, match="DISCONNECTED") as error:
            getattr(UdpClient(), method)(b"x")
        assert isinstance(error.value, ConnectionError)
        assert isinstance(error.value, MpGameServerError)

    @pytest.mark.parametrize(
        ("address", "error"),
        [
            ("localhost:1474", TypeError),
            (("localhost",), TypeError),
            (("localhost", "1474"), TypeError),
            ((None, 1474), TypeError),
            (("localhost", True), TypeError),
            (("localhost", 0), ValueError),
            (("localhost", 65536), ValueError),
            (("", 1474), ValueError),
            (("localhost\0.example.net", 1474), ValueError),
        ],
    )
    def test_a_wrong_address_raises_at_once(self, address: object, error: type[Exception]) -> None:
        client = UdpClient()
        with pytest.raises(error, match="addr must"):
            client.connect(address)  # type: ignore[arg-type]
        assert client.status() == ConnectionStatus.DISCONNECTED
        assert server_address(("localhost", 1474)) == ("localhost", 1474)

    @pytest.mark.parametrize(
        "setter", ["setConnectionTimeout", "setKeepAliveInterval", "setMessageTimeout"]
    )
    def test_intervals_must_be_above_zero(self, setter: str) -> None:
        for wrong, error in ((0, ValueError), (-1.0, ValueError), (float("nan"), ValueError)):
            with pytest.raises(error):
                getattr(UdpClient(), setter)(wrong)
        for wrong_type in ("1", None, True):
            with pytest.raises(TypeError):
                getattr(UdpClient(), setter)(wrong_type)

    def test_a_keep_alive_interval_above_the_idle_timeout_is_refused_by_connect(self) -> None:
        client = UdpClient()
        client.setKeepAliveInterval(6)
        with pytest.raises(ValueError, match=r"keep-alive interval \(6 s\).*idle timeout \(5 s\)"):
            client.connect(("127.0.0.1", 9))
        assert client.status() == ConnectionStatus.DISCONNECTED
        client.setKeepAliveInterval(1)
        client.connect(("127.0.0.1", 9))
        client.forceDisconnect()

    def test_the_server_key_may_be_a_key_pem_text_or_a_path(self, tmp_path: Path) -> None:
        key = EllipticCurvePrivateKey.new().getPublicKey()
        key.savePEM(tmp_path / "server.pub")
        for source in (
            key,
            key.getPublicKeyPEM(),
            key.getPublicKeyPEM().encode(),
            tmp_path / "server.pub",
            str(tmp_path / "server.pub"),
        ):
            UdpClient(source)
        with pytest.raises(TypeError):
            UdpClient(42)  # type: ignore[arg-type]


class TestConnecting:
    def test_it_walks_through_the_states(self, server: EchoServer) -> None:
        seen: list[tuple[bool, ConnectionStatus]] = []
        with UdpClient(server.public_key) as client:
            client.connect(server.address, lambda ok: seen.append((ok, client.status())))
            assert client.status() == ConnectionStatus.CONNECTING
            assert client.fileno() >= 0
            with pytest.raises(NotConnectedError, match="CONNECTING"):
                client.send(b"too early")
            run_until(client, lambda: seen)
            assert seen == [(True, ConnectionStatus.CONNECTED)]
            assert client.connected()
            assert client.failure is None
            assert client.token() > 0
        assert client.status() == ConnectionStatus.DISCONNECTED
        assert client.token() == 0

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_addresses_and_names_are_taken(self, server: EchoServer, host: str) -> None:
        with UdpClient(server.public_key) as client:
            connect(client, (host, server.address[1]))

    def test_ipv6_is_taken(self) -> None:
        with EchoServer("::1") as server, UdpClient(server.public_key) as client:
            connect(client, ("::1", server.address[1]))
            client.send(b"six" * 2000)
            run_until(client, client.hasMessages)
            assert client.getMessage()[1] == b"six" * 2000

    def test_without_a_key_any_server_is_believed(self, server: EchoServer) -> None:
        with UdpClient() as client:
            connect(client, server.address)

    def test_another_key_is_never_connected(self, server: EchoServer) -> None:
        outcome: list[bool] = []
        with UdpClient(EllipticCurvePrivateKey.new().getPublicKey()) as client:
            client.setConnectionTimeout(0.5)
            client.connect(server.address, outcome.append)
            run_until(client, lambda: outcome)
            assert outcome == [False]
            assert client.failure is ConnectFailure.WRONG_KEY
            assert client.status() == ConnectionStatus.DISCONNECTED

    def test_no_reply_is_a_timeout(self, silent_address: Address) -> None:
        outcome: list[bool] = []
        with UdpClient() as client:
            client.setConnectionTimeout(0.3)
            started = time.perf_counter()
            client.connect(silent_address, outcome.append)
            run_until(client, lambda: outcome)
            assert outcome == [False]
            assert client.failure is ConnectFailure.TIMEOUT
            assert 0.3 <= time.perf_counter() - started < 1.0

    def test_a_refused_port_fails_sooner(self, free_address: Address) -> None:
        outcome: list[bool] = []
        with UdpClient() as client:
            started = time.perf_counter()
            client.connect(free_address, outcome.append)
            run_until(client, lambda: outcome)
            assert client.failure is ConnectFailure.REFUSED
            assert time.perf_counter() - started < 2.0

    def test_a_name_without_an_address_is_unresolved(self) -> None:
        outcome: list[bool] = []
        with UdpClient() as client:
            client.connect(("no-such-host.invalid", 1474), outcome.append)
            run_until(client, lambda: outcome)
            assert outcome == [False]
            assert client.failure is ConnectFailure.UNRESOLVED

    def test_names_are_resolved_off_the_frame(
        self, server: EchoServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        release = threading.Event()
        real = socket.getaddrinfo

        def slow(host: str, *args: object, flags: int = 0, **kwargs: object) -> object:
            if flags & socket.AI_NUMERICHOST:
                raise socket.gaierror(socket.EAI_NONAME, "a name")
            assert release.wait(PATIENCE)
            return real("127.0.0.1", *args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(socket, "getaddrinfo", slow)
        outcome: list[bool] = []
        with UdpClient(server.public_key) as client:
            client.connect(("slow.example", server.address[1]), outcome.append)
            client.update()
            assert client.status() == ConnectionStatus.CONNECTING
            release.set()
            run_until(client, lambda: outcome)
            assert outcome == [True]

    def test_every_address_of_a_name_is_tried(
        self, server: EchoServer, silent_address: Address, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = [
            (socket.AF_INET, socket.SOCK_DGRAM, 17, "", address)
            for address in (silent_address, server.address)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
        with UdpClient(server.public_key) as client:
            connect(client, ("two-homes.example", 1474))

    def test_giving_up_calls_back_with_false(self, silent_address: Address) -> None:
        outcome: list[bool] = []
        with UdpClient() as client:
            client.connect(silent_address, outcome.append)
            client.disconnect()
            assert client.status() == ConnectionStatus.DISCONNECTED
            assert outcome == []
            client.update()
            assert outcome == [False]

    def test_a_second_attempt_hands_the_first_callback_to_the_next_update(
        self, server: EchoServer, silent_address: Address
    ) -> None:
        outcome: list[tuple[str, bool]] = []
        with UdpClient(server.public_key) as client:
            client.connect(silent_address, lambda ok: outcome.append(("first", ok)))
            client.connect(server.address, lambda ok: outcome.append(("second", ok)))
            assert outcome == []
            run_until(client, lambda: len(outcome) == 2)
            assert outcome == [("first", False), ("second", True)]

    def test_a_loop_that_connects_until_it_is_connected_connects(self, server: EchoServer) -> None:
        outcome: list[bool] = []
        frames = 0
        with UdpClient(server.public_key) as client:
            while not client.connected():
                client.connect(server.address, outcome.append)
                client.update()
                frames += 1
                time.sleep(0.001)
            client.update()
            assert outcome == [True] * frames
            assert server.connections == 1
        assert frames > 1

    def test_connecting_to_where_it_is_connecting_goes_on_with_the_attempt(
        self, silent_address: Address
    ) -> None:
        outcome: list[tuple[str, bool]] = []
        with UdpClient() as client:
            client.setConnectionTimeout(0.3)
            client.connect(silent_address, lambda ok: outcome.append(("first", ok)))
            sockets = client.filenos()
            client.connect(silent_address)
            client.connect(silent_address, lambda ok: outcome.append(("second", ok)))
            assert client.filenos() == sockets
            run_until(client, lambda: client.status() == ConnectionStatus.DISCONNECTED)
            client.update()
            assert outcome == [("first", False), ("second", False)]
            assert client.failure is ConnectFailure.TIMEOUT

    def test_connecting_after_a_forced_end_begins_anew(self, silent_address: Address) -> None:
        outcome: list[tuple[str, bool]] = []
        with UdpClient() as client:
            client.connect(silent_address, lambda ok: outcome.append(("first", ok)))
            client.forceDisconnect()
            assert outcome == [("first", False)]
            client.connect(silent_address, lambda ok: outcome.append(("second", ok)))
            assert client.status() == ConnectionStatus.CONNECTING
            client.update()
            assert outcome == [("first", False)]

    def test_connecting_again_closes_the_first_connection(
        self, client: UdpClient, server: EchoServer
    ) -> None:
        outcome: list[bool] = []
        token = client.token()
        client.send(b"x", callback=outcome.append)
        connect(client, server.address)
        assert outcome == [False]
        assert client.token() != token
        run_until(client, lambda: server.ended)
        assert server.ended == ["closed by client"]


class Unsendable(socket.socket):
    """A socket that a firewall, say, keeps from sending, while there is an error."""

    error = 0

    def send(self, datagram: bytes) -> int:  # type: ignore[override]
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        return super().send(datagram)


class TestErrorsOfSending:
    @pytest.mark.parametrize(
        "error", [errno.EPERM, errno.ENETUNREACH, errno.EMSGSIZE, errno.EINVAL, errno.EHOSTDOWN]
    )
    def test_an_attempt_that_could_send_nothing_says_so(
        self,
        server: EchoServer,
        error: int,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(sockets, "IS_NATIVE", False)
        monkeypatch.setattr(Unsendable, "error", error)
        monkeypatch.setattr(socket, "socket", Unsendable)
        client = UdpClient(server.public_key)
        client.setConnectionTimeout(0.05)
        outcome: list[bool] = []
        client.connect(server.address, outcome.append)
        run_until(client, lambda: outcome)
        assert outcome == [False]
        assert client.failure == ConnectFailure.CANNOT_SEND
        assert f"({errno.errorcode[error]})" in caplog.text

    def test_so_does_one_that_has_no_way_at_all(self) -> None:
        client = UdpClient()
        client.setConnectionTimeout(0.05)
        outcome: list[bool] = []
        client.connect(("255.255.255.255", 9), outcome.append)
        run_until(client, lambda: outcome)
        assert client.failure == ConnectFailure.CANNOT_SEND

    def test_those_of_a_connection_are_counted_by_kind_beside_what_is_dropped(
        self, server: EchoServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(sockets, "IS_NATIVE", False)
        monkeypatch.setattr(socket, "socket", Unsendable)
        with UdpClient(server.public_key) as client:
            connect(client, server.address)
            assert client.stats().send_errors == {}
            monkeypatch.setattr(Unsendable, "error", errno.EPERM)
            client.send(b"unsent")
            run_until(client, lambda: client.stats().send_errors)
            stats = client.stats()
            assert set(stats.send_errors) == {"EPERM"}
            assert stats.dropped == 0
            monkeypatch.undo()
            assert "cannot send: Operation not permitted (EPERM)" in caplog.text
        assert client.stats().send_errors == stats.send_errors


@pytest.mark.skipif(os.name == "nt", reason="a socket of Windows is no descriptor")
class TestDescriptorsClosedBySomebodyElse:
    def test_update_raises_and_the_connection_is_over(
        self, client: UdpClient, server: EchoServer
    ) -> None:
        outcomes: list[bool] = []
        client.send(b"unacked", callback=outcomes.append)
        os.close(client.fileno())
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            client.update()
        assert caught.value.errno == errno.EBADF
        assert client.status() == ConnectionStatus.DISCONNECTED
        assert client.fileno() == -1
        client.update()
        assert outcomes == [False]
        connect(client, server.address)

    def test_so_is_an_attempt(self, silent_address: Address) -> None:
        client, outcomes = UdpClient(), []
        client.connect(silent_address, outcomes.append)
        client.update()
        os.close(client.fileno())
        with pytest.raises(OSError, match="Bad file descriptor"):
            client.update()
        client.update()
        assert outcomes == [False]

    def test_the_calls_that_end_a_connection_raise_nothing(
        self, client: UdpClient, server: EchoServer
    ) -> None:
        os.close(client.fileno())
        client.forceDisconnect()
        connect(client, server.address)
        os.close(client.fileno())
        connect(client, server.address)


class TestMessages:
    @pytest.mark.parametrize("retry", [*RetryMode, -1, 0, 1])
    def test_a_message_goes_there_and_back(self, client: UdpClient, retry: int) -> None:
        outcome: list[bool] = []
        client.send(b"ping", retry, outcome.append)
        run_until(client, lambda: client.hasMessages() and outcome)
        [(seqnum, message)] = client.getMessages()
        assert message == b"ping"
        assert seqnum.newer_than(0)
        assert outcome == [True]
        assert 0.0 < client.latency() < 1.0

    @pytest.mark.parametrize("size", [0, 1, 1432, 1433, 1434, 1435, 2458, 20_000])
    def test_every_size_arrives_whole(self, client: UdpClient, size: int) -> None:
        message = bytes(i % 251 for i in range(size))
        client.send_guaranteed(message)
        run_until(client, client.hasMessages)
        assert client.getMessage()[1] == message

    def test_the_largest_message_arrives_and_a_larger_one_raises(
        self, client: UdpClient, server: EchoServer
    ) -> None:
        outcome: list[bool] = []
        server.echo = False
        message = bytes(1 << 20) * 8 + bytes(LIMIT - (8 << 20))
        with pytest.raises(ValueError, match=f"{LIMIT}"):
            client.send(message + b"x")
        client.send(message, callback=outcome.append)
        assert client.pending == LIMIT
        run_until(client, lambda: outcome)
        assert outcome == [True]
        assert server.sizes == [LIMIT]

    def test_many_small_messages_share_a_datagram(
        self, client: UdpClient, server: EchoServer
    ) -> None:
        server.echo = False
        # From then on no probe of the path is sent beside them.
        run_until(client, lambda: client.stats().largest_datagram > 1200)
        before = client.stats().sent
        for i in range(60):
            client.send(b"%04d" % i)
        client.update()
        assert client.stats().sent == before + 1
        run_until(client, lambda: len(server.sizes) == 60)

    def test_what_another_address_sends_does_not_arrive(self, client: UdpClient) -> None:
        forged = wire.pack_header(wire.Header(wire.TO_CLIENT, 0, 9, 0, wire.APP, 0, 0, 0))
        with socket.socket(fileno=os.dup(client.fileno())) as own:
            address = own.getsockname()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outsider:
            for datagram in (forged, forged + bytes(40), b"", bytes(2000)):
                outsider.sendto(datagram, address)
        client.send(b"unharmed")
        run_until(client, client.hasMessages)
        assert client.getMessage()[1] == b"unharmed"
        assert client.stats().dropped == 0


class TestCallbacks:
    def test_none_runs_inside_send(self, client: UdpClient) -> None:
        outcome: list[bool] = []
        client.send(b"x", callback=outcome.append)
        client.disconnect()
        assert outcome == []
        client.waitForDisconnect()
        assert outcome == [True]

    def test_they_may_send(self, client: UdpClient) -> None:
        client.send(b"first", callback=lambda ok: client.send(b"second"))
        received: list[bytes] = []
        run_until(
            client,
            lambda: received.extend(m for _, m in client.getMessages()) or len(received) == 2,
        )
        assert received == [b"first", b"second"]

    def test_they_may_disconnect_and_connect(self, client: UdpClient, server: EchoServer) -> None:
        outcome: list[bool] = []
        client.send(b"x", callback=lambda ok: client.connect(server.address, outcome.append))
        run_until(client, lambda: outcome)
        assert outcome == [True]
        client.send(b"x", callback=lambda ok: client.disconnect())
        run_until(client, lambda: client.status() == ConnectionStatus.DISCONNECTED)

    def test_they_may_force_the_end(self, client: UdpClient) -> None:
        outcome: list[bool] = []
        client.send(b"x", callback=lambda ok: client.forceDisconnect())
        client.send(b"y", callback=outcome.append)
        run_until(client, lambda: outcome)
        assert outcome in ([True], [False])
        assert client.status() == ConnectionStatus.DISCONNECTED

    @pytest.mark.parametrize("method", ["update", "waitForDisconnect"])
    def test_they_may_not_run_the_frame(self, client: UdpClient, method: str) -> None:
        errors: list[Exception] = []

        def callback(ok: bool) -> None:
            try:
                getattr(client, method)()
            except RuntimeError as error:
                errors.append(error)

        client.send(b"x", callback=callback)
        run_until(client, lambda: errors)
        assert method in str(errors[0])
        assert client.connected()

    def test_one_that_raises_is_logged_and_the_connection_goes_on(
        self, client: UdpClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        def callback(ok: bool) -> None:
            raise ZeroDivisionError("in a callback")

        outcome: list[bool] = []
        with caplog.at_level(logging.ERROR, "mpgameserver.client"):
            client.send(b"x", callback=callback)
            client.send(b"y", callback=outcome.append)
            run_until(client, lambda: outcome)
        assert outcome == [True]
        assert "in a callback" in caplog.text
        assert client.connected()

    def test_a_frame_calls_no_more_of_them_than_a_frame_bears(self, client: UdpClient) -> None:
        outcomes: list[bool] = []
        for _ in range(5000):
            client._callbacks.expect(outcomes.append)
        client._callbacks.complete_attempt(True)
        client.update()
        assert len(outcomes) == 4096
        assert client.next_timer() == 0.0
        client.update()
        assert outcomes == [True] * 5000

    @pytest.mark.parametrize("end", [UdpClient.waitForDisconnect, UdpClient.forceDisconnect])
    def test_a_call_that_ends_the_connection_calls_all_of_them(
        self, client: UdpClient, end: Callable[[UdpClient], None]
    ) -> None:
        outcomes: list[bool] = []
        for _ in range(9000):
            client._callbacks.expect(outcomes.append)
        client._callbacks.complete_attempt(True)
        end(client)
        assert len(outcomes) == 9000


class TestTheEnd:
    def test_disconnect_waits_for_the_reply(self, client: UdpClient, server: EchoServer) -> None:
        server.echo = False
        client.send(b"last words", RetryMode.NONE)
        client.disconnect()
        assert client.status() == ConnectionStatus.DISCONNECTING
        with pytest.raises(NotConnectedError, match="DISCONNECTING"):
            client.send(b"too late")
        started = time.perf_counter()
        client.waitForDisconnect()
        assert time.perf_counter() - started < 0.9
        assert client.status() == ConnectionStatus.DISCONNECTED
        assert (server.sizes, server.ended) == ([10], ["closed by client"])

    def test_update_alone_disconnects_too(self, client: UdpClient, server: EchoServer) -> None:
        client.disconnect()
        run_until(client, lambda: client.status() == ConnectionStatus.DISCONNECTED)
        assert server.ended == ["closed by client"]
        assert client.fileno() == -1

    def test_waiting_gives_up_after_a_second(self, client: UdpClient, server: EchoServer) -> None:
        outcome: list[bool] = []
        server.vanish()
        client.send(b"x", callback=outcome.append)
        started = time.perf_counter()
        client.disconnect()
        client.waitForDisconnect()
        assert 0.9 < time.perf_counter() - started < 1.5
        assert outcome == [False]
        assert client.status() == ConnectionStatus.DISCONNECTED

    def test_force_disconnect_settles_everything_before_it_returns(
        self, client: UdpClient, server: EchoServer
    ) -> None:
        outcome: list[bool] = []
        for retry in RetryMode:
            client.send(b"x", retry, outcome.append)
        client.send(b"x" * 100_000, callback=outcome.append)
        client.forceDisconnect()
        assert outcome == [False] * 4
        assert client.status() == ConnectionStatus.DISCONNECTED
        assert client.fileno() == -1

    def test_leaving_the_with_block_does_the_same(self, server: EchoServer) -> None:
        outcome: list[bool] = []
        with UdpClient(server.public_key) as client:
            connect(client, server.address)
            client.send(b"x", callback=outcome.append)
        assert outcome == [False]
        assert client.status() == ConnectionStatus.DISCONNECTED

    def test_mashing_connect_leaves_no_player_on_the_server(self) -> None:
        with EchoServer() as server, UdpClient(server.public_key) as client:
            for number in range(40):
                client.connect(server.address)
                for _ in range(number % 8):
                    client.update()
                    time.sleep(0.001)
                client.forceDisconnect()
            end = time.perf_counter() + 2.0
            while server.players:
                assert time.perf_counter() < end, server.players
                time.sleep(0.01)

    def test_the_servers_disconnect_ends_it_at_once(
        self, client: UdpClient, server: EchoServer
    ) -> None:
        server.kick_after = b"kick me"
        client.send(b"kick me")
        run_until(client, lambda: client.status() == ConnectionStatus.DISCONNECTED)
        assert [message for _, message in client.getMessages()] == [b"kick me"]
        with pytest.raises(NotConnectedError):
            client.send(b"x")

    def test_the_idle_timeout_drops_the_connection(
        self, client: UdpClient, server: EchoServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.vanish()
        client.update()  # reads what has arrived
        now = time.perf_counter()
        monkeypatch.setattr(time, "perf_counter", lambda: now + 5.5)
        client.update()
        assert client.status() == ConnectionStatus.DROPPED
        assert not client.connected()
        assert client.token() == 0

    def test_a_client_that_nobody_has_any_more_closes_its_socket_at_once(
        self, server: EchoServer
    ) -> None:
        client = UdpClient(server.public_key)
        connect(client, server.address)
        alive = weakref.ref(client)
        gc.disable()
        try:
            with pytest.warns(ResourceWarning, match="unclosed"):
                del client
            assert alive() is None
        finally:
            gc.enable()

    @pytest.mark.parametrize("end", ["forceDisconnect", "connect"])
    def test_a_handler_of_the_log_may_end_it_while_datagrams_are_read(
        self, client: UdpClient, server: EchoServer, end: str
    ) -> None:
        sock = client._socket
        assert sock is not None
        ends = {
            "forceDisconnect": client.forceDisconnect,
            "connect": lambda: client.connect(server.address),
        }
        log = logging.getLogger("mpgameserver.client")
        handler = logging.Handler()
        handler.emit = lambda _: ends[end]()
        log.addHandler(handler)
        try:
            for _ in range(3):
                server.send_garbage(sock.local_address)
            run_until(client, lambda: sock.fileno() == -1)
        finally:
            log.removeHandler(handler)
        assert client.connected() is False
        if end == "connect":
            run_until(client, client.connected)

    def test_the_stats_of_an_ended_connection_can_be_read(self, client: UdpClient) -> None:
        client.send(b"x")
        run_until(client, client.hasMessages)
        client.forceDisconnect()
        stats = client.stats()
        assert stats.sent >= 1
        assert sum(stats.pkts_recv) == stats.received >= 1


class TestFileno:
    def test_it_is_stable_while_connected(self, client: UdpClient) -> None:
        descriptor = client.fileno()
        assert descriptor >= 0
        client.send(b"x")
        run_until(client, client.hasMessages)
        assert client.fileno() == descriptor


def test_the_repr_says_where_it_is_connected(client: UdpClient, server: EchoServer) -> None:
    assert f"CONNECTED with 127.0.0.1:{server.address[1]}" in repr(client)
