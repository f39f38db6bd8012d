"""The socket that a server listens on."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

from mpgameserver._core.datagrams import DatagramSocket
from mpgameserver.transport.address import format_address, host_and_port, plain_address, resolve
from mpgameserver.transport.sockets import (
    PlainSocket,
    SendErrorLog,
    datagram_socket,
    new_udp_socket,
)

__all__ = ["ListeningSocket", "numeric_address"]

BUFFER_SIZE = 4 << 20
"""Bytes requested of the kernel for each direction: some 4,000 small datagrams with the kernel's
overhead. As many players send them within 30 ms, at 32 a second each."""

_LOG = logging.getLogger("mpgameserver.server")
_ANY_IPV4 = "0.0.0.0"
_ANY_IPV6 = "::"
_IS_WINDOWS = os.name == "nt"
_SIO_UDP_CONNRESET = 0x9800000C


class ListeningSocket:
    """A UDP socket bound to `addr`, a pair (host, port), that exchanges datagrams with any address.

    The host is a name, an IPv4 address ("" stands for all) or an IPv6 address ("::" stands for all,
    including IPv4). Port 0 takes a free one; `address` is the pair with the actual port.

    Raises TypeError or ValueError if `addr` is not such a pair, and OSError, which names the
    address, if it cannot be listened on.
    """

    def __init__(self, addr: tuple[str, int]) -> None:
        with _named(addr):
            self._socket = _bind(addr)
        try:
            self.address: tuple[str, int] = plain_address(self._socket.getsockname())
            self.datagrams: DatagramSocket | PlainSocket = datagram_socket(
                self._socket, tells_local=self.address[0] in (_ANY_IPV4, _ANY_IPV6)
            )
            """The socket's datagram I/O. Bound to all addresses, it replies from the right one."""
            self.errors: SendErrorLog = SendErrorLog(self.datagrams, _LOG)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """The file descriptor; -1 once closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; idempotent."""
        self.datagrams.close()


def numeric_address(addr: tuple[str, int], flags: int = 0) -> tuple[str, int]:
    """Return `addr` with its host resolved, if it is a name, which may take long.

    `flags` are those of `getaddrinfo`. Raises what `ListeningSocket` does.
    """
    with _named(addr):
        _, address = _look_up(addr, flags)
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    return socket.getnameinfo(address, numeric)[0], addr[1]


@contextlib.contextmanager
def _named(addr: tuple[str, int]) -> Iterator[None]:
    """Make an OSError name the address."""
    try:
        yield
    except OSError as error:
        place = format_address((addr[0] or _ANY_IPV4, addr[1]))
        text = f"cannot listen on {place}: {error.strerror or error}"
        raise type(error)(error.errno, text) from error


def _look_up(addr: tuple[str, int], flags: int = 0) -> tuple[socket.AddressFamily, Any]:
    """Return the first address of a host."""
    host, port = host_and_port(addr, least_port=0)
    return resolve(host or _ANY_IPV4, port, socket.AI_PASSIVE | flags)[0]


def _bind(addr: tuple[str, int]) -> socket.socket:
    """Return a socket that is bound to the first address of the host."""
    family, address = _look_up(addr)
    sock = new_udp_socket(family, BUFFER_SIZE, _LOG, logging.WARNING)
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
    if _IS_WINDOWS:
        _ignore_port_unreachable(sock)


def _ignore_port_unreachable(sock: socket.socket) -> None:
    """Keep Windows from failing a read for each client that is gone (Microsoft KB 263823).

    Through ctypes, because `socket.ioctl` does not know this code. If Windows rejects it, reads
    skip these errors like others.
    """
    import ctypes  # some Pythons on other systems lack it

    winsock = ctypes.WinDLL("ws2_32")  # type: ignore[attr-defined]
    off, returned = ctypes.c_ulong(0), ctypes.c_ulong()
    winsock.WSAIoctl(
        ctypes.c_size_t(sock.fileno()),
        ctypes.c_ulong(_SIO_UDP_CONNRESET),
        *(ctypes.byref(off), ctypes.sizeof(off)),
        *(None, 0),
        ctypes.byref(returned),
        *(None, None),
    )
