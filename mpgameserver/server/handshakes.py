"""The server's side of the handshake, without a socket or a clock.

A hello that passes every cheap check waits for the public-key work that answers it, if it is not
answered already; the same hello is answered again with the same answer. The answer leaves a
half-open session beside whatever is at its address. The CHALLENGE_RESP that opens under the key of
a half-open session, and has its token, proves it: only then does the server hold a session.

Public-key work is done in steps, when the owner has time for one: `answer` makes a key and signs,
`exchange_next` makes a session's key. Hellos are answered at a limited rate, and one that was
answered has paid for its exchange, so the rate bounds the exchanges too.

A client key stands for one attempt of one client, which may come by more than one address: the
first to be proved is the session, and a hello with the key of a session is a late one.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass

from mpgameserver._core.endpoint import Endpoint
from mpgameserver._core.packet_header import HEADER_SIZE, TAG_SIZE, decode_header
from mpgameserver.bounds.token_bucket import TokenBucket
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import PacketType
from mpgameserver.errors import PacketError
from mpgameserver.server.blocklist import BlockList
from mpgameserver.server.half_open import HalfOpenSession, HalfOpenTable
from mpgameserver.server.hello_queue import WaitingHello, WaitingHellos
from mpgameserver.server.limits import Limits
from mpgameserver.server.sessions import SessionTable
from mpgameserver.transport.address import IpAddress, SocketAddress, hello_payload
from mpgameserver.wire.handshake import (
    SALT_SIZE,
    ClientHello,
    ServerHello,
    decode_clear_packet,
    hello_size,
    new_token,
)

__all__ = ["HelloRefused", "ProvedSession", "ServerHandshakes"]

BURST_SECONDS = 0.05
"""Of the handshake rate's hellos, as many as come in this time are answered at once: a lobby."""
FREE_TRIALS = 8
"""Keys that are tried on what claims to be a CHALLENGE_RESP, however many of those come: 8 µs,
less than it takes to read one. No honest address has more handshakes in progress."""
TRIALS_PER_SECOND = 50_000.0
"""Keys that are tried for all addresses that have more, 1 µs each: whoever forges hellos and proofs
in someone's name gets at most a twentieth of a core."""
TRIALS_AT_ONCE = 2_500.0
"""Of them, as many as may be tried at once: 2.5 ms."""


class HelloRefused(Exception):
    """A hello that gets no answer now; the argument says why."""


@dataclass(frozen=True)
class ProvedSession:
    """The result of a handshake."""

    endpoint: Endpoint
    token: int
    client_key: bytes


class ServerHandshakes:
    """Answers hellos with the server's root key, and opens the proofs."""

    def __init__(
        self, root_key: EllipticCurvePrivateKey, sessions: SessionTable, limits: Limits
    ) -> None:
        self.half_open: HalfOpenTable = HalfOpenTable(limits)
        self.waiting: WaitingHellos = WaitingHellos(limits)
        self.answered: int = 0
        """Hellos answered for the first time, each with public-key work."""
        self.answered_again: int = 0
        """Answers that were sent once more, without public-key work."""
        self.exchanges: int = 0
        """Keys of sessions that were made, each with public-key work."""
        self._root_key = root_key
        self._sessions = sessions
        self._limits = limits
        self._bucket = TokenBucket(limits.handshake_rate, _burst(limits))
        self._trials = TokenBucket(TRIALS_PER_SECOND, TRIALS_AT_ONCE)
        self._proofs: OrderedDict[SocketAddress, bytes] = OrderedDict()
        self._ends: dict[SocketAddress, bytes] = {}

    def limit(self, limits: Limits) -> None:
        """Use other caps, and another rate, from now on; nothing is pushed out at once."""
        self._limits = self.half_open.limits = limits
        self._bucket.rate, self._bucket.burst = limits.handshake_rate, _burst(limits)

    # -- hellos -----------------------------------------------------------------------------

    def receive_hello(
        self,
        datagram: bytes,
        address: SocketAddress,
        host: IpAddress,
        now: float,
        wall_now: float,
    ) -> bytes | None:
        """The answer to a hello that was answered before; None for one that waits for its own.

        `host` is that of the address, `now` monotonic, `wall_now` the Unix time then, in seconds.
        Raises ProtocolError for what is no hello, and HelloRefused for one that comes too late,
        too often or while too many wait. No public-key work is done. The answer is never longer
        than the hello.
        """
        packet = decode_clear_packet(datagram, PacketType.CLIENT_HELLO)
        hello = ClientHello.decode(packet.message, hello_size(hello_payload(host)))
        if self._sessions.has_client_key(hello.public_key_der):
            raise HelloRefused("late hello")
        half_open = self.half_open.get(address, hello.public_key_der)
        if half_open is None:
            seq = packet.header.seq
            if not self.waiting.add(WaitingHello(hello, seq, address, host, now, wall_now)):
                raise HelloRefused("busy")
            return None
        if half_open.answers >= self._limits.answers_per_hello:
            raise HelloRefused("late hello")
        self.answered_again += 1
        return half_open.answer(packet.header.seq, now)

    def take_hello(self, now: float) -> WaitingHello | None:
        """Take the hello that is to be answered now; None when none waits or the rate is used."""
        return self.waiting.pop() if self.waiting and self._bucket.take(now) else None

    def answer(self, waiting: WaitingHello, now: float) -> bytes:
        """The answer to a hello, after the public-key work, and a half-open session.

        Raises ProtocolError for a hello with a point that is not on the curve, and HelloRefused
        for one that has become a session meanwhile, by way of another address.
        """
        hello, wall_now = waiting.hello, waiting.wall_now + (now - waiting.now)
        if self._sessions.has_client_key(hello.public_key_der):
            raise HelloRefused("late hello")
        hello.public_key()  # raises for a point that is not on the curve
        key = EllipticCurvePrivateKey.new()
        answer = ServerHello.create(
            self._root_key, key.getPublicKey(), os.urandom(SALT_SIZE), self._free_token()
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

    # -- proofs -----------------------------------------------------------------------------

    def may_try(self, address: SocketAddress, now: float) -> bool:
        """True if there is time to try the keys of an address on a datagram."""
        trials = len(self.half_open.at(address))
        return trials <= FREE_TRIALS or self._trials.take(now, min(trials, TRIALS_AT_ONCE))

    def prove(self, datagram: bytes, address: SocketAddress, now: float) -> ProvedSession | None:
        """The session that a datagram from an address proves, which is half-open no more.

        Only sessions that have a key are tried, so there is no public-key work.
        """
        for half_open in self.half_open.at(address):
            if self._sessions.has_client_key(half_open.client_key_der):
                continue
            proved = self._try(half_open, datagram, now)
            if proved is not None:
                return proved
        return None

    def _try(self, half_open: HalfOpenSession, datagram: bytes, now: float) -> ProvedSession | None:
        endpoint = half_open.prove(datagram, now)
        if endpoint is None:
            return None
        self.half_open.remove(half_open)
        self._proofs.pop(half_open.address, None)
        return ProvedSession(endpoint, half_open.token, half_open.client_key_der)

    def postpone(self, datagram: bytes, address: SocketAddress) -> bool:
        """Keep a datagram, if it may be the proof of a session that has no key yet.

        One is kept for each address, the first: a client repeats its own until it has heard.
        """
        if not _may_be_proof(datagram) or not self._without_key(address):
            return False
        self._proofs.setdefault(address, datagram)
        return True

    def postpone_end(self, datagram: bytes, address: SocketAddress) -> bool:
        """Keep a DISCONNECT that has come behind a proof which waits; False if none does."""
        if address not in self._proofs:
            return False
        self._ends.setdefault(address, datagram)
        return True

    def take_end(self, address: SocketAddress) -> bytes | None:
        """Take the DISCONNECT that was kept, once the proof waits no more; None if none was."""
        return None if address in self._proofs else self._ends.pop(address, None)

    def exchange_next(self, now: float) -> tuple[SocketAddress, ProvedSession | None] | None:
        """Make one key for a proof that waits: its address, and the session if the key opens it.

        None when no proof waits. A proof waits until every session at its address has a key. Only
        the new key is tried: the others were, when the proof came or their turn did.
        """
        while self._proofs:
            address, datagram = next(iter(self._proofs.items()))
            without_key = self._without_key(address)
            if len(without_key) <= 1:
                del self._proofs[address]
            if without_key:
                without_key[0].exchange()
                self.exchanges += 1
                return address, self._try(without_key[0], datagram, now)
            self._ends.pop(address, None)
        return None

    def proof_waits(self, address: SocketAddress) -> bool:
        """True while a proof from that address waits for a key."""
        return address in self._proofs

    def _without_key(self, address: SocketAddress) -> list[HalfOpenSession]:
        return [
            half_open
            for half_open in self.half_open.at(address)
            if not half_open.has_key and not self._sessions.has_client_key(half_open.client_key_der)
        ]

    # -- all of them ------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """True while a proof waits for its key or a hello for its answer."""
        return bool(self._proofs or self.waiting)

    def next_work(self) -> float:
        """Time of the next public-key work; in the past if there is some now."""
        if not self.has_work:
            return float("inf")
        return float("-inf") if self._proofs else self._bucket.next_time()

    def expire(self, before: float) -> None:
        """Give up the handshakes that were opened before a time."""
        self.half_open.expire(before)

    def block(self, blocklist: BlockList) -> None:
        """Give up the handshakes of blocked hosts."""
        for half_open in self.half_open.all():
            if half_open.host in blocklist:
                self.half_open.remove(half_open)

    def clear(self) -> None:
        """Give up all handshakes."""
        for half_open in self.half_open.all():
            self.half_open.remove(half_open)
        self.waiting.clear()
        self._proofs.clear()
        self._ends.clear()


def _burst(limits: Limits) -> float:
    return max(1.0, limits.handshake_rate * BURST_SECONDS)


def _may_be_proof(datagram: bytes) -> bool:
    """True unless the header alone shows that a datagram is no CHALLENGE_RESP."""
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
