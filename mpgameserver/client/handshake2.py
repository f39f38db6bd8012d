"""The client's side of the handshake where it speaks protocol 2, without a socket or a clock.

The client offers version 2 in the filler of its hello of version 1, so one hello reaches servers of
either version. From the second try on it sends CLIENT_HELLO2 as well, for paths that the other does
not get through. A server of version 1 answers as ever, and `ClientHandshake` goes on from there.

An answer that verifies yields the secrets of a session, but only a sealed packet proves that the
server has them, too: until one has opened, the attempt goes on, and may yield another answer.

Forged packets cost the client a bounded amount of work and never end its attempt.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from random import Random, SystemRandom

from mpgameserver._core.packet_header import TYPE_OFFSET
from mpgameserver.client.handshake import (
    HELLO_INTERVAL,
    MAX_VERIFICATIONS,
    ClientHandshake,
    EstablishedSession,
)
from mpgameserver.crypto import EllipticCurvePrivateKey, EllipticCurvePublicKey
from mpgameserver.enums import PacketType
from mpgameserver.errors import HandshakeError, ProtocolError
from mpgameserver.transport.keylog import KeyLog
from mpgameserver.wire.handshake import (
    HELLO_FILLER_START,
    ServerHello,
    WrongKeyError,
    decode_clear_packet,
    hello_size,
)
from mpgameserver.wire.protocol2.downgrade import is_downgrade
from mpgameserver.wire.protocol2.hello import (
    ANY_WORKER,
    HANDSHAKE_FORM,
    HELLO_ID_SIZE,
    MAX_COOKIE_SIZE,
    RANDOM_SIZE,
    Answer,
    ClientHello2,
    HelloForm,
    Kind,
    Offer,
    Retry,
    ServerHello2,
    checked_audience,
    offer_filler,
    point_of,
    public_key_of,
    transcript_hash,
)
from mpgameserver.wire.protocol2.keys import SessionSecrets
from mpgameserver.wire.protocol2.limits import PeerLimits
from mpgameserver.wire.protocol2.ml_kem import DecapsulationKey, MlKem

__all__ = ["ClientHandshake2", "VerifiedAnswer"]

ANSWER_PATIENCE = 1.0
"""Seconds that the session of an answer has for its first sealed packet, before another answer is
taken; docs/protocol2.md has the figure. On a slow path that would be before the packet can come:
the other answer would be that of a session which the server has forgotten for this one."""
SLOW_PATIENCE = 1.5
"""Round trips that it has at least, where a round trip takes no longer than the answer took..."""
LONGEST_PATIENCE = 3.0
"""...and seconds at most, because lost hellos look like a slow path."""

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True)
class VerifiedAnswer:
    """A session that the server's root key has signed, and that has opened no packet yet."""

    path: Hashable
    form: HelloForm
    connection_id: bytes
    limits: PeerLimits
    """The server's."""
    secrets: SessionSecrets
    is_hybrid: bool
    """The secrets hold that of ML-KEM."""
    key_to_send: DecapsulationKey | None
    """The key whose public half the client may send in KEM frames; None where it may not."""


@dataclass
class _Hello:
    """The hello of one form on one path."""

    offer: Offer
    cookie: bytes = b""
    was_sent: bool = False
    retries: int = 1
    """RETRYs since it was last sent by the timer, the first of which is obeyed at once; 1 before,
    so that none is."""
    chosen: Retry | None = None
    """One of them, each as likely as the others, for the next time."""


@dataclass
class _Path:
    key: Hashable
    next_hello: float
    hellos: dict[HelloForm, _Hello]
    began: float = float("inf")
    """The time of the first hello."""
    tries: int = 0
    named_worker: int = ANY_WORKER
    """The worker that a RETRY has named last."""
    was_routed: bool = False
    """The last CLIENT_HELLO2 was sent to that worker."""


class ClientHandshake2:
    """One attempt to open a session of version 2, or of version 1 with a server that has no other.

    `now` is the monotonic time and `wall_start` the Unix time, in seconds. `trusted_key` is the
    server's root key; None trusts any key. `audience` is the name of the service that is expected.
    With `only_version_2` answers in version 1 are dropped, with `require_hybrid` those that have no
    ciphertext of ML-KEM and take no key in KEM frames. Without `ml_kem` no encapsulation key is
    offered. `key_log` gets the keys of sessions of version 1. `rng` chooses the candidate of
    version 1 to evict from a full table, and among RETRYs.
    """

    def __init__(
        self,
        trusted_key: EllipticCurvePublicKey | None,
        now: float,
        wall_start: float,
        *,
        audience: str = "",
        only_version_2: bool = False,
        require_hybrid: bool = False,
        ml_kem: MlKem | None = None,
        key_log: KeyLog | None = None,
        rng: Random | None = None,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        self.was_downgraded: bool = False
        """True once a server that speaks version 2 has signed an answer in version 1: the reason to
        report if the attempt ends without a session."""
        self.saw_version_1: bool = False
        """True once a server that speaks version 1 only has signed an answer that was dropped."""
        self.saw_no_hybrid: bool = False
        """True once an answer was dropped because its server does without ML-KEM."""
        self.drop_reason: str | None = None
        """Reason why the last datagram was dropped; None if it was not."""
        self._saw_wrong_key = False
        self._trusted_key = trusted_key
        self._private_key = EllipticCurvePrivateKey.new()
        self._point = point_of(self._private_key.getPublicKey())
        self._kem_key = ml_kem.new_key() if ml_kem else None
        self._offer = Offer(
            random_bytes(RANDOM_SIZE),
            audience=checked_audience(audience),
            encapsulation_key=self._kem_key.encapsulation_key if self._kem_key else b"",
        )
        self._only_version_2 = only_version_2
        self._require_hybrid = require_hybrid
        self._rng = rng or SystemRandom()
        self._version_1 = ClientHandshake(
            trusted_key, now, wall_start, self._rng, self._private_key, key_log
        )
        self._paths: dict[Hashable, _Path] = {}
        self._due_again: list[tuple[Hashable, HelloForm]] = []
        self._taken: set[bytes] = set()
        self._patient_until = float("-inf")
        self._verifications = 0

    @property
    def saw_wrong_key(self) -> bool:
        """True once a reply arrived that was signed by another root key."""
        return self._saw_wrong_key or self._version_1.saw_wrong_key

    def add_path(
        self,
        path: Hashable,
        now: float,
        max_payload: int,
        max_datagram: int,
        fragmented_datagram: int = 0,
    ) -> None:
        """Add a path to try; the arguments are those of `ClientHandshake.add_path`."""
        self._version_1.add_path(path, float("inf"), max_payload, max_datagram, fragmented_datagram)
        without_key = self._offer.without_encapsulation_key()
        room = hello_size(max_payload) - HELLO_FILLER_START
        fits = len(offer_filler(self._offer, bytes(MAX_COOKIE_SIZE))) <= room
        hellos = {
            HelloForm.VERSION_1: _Hello(self._offer if fits else without_key),
            HelloForm.VERSION_2: _Hello(without_key),
        }
        self._paths[path] = _Path(path, now, hellos)

    def remove_path(self, path: Hashable) -> None:
        """Stop using a path."""
        self._paths.pop(path, None)
        self._version_1.remove_path(path)

    # -- what is sent -----------------------------------------------------------------------

    def datagrams(self, now: float) -> list[tuple[Hashable, bytes]]:
        """Return the datagrams to send now, as (path, datagram) pairs."""
        self._verifications = 0
        due, self._due_again = self._due_again, []
        leaving = [
            (key, self._hello(self._paths[key], form, now))
            for key, form in due
            if key in self._paths
        ]
        if now >= self._patient_until:
            for path in self._paths.values():
                if now >= path.next_hello:
                    leaving += [(path.key, datagram) for datagram in self._try(path, now)]
        return leaving + self._version_1.datagrams(now)

    def next_timer(self) -> float:
        """Return when `datagrams` next has something to send, or infinity."""
        if self._due_again:
            return float("-inf")
        paths = list(self._paths.values())  # a copy, because a finalizer may remove a path
        hellos = min((path.next_hello for path in paths), default=float("inf"))
        return min(max(hellos, self._patient_until), self._version_1.next_timer())

    def abort(self, now: float) -> list[tuple[Hashable, bytes]]:
        """End the attempt; return a DISCONNECT for each session of version 1 that there may be.

        Sessions of version 2 are the owner's to close.
        """
        return self._version_1.abort(now)

    def _try(self, path: _Path, now: float) -> list[bytes]:
        """Return the hellos that are sent by the timer.

        Where a RETRY has named a worker, every second try goes there alone. The others are as if it
        had not, for anybody who sees a hello can name a worker that there is not.
        """
        path.next_hello = now + HELLO_INTERVAL
        path.began = min(path.began, now)
        path.tries += 1
        for hello in path.hellos.values():
            if hello.chosen is not None:
                _use(path, hello.chosen)
        path.was_routed = path.named_worker != ANY_WORKER and not path.was_routed
        forms = [] if path.was_routed else [HelloForm.VERSION_1]
        if path.was_routed or path.tries > 1:
            forms.append(HelloForm.VERSION_2)
        for form in forms:
            path.hellos[form].retries, path.hellos[form].chosen = 0, None
        return [self._hello(path, form, now) for form in forms]

    def _hello(self, path: _Path, form: HelloForm, now: float) -> bytes:
        hello = path.hellos[form]
        hello.was_sent = True
        if form is HelloForm.VERSION_2:
            routing = path.named_worker if path.was_routed else ANY_WORKER
            return ClientHello2(self._point, hello.offer, hello.cookie, routing).encode()
        filler_start = offer_filler(hello.offer, hello.cookie)
        return self._version_1.hello_datagram(path.key, now, filler_start)

    # -- what arrives -----------------------------------------------------------------------

    def receive(
        self, path: Hashable, datagram: bytes, now: float
    ) -> VerifiedAnswer | EstablishedSession | None:
        """Process a datagram from a path; return what it leads to, if anything.

        After a VerifiedAnswer the attempt goes on: the owner ends it once a sealed packet of that
        session has opened, and asks it again after `ANSWER_PATIENCE`.
        """
        if datagram[:1] == bytes([HANDSHAKE_FORM]):
            return self._receive_version_2(path, datagram, now)
        self.drop_reason = self._refusal_of_version_1(datagram)
        if self.drop_reason is not None:
            return None
        established = self._version_1.receive(path, datagram, now)
        self.drop_reason = self._version_1.drop_reason
        return established

    def _refusal_of_version_1(self, datagram: bytes) -> str | None:
        """Return the reason to drop a datagram that is not of version 2, or None."""
        if datagram[TYPE_OFFSET : TYPE_OFFSET + 1] != bytes([PacketType.SERVER_HELLO]):
            return "version 1" if self._only_version_2 else None
        try:
            packet = decode_clear_packet(datagram, PacketType.SERVER_HELLO)
            return self._refusal_of_hello(ServerHello.decode(packet.message))
        except ReplyDropped:
            return "busy"
        except ProtocolError:
            return None  # not a valid one: ClientHandshake says why

    def _refusal_of_hello(self, hello: ServerHello) -> str | None:
        """Return the reason to drop an answer in version 1, or None.

        Raises ProtocolError, or ReplyDropped, if it cannot be verified that the server has signed
        it. That is done once: later ones are dropped unread.
        """
        if is_downgrade(hello.salt):
            if not self.was_downgraded:
                self._verify_version_1(hello)
                self.was_downgraded = True
            return "downgraded"
        if not self._only_version_2:
            return None
        if not self.saw_version_1:
            self._verify_version_1(hello)
            self.saw_version_1 = True
        return "version 1"

    def _verify_version_1(self, hello: ServerHello) -> None:
        self._take_verification()
        hello.verify(self._trusted_key)

    def _receive_version_2(
        self, path_key: Hashable, datagram: bytes, now: float
    ) -> VerifiedAnswer | None:
        path, answer = self._paths.get(path_key), None
        self.drop_reason = "no session" if path is None else None
        if path is None:
            return None
        try:
            if datagram[2:3] == bytes([Kind.RETRY]):
                self.drop_reason = self._obey(path, Retry.decode(datagram), now)
            else:
                answer = self._take(path, ServerHello2.decode(datagram), now)
        except ReplyDropped as busy:
            self.drop_reason = str(busy)
        except WrongKeyError:
            self._saw_wrong_key = True
            self.drop_reason = "wrong key"
        except HandshakeError:
            self.drop_reason = "malformed hello"
        return answer

    def _hello_of(self, path: _Path, form: HelloForm, hello_id: bytes) -> _Hello:
        """Return the hello that a reply names. Raises HandshakeError if it was not sent."""
        hello = path.hellos[form]
        if not hello.was_sent or hello_id != hello.offer.random[:HELLO_ID_SIZE]:
            raise HandshakeError("a reply to a hello that was not sent")
        return hello

    def _obey(self, path: _Path, retry: Retry, now: float) -> str | None:
        """Send the hello again as a RETRY asks; return the reason to drop it, or None.

        One is obeyed at once for each sending by the timer. If there were more, one of them is
        used the next time: whoever is quicker than the server cannot keep the server's out.
        """
        hello = self._hello_of(path, retry.form, retry.hello_id)
        if now < self._patient_until:
            return "repeated"
        hello.retries += 1
        if self._rng.randrange(hello.retries) == 0:
            hello.chosen = retry
        if hello.retries > 1:
            return "repeated"
        form = _use(path, retry)
        path.was_routed = retry.routing != ANY_WORKER
        self._due_again.append((path.key, form))
        return None

    def _take(self, path: _Path, reply: ServerHello2, now: float) -> VerifiedAnswer:
        """Return the session of an answer. Raises HandshakeError, or ReplyDropped, without one."""
        hello, answer = self._hello_of(path, reply.form, reply.hello_id), reply.answer
        if now < self._patient_until or answer.connection_id in self._taken:
            raise ReplyDropped("repeated")
        if answer.ciphertext and not hello.offer.encapsulation_key:
            raise HandshakeError("a ciphertext that was not asked for")
        self._take_verification()
        reply.verify(hello.offer, self._point, self._trusted_key)
        key_to_send = self._kem_key if answer.ciphertext == b"" else None
        if self._require_hybrid and not answer.ciphertext and key_to_send is None:
            self.saw_no_hybrid = True
            raise ReplyDropped("not hybrid")
        secrets = self._secrets(hello.offer.transcript(reply.form, self._point), answer)
        self._taken.add(answer.connection_id)
        patience = min(SLOW_PATIENCE * (now - path.began), LONGEST_PATIENCE)
        self._patient_until = now + max(patience, ANSWER_PATIENCE)
        return VerifiedAnswer(
            path.key,
            reply.form,
            answer.connection_id,
            answer.limits,
            secrets,
            bool(answer.ciphertext),
            key_to_send,
        )

    def _secrets(self, transcript: bytes, answer: Answer) -> SessionSecrets:
        ecdh_secret = self._private_key.exchange(public_key_of(answer.ephemeral_point))
        ml_kem_secret = b""
        if answer.ciphertext:
            assert self._kem_key is not None  # a ciphertext was asked for
            ml_kem_secret = self._kem_key.decapsulate(answer.ciphertext)
        return SessionSecrets.derive(
            ecdh_secret, transcript_hash(transcript, answer), ml_kem_secret
        )

    def _take_verification(self) -> None:
        if self._verifications >= MAX_VERIFICATIONS:
            raise ReplyDropped("busy")
        self._verifications += 1


def _use(path: _Path, retry: Retry) -> HelloForm:
    """Note the cookie and the worker of a RETRY; return the form that its cookie is for."""
    form = retry.form if retry.routing == ANY_WORKER else HelloForm.VERSION_2
    path.hellos[form].cookie = retry.cookie
    if form is HelloForm.VERSION_2:
        path.named_worker = retry.routing
    return form


class ReplyDropped(Exception):
    """A reply is dropped unread; the argument is the reason."""
