"""The socket that a server listens on."""

from __future__ import annotations

import ctypes
import socket
from typing import Any

import pytest

from mpgameserver.transport import listening
from mpgameserver.transport.listening import ListeningSocket
from mpgameserver.transport.poll import wait_readable


@pytest.mark.parametrize(
    ("addr", "error"),
    [
        ("127.0.0.1:80", TypeError),
        (("127.0.0.1",), TypeError),
        (("127.0.0.1", "80"), TypeError),
        ((b"127.0.0.1", 80), TypeError),
        (("127.0.0.1", True), TypeError),
        (("127.0.0.1", -1), ValueError),
        (("127.0.0.1", 65536), ValueError),
        (("127.0.0.1\0.example.net", 80), ValueError),
    ],
)
def test_what_is_no_address_is_refused(addr: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="addr must"):
        ListeningSocket(addr)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::", "", "localhost"])
def test_port_0_is_a_free_port(host: str) -> None:
    sock = ListeningSocket((host, 0))
    sock.close()
    assert sock.address[1] > 0


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_in_use_is_an_error_that_names_it(host: str) -> None:
    first = ListeningSocket((host, 0))
    try:
        port = first.address[1]
        with pytest.raises(OSError, match=rf"cannot listen on .*{port}") as caught:
            ListeningSocket((host, port))
        assert caught.value.errno is not None
    finally:
        first.close()


def test_an_address_of_another_machine_is_an_error_that_names_it() -> None:
    with pytest.raises(OSError, match=r"192\.0\.2\.1:5000"):
        ListeningSocket(("192.0.2.1", 5000))


@pytest.mark.parametrize(
    ("bound", "family", "host"),
    [
        ("127.0.0.1", socket.AF_INET, "127.0.0.1"),
        ("::1", socket.AF_INET6, "::1"),
        ("::", socket.AF_INET, "127.0.0.1"),
        ("::", socket.AF_INET6, "::1"),
    ],
)
def test_datagrams_go_both_ways(bound: str, family: socket.AddressFamily, host: str) -> None:
    sock = ListeningSocket((bound, 0))
    with socket.socket(family, socket.SOCK_DGRAM) as peer:
        peer.settimeout(5)
        assert sock.datagrams.receive_from() is None
        peer.sendto(b"there", (host, sock.address[1]))
        wait_readable(sock, 5)
        received = sock.datagrams.receive_from()
        assert received is not None
        datagram, address = received
        assert datagram == b"there"
        assert sock.datagrams.queue(b"and back", address)
        assert sock.datagrams.flush()
        assert peer.recv(100) == b"and back"
    sock.close()


def test_what_the_network_cannot_carry_counts_as_sent() -> None:
    sock = ListeningSocket(("127.0.0.1", 0))
    assert sock.datagrams.queue(bytes(65536), ("127.0.0.1", 9))
    assert sock.datagrams.queue(b"x", ("127.0.0.1", 0))
    assert sock.datagrams.flush()
    sock.close()


class TestWindows:
    def test_no_other_program_can_have_the_same_port(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stand_in = socket.SO_KEEPALIVE  # an option that is off, and that can be asked for
        monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", stand_in, raising=False)
        sock = ListeningSocket(("127.0.0.1", 0))
        assert sock._socket.getsockopt(socket.SOL_SOCKET, stand_in) == 1
        sock.close()

    def test_clients_that_are_gone_fail_no_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []

        class Winsock:
            def __init__(self, name: str) -> None:
                assert name == "ws2_32"

            def WSAIoctl(self, *arguments: Any) -> int:
                calls.append(arguments)
                return -1  # SOCKET_ERROR: reads step over the errors

        monkeypatch.setattr(ctypes, "WinDLL", Winsock, raising=False)
        monkeypatch.setattr(listening, "_IS_WINDOWS", True)
        sock = ListeningSocket(("127.0.0.1", 0))
        [(descriptor, code, value, size, *rest)] = calls
        assert (descriptor.value, code.value) == (sock.fileno(), 0x9800000C)  # SIO_UDP_CONNRESET
        assert (value._obj.value, size) == (0, ctypes.sizeof(ctypes.c_ulong))
        assert len(rest) == 5
        sock.close()
