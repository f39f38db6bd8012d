"""Admission of clients of protocol 2: from a hello to the first packet that opens.

    hello ─receive─> RETRY, or the same answer again
             └─────> queue ─work─> answer: a half-open session
    sealed packet of a half-open session ─receive_sealed─> the owner's session

A session without a credential costs its host a place among the sessions as soon as it has opened a
packet; before, it is a half-open one, which is bounded by its table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mpgameserver._core.endpoint2 import Endpoint2
from mpgameserver._core.frames import CONNECTION_ID_SIZE
from mpgameserver.bounds.token_bucket import TokenBucket
from mpgameserver.connection import Connection
from mpgameserver.enums import CloseCode, PacketType
from mpgameserver.errors import ProtocolError
from mpgameserver.server.closed import ClosedSessions
from mpgameserver.server.context import ServerSettings
from mpgameserver.server.gate import Gate
from mpgameserver.server.half_open2 import HalfOpenSession2
from mpgameserver.server.handshakes import HelloRefused
from mpgameserver.server.handshakes2 import ReceivedHello, ServerHandshakes2
from mpgameserver.server.resets import ResetTokens
from mpgameserver.transport.address import (
    SocketAddress,
    hello_payload,
    host_of,
    largest_datagram,
)
from mpgameserver.transport.keylog import KeyLog
from mpgameserver.wire.handshake import (
    HELLO_FILLER_START,
    ClientHello,
    decode_clear_packet,
    hello_size,
)
from mpgameserver.wire.protocol2.hello import HelloForm, StatelessReset
from mpgameserver.wire.protocol2.kem_frames import LateEncapsulation

__all__ = ["Admission2"]

RESETS_PER_SECOND = 500.0
"""As many as players come back in the same time when a server restarts; 5 us each."""
RESETS_AT_ONCE = 100.0

_FULL_TEXT = "The server is full."


class Owner(Protocol):
    """The part of a server that this uses."""

    closed: ClosedSessions

    @property
    def now(self) -> float:
        """The monotonic time, in seconds."""

    @property
    def settings(self) -> ServerSettings:
        """The settings in effect."""

    def queue_reply(self, datagram: bytes, address: SocketAddress) -> None:
        """Send a datagram that belongs to no session."""

    def drop(self, reason: str, address: SocketAddress) -> None:
        """Count a dropped datagram."""

    def begin_session2(self, connection: Connection, half_open: HalfOpenSession2) -> None:
        """Start a session that has opened its first packet."""


class Admission2:
    """Refuses handshakes or performs them; `owner` gets the sessions."""

    def __init__(
        self,
        owner: Owner,
        gate: Gate,
        handshakes: ServerHandshakes2,
        tokens: ResetTokens,
        key_log: KeyLog | None = None,
    ) -> None:
        self._owner = owner
        self._gate = gate
        self._handshakes = handshakes
        self._tokens = tokens
        self._key_log = key_log
        self.resets: int = 0
        """Stateless resets sent."""
        self._resets = TokenBucket(RESETS_PER_SECOND, RESETS_AT_ONCE)

    # -- hellos -----------------------------------------------------------------------------

    def receive_hello2(self, datagram: bytes, address: SocketAddress) -> None:
        """Process a handshake packet of protocol 2."""
        if self._retry(datagram, HelloForm.VERSION_2, address):
            return
        self._reply(address, lambda: self._take(self._handshakes.read_hello2(datagram), address))

    def receive_offer(self, datagram: bytes, address: SocketAddress) -> bool:
        """Process a hello of version 1 with an offer; False if it is one to answer in version 1."""
        if self._retry(datagram, HelloForm.VERSION_1, address):
            return True
        try:
            hello = self._read_offer(datagram, address)
        except ProtocolError:
            self._owner.drop("malformed hello", address)
            return True
        if hello is not None:
            self._reply(address, lambda: self._take(hello, address))
        return hello is not None

    def _retry(self, datagram: bytes, form: HelloForm, address: SocketAddress) -> bool:
        """Send a RETRY where there is load and the hello has no cookie; False: it is to be read."""
        if self._gate.may_bar(address):
            return False
        retry = self._handshakes.retry_now(datagram, form, address, self._owner.now)
        if retry is None:
            return False
        self._owner.queue_reply(retry, address)
        return True

    def _read_offer(self, datagram: bytes, address: SocketAddress) -> ReceivedHello | None:
        message = decode_clear_packet(datagram, PacketType.CLIENT_HELLO).message
        hello = ClientHello.decode(message, hello_size(hello_payload(host_of(address))))
        return self._handshakes.read_offer(hello.public_key_der, message[HELLO_FILLER_START:])

    def _take(self, hello: ReceivedHello, address: SocketAddress) -> bytes | None:
        return self._handshakes.receive(hello, address, host_of(address), self._owner.now)

    def _reply(self, address: SocketAddress, make: Callable[[], bytes | None]) -> None:
        """Send the reply that `make` returns, if any, or drop the hello."""
        reason = self._gate.bars(address, host_of(address))
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

    def work(self) -> bool:
        """Answer a queued hello; False if none may be answered now."""
        waiting = self._handshakes.take_hello(self._owner.now)
        if waiting is None:
            return False
        self._reply(waiting.address, lambda: self._handshakes.answer(waiting, self._owner.now))
        return True

    # -- sealed packets ---------------------------------------------------------------------

    def receive_sealed(self, datagram: bytes, address: SocketAddress) -> None:
        """Process a sealed packet with an id that no session has."""
        connection_id = datagram[1 : 1 + CONNECTION_ID_SIZE]
        half_open = self._handshakes.half_open.with_id(connection_id)
        if half_open is None:
            self._reply_for_nobody(connection_id, datagram, address)
            reason: str | None = "no session"
        elif address != half_open.address:
            # Whoever answers from elsewhere might make the server send to an address that has
            # shown nothing: nobody there has to have seen the answer.
            reason = "other address"
        else:
            reason = self._gate.bars(address, half_open.host) or self._open(half_open, datagram)
        if reason is not None:
            self._owner.drop(reason, address)

    def _reply_for_nobody(
        self, connection_id: bytes, datagram: bytes, address: SocketAddress
    ) -> None:
        """Ack the CLOSE of a session that has ended; or say that there is none, with its token.

        What is sent to an address is shorter than what came from there, or answers a packet that
        has opened.
        """
        now, closed = self._owner.now, self._owner.closed
        closed.expire(now)
        if connection_id in closed:
            reply = closed.receive(connection_id, datagram, now)
        elif self._may_reset(connection_id, address):
            self.resets += 1
            reply = StatelessReset(self._tokens.of(connection_id)).encode()
        else:
            reply = None
        if reply is not None:
            self._owner.queue_reply(reply, address)

    def _may_reset(self, connection_id: bytes, address: SocketAddress) -> bool:
        return (
            self._handshakes.is_own(connection_id)
            and self._gate.bars(address, host_of(address)) is None
            and self._resets.take(self._owner.now)
        )

    def _open(self, half_open: HalfOpenSession2, datagram: bytes) -> str | None:
        """Try the packet under the keys of a half-open session; return why it is dropped, if so."""
        if half_open.closing:
            return self._close_again(half_open)
        connection = half_open.connection
        if connection is None:
            connection = half_open.connection = self._new_connection(half_open)
        reason = connection.receive(datagram, self._owner.now)
        if reason is not None and not connection.endpoint.error_code:
            return reason
        if self._key_log is not None:
            self._key_log.write(half_open.connection_id, half_open.secrets)
        full = self._gate.no_room(half_open.address, half_open.host)
        if full is not None:
            self._refuse(half_open, connection)
            return full
        self._handshakes.promote(half_open)
        self._owner.begin_session2(connection, half_open)
        return reason

    def _new_connection(self, half_open: HalfOpenSession2) -> Connection:
        endpoint = Endpoint2(
            half_open.secrets.server,
            half_open.secrets.client,
            True,
            self._owner.now,
            connection_id=half_open.connection_id,
            max_datagram=largest_datagram(half_open.host),
        )
        ml_kem = self._handshakes.ml_kem
        if half_open.awaits_key and ml_kem is not None:
            endpoint.exchange_keys(
                LateEncapsulation(ml_kem, lambda secret: self._log_mixed(half_open, secret))
            )
        token = int.from_bytes(half_open.connection_id, "big")
        return Connection(endpoint, token, self._owner.settings.timing)

    def _log_mixed(self, half_open: HalfOpenSession2, shared_secret: bytes) -> None:
        if self._key_log is not None:
            self._key_log.write_mixed(half_open.connection_id, half_open.secrets, shared_secret)

    def _refuse(self, half_open: HalfOpenSession2, connection: Connection) -> None:
        """Send a CLOSE, unless that is what the packet was; further packets get the same again."""
        closing = connection.abort(self._owner.now, CloseCode.FULL, _FULL_TEXT)
        if closing is not None:
            half_open.closing = closing
            self._owner.queue_reply(closing, half_open.address)

    def _close_again(self, half_open: HalfOpenSession2) -> str:
        """Repeat the CLOSE of a session for which there was no room, as often as an answer."""
        half_open.closes += 1
        if half_open.closes < self._owner.settings.limits.answers_per_hello:
            self._owner.queue_reply(half_open.closing, half_open.address)
        return "full"
