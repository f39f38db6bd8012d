"""One attempt to connect: names resolved, sockets opened, the handshake driven over them.

Every address of the server's name gets a socket, a new one each `ADDRESS_INTERVAL` (the connection
attempt delay of RFC 8305). A server that still has a handshake open with a port ignores a new hello
from there, so each address gets a second, fresh port after `FRESH_PORT_DELAY`; the first one is
still read.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from dataclasses import dataclass

from mpgameserver._core.packet import IPV6_UDP_HEADER, size_limits
from mpgameserver.client.handshake import ClientHandshake, EstablishedSession
from mpgameserver.client.network import Network
from mpgameserver.client.resolver import Resolver
from mpgameserver.crypto import EllipticCurvePublicKey
from mpgameserver.enums import ConnectFailure
from mpgameserver.transport.address import (
    format_address,
    host_and_port,
    host_of,
    limits_towards,
    plain_address,
)
from mpgameserver.transport.sockets import ConnectedSocket
from mpgameserver.transport.trace import PacketTrace
from mpgameserver.wire.packet import Packet

__all__ = ["Attempt", "server_address"]

ADDRESS_INTERVAL = 0.25
"""Seconds before the next address of a name is tried as well."""
FRESH_PORT_DELAY = 1.0
"""Seconds before an address is tried from a second port."""
MAX_DATAGRAMS_PER_READ = 64
"""Datagrams read from one socket in one frame, while no sender is verified."""
MAX_PATH_MTU = 9216
"""Bytes of a packet: Ethernet jumbo frames. A larger MTU, such as that of loopback, belongs to a
path that drops nothing for its size."""

_LOG = logging.getLogger("mpgameserver.client")


def server_address(addr: object) -> tuple[str, int]:
    """Return `addr` if it is a pair of a host and a port of 1...65535.

    Raises TypeError or ValueError that says what was given.
    """
    host, port = host_and_port(addr, least_port=1)
    if not host:
        raise ValueError(f"addr must have a host, not {addr!r}")
    return host, port


def _fragmented_datagram(path_mtu: int | None) -> int:
    """Return the size of a datagram that the system sends in fragments that any IPv6 path carries.

    0 if there is none, because the system fragments nothing that it believes the path carries.
    """
    if path_mtu is None or path_mtu > MAX_PATH_MTU:
        return 0
    return path_mtu - IPV6_UDP_HEADER + 1


@dataclass(eq=False)
class _Route:
    """An address, and the sockets that try it: the paths of the handshake."""

    family: socket.AddressFamily
    address: tuple[object, ...]
    next_socket: float
    sockets: list[ConnectedSocket]

    @property
    def refused(self) -> bool:
        return bool(self.sockets) and all(sock.refused for sock in self.sockets)


class Attempt:
    """An attempt to reach the server at `addr`, until it succeeds or fails.

    `failure` is None while it is in progress. `close` ends it, except for the socket of an
    established session.
    """

    def __init__(
        self,
        addr: tuple[str, int],
        trusted_key: EllipticCurvePublicKey | None,
        timeout: float,
        network: Network,
        trace: PacketTrace | None = None,
    ) -> None:
        self.addr = addr
        self.failure: ConnectFailure | None = None
        self._network = network
        self._now = now = network.now()
        self._process = os.getpid()
        self._deadline = now + timeout
        self._has_sent = self._has_failed_to_send = False
        self._trace = trace
        self._handshake = ClientHandshake(trusted_key, now, network.wall_now())
        self._resolver: Resolver | None = network.resolver(*addr)
        self._answered: Resolver | None = None
        self._routes: list[_Route] = []
        self._established: tuple[ConnectedSocket, EstablishedSession] | None = None
        try:
            self._advance_routes(now)
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """The file descriptor of the first socket; -1 while there is none."""
        return next((s.fileno() for route in self._routes for s in route.sockets), -1)

    def filenos(self) -> tuple[int, ...]:
        """The file descriptors that may wake the attempt."""
        sockets = tuple(s.fileno() for route in self._routes for s in route.sockets)
        return sockets if self._resolver is None else (*sockets, *self._resolver.filenos())

    def next_timer(self) -> float:
        """Return when `update` is due if nothing arrives before."""
        due = (route.next_socket for route in self._routes)
        return min(self._deadline, self._handshake.next_timer(), *due)

    def update(self, now: float) -> tuple[ConnectedSocket, EstablishedSession] | None:
        """Read what has arrived and send what is due; return the session and its socket, if any.

        From then on every call returns them, because an exception in a signal handler may have kept
        the caller from getting them.
        """
        self._now = now
        self._advance_routes(now)
        for sock in [sock for route in self._routes for sock in route.sockets]:
            if self._established is None:
                self._read(sock, now)
        if self._established is not None:
            return self._established
        for path, datagram in self._handshake.datagrams(now):
            assert isinstance(path, ConnectedSocket)
            path.send(datagram)
            self._note_sending(path.errors.report(now))
        self._check_failure(now)
        return None

    def _note_sending(self, error: int) -> None:
        self._has_sent = self._has_sent or not error
        self._has_failed_to_send = self._has_failed_to_send or bool(error)

    def send_disconnects(self, kept: ConnectedSocket | None = None) -> None:
        """Disconnect any session that a server may have of this attempt, except that of `kept`.

        Otherwise the player would stay on the server until the idle timeout. A forked process
        sends nothing, because the attempt is its parent's.
        """
        if os.getpid() != self._process:
            return
        if kept is not None:
            self._handshake.remove_path(kept)
        with contextlib.suppress(OSError):  # closed by something else: the server is not notified
            for path, datagram in self._handshake.abort(self._now):
                assert isinstance(path, ConnectedSocket)
                path.send(datagram)
            if self._established is not None and self._established[0] is not kept:
                sock, session = self._established
                disconnect = session.endpoint.abort(self._now)
                if disconnect is not None:
                    sock.send(disconnect)

    def close(self, kept: ConnectedSocket | None = None) -> None:
        """End, and close every socket but the one that is kept."""
        for route in self._routes:
            for sock in route.sockets:
                if sock is not kept:
                    sock.close()
            route.sockets.clear()
        self._routes.clear()
        for resolver in (self._resolver, self._answered):
            if resolver is not None:
                resolver.close()
        self._resolver = self._answered = None

    def _advance_routes(self, now: float) -> None:
        """Use what the resolver has found, and open the sockets that are due."""
        resolved = self._resolver.poll() if self._resolver else None
        if resolved is not None:
            # Closed only at the end, so that nobody waits for a descriptor that was reused.
            self._answered, self._resolver = self._resolver, None
            self._routes = [
                _Route(family, address, now + i * ADDRESS_INTERVAL, [])
                for i, (family, address) in enumerate(resolved)
            ]
            if not resolved:
                self.failure = ConnectFailure.UNRESOLVED
        for route in self._routes:
            if now >= route.next_socket:
                self._open_socket(route, now)

    def _open_socket(self, route: _Route, now: float) -> None:
        route.next_socket = now + FRESH_PORT_DELAY if not route.sockets else float("inf")
        try:
            new_socket = self._network.new_socket(route.family)
            sock = ConnectedSocket(new_socket, route.address, self._trace)
        except OSError as error:
            _LOG.info("cannot reach %s: %s", format_address(plain_address(route.address)), error)
            route.next_socket = now + FRESH_PORT_DELAY
            self._note_sending(error.errno or errno.EINVAL)
            return
        route.sockets.append(sock)
        self._handshake.add_path(
            sock,
            now,
            size_limits(Packet.MTU).payload,
            limits_towards(host_of(route.address)).datagram,
            _fragmented_datagram(sock.path_mtu),
        )

    def _read(self, sock: ConnectedSocket, now: float) -> None:
        for _ in range(MAX_DATAGRAMS_PER_READ):
            datagram = sock.datagrams.receive()
            if datagram is None:
                break
            session = self._handshake.receive(sock, datagram, now)
            if sock.observer is not None:
                sock.observer.arrived(datagram, self._handshake.drop_reason)
            if session is not None:
                self._established = sock, session
                break

    def _check_failure(self, now: float) -> None:
        if self.failure is not None:
            return
        if self._routes and all(route.refused for route in self._routes):
            self.failure = ConnectFailure.REFUSED
        elif now >= self._deadline:
            self.failure = (
                ConnectFailure.WRONG_KEY
                if self._handshake.saw_wrong_key
                else ConnectFailure.UNRESOLVED
                if self._resolver is not None
                else ConnectFailure.CANNOT_SEND
                if self._has_failed_to_send and not self._has_sent
                else ConnectFailure.TIMEOUT
            )
