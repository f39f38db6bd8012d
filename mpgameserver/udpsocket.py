"""Non-blocking UDP sockets, whose network errors are answers and not exceptions."""

from __future__ import annotations

import errno
import selectors
import socket
from typing import Protocol

__all__ = [
    "RECEIVE_SIZE",
    "ConnectedSocket",
    "new_udp_socket",
    "wait_readable",
    "would_block",
]

RECEIVE_SIZE = 65536
"""Larger than any UDP payload, so that nothing is ever cut."""
BUFFER_SIZE = 1 << 20
"""Bytes asked of the kernel for each direction: some 700 datagrams that wait for a frame."""
MAX_REFUSALS = 16
"""Port-unreachable errors that one read steps over: they can be forged without end."""

_SIO_UDP_CONNRESET = 0x9800000C
_WOULD_BLOCK = {errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.EINTR}


def would_block(error: OSError) -> bool:
    """True when the same call may succeed later."""
    return error.errno in _WOULD_BLOCK


def new_udp_socket(family: socket.AddressFamily) -> socket.socket:
    """A non-blocking UDP socket with large buffers."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_SIZE)
        _ignore_port_unreachable(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _ignore_port_unreachable(sock: socket.socket) -> None:
    """Keep Windows from failing a receive because of an earlier send (Microsoft KB 263823)."""
    ioctl = getattr(sock, "ioctl", None)
    if ioctl is not None:
        ioctl(_SIO_UDP_CONNRESET, False)


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


def wait_readable(sock: _HasFileno, seconds: float) -> None:
    """Block until something can be read, for at most `seconds`."""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        selector.select(seconds)


class ConnectedSocket:
    """A UDP socket that speaks with one address only: the kernel drops what others send.

    Raises OSError when the address cannot be reached at all.
    """

    def __init__(self, family: socket.AddressFamily, address: tuple[object, ...]) -> None:
        self.address = address
        self.refused = False
        """The other side's host said that nothing is bound to the port."""
        self._socket = new_udp_socket(family)
        try:
            self._socket.connect(address)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """The file descriptor; -1 once closed."""
        return self._socket.fileno()

    def receive(self) -> bytes | None:
        """The next datagram; None when none waits."""
        for _ in range(MAX_REFUSALS):
            try:
                return self._socket.recv(RECEIVE_SIZE)
            except ConnectionRefusedError:
                self.refused = True
            except OSError:
                break
        return None

    def send(self, datagram: bytes) -> bool:
        """Hand a datagram to the kernel; False when it takes none now.

        One that the network cannot carry counts as sent: it is lost like any other.
        """
        try:
            self._socket.send(datagram)
        except ConnectionRefusedError:
            self.refused = True
        except OSError as error:
            return not would_block(error)
        return True

    def close(self) -> None:
        """Close the socket; of no effect the second time."""
        self._socket.close()
