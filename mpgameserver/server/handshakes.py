"""The server's side of the handshake, without a socket or a clock.

A hello that passes the cheap checks waits for the public-key work of its reply. If it was answered
before, the same reply is sent again. A reply creates a half-open session beside any session at that
address. A CHALLENGE_RESP that decrypts under the key of a half-open session and contains its token
establishes it; only then does the server hold a session.

Public-key work is done in steps, when the owner has time for one: `answer` makes a key and signs,
`exchange_next` derives a session's key. Hellos are answered at a limited rate. Each answered hello
leads to at most one exchange, so the rate limits exchanges, too.

A client key identifies one attempt of one client, which may use more than one address. The first
handshake to be established is the session, and a hello with the key of a session is stale.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass

from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver._core.packet_header import HEADER_SIZE, TAG_SIZE, decode_header
from mpgameserver.bounds.token_bucket import TokenBucket
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import PacketType
from mpgameserver.errors import PacketError
from mpgameserver.server.blocklist import BlockList
from mpgameserver.server.half_open import HalfOpenSession, HalfOpenTable, remove_where
from mpgameserver.server.hello_queue import WaitingHello, WaitingHellos
from mpgameserver.server.limits import Limits
from mpgameserver.server.sessions import SessionTable
from mpgameserver.transport.address import IpAddress, SocketAddress, hello_payload
from mpgameserver.transport.keylog import KeyLog
from mpgameserver.wire.handshake import (
    ClientHello,
    ServerHello,
    decode_clear_packet,
    hello_size,
    new_token,
)
from mpgameserver.wire.protocol2.downgrade import downgrade_salt

__all__ = ["EstablishedSession", "HelloRefused", "ServerHandshakes"]

BURST_SECONDS = 0.05
"""Seconds of the handshake rate that may be answered at once, as when a lobby fills."""
FREE_TRIALS = 8
"""Keys that are always tried on a supposed CHALLENGE_RESP: 8 µs, less than reading it takes. No
honest address has more handshakes in progress."""
TRIALS_PER_SECOND = 50_000.0
"""Keys tried for all addresses with more, 1 µs each: spoofed hellos and responses get at most a
twentieth of a core."""
TRIALS_AT_ONCE = 2_500.0
"""The burst of that rate: 2.5 ms."""


class HelloRefused(Exception):
    """A hello is not answered now; the argument is the reason."""


@dataclass(frozen=True)
class EstablishedSession:
    """The result of a handshake."""

    endpoint: Endpoint1
    token: int
    client_key: bytes


class ServerHandshakes:
    """Answers hellos with the server's root key, and verifies challenge responses.

    `key_log` gets each key that is derived.
    """

    def __init__(
        self,
        root_key: EllipticCurvePrivateKey,
        sessions: SessionTable,
        limits: Limits,
        key_log: KeyLog | None = None,
    ) -> None:
        self.half_open: HalfOpenTable = HalfOpenTable(limits)
        self.waiting: WaitingHellos = WaitingHellos(limits)
        self.answered: int = 0
        """Hellos answered for the first time, each with public-key work."""
        self.answered_again: int = 0
        """Replies that were repeated, without public-key work."""
        self.exchanges: int = 0
        """Session keys derived, each with public-key work."""
        self._root_key, self._key_log = root_key, key_log
        self._sessions = sessions
        self._limits = limits
        self.bucket: TokenBucket = TokenBucket(limits.handshake_rate, _burst(limits))
        """The rate of hellos answered, which others may share."""
        self._trials = TokenBucket(TRIALS_PER_SECOND, TRIALS_AT_ONCE)
        self._responses: OrderedDict[SocketAddress, bytes] = OrderedDict()
        self._disconnects: dict[SocketAddress, bytes] = {}

    def limit(self, limits: Limits) -> None:
        """Use other limits from now on; nothing is evicted at once."""
        self._limits = self.half_open.limits = limits
        self.bucket.rate, self.bucket.burst = limits.handshake_rate, _burst(limits)

    # -- hellos -----------------------------------------------------------------------------

    def receive_hello(
        self,
        datagram: bytes,
        address: SocketAddress,
        host: IpAddress,
        now: float,
        wall_now: float,
    ) -> bytes | None:
        """Return the reply to a hello that was answered before; None if the hello is queued.

        `host` is that of the address, `now` monotonic, `wall_now` the Unix time, in seconds. Raises
        ProtocolError for a malformed hello, and HelloRefused for one that is stale, repeated too
        often, or finds the queue full. No public-key work is done. The reply is never longer than
        the hello.
        """
        packet = decode_clear_packet(datagram, PacketType.CLIENT_HELLO)
        hello = ClientHello.decode(packet.message, hello_size(hello_payload(host)))
        if self._sessions.has_client_key(hello.public_key_der):
            raise HelloRefused("stale hello")
        half_open = self.half_open.get(address, hello.public_key_der)
        if half_open is None:
            seq = packet.header.seq
            if not self.waiting.add(WaitingHello(hello, seq, address, host, now, wall_now)):
                raise HelloRefused("busy")
            return None
        if half_open.answers >= self._limits.answers_per_hello:
            raise HelloRefused("stale hello")
        self.answered_again += 1
        return half_open.answer(packet.header.seq, now)

    def take_hello(self, now: float) -> WaitingHello | None:
        """Take the hello to answer now; None if none is queued or the rate is exceeded."""
        return self.waiting.pop() if self.waiting and self.bucket.take(now) else None

    def answer(self, waiting: WaitingHello, now: float) -> bytes:
        """Return the reply to a hello, after the public-key work, and keep a half-open session.

        Raises ProtocolError for a hello with a point that is not on the curve, and HelloRefused
        if a session was established meanwhile with the same key from another address.
        """
        hello, wall_now = waiting.hello, waiting.wall_now + (now - waiting.now)
        if self._sessions.has_client_key(hello.public_key_der):
            raise HelloRefused("stale hello")
        hello.public_key()  # raises for a point that is not on the curve
        key = EllipticCurvePrivateKey.new()
        answer = ServerHello.create(
            self._root_key, key.getPublicKey(), downgrade_salt(os.urandom), self._free_token()
        )
        self.answered += 1
        half_open = HalfOpenSession(
            waiting.address, hello.public_key_der, key, answer, now, wall_now
        )
        self.half_open.add(half_open)
        return half_open.answer(waiting.seq, now)

    def _free_token(self) -> int:
        token = new_token()
        while self._sessions.has_token(token) or self.half_open.has_token(token):
            token = new_token()
        return token

    # -- challenge responses ----------------------------------------------------------------

    def may_try(self, address: SocketAddress, now: float) -> bool:
        """Return True if the keys of an address may be tried on a datagram now."""
        trials = len(self.half_open.at(address))
        return trials <= FREE_TRIALS or self._trials.take(now, min(trials, TRIALS_AT_ONCE))

    def establish(
        self, datagram: bytes, address: SocketAddress, now: float
    ) -> EstablishedSession | None:
        """Return the session that a datagram from an address establishes, or None.

        Only half-open sessions with a key are tried, so there is no public-key work.
        """
        for half_open in self.half_open.at(address):
            if self._sessions.has_client_key(half_open.client_key_der):
                continue
            established = self._try(half_open, datagram, now)
            if established is not None:
                return established
        return None

    def _try(
        self, half_open: HalfOpenSession, datagram: bytes, now: float
    ) -> EstablishedSession | None:
        endpoint = half_open.establish(datagram, now)
        if endpoint is None:
            return None
        self.half_open.remove(half_open)
        self._responses.pop(half_open.address, None)
        return EstablishedSession(endpoint, half_open.token, half_open.client_key_der)

    def defer(self, datagram: bytes, address: SocketAddress) -> bool:
        """Defer a datagram that may be the CHALLENGE_RESP of a session without a key; else False.

        The first of each address is kept: a client repeats its own until it gets a reply.
        """
        if not _may_be_response(datagram) or not self._without_key(address):
            return False
        self._responses.setdefault(address, datagram)
        return True

    def defer_disconnect(self, datagram: bytes, address: SocketAddress) -> bool:
        """Defer a DISCONNECT that follows a deferred CHALLENGE_RESP; False if there is none."""
        if address not in self._responses:
            return False
        self._disconnects.setdefault(address, datagram)
        return True

    def take_disconnect(self, address: SocketAddress) -> bytes | None:
        """Take a deferred DISCONNECT whose CHALLENGE_RESP is no longer deferred, or None."""
        return None if address in self._responses else self._disconnects.pop(address, None)

    def exchange_next(self, now: float) -> tuple[SocketAddress, EstablishedSession | None] | None:
        """Derive one key for a deferred CHALLENGE_RESP; return its address and the session, if any.

        Returns None if none is deferred. A response is deferred until every half-open session at
        its address has a key. Only the new key is tried, because the others were tried before.
        """
        while self._responses:
            address, datagram = next(iter(self._responses.items()))
            without_key = self._without_key(address)
            if len(without_key) <= 1:
                del self._responses[address]
            if without_key:
                without_key[0].exchange(self._key_log)
                self.exchanges += 1
                return address, self._try(without_key[0], datagram, now)
            self._disconnects.pop(address, None)
        return None

    def response_waits(self, address: SocketAddress) -> bool:
        """Return True while a CHALLENGE_RESP from that address is deferred."""
        return address in self._responses

    def _without_key(self, address: SocketAddress) -> list[HalfOpenSession]:
        return [
            half_open
            for half_open in self.half_open.at(address)
            if not half_open.has_key and not self._sessions.has_client_key(half_open.client_key_der)
        ]

    # -- all of them ------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """True while a CHALLENGE_RESP is deferred or a hello is queued."""
        return bool(self._responses or self.waiting)

    def next_work(self) -> float:
        """Return the time of the next public-key work; in the past if there is some now."""
        if not self.has_work:
            return float("inf")
        return float("-inf") if self._responses else self.bucket.next_time()

    def expire(self, before: float) -> None:
        """Discard the handshakes that began before a time."""
        self.half_open.expire(before)

    def block(self, blocklist: BlockList) -> None:
        """Discard the handshakes of blocked hosts."""
        remove_where(self.half_open, lambda half_open: half_open.host in blocklist)

    def clear(self) -> None:
        """Discard all handshakes."""
        remove_where(self.half_open, lambda _: True)
        self.waiting.clear()
        self._responses.clear()
        self._disconnects.clear()


def _burst(limits: Limits) -> float:
    return max(1.0, limits.handshake_rate * BURST_SECONDS)


def _may_be_response(datagram: bytes) -> bool:
    """Return False if the header alone shows that a datagram is not a CHALLENGE_RESP."""
    try:
        header = decode_header(datagram)
    except PacketError:
        return False
    return (
        header.packet_type == PacketType.CHALLENGE_RESP
        and not header.from_server
        and header.seq != 0
        and header.count > 0
        and header.length == len(datagram) - HEADER_SIZE - TAG_SIZE
    )
