"""UDP sockets: what other addresses send is not seen, and errors of the network are answers."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Iterator

import pytest

from mpgameserver import udpsocket
from mpgameserver.udpsocket import ConnectedSocket
from mpgameserver.waiting import wait_readable

PATIENCE = 5.0
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
    sock = ConnectedSocket(socket.AF_INET, peer.getsockname())
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
        assert connected.receive() == b"one"
        assert connected.receive() is None

    def test_what_another_port_sends_does_not(
        self, connected: ConnectedSocket, peer: socket.socket
    ) -> None:
        address = address_of(connected, peer)
        with bound_socket() as stranger:
            stranger.sendto(b"from a stranger", address)
        peer.sendto(b"from the peer", address)
        wait_readable(connected, PATIENCE)
        assert [connected.receive(), connected.receive()] == [b"from the peer", None]

    def test_nor_the_same_port_of_another_host(
        self, connected: ConnectedSocket, peer: socket.socket
    ) -> None:
        address = address_of(connected, peer)
        try:
            stranger = bound_socket("127.0.0.2", peer.getsockname()[1])
        except OSError as error:
            pytest.skip(f"no second loopback address: {error}")
        with stranger:
            stranger.sendto(b"from a stranger", address)
        peer.sendto(b"from the peer", address)
        wait_readable(connected, PATIENCE)
        assert [connected.receive(), connected.receive()] == [b"from the peer", None]

    @pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="Windows reports no refusal")
    def test_a_closed_port_is_noticed_and_raises_nothing(
        self, connected: ConnectedSocket, peer: socket.socket
    ) -> None:
        peer.close()
        assert connected.send(b"anybody there?")
        wait_readable(connected, PATIENCE)
        assert connected.receive() is None
        assert connected.refused

    def test_a_datagram_too_large_for_the_network_counts_as_sent(
        self, connected: ConnectedSocket
    ) -> None:
        assert connected.send(bytes(70_000))

    def test_closing_twice_is_harmless(self, connected: ConnectedSocket) -> None:
        connected.close()
        connected.close()
        assert connected.fileno() == -1

    def test_an_address_that_cannot_be_reached_is_an_os_error(self) -> None:
        with pytest.raises(OSError, match=r".+"):
            ConnectedSocket(socket.AF_INET, ("::1", 1))


class TestBuffers:
    def test_less_than_was_asked_for_is_told_once_with_what_helps(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(udpsocket, "_told", set())
        log = logging.getLogger("mpgameserver.server")
        too_much = 1 << 30
        for _ in range(2):
            udpsocket.new_udp_socket(socket.AF_INET, too_much, log, logging.WARNING).close()
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
        monkeypatch.setattr(udpsocket, "_told", set())
        caplog.set_level(logging.INFO)
        udpsocket.new_udp_socket(socket.AF_INET, 8192).close()
        assert not caplog.records
