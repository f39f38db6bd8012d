"""Admission of clients of protocol 1: from a datagram of its handshake to an established session.

Datagrams without a session come here (`receive`). Cheap checks are made at once; public-key work is
done by `work`, a piece at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mpgameserver.enums import PacketType
from mpgameserver.errors import ProtocolError
from mpgameserver.server.gate import Gate
from mpgameserver.server.handshakes import EstablishedSession, HelloRefused, ServerHandshakes
from mpgameserver.server.sessions import SessionTable
from mpgameserver.transport.address import IpAddress, SocketAddress, host_of

__all__ = ["Admission1"]

_CLIENT_HELLO, _CHALLENGE_RESP = PacketType.CLIENT_HELLO, PacketType.CHALLENGE_RESP
_DISCONNECT = PacketType.DISCONNECT


class Owner(Protocol):
    """The part of a server that this uses."""

    sessions: SessionTable

    @property
    def now(self) -> float:
        """The monotonic time, in seconds."""

    def queue_reply(self, datagram: bytes, address: SocketAddress) -> None:
        """Send a datagram that belongs to no session."""

    def drop(self, reason: str, address: SocketAddress) -> None:
        """Count a dropped datagram."""

    def begin_session(self, established: EstablishedSession, address: SocketAddress) -> None:
        """Start a session, and end the one that has the address now."""

    def receive_deferred(self, datagram: bytes, address: SocketAddress) -> None:
        """Process a datagram that had to wait for its session."""


class Admission1:
    """Refuses handshakes or performs them; `owner` gets the sessions."""

    def __init__(self, owner: Owner, gate: Gate, handshakes: ServerHandshakes) -> None:
        self._owner = owner
        self._gate = gate
        self.handshakes = handshakes

    def receive(self, datagram: bytes, address: SocketAddress, kind: int, wall_now: float) -> bool:
        """Process a datagram that no session has accepted; False unless it is a handshake's."""
        if kind == _CLIENT_HELLO:
            self._receive_hello(datagram, address, wall_now)
            return True
        if kind == _DISCONNECT:
            return self.handshakes.defer_disconnect(datagram, address)
        return kind == _CHALLENGE_RESP and self._receive_response(datagram, address)

    def refusal(self, address: SocketAddress, host: IpAddress) -> str | None:
        """Return the reason to refuse a handshake with an address, or None."""
        reason = self._gate.bars(address, host)
        if reason is not None:
            return reason
        session = self._owner.sessions.get(address)
        if session is None:
            return self._gate.no_room(address, host)
        if session.predecessor is not None:
            return "busy"  # the handler has yet to be notified of the session before
        return None  # it would be replaced

    # -- hellos -----------------------------------------------------------------------------

    def _receive_hello(self, datagram: bytes, address: SocketAddress, wall_now: float) -> None:
        host = host_of(address)
        self._reply(
            address,
            host,
            lambda: self.handshakes.receive_hello(
                datagram, address, host, self._owner.now, wall_now
            ),
        )

    def _answer_waiting_hello(self) -> bool:
        """Answer a queued hello; False if none may be answered now."""
        waiting = self.handshakes.take_hello(self._owner.now)
        if waiting is None:
            return False
        self._reply(
            waiting.address,
            waiting.host,
            lambda: self.handshakes.answer(waiting, self._owner.now),
        )
        return True

    def _reply(
        self, address: SocketAddress, host: IpAddress, make: Callable[[], bytes | None]
    ) -> None:
        """Send the reply that `make` returns, if any, or drop the hello."""
        reason = self.refusal(address, host)
        if reason is None:
            try:
                reply = make()
            except ProtocolError:
                reason = "malformed hello"
            except HelloRefused as refused:
                reason = str(refused)
            else:
                if reply is not None:
                    self._owner.queue_reply(reply, address)
        if reason is not None:
            self._owner.drop(reason, address)

    # -- challenge responses ----------------------------------------------------------------

    def _receive_response(self, datagram: bytes, address: SocketAddress) -> bool:
        """Try a supposed CHALLENGE_RESP, or defer it until there is a key to try.

        False if it belongs to no handshake. True as well if it is dropped here, because no more
        keys can be tried now.
        """
        if not self.handshakes.half_open.at(address):
            return False
        if self.refusal(address, host_of(address)) is not None:
            return False
        if not self.handshakes.may_try(address, self._owner.now):
            self._owner.drop("busy", address)
            return True
        established = self.handshakes.establish(datagram, address, self._owner.now)
        if established is not None:
            self._begin_session(established, address)
            return True
        return self.handshakes.defer(datagram, address)

    def _begin_session(self, established: EstablishedSession, address: SocketAddress) -> None:
        self._owner.begin_session(established, address)
        self._receive_disconnect(address)

    def _receive_disconnect(self, address: SocketAddress) -> None:
        """Process the deferred DISCONNECT of a client that gave up after its CHALLENGE_RESP."""
        disconnect = self.handshakes.take_disconnect(address)
        if disconnect is not None:
            self._owner.receive_deferred(disconnect, address)

    def _try_waiting_response(self) -> bool:
        """Make a key for a deferred CHALLENGE_RESP, and try it; False if there is none."""
        tried = self.handshakes.exchange_next(self._owner.now)
        if tried is None:
            return False
        address, established = tried
        reason = self.refusal(address, host_of(address))
        if reason is None:
            if established is None:
                reason = "invalid response"
            else:
                self._begin_session(established, address)
        if reason is not None and not self.handshakes.response_waits(address):
            self._owner.drop(reason, address)
        self._receive_disconnect(address)
        return True

    # -- public-key work --------------------------------------------------------------------

    def work(self) -> bool:
        """Do a piece of public-key work; False if none may be done now."""
        return self._try_waiting_response() or self._answer_waiting_hello()
