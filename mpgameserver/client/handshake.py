"""The client's side of the handshake, without a socket or a clock.

The same hello is sent on every path (a socket and a server address; the owner knows which) until
one of them leads to a session. Every reply that verifies becomes a candidate with a key of its own:
the signature does not cover the client's key, so a reply recorded from another handshake verifies
too. Each candidate sends its CHALLENGE_RESP until one of them has decrypted a packet, which only a
server that holds its key can have made.

Forged packets cost the client a bounded amount of work and never end its attempt.

The CHALLENGE_RESPs of all candidates share one sequence of packet numbers, and the session
continues after the last of them: however replies are repeated and moved between paths, no number is
used twice under a key.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from random import Random, SystemRandom

from mpgameserver._core.endpoint import DROP_REASONS
from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver._core.packet_header import TYPE_OFFSET
from mpgameserver.client.candidates import Candidate, CandidateTable
from mpgameserver.crypto import EllipticCurvePrivateKey, EllipticCurvePublicKey
from mpgameserver.enums import PacketType
from mpgameserver.errors import ProtocolError
from mpgameserver.transport.keylog import KeyLog
from mpgameserver.wire.handshake import (
    CLEAR_OVERHEAD,
    ClientHello,
    ServerHello,
    WrongKeyError,
    decode_clear_packet,
    encode_challenge_response,
    encode_clear_packet,
    hello_size,
    session_key,
    wire_time,
)
from mpgameserver.wire.session_cipher import may_open, session_cipher

__all__ = ["ClientHandshake", "EstablishedSession"]

HELLO_INTERVAL = 0.25
"""Seconds after which a hello without a reply is repeated: a slow round trip."""
MAX_VERIFICATIONS = 4
"""Replies whose signature is checked between two calls of `datagrams`, 0.1 ms each."""
MAX_TRIALS = 4096
"""Candidates' keys that are tried on sealed packets between two calls of `datagrams`: 4 to 10 ms,
enough to try a full table on four packets."""
DISCONNECT_COPIES = 3
"""DISCONNECTs that an aborted attempt sends: at 30 % loss, one in 37 leaves a session behind."""
MAX_DISCONNECTS = 64
"""DISCONNECTs in all, unless there are more candidates, most of which are recorded replies."""

_NOT_AUTHENTIC = "authentication failed"


@dataclass(frozen=True)
class EstablishedSession:
    """The result of a handshake."""

    path: Hashable
    endpoint: Endpoint1
    token: int


@dataclass
class _Path:
    key: Hashable
    max_datagram: int
    hello_size: int
    long_hello_size: int
    next_hello: float
    hellos_sent: int = 0


class ClientHandshake:
    """One attempt to open a session.

    `now` is the monotonic time and `wall_start` the Unix time, in seconds. `trusted_key` is the
    server's root key; None trusts any key. `rng` chooses the candidate to evict from a full table,
    `private_key` is the client's ephemeral key, a new one by default. `key_log` gets the key of
    each candidate.
    """

    def __init__(
        self,
        trusted_key: EllipticCurvePublicKey | None,
        now: float,
        wall_start: float,
        rng: Random | None = None,
        private_key: EllipticCurvePrivateKey | None = None,
        key_log: KeyLog | None = None,
    ) -> None:
        self.saw_wrong_key: bool = False
        """True once a reply arrived that was signed by another root key."""
        self.drop_reason: str | None = None
        """Reason why the last datagram was dropped; None if it was not."""
        self._trusted_key = trusted_key
        self._start = now
        self._wall_start = wall_start
        self._private_key = private_key or EllipticCurvePrivateKey.new()
        self._hello = ClientHello(self._private_key.getPublicKey().getBytes())
        self._hello_messages: dict[tuple[int, bytes], bytes] = {}
        self._paths: dict[Hashable, _Path] = {}
        self._candidates = CandidateTable(rng or SystemRandom())
        self._key_log = key_log
        self._last_response_number = 0
        self._verifications = self._trials = 0

    def add_path(
        self,
        path: Hashable,
        now: float,
        max_payload: int,
        max_datagram: int,
        fragmented_datagram: int = 0,
    ) -> None:
        """Add a path to try, with its first hello at `now`; at infinity the owner sends them.

        `max_payload` determines the length of the hello, which the server derives from its own MTU
        over IPv4, even if `max_datagram`, the largest datagram to send, is smaller. Every second
        hello is a datagram of `fragmented_datagram` bytes if that is more, because some paths drop
        large datagrams, and others drop fragments.
        """
        size = hello_size(max_payload)
        long_size = max(size, fragmented_datagram - CLEAR_OVERHEAD)
        self._paths[path] = _Path(path, max_datagram, size, long_size, now)

    def remove_path(self, path: Hashable) -> None:
        """Stop using a path."""
        self._paths.pop(path, None)
        self._candidates.remove_path(path)

    def datagrams(self, now: float) -> list[tuple[Hashable, bytes]]:
        """Return the datagrams to send now, as (path, datagram) pairs."""
        self._verifications = self._trials = 0
        leaving = []
        for path in self._paths.values():
            if now >= path.next_hello:
                path.next_hello = now + HELLO_INTERVAL
                leaving.append((path.key, self.hello_datagram(path.key, now)))
        for candidate in self._candidates.take_due(now):
            leaving.append((candidate.path, self._response(candidate, now)))
        return leaving

    def hello_datagram(self, path_key: Hashable, now: float, filler_start: bytes = b"") -> bytes:
        """Return the hello for a path, in its next packet; its filler begins as given."""
        path = self._paths[path_key]
        size = path.long_hello_size if path.hellos_sent % 2 else path.hello_size
        if (size, filler_start) not in self._hello_messages:
            message = self._hello.encode(size, filler_start=filler_start)
            self._hello_messages[size, filler_start] = message
        path.hellos_sent += 1
        return encode_clear_packet(
            PacketType.CLIENT_HELLO,
            path.hellos_sent,
            1,
            self._hello_messages[size, filler_start],
            wire_time(self._wall_start + now - self._start),
        )

    def abort(self, now: float) -> list[tuple[Hashable, bytes]]:
        """End the attempt; return a DISCONNECT for each candidate that may have a session.

        Each is repeated, because nothing remains that could detect a loss.
        """
        started = [c for c in self._candidates.take_started() if c.path in self._paths]
        copies = max(1, min(DISCONNECT_COPIES, MAX_DISCONNECTS // max(1, len(started))))
        return [
            (candidate.path, datagram)
            for _ in range(copies)
            for candidate in started
            if (datagram := self._disconnect(candidate, now)) is not None
        ]

    def _disconnect(self, candidate: Candidate, now: float) -> bytes | None:
        endpoint = self._new_endpoint(candidate, now, self._last_response_number, messages_before=2)
        self._last_response_number += 1
        return endpoint.abort(now)

    def next_timer(self) -> float:
        """Return when `datagrams` next has something to send, or infinity."""
        paths = list(self._paths.values())  # a copy, because a finalizer may remove a path
        hellos = [path.next_hello for path in paths]
        return min(*hellos, self._candidates.next_timer(), float("inf"))

    def receive(self, path: Hashable, datagram: bytes, now: float) -> EstablishedSession | None:
        """Process a datagram from a path; return the session if it establishes one."""
        if datagram[TYPE_OFFSET : TYPE_OFFSET + 1] == bytes([PacketType.SERVER_HELLO]):
            self.drop_reason = self._receive_hello(path, datagram, now)
            return None
        return self._open(path, datagram, now)

    def _open(self, path: Hashable, datagram: bytes, now: float) -> EstablishedSession | None:
        """Try the candidates of a path on a sealed packet; return the session of one that fits."""
        self.drop_reason = "no session"
        for candidate in self._candidates:
            if candidate.path != path:
                continue
            if self._trials >= MAX_TRIALS:
                self.drop_reason = "busy"
                return None
            self._trials += 1
            if self.drop_reason == _NOT_AUTHENTIC and not may_open(candidate.cipher, datagram):
                continue
            endpoint = self._endpoint(candidate, now)
            reason = endpoint.receive(datagram, now)
            if reason == 0:
                self.drop_reason = None
                return EstablishedSession(path, endpoint, candidate.token)
            self.drop_reason = DROP_REASONS[reason - 1]
            if self.drop_reason != _NOT_AUTHENTIC:  # the other candidates would drop it, too
                return None
        return None

    def _response(self, candidate: Candidate, now: float) -> bytes:
        """Return the next CHALLENGE_RESP of a candidate."""
        hellos = self._paths[candidate.path].hellos_sent
        before = max(self._last_response_number, hellos)
        endpoint = self._new_endpoint(candidate, now, before, messages_before=1)
        endpoint.queue_challenge_response(encode_challenge_response(candidate.token))
        datagram = endpoint.next_datagram(now)
        assert datagram is not None
        candidate.number = self._last_response_number = before + 1
        candidate.sent_at = now
        return datagram

    def _endpoint(self, candidate: Candidate, now: float) -> Endpoint1:
        """Return the endpoint of a session whose numbers continue after the last CHALLENGE_RESP.

        The ack of that one yields the first round-trip sample, if it was this candidate's.
        """
        if not candidate.number or candidate.number != self._last_response_number:
            return self._new_endpoint(candidate, now, self._last_response_number, messages_before=2)
        sent_at, before = candidate.sent_at, candidate.number - 1
        endpoint = self._new_endpoint(candidate, sent_at, before, messages_before=2)
        endpoint.sent_packets.on_packet_sent(sent_at, True, None)
        return endpoint

    def _new_endpoint(
        self, candidate: Candidate, now: float, packets_before: int, messages_before: int
    ) -> Endpoint1:
        return Endpoint1(
            candidate.cipher,
            False,
            now,
            self._wall_start + now - self._start,
            max_datagram=self._paths[candidate.path].max_datagram,
            packets_before=packets_before,
            messages_before=messages_before,
            hello_received=candidate.hello_seq,
        )

    def _receive_hello(self, path_key: Hashable, datagram: bytes, now: float) -> str | None:
        path = self._paths.get(path_key)
        if path is None:
            return "no session"
        try:
            packet = decode_clear_packet(datagram, PacketType.SERVER_HELLO)
            hello = ServerHello.decode(packet.message)
            if self._candidates.note_repeated(path_key, hello.signed, now):
                return "repeated"
            if self._verifications >= MAX_VERIFICATIONS:
                return "busy"
            self._verifications += 1
            hello.verify(self._trusted_key)
            self._candidates.add(self._candidate(path, hello, packet.header.seq))
        except WrongKeyError:
            self.saw_wrong_key = True
            return "wrong key"
        except ProtocolError:
            return "malformed hello"
        return None

    def _candidate(self, path: _Path, hello: ServerHello, hello_seq: int) -> Candidate:
        key = session_key(self._private_key, hello.ephemeral_key(), hello.salt)
        if self._key_log is not None:
            self._key_log.write_protocol_1(hello.salt, key)
        return Candidate(path.key, hello.signed, session_cipher(key), hello.token, hello_seq)
