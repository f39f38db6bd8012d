"""The socket that a server listens on."""

from __future__ import annotations

import socket
from typing import Any

from mpgameserver.address import SocketAddress, format_address, host_and_port
from mpgameserver.udpsocket import RECEIVE_SIZE, new_udp_socket, would_block

__all__ = ["ListeningSocket"]

MAX_READ_ERRORS = 16
"""Errors of the network that one read steps over: they can be caused without end."""

_ANY_IPV4 = "0.0.0.0"
_ANY_IPV6 = "::"


class ListeningSocket:
    """A UDP socket bound to `addr`, a pair (host, port), that speaks with everybody.

    The host is a name, an IPv4 address ("" stands for all) or an IPv6 address ("::" stands for
    all, IPv4 included). Port 0 takes a free one; `address` is the pair with the port that it is.

    Raises TypeError or ValueError for what is no such pair, and an OSError that names it where it
    cannot be had.
    """

    def __init__(self, addr: tuple[str, int]) -> None:
        host, port = host_and_port(addr, least_port=0)
        host = host or _ANY_IPV4
        try:
            self._socket = _bind(host, port)
        except OSError as error:
            place = format_address((host, port))
            text = f"cannot listen on {place}: {error.strerror or error}"
            raise type(error)(error.errno, text) from error
        self.address: tuple[str, int] = self._socket.getsockname()[:2]

    def fileno(self) -> int:
        """The file descriptor; -1 once closed."""
        return self._socket.fileno()

    def receive(self) -> tuple[bytes, SocketAddress] | None:
        """The next datagram and where it came from; None when none waits."""
        for _ in range(MAX_READ_ERRORS):
            try:
                return self._socket.recvfrom(RECEIVE_SIZE)
            except OSError as error:
                if would_block(error):
                    break
        return None

    def send(self, datagram: bytes, address: SocketAddress) -> bool:
        """Hand a datagram to the kernel; False when it takes none now.

        One that the network cannot carry counts as sent: it is lost like any other.
        """
        try:
            self._socket.sendto(datagram, address)
        except OSError as error:
            return not would_block(error)
        return True

    def close(self) -> None:
        """Close the socket; of no effect the second time."""
        self._socket.close()


def _bind(host: str, port: int) -> socket.socket:
    """A socket that is bound to the first address of the host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    sock = new_udp_socket(family)
    try:
        _set_options(sock, family, address)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _set_options(sock: socket.socket, family: socket.AddressFamily, address: Any) -> None:
    if family == socket.AF_INET6 and address[0] == _ANY_IPV6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    # Without it, Windows lets another program bind the same port and take the datagrams.
    exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
    if exclusive is not None:
        sock.setsockopt(socket.SOL_SOCKET, exclusive, 1)
