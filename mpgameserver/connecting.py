"""The client's side of the handshake, without a socket or a clock.

The same hello goes out on every path (a socket and a server address; the owner knows which) until
one of them leads to a session. Every answer that verifies becomes a candidate with a key of its
own: the signature does not cover the client's key, so an answer that was recorded from another
handshake verifies too. Each candidate sends its CHALLENGE_RESP until one of them has opened a
sealed packet, which only a server that holds its key can have made.

What is forged costs the client a bounded amount of work and never ends its wait.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from mpgameserver._core.endpoint import DROP_REASONS, Endpoint
from mpgameserver.crypto import EllipticCurvePrivateKey, EllipticCurvePublicKey
from mpgameserver.enums import PacketType
from mpgameserver.errors import ProtocolError
from mpgameserver.handshake import (
    CLEAR_OVERHEAD,
    ClientHello,
    ServerHello,
    WrongKeyError,
    decode_clear_packet,
    encode_challenge_response,
    encode_clear_packet,
    hello_size,
    session_key,
)
from mpgameserver.sessioncipher import session_cipher

__all__ = ["ClientHandshake", "EstablishedSession"]

HELLO_INTERVAL = 0.25
"""Seconds after which an unanswered hello is sent again: a slow round trip."""
MAX_CANDIDATES = 16
"""Answers that verified and are kept; recorded answers of other handshakes push out the oldest."""
MAX_VERIFICATIONS = 4
"""Answers whose signature is checked between two calls of `datagrams`: 0.1 ms each."""

_PACKET_TYPE_OFFSET = 12


@dataclass(frozen=True)
class EstablishedSession:
    """What a handshake has led to."""

    path: Hashable
    endpoint: Endpoint
    token: int


@dataclass
class _Path:
    key: Hashable
    max_datagram: int
    hello_size: int
    long_hello_size: int
    next_hello: float
    hellos_sent: int = 0


@dataclass
class _Candidate:
    path: Hashable
    signed: bytes
    endpoint: Endpoint
    token: int = field(repr=False)


class ClientHandshake:
    """One attempt to open a session.

    `now` is monotonic, `wall_start` the Unix time then, in seconds. `trusted_key` is the server's
    root key; None trusts whatever key an answer brings.
    """

    def __init__(
        self, trusted_key: EllipticCurvePublicKey | None, now: float, wall_start: float
    ) -> None:
        self.saw_wrong_key: bool = False
        """An answer came that another root key had signed."""
        self.drop_reason: str | None = None
        """Why the last datagram came to nothing; None when it did not."""
        self._trusted_key = trusted_key
        self._start = now
        self._wall_start = wall_start
        self._private_key = EllipticCurvePrivateKey.new()
        self._hello = ClientHello(self._private_key.getPublicKey().getBytes())
        self._hello_messages: dict[int, bytes] = {}
        self._paths: dict[Hashable, _Path] = {}
        self._candidates: list[_Candidate] = []
        self._verifications = 0

    def add_path(
        self,
        path: Hashable,
        now: float,
        max_payload: int,
        max_datagram: int,
        fragmented_datagram: int = 0,
    ) -> None:
        """Try a path too, from now on.

        `max_payload` says how long the hello is: what the server's own MTU would ask for, which
        is that of IPv4 also where `max_datagram`, the largest datagram to be sent, is less. Every
        second hello is a datagram of `fragmented_datagram` bytes, where those are more: some
        paths drop a whole hello for its size, others drop fragments.
        """
        size = hello_size(max_payload)
        long_size = max(size, fragmented_datagram - CLEAR_OVERHEAD)
        self._paths[path] = _Path(path, max_datagram, size, long_size, now)

    def remove_path(self, path: Hashable) -> None:
        """Give a path up."""
        self._paths.pop(path, None)
        self._candidates = [c for c in self._candidates if c.path != path]

    def datagrams(self, now: float) -> list[tuple[Hashable, bytes]]:
        """What should leave now: (path, datagram) pairs."""
        self._verifications = 0
        leaving = [
            (path.key, self._hello_datagram(path, now))
            for path in self._paths.values()
            if now >= path.next_hello
        ]
        for candidate in self._candidates:
            candidate.endpoint.advance(now)
            while (datagram := candidate.endpoint.next_datagram(now)) is not None:
                candidate.endpoint.note_sent(len(datagram), now)
                leaving.append((candidate.path, datagram))
        return leaving

    def next_timer(self) -> float:
        """When `datagrams` has something next; infinity when nothing waits."""
        hellos = (path.next_hello for path in self._paths.values())
        answers = (candidate.endpoint.next_timer() for candidate in self._candidates)
        return min((*hellos, *answers), default=float("inf"))

    def receive(self, path: Hashable, datagram: bytes, now: float) -> EstablishedSession | None:
        """Take a datagram that came over a path; the session when it proves one."""
        if datagram[_PACKET_TYPE_OFFSET : _PACKET_TYPE_OFFSET + 1] == bytes(
            [PacketType.SERVER_HELLO]
        ):
            self.drop_reason = self._receive_hello(path, datagram, now)
            return None
        self.drop_reason = "no session"
        for candidate in self._candidates:
            if candidate.path == path:
                verdict = candidate.endpoint.receive(datagram, now)
                if verdict == 0:
                    self.drop_reason = None
                    return EstablishedSession(path, candidate.endpoint, candidate.token)
                self.drop_reason = DROP_REASONS[verdict - 1]
        return None

    def _hello_datagram(self, path: _Path, now: float) -> bytes:
        size = path.long_hello_size if path.hellos_sent % 2 else path.hello_size
        if size not in self._hello_messages:
            self._hello_messages[size] = self._hello.encode(size)
        path.next_hello = now + HELLO_INTERVAL
        path.hellos_sent += 1
        return encode_clear_packet(
            PacketType.CLIENT_HELLO,
            path.hellos_sent,
            1,
            self._hello_messages[size],
            int(self._wall_start + now - self._start),
        )

    def _receive_hello(self, path_key: Hashable, datagram: bytes, now: float) -> str | None:
        path = self._paths.get(path_key)
        if path is None or self._verifications >= MAX_VERIFICATIONS:
            return "busy"
        try:
            hello = ServerHello.decode(
                decode_clear_packet(datagram, PacketType.SERVER_HELLO).message
            )
            if any(c.signed == hello.signed and c.path == path_key for c in self._candidates):
                return "repeated"
            self._verifications += 1
            hello.verify(self._trusted_key)
            self._add_candidate(path, hello, now)
        except WrongKeyError:
            self.saw_wrong_key = True
            return "wrong key"
        except ProtocolError:
            return "malformed hello"
        return None

    def _add_candidate(self, path: _Path, hello: ServerHello, now: float) -> None:
        key = session_key(self._private_key, hello.ephemeral_key(), hello.salt)
        endpoint = Endpoint(
            session_cipher(key),
            False,
            now,
            self._wall_start + now - self._start,
            max_datagram=path.max_datagram,
            packets_before=path.hellos_sent,
            messages_before=1,
        )
        endpoint.queue_challenge_response(encode_challenge_response(hello.token))
        if len(self._candidates) >= MAX_CANDIDATES:
            del self._candidates[0]
        self._candidates.append(_Candidate(path.key, hello.signed, endpoint, hello.token))
