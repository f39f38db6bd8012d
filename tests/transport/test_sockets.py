"""UDP sockets: what other addresses send is not seen, and errors of the network are answers."""

from __future__ import annotations

import errno
import logging
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from support.patience import PATIENCE

from mpgameserver.transport import sockets
from mpgameserver.transport.poll import wait_readable
from mpgameserver.transport.sockets import ConnectedSocket, PlainSocket

HOST = "127.0.0.1"


def bound_socket(host: str = HOST, port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    sock.settimeout(PATIENCE)
    return sock


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    """The other side's socket."""
    with bound_socket() as sock:
        yield sock


@pytest.fixture
def connected(peer: socket.socket) -> Iterator[ConnectedSocket]:
    sock = ConnectedSocket(sockets.new_udp_socket(socket.AF_INET), peer.getsockname())
    yield sock
    sock.close()


def address_of(connected: ConnectedSocket, peer: socket.socket) -> tuple[str, int]:
    assert connected.send(b"where am I?")
    address: tuple[str, int] = peer.recvfrom(100)[1]
    return address


class TestConnectedSocket:
    def test_what_the_other_side_sends_arrives(
        self, connected: ConnectedSocket, peer: socket.socket
    ) -> None:
        peer.sendto(b"one", address_of(connected, peer))
        wait_readable(connected, PATIENCE)
        assert connected.datagrams.receive() == b"one"
        assert connected.datagrams.receive() is None

    def test_what_another_port_sends_does_not(
        self, connected: ConnectedSocket, peer: socket.socket
    ) -> None:
        address = address_of(connected, peer)
        with bound_socket() as outsider:
            outsider.sendto(b"from an outsider", address)
        peer.sendto(b"from the peer", address)
        wait_readable(connected, PATIENCE)
        assert [connected.datagrams.receive(), connected.datagrams.receive()] == [
            b"from the peer",
            None,
        ]

    def test_nor_the_same_port_of_another_host(
        self, connected: ConnectedSocket, peer: socket.socket
    ) -> None:
        address = address_of(connected, peer)
        try:
            outsider = bound_socket("127.0.0.2", peer.getsockname()[1])
        except OSError as error:
            pytest.skip(f"no second loopback address: {error}")
        with outsider:
            outsider.sendto(b"from an outsider", address)
        peer.sendto(b"from the peer", address)
        wait_readable(connected, PATIENCE)
        assert [connected.datagrams.receive(), connected.datagrams.receive()] == [
            b"from the peer",
            None,
        ]

    def test_closing_twice_is_harmless(self, connected: ConnectedSocket) -> None:
        connected.close()
        connected.close()
        assert connected.fileno() == -1

    def test_an_address_that_cannot_be_reached_is_an_os_error(self) -> None:
        with pytest.raises(OSError, match=r".+"):
            ConnectedSocket(sockets.new_udp_socket(socket.AF_INET), ("::1", 1))


class TestPathMtu:
    """Datagrams that a link does not take are fragmented, and do not vanish."""

    @pytest.mark.skipif(sys.platform != "linux", reason="the numbers are those of Linux")
    @pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
    def test_no_socket_asks_for_packets_that_must_not_be_fragmented(
        self, family: socket.AddressFamily
    ) -> None:
        with sockets.new_udp_socket(family) as sock:
            assert sock.getsockopt(socket.IPPROTO_IP, 10) == 0  # IP_MTU_DISCOVER: DONT
            if family == socket.AF_INET6:
                assert sock.getsockopt(socket.IPPROTO_IPV6, 23) == 0  # IPV6_MTU_DISCOVER: DONT
                assert sock.getsockopt(socket.IPPROTO_IPV6, 62) == 0  # IPV6_DONTFRAG

    @pytest.mark.parametrize("platform", ["darwin", "freebsd", "linux", "win32", "sunos5"])
    def test_a_system_without_the_option_keeps_its_default(
        self, platform: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []

        class Refusing(socket.socket):
            def setsockopt(self, level: int, option: int, value: Any) -> None:  # type: ignore[override]
                if level != socket.SOL_SOCKET:
                    asked.append((level, option, value))
                    raise OSError(errno.ENOPROTOOPT, "no such option")
                super().setsockopt(level, option, value)

        monkeypatch.setattr(sockets, "_PLATFORM", platform)
        monkeypatch.setattr(socket, "socket", Refusing)
        sockets.new_udp_socket(socket.AF_INET).close()
        assert len(asked) == (platform != "sunos5")

    def test_only_over_ipv6_the_system_is_asked_what_it_would_fragment(
        self, connected: ConnectedSocket
    ) -> None:
        assert connected.path_mtu is None


class Failing:
    """A socket whose calls raise one error after the other, and then do what they should."""

    def __init__(self, *errors: OSError) -> None:
        self._errors = list(errors)

    def _fail(self) -> None:
        if self._errors:
            raise self._errors.pop(0)

    def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int]]:
        self._fail()
        return b"there", (HOST, 9)

    def send(self, datagram: bytes) -> int:
        self._fail()
        return len(datagram)


class TestErrorsOfWindows:
    """Its words for what the network does, as the socket module passes them on."""

    @pytest.mark.parametrize(
        ("error", "is_refused"),
        [
            (ConnectionResetError(errno.ECONNRESET, "port unreachable"), True),
            (OSError(errno.ENETRESET, "time to live exceeded"), False),
        ],
    )
    def test_a_read_steps_over_what_an_earlier_send_has_met(
        self, error: OSError, is_refused: bool
    ) -> None:
        moves = PlainSocket(Failing(error, error))  # type: ignore[arg-type]
        assert moves.receive() == b"there"
        assert moves.refused == is_refused

    def test_what_is_sent_when_it_is_told_is_lost_and_no_error(self) -> None:
        reset = ConnectionResetError(errno.ECONNRESET, "port unreachable")
        moves = PlainSocket(Failing(reset))  # type: ignore[arg-type]
        assert moves.send(b"lost")
        assert moves.refused

    def test_errors_without_end_do_not_hold_a_read_up(self) -> None:
        resets = [ConnectionResetError(errno.ECONNRESET, "port unreachable") for _ in range(40)]
        moves = PlainSocket(Failing(*resets))  # type: ignore[arg-type]
        assert [moves.receive() for _ in range(2)] == [None, None]
        assert moves.receive() == b"there"


class TestBuffers:
    @pytest.mark.skipif(sys.platform == "win32", reason="Windows grants whatever is asked for")
    def test_less_than_was_asked_for_is_told_once_with_what_helps(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sockets, "_told", set())
        log = logging.getLogger("mpgameserver.server")
        too_much = 1 << 30
        for _ in range(2):
            sockets.new_udp_socket(socket.AF_INET, too_much, log, logging.WARNING).close()
        lines = [record.getMessage() for record in caplog.records]
        assert len(lines) == 2
        for line, word in zip(lines, ("receive", "send"), strict=True):
            assert f"{word} buffer" in line
            assert str(too_much) in line
        if sys.platform == "linux":
            assert f"sysctl -w net.core.rmem_max={too_much}" in lines[0]
            assert f"sysctl -w net.core.wmem_max={too_much}" in lines[1]

    def test_as_much_as_was_asked_for_is_no_news(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sockets, "_told", set())
        caplog.set_level(logging.INFO)
        sockets.new_udp_socket(socket.AF_INET, 8192).close()
        assert not caplog.records

    def test_where_a_system_refuses_too_much_half_of_it_is_asked_for(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Bsd(socket.socket):
            def setsockopt(self, level: int, option: int, value: Any) -> None:  # type: ignore[override]
                if value > 50_000:
                    raise OSError(errno.ENOBUFS, "above kern.ipc.maxsockbuf")
                super().setsockopt(level, option, value)

        monkeypatch.setattr(sockets, "_told", set())
        monkeypatch.setattr(socket, "socket", Bsd)
        log = logging.getLogger("mpgameserver.server")
        sockets.new_udp_socket(socket.AF_INET, 160_000, log, logging.WARNING).close()
        lines = [record.getMessage() for record in caplog.records]
        assert [" 40000 of the 160000 bytes" in line for line in lines] == [True, True]
