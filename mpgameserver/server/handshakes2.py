"""The server's side of protocol 2's handshake, without a socket or a clock.

    datagram ─read_hello2 / read_offer─> ReceivedHello ─receive─> RETRY
                                                          │       the same answer again
                                                          └─> queue ─take_hello, answer─> answer

Reading a hello takes no public-key work and no hash, `receive` one keyed hash; both are for anybody
who sends. Public-key work is a step of its own, `answer`, when the owner has time for one, at a
limited rate. It makes a half-open session, which the first packet that opens under its keys makes a
session (`promote`).

Under load, and wherever a hello would need room that is not free, the client is asked for a cookie
(RETRY): for an address that has returned none, nothing is kept then and no public-key work is done.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from mpgameserver._core.frames import CONNECTION_ID_SIZE
from mpgameserver.bounds.token_bucket import TokenBucket
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.server.blocklist import BlockList
from mpgameserver.server.cookies import Cookies, cookie_address, cookie_place
from mpgameserver.server.fair_queue import FairQueue
from mpgameserver.server.half_open import remove_where
from mpgameserver.server.half_open2 import HalfOpenSession2, HalfOpenTable2
from mpgameserver.server.handshakes import BURST_SECONDS, HelloRefused
from mpgameserver.server.hello_load import HelloLoad
from mpgameserver.server.limits import Limits
from mpgameserver.transport.address import (
    IpAddress,
    SocketAddress,
    hello_payload_over,
    host_groups,
)
from mpgameserver.wire.handshake import hello_size
from mpgameserver.wire.protocol2.hello import (
    ANY_WORKER,
    HELLO_ID_SIZE,
    LAST_WORKER,
    POINT_SIZE,
    RANDOM_SIZE,
    VERSION,
    Answer,
    ClientHello2,
    HelloForm,
    Offer,
    ServerHello2,
    checked_audience,
    find_offer,
    hello_heads,
    point_of,
    public_key_of,
    retry_datagram,
    transcript_hash,
)
from mpgameserver.wire.protocol2.keys import SessionSecrets
from mpgameserver.wire.protocol2.limits import DEFAULT_LIMITS, PeerLimits
from mpgameserver.wire.protocol2.ml_kem import MlKem

__all__ = ["ReceivedHello", "ServerHandshakes2", "WaitingHello2"]

HALF_OPEN_TIMEOUT = 5.0
"""Seconds from the answer to the first packet that opens; docs/protocol2.md has the figure."""

_IPV4_PLACE = 6
"""Bytes of the address and the port of a client of IPv4, as they go into a cookie."""

RandomBytes = Callable[[int], bytes]


class OpenSessions(Protocol):
    """The sessions of protocol 2 that are open."""

    def has_client_point(self, client_point: bytes) -> bool:
        """Return True if a session was made with this client key."""

    def has_connection_id(self, connection_id: bytes) -> bool:
        """Return True if a session has this connection id, or has retired it lately."""


@dataclass(frozen=True, slots=True)
class ReceivedHello:
    """A hello of either form that could be read."""

    form: HelloForm
    client_point: bytes = field(repr=False)
    cookie: bytes = field(repr=False)
    offer: Offer = field(repr=False)
    transcript: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class WaitingHello2:
    """A hello that waits for public-key work."""

    hello: ReceivedHello
    address: SocketAddress
    host: IpAddress
    has_cookie: bool


class ServerHandshakes2:
    """Answers hellos with the server's root key, and keeps the half-open sessions.

    `audience` is the name of this service, `worker` the routing byte of this process, 0 to 82,
    `own_limits` what the clients are told, which may be replaced. Without `ml_kem` a client's
    encapsulation key is ignored.
    Public-key work is done at the rate of the `bucket`, which others may share; by default it has
    its own. `rng` chooses whom to evict.
    """

    def __init__(
        self,
        root_key: EllipticCurvePrivateKey,
        sessions: OpenSessions,
        limits: Limits,
        cookies: Cookies,
        *,
        audience: str = "",
        worker: int = 0,
        own_limits: PeerLimits = DEFAULT_LIMITS,
        ml_kem: MlKem | None = None,
        bucket: TokenBucket | None = None,
        rng: Random | None = None,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        if not 0 <= worker <= LAST_WORKER:
            raise ValueError(f"worker must be 0...{LAST_WORKER}, not {worker!r}")
        self.half_open: HalfOpenTable2 = HalfOpenTable2(limits, rng)
        self.retries: int = 0
        """Hellos that were answered with RETRY, without public-key work."""
        self.answered_again: int = 0
        """Answers that were repeated, without public-key work."""
        self.public_key_work: int = 0
        """Hellos for which public-key work was done, the invalid keys among them included."""
        self._root_key, self._root_point = root_key, point_of(root_key.getPublicKey())
        self._sessions, self._cookies = sessions, cookies
        self._audience = checked_audience(audience)
        self._heads = hello_heads(audience, worker)
        self.own_limits: PeerLimits = own_limits
        self._worker, self._random_bytes = worker, random_bytes
        self.ml_kem: MlKem | None = ml_kem
        self._queue_limit = limits.waiting_hellos
        self._waiting: FairQueue[WaitingHello2] = FairQueue(
            self._queue_limit, limits.waiting_hellos_per_host
        )
        self._bucket = bucket or TokenBucket(limits.handshake_rate, _burst(limits))
        self._load = HelloLoad(limits.handshake_rate, _burst(limits))

    def limit(self, limits: Limits) -> None:
        """Use other limits from now on; nothing is evicted, and the queue keeps its length."""
        self.half_open.limits = limits
        for rated in (self._bucket, self._load):
            rated.rate, rated.burst = limits.handshake_rate, _burst(limits)

    def is_own(self, connection_id: bytes) -> bool:
        """Return True for a connection id that this worker may have given."""
        return connection_id[0] == self._worker

    # -- from a datagram to a hello ---------------------------------------------------------

    def read_hello2(self, datagram: bytes) -> ReceivedHello:
        """Read a CLIENT_HELLO2.

        Raises HandshakeError for a malformed one, HelloRefused for one to another worker.
        """
        hello = ClientHello2.decode(datagram)
        if hello.routing not in (self._worker, ANY_WORKER):
            raise HelloRefused("other worker")
        return _received(HelloForm.VERSION_2, hello.client_point, hello.cookie, hello.offer)

    def read_offer(self, client_key_der: bytes, filler: bytes) -> ReceivedHello | None:
        """Read the offer in a hello of version 1; None for one to be answered in version 1.

        Raises HandshakeError for a malformed offer.
        """
        found = find_offer(filler)
        if found is None or VERSION not in found[1].versions:
            return None
        return _received(HelloForm.VERSION_1, client_key_der[-POINT_SIZE:], *found)

    # -- hellos -----------------------------------------------------------------------------

    def retry_now(
        self, datagram: bytes, form: HelloForm, address: SocketAddress, now: float
    ) -> bytes | None:
        """Return a RETRY for a hello without a cookie that holds, while there is load; or None.

        None leaves the datagram to be read and to `receive`, which would return the same RETRY, at
        ten times the cost. Nothing is kept but counts.
        """
        if not self._load.is_high(now):
            return None
        place = cookie_place(address)
        if form == HelloForm.VERSION_2:
            head = self._heads.read2(datagram)
        else:
            head = self._heads.read1(datagram, _least_hello1(place))
        if head is None:
            return None
        client_point, hello_id, cookie = head
        if self._sessions.has_client_point(client_point) or self.half_open.has_client(client_point):
            return None
        if self._cookies.holds(cookie, place, client_point, now):
            return None
        self._load.note(now)
        self.retries += 1
        return retry_datagram(form, hello_id, self._cookies.make(place, client_point, now))

    def receive(
        self, hello: ReceivedHello, address: SocketAddress, host: IpAddress, now: float
    ) -> bytes | None:
        """Return what to send at once, a RETRY or an answer again; None if the hello is queued.

        `host` is that of the address, `now` monotonic, in seconds. Raises HelloRefused for a hello
        to another audience, for one that is stale, and where the queue is full. No public-key work
        is done. What is returned is never longer than the hello.
        """
        self.expire(now)
        if hello.offer.audience != self._audience:
            raise HelloRefused("other audience")
        if self._sessions.has_client_point(hello.client_point):
            raise HelloRefused("stale hello")
        place = cookie_address(host, address[1])
        has_cookie = self._cookies.holds(hello.cookie, place, hello.client_point, now)
        half_open = self.half_open.get(hello.transcript)
        if half_open is not None:
            return self._answer_again(half_open, has_cookie and half_open.address == address)
        if not has_cookie:
            self._load.note(now)
            if self._asks_for_cookie(address, host, now) or self._is_queue_long():
                return self._retry(hello, place, now)
        self._queue(WaitingHello2(hello, address, host, has_cookie))
        return None

    def _answer_again(self, half_open: HalfOpenSession2, has_cookie: bool) -> bytes:
        half_open.answers += 1
        half_open.has_cookie = half_open.has_cookie or has_cookie
        self.answered_again += 1
        return half_open.answer

    def _asks_for_cookie(self, address: SocketAddress, host: IpAddress, now: float) -> bool:
        """Return True if a hello without a cookie is not to be answered now."""
        return self._load.is_high(now) or not self.half_open.has_room(address, host)

    def _is_queue_long(self) -> bool:
        """Return True if a hello without a cookie would wait, or displace one with a cookie."""
        return self._waiting.size >= min(self._load.burst, self._queue_limit)

    def _retry(self, hello: ReceivedHello, place: bytes, now: float) -> bytes:
        self.retries += 1
        cookie = self._cookies.make(place, hello.client_point, now)
        return retry_datagram(hello.form, hello.offer.random[:HELLO_ID_SIZE], cookie)

    def _queue(self, waiting: WaitingHello2) -> None:
        (party, _), *wider = host_groups(waiting.host)
        key = waiting.hello.transcript, waiting.has_cookie
        if not self._waiting.has(party, key) and not self._waiting.push(
            party, key, waiting, tuple(wider)
        ):
            raise HelloRefused("busy")

    @property
    def waiting(self) -> int:
        """The number of queued hellos."""
        return self._waiting.size

    # -- public-key work --------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """True while a hello is queued."""
        return self._waiting.size > 0

    def next_work(self) -> float:
        """Return the time of the next public-key work; in the past if there is some now."""
        return self._bucket.next_time() if self.has_work else float("inf")

    def take_hello(self, now: float) -> WaitingHello2 | None:
        """Take the hello to answer now; None if none is queued or the rate is exceeded."""
        return self._waiting.pop() if self.has_work and self._bucket.take(now) else None

    def answer(self, waiting: WaitingHello2, now: float) -> bytes:
        """Return the answer to a hello, after the public-key work, and keep a half-open session.

        It is a RETRY if there is load by now, or room no more, for a hello without a cookie. Raises
        HandshakeError for a key that is not on the curve or an invalid encapsulation key, and
        HelloRefused if a session was opened meanwhile with the same key.
        """
        self.expire(now)
        hello, address, host = waiting.hello, waiting.address, waiting.host
        if self._sessions.has_client_point(hello.client_point):
            raise HelloRefused("stale hello")
        half_open = self.half_open.get(hello.transcript)
        if half_open is not None:
            return self._answer_again(half_open, waiting.has_cookie)
        if not waiting.has_cookie and self._asks_for_cookie(address, host, now):
            return self._retry(hello, cookie_address(host, address[1]), now)
        self.public_key_work += 1
        half_open = self._open(waiting, now)
        self.half_open.add(half_open)
        return half_open.answer

    def _open(self, waiting: WaitingHello2, now: float) -> HalfOpenSession2:
        """Make the answer and the secrets: all the public-key work of a handshake."""
        hello = waiting.hello
        client_key = public_key_of(hello.client_point)
        ml_kem_secret, ciphertext = self._encapsulate(hello.offer.encapsulation_key)
        private_key = EllipticCurvePrivateKey.new()
        answer = Answer(
            self._root_point,
            point_of(private_key.getPublicKey()),
            self._random_bytes(RANDOM_SIZE),
            self.free_id(),
            ciphertext,
            self.own_limits,
        )
        server_hello = ServerHello2.create(
            self._root_key, hello.form, hello.offer, hello.client_point, answer
        )
        secrets = SessionSecrets.derive(
            private_key.exchange(client_key),
            transcript_hash(hello.transcript, answer),
            ml_kem_secret,
        )
        return HalfOpenSession2(
            waiting.address,
            waiting.host,
            hello.client_point,
            hello.transcript,
            answer.connection_id,
            secrets,
            ciphertext == b"",
            server_hello.encode(),
            waiting.has_cookie,
            now,
        )

    def _encapsulate(self, encapsulation_key: bytes) -> tuple[bytes, bytes | None]:
        """Return the shared secret of ML-KEM and extension 1 of the answer.

        A ciphertext always fits: the key that it answers is longer.
        """
        if self.ml_kem is None:
            return b"", None
        return self.ml_kem.encapsulate(encapsulation_key) if encapsulation_key else (b"", b"")

    def free_id(self) -> bytes:
        """Return a connection id that no session has, nor will have when it is promoted."""
        while True:
            connection_id = bytes([self._worker]) + self._random_bytes(CONNECTION_ID_SIZE - 1)
            if not (
                self._sessions.has_connection_id(connection_id)
                or self.half_open.with_id(connection_id)
            ):
                return connection_id

    # -- all of them ------------------------------------------------------------------------

    def promote(self, half_open: HalfOpenSession2) -> None:
        """Forget a half-open session whose first packet has opened, and the others of its client.

        From now on it has to be among the open sessions: the hello is then stale.
        """
        self.half_open.remove_client(half_open.client_point)

    def expire(self, now: float) -> None:
        """Discard the handshakes whose time is over."""
        self.half_open.expire(now - HALF_OPEN_TIMEOUT)

    def block(self, blocklist: BlockList) -> None:
        """Discard the handshakes of blocked hosts."""
        remove_where(self.half_open, lambda half_open: half_open.host in blocklist)

    def clear(self) -> None:
        """Discard all handshakes."""
        remove_where(self.half_open, lambda _: True)
        self._waiting.clear()


def _received(form: HelloForm, client_point: bytes, cookie: bytes, offer: Offer) -> ReceivedHello:
    transcript = offer.transcript(form, client_point)
    return ReceivedHello(form, client_point, cookie, offer, transcript)


def _least_hello1(place: bytes) -> int:
    """Return the bytes of the message that a hello of version 1 from an address has at least."""
    return hello_size(hello_payload_over(len(place) > _IPV4_PLACE))


def _burst(limits: Limits) -> float:
    return max(1.0, limits.handshake_rate * BURST_SECONDS)
