"""One attempt to connect: names resolved, sockets opened, the handshake driven over them.

    resolving ─> handshake ──── protocol 1: a packet of the server opens ───> session
                  │    ^
                  v    │ nothing opens for 1 s, or for the idle timeout
                 setup of protocol 2 ── ACCEPT ─────────────────────────────> session
                       └──────────────── CLOSE ─────────────────────────────> failure

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
from collections.abc import Hashable
from dataclasses import dataclass

from mpgameserver._core.packet import IPV6_UDP_HEADER, size_limits
from mpgameserver._core.packet_protection import SEALED
from mpgameserver.client.handshake2 import ClientHandshake2, VerifiedAnswer
from mpgameserver.client.network import Network
from mpgameserver.client.options import SessionOptions
from mpgameserver.client.resolver import Resolver
from mpgameserver.client.setup2 import SessionSetup
from mpgameserver.connection import CloseReason, Connection, Timing
from mpgameserver.crypto import EllipticCurvePublicKey
from mpgameserver.enums import CloseCode, ConnectFailure
from mpgameserver.transport.address import (
    format_address,
    host_and_port,
    host_of,
    largest_datagram,
    limits_towards,
    plain_address,
)
from mpgameserver.transport.keylog import KeyLog
from mpgameserver.transport.sockets import ConnectedSocket
from mpgameserver.transport.trace import PacketTrace
from mpgameserver.wire.packet import Packet
from mpgameserver.wire.protocol2.ml_kem import find_ml_kem

__all__ = ["NO_REASON", "Attempt", "server_address"]

ADDRESS_INTERVAL = 0.25
"""Seconds before the next address of a name is tried as well."""
FRESH_PORT_DELAY = 1.0
"""Seconds before an address is tried from a second port."""
MAX_DATAGRAMS_PER_READ = 64
"""Datagrams read from one socket in one frame, while no sender is verified."""
MAX_SETUPS = 4
"""Sessions that may still be accepted: a new one each second at most. The oldest is forgotten."""
MAX_PATH_MTU = 9216
"""Bytes of a packet: Ethernet jumbo frames. A larger MTU, such as that of loopback, belongs to a
path that drops nothing for its size."""

_LOG = logging.getLogger("mpgameserver.client")
_NOT_AUTHENTIC = "authentication failed"
NO_REASON = CloseReason(CloseCode.CLOSED, "")


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

    `failure` is None while it is in progress; `reason` is that of a server which has closed the
    session of the attempt. `close` ends it, except for the socket of an established session.
    """

    def __init__(
        self,
        addr: tuple[str, int],
        trusted_key: EllipticCurvePublicKey | None,
        timeout: float,
        network: Network,
        options: SessionOptions,
        timing: Timing,
        trace: PacketTrace | None = None,
        key_log: KeyLog | None = None,
    ) -> None:
        self.addr = addr
        self.failure: ConnectFailure | None = None
        self.reason: CloseReason | None = None
        self._network = network
        self._now = now = network.now()
        self._process = os.getpid()
        self._deadline = now + timeout
        self._has_sent = self._has_failed_to_send = False
        self._options, self._timing = options, timing
        self._trace, self._key_log = trace, key_log
        self._handshake = ClientHandshake2(
            trusted_key,
            now,
            network.wall_now(),
            audience=options.audience,
            only_version_2=options.only_version_2,
            require_hybrid=options.require_hybrid,
            ml_kem=find_ml_kem(),
            key_log=key_log,
        )
        self._setups: list[SessionSetup] = []
        """Those that may still be accepted; CONNECT is sent in the last one."""
        self._resolver: Resolver | None = network.resolver(*addr)
        self._answered: Resolver | None = None
        self._routes: list[_Route] = []
        self._established: tuple[ConnectedSocket, Connection] | None = None
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
        if not self._setups:
            return min(self._deadline, self._next_handshake())
        due = min(self._deadline, self._setups[-1].connection.next_timer())
        return due if self._has_opened() else min(due, self._next_handshake())

    def _next_handshake(self) -> float:
        due = (route.next_socket for route in self._routes)
        return min(self._handshake.next_timer(), *due, float("inf"))

    def update(self, now: float) -> tuple[ConnectedSocket, Connection] | None:
        """Read what has arrived and send what is due; return the session and its socket, if any.

        From then on every call returns them, because an exception in a signal handler may have kept
        the caller from getting them.
        """
        self._now = now
        if not self._has_opened():
            self._advance_routes(now)
        for sock in [sock for route in self._routes for sock in route.sockets]:
            if self._established is None:
                self._read(sock, now)
        if self._established is not None:
            return self._established
        self._advance_setup(now)
        if not self._has_opened():
            for path, datagram in self._handshake.datagrams(now):
                self._send(path, datagram, now)
        self._check_failure(now)
        return None

    def _has_opened(self) -> bool:
        """Return True once a server has shown that it has the secrets of a setup."""
        return bool(self._setups) and self._setups[-1].has_opened

    def _send(self, path: Hashable, datagram: bytes, now: float) -> None:
        assert isinstance(path, ConnectedSocket)
        path.send(datagram)
        self._note_sending(path.errors.report(now))

    def _note_sending(self, error: int) -> None:
        self._has_sent = self._has_sent or not error
        self._has_failed_to_send = self._has_failed_to_send or bool(error)

    def send_disconnects(
        self, kept: ConnectedSocket | None = None, reason: CloseReason = NO_REASON
    ) -> None:
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
                self._send(path, datagram, self._now)
            self._give_up_setups(self._now, reason)
            if self._established is not None and self._established[0] is not kept:
                sock, connection = self._established
                disconnect = connection.abort(self._now, *reason)
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
            reason = self._take(sock, datagram, now)
            if sock.observer is not None:
                sock.observer.arrived(datagram, reason)
            if self._established is not None:
                break

    def _take(self, sock: ConnectedSocket, datagram: bytes, now: float) -> str | None:
        """Process a datagram; return the reason if it is dropped, else None."""
        if self._setups and _is_sealed_2(datagram):
            return self._take_sealed(sock, datagram, now)
        if self._has_opened():
            return "no session"
        found = self._handshake.receive(sock, datagram, now)
        if isinstance(found, VerifiedAnswer):
            self._begin_setup(found, now)
        elif found is not None:
            self._establish(sock, Connection(found.endpoint, found.token, self._timing))
        return self._handshake.drop_reason

    def _take_sealed(self, sock: ConnectedSocket, datagram: bytes, now: float) -> str | None:
        """Try the setups on a sealed packet, the newest first; the one that it opens goes on."""
        reason: str | None = "no session"
        for setup in [each for each in reversed(self._setups) if sock in self._paths_of(each)]:
            reason = setup.receive(datagram, now)
            if reason == _NOT_AUTHENTIC:
                continue
            if reason is None:
                setup.path = sock
                self._setups.remove(setup)
                self._setups.append(setup)
            if setup.is_accepted:
                self._establish(sock, setup.connection)
            break
        return reason

    def _paths_of(self, setup: SessionSetup) -> list[ConnectedSocket]:
        """Return the sockets that lead to the server of a setup.

        It has the address of the socket whose hello it has answered first, which need not be the
        one where the answer came: both ports of a client send the same hello.
        """
        return next((route.sockets for route in self._routes if setup.path in route.sockets), [])

    def _establish(self, sock: ConnectedSocket, connection: Connection) -> None:
        self._setups = [each for each in self._setups if each.connection is not connection]
        self._established = sock, connection

    def _begin_setup(self, answer: VerifiedAnswer, now: float) -> None:
        """Send CONNECT in the session of an answer, instead of one that has not replied.

        That one is not closed: the first packet that a server opens makes it forget the other
        sessions of this client, so the CLOSE could end the new one.
        """
        try:
            credential = self._options.credential_for(answer.secrets.export)
        except Exception:
            _LOG.exception("the function for the credential has failed")
            self.failure = ConnectFailure.NO_CREDENTIAL
            return
        channels = self._options.channels
        assert isinstance(answer.path, ConnectedSocket)
        max_datagram = largest_datagram(host_of(answer.path.address))
        self._setups.append(
            SessionSetup(
                answer, credential, channels, self._timing, max_datagram, now, self._key_log
            )
        )
        del self._setups[:-MAX_SETUPS]

    def _give_up_setups(self, now: float, reason: CloseReason) -> None:
        setups, self._setups = self._setups, []
        for setup in setups:
            for datagram in setup.close(now, *reason):
                self._send_setup(setup, datagram, now)

    def _send_setup(self, setup: SessionSetup, datagram: bytes, now: float) -> None:
        """Send a datagram from the session's port, or from every one while that is unknown."""
        for path in [setup.path] if setup.has_opened else self._paths_of(setup):
            self._send(path, datagram, now)

    def _advance_setup(self, now: float) -> None:
        """Send what the setup has to send; fail if it was closed, forget it if it was dropped."""
        if not self._setups:
            return
        setup = self._setups[-1]
        for datagram in setup.datagrams(now):
            self._send_setup(setup, datagram, now)
        if setup.reason is not None:
            self.reason, self.failure = setup.reason, ConnectFailure.REJECTED
        elif not setup.connection.is_live:
            self._setups.remove(setup)

    def _check_failure(self, now: float) -> None:
        if self.failure is not None:
            return
        is_refused = bool(self._routes) and all(route.refused for route in self._routes)
        if is_refused or now >= self._deadline:
            self.failure = self._signed_verdict() or (
                ConnectFailure.REFUSED if is_refused else self._why_time_is_up()
            )

    def _signed_verdict(self) -> ConnectFailure | None:
        """Return the failure that the server itself has signed, if any."""
        handshake = self._handshake
        if self._setups:
            return None
        if handshake.was_downgraded:
            return ConnectFailure.DOWNGRADED
        if handshake.saw_version_1:
            return ConnectFailure.TOO_OLD
        return ConnectFailure.NOT_HYBRID if handshake.saw_no_hybrid else None

    def _why_time_is_up(self) -> ConnectFailure:
        if not self._setups and self._handshake.saw_wrong_key:
            return ConnectFailure.WRONG_KEY
        if self._resolver is not None:
            return ConnectFailure.UNRESOLVED
        if self._has_failed_to_send and not self._has_sent:
            return ConnectFailure.CANNOT_SEND
        return ConnectFailure.TIMEOUT


def _is_sealed_2(datagram: bytes) -> bool:
    """Return True for a datagram that may be a sealed packet of protocol 2."""
    return bool(datagram) and SEALED <= datagram[0] < 2 * SEALED
