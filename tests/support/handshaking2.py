"""Both sides of protocol 2's handshake in memory: the package's, and peers over the second codec.

The package's modules are given datagrams as their owners will give them. A CONNECT is stood in for
by bytes that only the holder of the session's secrets can make: `sealed`.
"""

from __future__ import annotations

import hmac
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from support import wire
from support.wire2 import handshake, keys
from support.wire2.handshake import Hello

from mpgameserver.crypto import EllipticCurvePrivateKey, EllipticCurvePublicKey
from mpgameserver.enums import PacketType
from mpgameserver.errors import ProtocolError
from mpgameserver.server.cookies import Cookies
from mpgameserver.server.half_open2 import HalfOpenSession2
from mpgameserver.server.handshakes import HelloRefused
from mpgameserver.server.handshakes2 import ReceivedHello, ServerHandshakes2
from mpgameserver.server.limits import Limits
from mpgameserver.transport.address import host_of
from mpgameserver.wire.handshake import (
    HELLO_FILLER_START,
    ClientHello,
    ServerHello,
    decode_clear_packet,
    encode_clear_packet,
    new_token,
)
from mpgameserver.wire.protocol2.downgrade import downgrade_salt
from mpgameserver.wire.protocol2.hello import point_of
from mpgameserver.wire.protocol2.ml_kem import find_ml_kem

ROOT_KEY = EllipticCurvePrivateKey.new()
OTHER_KEY = EllipticCurvePrivateKey.new()
ROOT_POINT = point_of(ROOT_KEY.getPublicKey())
SECRET = bytes(range(32))
ADDRESS, OTHER_ADDRESS = ("192.0.2.1", 5000), ("192.0.2.2", 5001)
WALL_START = 1_800_000_000
ML_KEM = find_ml_kem()
HELLO_SIZE = wire.sizes(1500).client_hello

Pair = tuple[tuple[str, int], bytes]


def sealed(secret: bytes, connection_id: bytes) -> bytes:
    """Bytes that stand for the first sealed packet of a session."""
    return b"\x08" + connection_id + hmac.digest(secret, connection_id, "sha256")


# The package's server.


@dataclass
class OpenTable:
    """The open sessions of a server, by their half-open beginning."""

    sessions: list[HalfOpenSession2] = field(default_factory=list)

    def has_client_point(self, client_point: bytes) -> bool:
        return any(session.client_point == client_point for session in self.sessions)

    def has_connection_id(self, connection_id: bytes) -> bool:
        return any(session.connection_id == connection_id for session in self.sessions)


class Server:
    """The package's server side, with the part of its owner."""

    def __init__(self, limits: Limits | None = None, secret: bytes = SECRET, **options) -> None:
        self.open = OpenTable()
        self.handshakes = ServerHandshakes2(
            ROOT_KEY, self.open, limits or Limits(), Cookies(secret), **options
        )
        self.dropped: Counter[str] = Counter()
        self.longest = 0.0

    def receive(self, datagram: bytes, now: float, address=ADDRESS) -> bytes | None:
        """Return what is sent at once for a datagram."""
        if datagram[:1] == b"\x08":
            return self._open(datagram)
        try:
            hello = self.read(datagram)
            if hello is None:
                return self.answer_in_version_1()
            reply = self.handshakes.receive(hello, address, host_of(address), now)
        except (ProtocolError, HelloRefused) as error:
            self._drop(error)
            return None
        assert reply is None or len(reply) <= len(datagram), "an amplifier"
        return reply

    def read(self, datagram: bytes) -> ReceivedHello | None:
        if datagram[:1] != b"F":
            return self.handshakes.read_hello2(datagram)
        message = decode_clear_packet(datagram, PacketType.CLIENT_HELLO).message
        der = ClientHello.decode(message, HELLO_SIZE).public_key_der
        return self.handshakes.read_offer(der, message[HELLO_FILLER_START:])

    def answer_in_version_1(self, salt: bytes | None = None, key=ROOT_KEY) -> bytes:
        ephemeral = EllipticCurvePrivateKey.new().getPublicKey()
        salt = downgrade_salt(os.urandom) if salt is None else salt
        hello = ServerHello.create(key, ephemeral, salt, new_token())
        return encode_clear_packet(PacketType.SERVER_HELLO, 1, 1, hello.encode(), WALL_START)

    def work(self, now: float) -> list[Pair]:
        """Do the public-key work that may be done now; return the answers."""
        answers = []
        while (waiting := self.handshakes.take_hello(now)) is not None:
            try:
                answers.append((waiting.address, self.handshakes.answer(waiting, now)))
            except (ProtocolError, HelloRefused) as error:
                self._drop(error)
        return answers

    def answer(self, datagram: bytes, now: float = 0.0, address=ADDRESS) -> bytes | None:
        """Return the reply to a datagram, whether it takes public-key work or none."""
        reply = self.receive(datagram, now, address)
        worked = self.work(now)
        return reply if reply is not None else worked[0][1] if worked else None

    def _drop(self, error: Exception) -> None:
        reason = str(error) if isinstance(error, HelloRefused) else "malformed hello"
        self.dropped[reason] += 1

    def _open(self, datagram: bytes) -> bytes | None:
        connection_id = datagram[1:9]
        half_open = self.handshakes.half_open.with_id(connection_id)
        if half_open is not None and datagram == sealed(
            half_open.secrets.client.secret, connection_id
        ):
            self.handshakes.promote(half_open)
            self.open.sessions.append(half_open)
        for session in self.open.sessions:
            if session.connection_id == connection_id:
                return sealed(session.secrets.server.secret, connection_id)
        return None


# The peers over the second codec.


class SecondClient:
    """A client over the second codec: its hellos, and the secrets of an answer."""

    def __init__(
        self, audience: str = "", versions: bytes = b"\2", kem_seed: bytes | None = None
    ) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.point = keys.point_of(self.private.public_key())
        self.kem = keys.kem_private_key(kem_seed) if kem_seed else None
        extensions = (
            {handshake.ML_KEM: self.kem.public_key().public_bytes_raw()} if kem_seed else {}
        )
        random = os.urandom(32)
        plain = handshake.Offer(random, versions, audience, {})
        offers = plain._replace(extensions=extensions), plain
        self.hellos = {
            form: Hello(form, self.point, b"", handshake.pack_offer(offer))
            for form, offer in zip((1, 2), offers, strict=True)
        }

    def datagram(self, form: int = 2, cookie: bytes = b"", **fields) -> bytes:
        return self.pack(self.hellos[form]._replace(cookie=cookie, **fields))

    def pack(self, hello: Hello) -> bytes:
        if hello.form == 2:
            return handshake.pack_hello2(hello)
        header = wire.Header(wire.TO_SERVER, WALL_START, 1, 0, wire.CLIENT_HELLO, 0, 0, 0)
        return handshake.pack_hello1(hello, header, 1500, os.urandom(1400))

    def cookie(self, datagram: bytes) -> bytes:
        """Return the cookie of a RETRY, which is for a hello of this client."""
        retry, _ = handshake.at_client(datagram, list(self.hellos.values()))
        return retry.cookie

    def read(self, datagram: bytes, pinned: bytes | None = ROOT_POINT) -> handshake.ServerHello:
        return handshake.at_client(datagram, list(self.hellos.values()), pinned)

    def secrets(self, reply: handshake.ServerHello) -> tuple[bytes, bytes]:
        """Return secret 0 of the client and of the server."""
        shared = keys.shared_secret(self.private, reply.parts.ephemeral_key)
        ciphertext = reply.parts.extensions.get(handshake.ML_KEM)
        if ciphertext:
            shared += self.kem.decapsulate(ciphertext)
        return first_secrets(reply.hello, reply.answer, shared)


def first_secrets(hello: Hello, answer: bytes, shared: bytes) -> tuple[bytes, bytes]:
    client, server = (
        keys.first_secret(label, hello.transcript, answer, shared)
        for label in (keys.CLIENT, keys.SERVER)
    )
    return client, server


class SecondServer:
    """A server over the second codec, which keeps nothing."""

    def __init__(self, audience: str = "", has_kem: bool = False) -> None:
        self.root = ec.generate_private_key(ec.SECP256R1())
        self.point = keys.point_of(self.root.public_key())
        self.audience, self.has_kem = audience, has_kem

    @property
    def public_key(self) -> EllipticCurvePublicKey:
        return EllipticCurvePublicKey(self.root.public_key())

    def hello(self, datagram: bytes) -> Hello | None:
        return handshake.at_server(datagram, self.audience, 1500)

    def retry(self, datagram: bytes, cookie: bytes = b"cookie", routing: int = 255) -> bytes:
        hello = self.hello(datagram)
        return handshake.pack_retry(handshake.Retry(hello.form, hello.offer[:8], routing, cookie))

    def answer(self, datagram: bytes, **fields) -> tuple[bytes, tuple[bytes, bytes]]:
        """Return the answer to a hello, and secret 0 of the client and of the server.

        `fields` replace those of the answer, or `root`, the key that signs.
        """
        hello = self.hello(datagram)
        root = fields.pop("root", self.root)
        private = ec.generate_private_key(ec.SECP256R1())
        kem, extensions = self._kem(handshake.unpack_offer(hello.offer))
        parts = handshake.Answer(
            2,
            keys.point_of(root.public_key()),
            keys.point_of(private.public_key()),
            os.urandom(32),
            b"\0" + os.urandom(7),
            extensions,
        )._replace(**fields)
        answer = handshake.pack_answer(parts)
        der = root.sign(handshake.signed_bytes(hello.transcript, answer), ec.ECDSA(hashes.SHA256()))
        reply = handshake.pack_server_hello2(hello, answer, keys.to_raw_signature(der))
        shared = keys.shared_secret(private, hello.key) + kem
        return reply, first_secrets(hello, answer, shared)

    def _kem(self, offer: handshake.Offer) -> tuple[bytes, dict[int, bytes]]:
        if not self.has_kem:
            return b"", {}
        if handshake.ML_KEM not in offer.extensions:
            return b"", {handshake.ML_KEM: b""}
        secret, ciphertext = keys.encapsulate(offer.extensions[handshake.ML_KEM])
        return secret, {handshake.ML_KEM: ciphertext}


def addresses() -> Iterator[tuple[str, int]]:
    """Addresses that no two hellos of a flood share."""
    number = 0
    while True:
        number += 1
        yield f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1024 + number % 60_000


def version_1_hello(client: SecondClient) -> bytes:
    """The hello of a client with that key which does not speak version 2."""
    hello = client.datagram(1)
    return wire_with_filler(hello, bytes(range(256)) * 5 + bytes(31))


def wire_with_filler(hello: bytes, filler: bytes) -> bytes:
    """Replace what follows the client's key in a hello of version 1."""
    header, message = wire.unpack_clear(hello)
    start = message.payload.index(b"MPGOFFER")
    data = message.payload[:start] + filler.ljust(len(message.payload) - start, b"\0")
    return wire.pack_clear(header, message._replace(payload=data))
