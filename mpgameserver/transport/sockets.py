"""Non-blocking UDP sockets that return network errors instead of raising them."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import sys

from mpgameserver._core.datagrams import (
    IS_NATIVE,
    MAX_READ_ERRORS,
    RECEIVE_SIZE,
    DatagramSocket,
    goes_whole,
)
from mpgameserver.transport.address import SocketAddress
from mpgameserver.transport.ratelog import LimitedLog
from mpgameserver.transport.trace import PacketTrace, PathTrace
from mpgameserver.wire.protocol2.limits import LEAST_DATAGRAM

__all__ = [
    "ConnectedSocket",
    "PlainSocket",
    "SendErrorLog",
    "datagram_socket",
    "new_udp_socket",
]

CLIENT_BUFFER_SIZE = 1 << 20
"""Bytes requested of the kernel for each direction: some 700 datagrams waiting for a frame."""

_LOG = logging.getLogger("mpgameserver.client")
_PLATFORM = "freebsd" if sys.platform.startswith("freebsd") else sys.platform
_REFUSED = (ConnectionRefusedError, ConnectionResetError)  # the second one is Windows'
_TOO_LARGE = {errno.EMSGSIZE, getattr(errno, "WSAEMSGSIZE", errno.EMSGSIZE)}
_NOT_OURS = {errno.EBADF, errno.ENOTSOCK}
_WOULD_BLOCK = {errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.EINTR}
_BUFFERS = (
    (socket.SO_RCVBUF, "receive", "net.core.rmem_max"),
    (socket.SO_SNDBUF, "send", "net.core.wmem_max"),
)
_told: set[tuple[str, int]] = set()
_IPV6_MTU = socket.IPPROTO_IPV6, 24  # ipv6(7); the socket module lacks the name

_Option = tuple[int, int, int]
"""Level, name and value for `setsockopt`; the socket module lacks these names."""
_Modes = tuple[tuple[_Option, ...], tuple[_Option, ...]]
_MAY_FRAGMENT: dict[str, _Modes] = {
    # IP_MTU_DISCOVER = IP_PMTUDISC_DONT (ip(7)); IPV6_MTU_DISCOVER, IPV6_DONTFRAG (ipv6(7)), and
    # IPV6_MTU, because any path takes fragments of that size. A server on "::" serves IPv4, too.
    "linux": (((0, 10, 0),), ((0, 10, 0), (41, 23, 0), (41, 62, 0), (41, 24, 1280))),
    "darwin": (((0, 28, 0),), ((41, 62, 0),)),  # IP_DONTFRAG; IPV6_DONTFRAG
    "freebsd": (((0, 67, 0),), ((41, 62, 0),)),
    "win32": (((0, 14, 0),), ((41, 14, 0),)),  # IP_DONTFRAGMENT; IPV6_DONTFRAG
}
"""Options, by platform and for IPv4 and IPv6, that let large datagrams be fragmented.

With "don't fragment" set, the default on Linux, such a datagram vanishes where ICMP is filtered,
and a hello of protocol 1 cannot be made smaller.
"""
_STAYS_WHOLE: dict[str, _Modes] = {
    # IP_PMTUDISC_PROBE: whatever the kernel has heard of the path's MTU, which may be forged.
    "linux": (((0, 10, 3),), ((0, 10, 3), (41, 23, 3), (41, 24, 0))),
    "darwin": (((0, 28, 1),), ((41, 62, 1),)),
    "freebsd": (((0, 67, 1),), ((41, 62, 1),)),
    "win32": (((0, 14, 1),), ((41, 14, 1),)),
}
"""The same for datagrams of protocol 2, which must not be: a probe would tell a lie."""
_NO_OPTIONS: _Modes = ((), ())


def new_udp_socket(
    family: socket.AddressFamily,
    buffer_size: int = CLIENT_BUFFER_SIZE,
    log: logging.Logger = _LOG,
    level: int = logging.INFO,
) -> socket.socket:
    """Open a non-blocking UDP socket, and request buffers of a size in bytes from the kernel.

    If the kernel grants less, this is logged, once per process and direction.
    """
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        _set_options(sock, _modes_of(sock)[0])
        for option, direction, setting in _BUFFERS:
            given = _given_buffer(sock, option, buffer_size)
            if given < buffer_size and (direction, level) not in _told:
                _told.add((direction, level))
                log.log(
                    level, _TOO_SMALL, direction, given, buffer_size, _advice(setting, buffer_size)
                )
    except BaseException:
        sock.close()
        raise
    return sock


def _modes_of(sock: socket.socket) -> _Modes:
    """Return the options for datagrams that may be fragmented, and for those that may not."""
    over_ipv6 = sock.family == socket.AF_INET6
    return (
        _MAY_FRAGMENT.get(_PLATFORM, _NO_OPTIONS)[over_ipv6],
        _STAYS_WHOLE.get(_PLATFORM, _NO_OPTIONS)[over_ipv6],
    )


def _set_options(sock: socket.socket, options: tuple[_Option, ...]) -> None:
    """Set the options that the system has."""
    for option in options:
        with contextlib.suppress(OSError):
            sock.setsockopt(*option)


_TOO_SMALL = "the kernel gives a socket's %s buffer %d of the %d bytes requested%s"


def _given_buffer(sock: socket.socket, option: int, wanted: int) -> int:
    """Request a buffer and return its size, of which Linux reports twice, socket(7)."""
    while wanted:
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, wanted)
            break
        except OSError:  # macOS and the BSDs refuse sizes above their limit
            wanted //= 2
    size = sock.getsockopt(socket.SOL_SOCKET, option)
    return size // 2 if sys.platform == "linux" else size


def _advice(setting: str, buffer_size: int) -> str:
    return f": sysctl -w {setting}={buffer_size}" if sys.platform == "linux" else ""


def _would_block(error: OSError) -> bool:
    return error.errno in _WOULD_BLOCK


class PlainSocket:
    """A `DatagramSocket` on the socket module, for platforms without the compiled one.

    That is Windows, where Python cannot tell which local address a datagram was sent to.
    """

    def __init__(self, sock: socket.socket, modes: _Modes | None = None) -> None:
        self.refused: bool = False
        self.too_large: int = 0
        self.send_errors: dict[int, int] = {}
        self.unreported_error: int = 0
        self._socket = sock
        self._modes = modes
        self._sends_whole = False
        self._is_closed = False

    def receive(self) -> bytes | None:
        received = self.receive_from()
        return None if received is None else received[0]

    def receive_from(self) -> tuple[bytes, SocketAddress] | None:
        for _ in range(MAX_READ_ERRORS):
            try:
                return self._socket.recvfrom(RECEIVE_SIZE)
            except _REFUSED:
                self.refused = True
            except OSError as error:
                if _would_block(error):
                    break
                self._check_descriptor(error)
        return None

    def spin(self, seconds: float) -> bool:
        return False  # a busy-poll would cost as much as a wait

    def queue(self, datagram: bytes, address: SocketAddress | None = None) -> bool:
        return self.send(datagram, address)

    def flush(self) -> bool:
        return True

    def send(self, datagram: bytes, address: SocketAddress | None = None) -> bool:
        if not self._admits(goes_whole(datagram), len(datagram)):
            self.too_large = len(datagram)
            return True
        try:
            if address is None:
                self._socket.send(datagram)
            else:
                self._socket.sendto(datagram, address)
        except _REFUSED:
            self.refused = True
        except OSError as error:
            if self._sends_whole and error.errno in _TOO_LARGE:
                self.too_large = len(datagram)
            else:
                return self._note_send_error(error)
        return True

    def _admits(self, whole: bool, size: int) -> bool:
        """Let the socket send datagrams whole or not; return False if one must not leave."""
        if self._modes is None or whole == self._sends_whole:
            return True
        try:
            for option in self._modes[whole]:
                self._socket.setsockopt(*option)
        except OSError as error:
            self._check_descriptor(error)
            return not whole or size <= LEAST_DATAGRAM
        self._sends_whole = whole and bool(self._modes[whole])
        return self._sends_whole or not whole or size <= LEAST_DATAGRAM

    def _note_send_error(self, error: OSError) -> bool:
        """Count an error of sending; return False if the datagram must be kept."""
        if _would_block(error):
            return False
        self._check_descriptor(error)
        if not self._is_closed:
            number = error.errno or 0
            self.send_errors[number] = self.send_errors.get(number, 0) + 1
            self.unreported_error = number
        return True

    def _check_descriptor(self, error: OSError) -> None:
        """Raise the error if it means that something else has closed the socket."""
        if error.errno in _NOT_OURS and not self._is_closed:
            self._is_closed = True
            self._socket.detach()
            raise error

    def close(self) -> None:
        self._is_closed = True
        with contextlib.suppress(OSError):  # something else has closed it already
            self._socket.close()


def datagram_socket(
    sock: socket.socket, *, tells_local: bool = False, is_relay: bool = False
) -> DatagramSocket | PlainSocket:
    """Return the best datagram I/O that the platform has for a socket; it also closes the socket.

    With `tells_local`, addresses include the local one if the platform reports it. A relay's
    datagrams may all be fragmented. A socket in memory, which has no descriptor and fragments
    nothing, is used through its own methods.
    """
    if sock.fileno() < 0:
        return PlainSocket(sock)
    modes = None if is_relay else _modes_of(sock)
    if IS_NATIVE:
        return DatagramSocket(sock, local=tells_local, modes=modes)
    return PlainSocket(sock, modes)


class SendErrorLog:
    """Logs errors of sending, at a limited rate."""

    def __init__(self, datagrams: DatagramSocket | PlainSocket, log: logging.Logger) -> None:
        self._datagrams = datagrams
        self._log = LimitedLog(log)

    def counts(self) -> dict[str, int]:
        """Return how often each error occurred, by name, such as "EPERM"."""
        return {_name(number): n for number, n in self._datagrams.send_errors.items()}

    def report(self, now: float) -> int:
        """Log the last unreported error, if any; return its errno, or 0."""
        error = self._datagrams.unreported_error
        if error:
            self._datagrams.unreported_error = 0
            self._log.warning(now, "cannot send: %s (%s)", os.strerror(error), _name(error))
        return error


def _name(error: int) -> str:
    return errno.errorcode.get(error, str(error))


class ConnectedSocket:
    """A connected UDP socket: the kernel drops datagrams from other addresses.

    `sock` is the socket to connect. It is closed with this object, or if `__init__` raises.

    Raises OSError if there is no route to the address.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: tuple[object, ...],
        trace: PacketTrace | None = None,
    ) -> None:
        self.address = address
        self._socket = sock
        try:
            self._socket.connect(address)
            self.local_address: tuple[object, ...] = self._socket.getsockname()
            self.datagrams: DatagramSocket | PlainSocket = datagram_socket(self._socket)
            """The socket's datagram I/O."""
        except BaseException:
            self._socket.close()
            raise
        self.errors: SendErrorLog = SendErrorLog(self.datagrams, _LOG)
        self.observer: PathTrace | None = (
            None if trace is None else PathTrace(trace, self.local_address, address)
        )
        """Observes every datagram that is sent or received on this socket."""

    def send(self, datagram: bytes) -> bool:
        """Send a datagram at once; return False while the socket is not writable."""
        taken = self.datagrams.send(datagram)
        if taken and self.observer is not None:
            self.observer.sent(datagram)
        return taken

    @property
    def refused(self) -> bool:
        """True once the peer's host has reported that nothing is bound to the port."""
        return self.datagrams.refused

    @property
    def path_mtu(self) -> int | None:
        """The largest IPv6 packet, in bytes, that the system does not fragment, if known."""
        if self._socket.family != socket.AF_INET6 or _PLATFORM != "linux":
            return None
        return self._socket.getsockopt(*_IPV6_MTU)

    @property
    def family(self) -> socket.AddressFamily:
        """The address family: AF_INET or AF_INET6."""
        return socket.AddressFamily(self._socket.family)

    def fileno(self) -> int:
        """The file descriptor; -1 once closed."""
        return self._socket.fileno()

    def is_ours(self) -> bool:
        """Return False if something else has closed the descriptor, or has its number now."""
        try:
            return bool(self._socket.getsockname() == self.local_address)
        except OSError:
            return False

    def close(self) -> None:
        """Close the socket; idempotent."""
        self.datagrams.close()
