"""The unencrypted messages of protocol 2's handshake, and what the server signs.

    client → server   a hello of version 1 that begins its filler with an offer, or CLIENT_HELLO2
    server → client   RETRY, which asks for the hello again with a cookie
    server → client   SERVER_HELLO2, with a signature over all that was said

What a hello costs a server before it knows that the client receives at its address is what
`ClientHello2.decode` and `find_offer` cost: no public-key work and no hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from hashlib import sha256
from itertools import pairwise

from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from mpgameserver._core.frames import CONNECTION_ID_SIZE, RESET_TOKEN_SIZE
from mpgameserver._core.hello_heads import HelloHeads
from mpgameserver.crypto import (
    PUBLIC_KEY_PREFIX,
    PUBLIC_KEY_SIZE,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from mpgameserver.errors import HandshakeError, InvalidSignature
from mpgameserver.wire.handshake import (
    CLIENT_HELLO_START,
    HELLO_FILLER_START,
    HELLO_MESSAGE_START,
    VERSION_FIELD,
    WrongKeyError,
)
from mpgameserver.wire.protocol2.fields import FieldReader, bytes8, bytes16, extension_block
from mpgameserver.wire.protocol2.limits import DEFAULT_LIMITS, LEAST_DATAGRAM, PeerLimits

__all__ = [
    "ANY_WORKER",
    "CLIENT_HELLO2_SIZE",
    "HANDSHAKE_FORM",
    "HELLO_ID_SIZE",
    "LAST_WORKER",
    "MAX_COOKIE_SIZE",
    "POINT_SIZE",
    "RANDOM_SIZE",
    "VERSION",
    "Answer",
    "ClientHello2",
    "HelloForm",
    "Kind",
    "Offer",
    "Retry",
    "ServerHello2",
    "StatelessReset",
    "checked_audience",
    "find_offer",
    "has_offer",
    "hello_heads",
    "offer_filler",
    "point_of",
    "public_key_of",
    "retry_datagram",
    "transcript_hash",
]

VERSION = 2
HANDSHAKE_FORM = 4
"""The first byte of a datagram with one of these messages."""
ANY_WORKER = 255
LAST_WORKER = 82
"""83 is `S`, the second byte of version 1; those above it are reserved."""
CLIENT_HELLO2_SIZE = LEAST_DATAGRAM
"""Bytes, of the whole datagram."""
RANDOM_SIZE = 32
HELLO_ID_SIZE = 8
"""Bytes of the random that name a hello in the replies to it."""
POINT_SIZE = 65
MAX_COOKIE_SIZE = 32
MAX_AUDIENCE_SIZE = 40
"""Bytes: what is left of a hello of version 1 beside an encapsulation key and a cookie."""
ENCAPSULATION_KEY_SIZE = 1184
CIPHERTEXT_SIZE = 1088
"""Of ML-KEM-768 (FIPS 203, section 8), as is the one before."""

_OFFER_MAGIC = b"MPGOFFER"
_OFFER_START = HELLO_MESSAGE_START + HELLO_FILLER_START
_SIGNATURE_HALF = 32
_LABEL = b"mpgameserver 2 server hello\0"
_ML_KEM = 1  # an extension type


class Kind(IntEnum):
    """The third byte of a handshake packet."""

    CLIENT_HELLO2 = 1
    RETRY = 2
    SERVER_HELLO2 = 3
    STATELESS_RESET = 4


class HelloForm(IntEnum):
    """The form of a client's hello."""

    VERSION_1 = 1
    VERSION_2 = 2


def checked_audience(audience: str) -> str:
    """Return the name of a service as it is. Raises ValueError for more than 40 bytes of UTF-8."""
    size = len(audience.encode())
    if size > MAX_AUDIENCE_SIZE:
        raise ValueError(
            f"audience must have at most {MAX_AUDIENCE_SIZE} bytes, not {size}: {audience!r}"
        )
    return audience


def point_of(key: EllipticCurvePublicKey) -> bytes:
    """The uncompressed point of a key, 65 bytes."""
    return key.getBytes()[PUBLIC_KEY_SIZE - POINT_SIZE :]


def public_key_of(point: bytes) -> EllipticCurvePublicKey:
    """The key of an uncompressed point. Raises HandshakeError if it is not on the curve."""
    if len(point) != POINT_SIZE or point[0] != PUBLIC_KEY_PREFIX[-1]:
        raise HandshakeError("not an uncompressed point")
    try:
        return EllipticCurvePublicKey.fromBytes(PUBLIC_KEY_PREFIX[:-1] + point)
    except ValueError as error:
        raise HandshakeError(f"not a point on the curve: {error}") from None


@dataclass(frozen=True)
class Offer:
    """The wishes of a client.

    `random` is 32 bytes, `versions` what the client speaks, ascending, `audience` a name of at most
    40 bytes of UTF-8, `encapsulation_key` that of ML-KEM-768, or empty. `encoded` is the offer as
    it was read, with extensions that are not known here; None in one that is to be sent.
    """

    random: bytes
    versions: Sequence[int] = (VERSION,)
    audience: str = ""
    encapsulation_key: bytes = b""
    encoded: bytes | None = None

    def encode(self) -> bytes:
        """The bytes of the offer."""
        if self.encoded is not None:
            return self.encoded
        extensions = {_ML_KEM: self.encapsulation_key} if self.encapsulation_key else {}
        return (
            self.random
            + bytes8(bytes(self.versions))
            + bytes8(self.audience.encode())
            + extension_block(extensions)
        )

    @classmethod
    def decode(cls, data: bytes) -> Offer:
        """The offer that the bytes are. Raises HandshakeError if they are none."""
        reader = FieldReader(data)
        random = reader.take(RANDOM_SIZE)
        versions = tuple(reader.bytes8())
        if any(b <= a for a, b in pairwise(versions)):
            raise HandshakeError(f"versions that do not ascend: {versions}")
        audience = reader.text(MAX_AUDIENCE_SIZE)
        extensions = reader.extensions()
        reader.finish()
        key = extensions.get(_ML_KEM, b"")
        if _ML_KEM in extensions and len(key) != ENCAPSULATION_KEY_SIZE:
            raise HandshakeError(f"an encapsulation key of {len(key)} bytes")
        return cls(random, versions, audience, key, data)

    def without_encapsulation_key(self) -> Offer:
        """The same offer for a hello that has no room for the key."""
        return replace(self, encapsulation_key=b"", encoded=None)

    def transcript(self, form: HelloForm, client_point: bytes) -> bytes:
        """All that the client has said, for the signature and the keys."""
        return bytes([form]) + client_point + bytes16(self.encode())


def offer_filler(offer: Offer, cookie: bytes = b"") -> bytes:
    """The beginning of the filler of a hello of version 1."""
    return _OFFER_MAGIC + bytes8(cookie) + bytes16(offer.encode())


def has_offer(datagram: bytes) -> bool:
    """Return True for a datagram that, if it is a hello of version 1, begins an offer."""
    return datagram.startswith(_OFFER_MAGIC, _OFFER_START)


def hello_heads(audience: str, worker: int) -> HelloHeads:
    """Return what reads hellos to a service, and to a worker or any, without an `Offer`."""
    return HelloHeads(
        audience.encode(), worker, CLIENT_HELLO_START[:-1], VERSION_FIELD + _OFFER_MAGIC
    )


def find_offer(filler: bytes) -> tuple[bytes, Offer] | None:
    """The cookie and the offer at the start of a hello's filler; None if it has no offer.

    Raises HandshakeError if it begins as an offer does, and is none.
    """
    if not filler.startswith(_OFFER_MAGIC):
        return None
    reader = FieldReader(filler)
    reader.take(len(_OFFER_MAGIC))
    cookie = _checked_cookie(reader.bytes8())
    return cookie, Offer.decode(reader.bytes16())


@dataclass(frozen=True)
class ClientHello2:
    """A hello in a datagram of 1,200 bytes: the client's key as a point, a cookie, the offer."""

    client_point: bytes
    offer: Offer
    cookie: bytes = b""
    routing: int = ANY_WORKER

    def encode(self) -> bytes:
        """The datagram. Raises ValueError for an offer that it does not hold."""
        message = (
            _head(Kind.CLIENT_HELLO2, self.routing)
            + self.client_point
            + bytes8(self.cookie)
            + bytes16(self.offer.encode())
        )
        if len(message) > CLIENT_HELLO2_SIZE:
            raise ValueError(f"a CLIENT_HELLO2 of {len(message)} bytes")
        return message.ljust(CLIENT_HELLO2_SIZE, b"\0")

    @classmethod
    def decode(cls, datagram: bytes) -> ClientHello2:
        """The hello in a datagram. Raises HandshakeError if there is none."""
        if len(datagram) != CLIENT_HELLO2_SIZE:
            raise HandshakeError(f"a CLIENT_HELLO2 of {len(datagram)} bytes")
        reader = FieldReader(datagram)
        _require(reader, HANDSHAKE_FORM)
        routing = reader.integer(1)
        _require(reader, Kind.CLIENT_HELLO2)
        point = _read_point(reader)
        cookie = _checked_cookie(reader.bytes8())
        offer = Offer.decode(reader.bytes16())
        if VERSION not in offer.versions:
            raise HandshakeError(f"versions {offer.versions}, not {VERSION}")
        return cls(point, offer, cookie, routing)


@dataclass(frozen=True)
class Retry:
    """The request to send a hello again, with this cookie, to this worker."""

    form: HelloForm
    hello_id: bytes
    cookie: bytes
    routing: int = ANY_WORKER

    def encode(self) -> bytes:
        """The datagram."""
        return retry_datagram(self.form, self.hello_id, self.cookie, self.routing)

    @classmethod
    def decode(cls, datagram: bytes) -> Retry:
        """The request in a datagram. Raises HandshakeError if there is none."""
        reader = _read_head(datagram, Kind.RETRY)
        form, hello_id = _read_hello_id(reader)
        routing = reader.integer(1)
        cookie = _checked_cookie(reader.bytes8())
        reader.finish()
        if not cookie or (routing > LAST_WORKER and routing != ANY_WORKER):
            raise HandshakeError(f"a RETRY with {len(cookie)} bytes of cookie, to {routing}")
        return cls(form, hello_id, cookie, routing)


def retry_datagram(
    form: HelloForm, hello_id: bytes, cookie: bytes, routing: int = ANY_WORKER
) -> bytes:
    """The datagram of a RETRY."""
    return b"%b%c%b%c%c%b" % (_RETRY_HEAD, form, hello_id, routing, len(cookie), cookie)


@dataclass(frozen=True)
class Answer:
    """The server's answer, as far as it is signed.

    Keys are points of 65 bytes. `ciphertext` is that of ML-KEM-768: None if the server has no
    ML-KEM, empty if it takes a key in a KEM frame. `encoded` is the answer as it was read; None in
    one that is to be sent.
    """

    root_point: bytes
    ephemeral_point: bytes
    random: bytes
    connection_id: bytes
    ciphertext: bytes | None = None
    limits: PeerLimits = DEFAULT_LIMITS
    encoded: bytes | None = None

    def encode(self) -> bytes:
        """The bytes of the answer."""
        if self.encoded is not None:
            return self.encoded
        extensions = self.limits.extensions()
        if self.ciphertext is not None:
            extensions[_ML_KEM] = self.ciphertext
        return (
            bytes([VERSION])
            + self.root_point
            + self.ephemeral_point
            + self.random
            + self.connection_id
            + extension_block(extensions)
        )

    @classmethod
    def decode(cls, data: bytes) -> Answer:
        """The answer that the bytes are. Raises HandshakeError if they are none."""
        reader = FieldReader(data)
        version = reader.integer(1)
        if version != VERSION:
            raise HandshakeError(f"version {version}, not {VERSION}")
        root_point, ephemeral_point = _read_point(reader), _read_point(reader)
        random, connection_id = reader.take(RANDOM_SIZE), reader.take(CONNECTION_ID_SIZE)
        extensions = reader.extensions()
        reader.finish()
        if connection_id[0] > LAST_WORKER:
            raise HandshakeError(f"the connection id of a worker {connection_id[0]}")
        ciphertext = extensions.get(_ML_KEM)
        if ciphertext and len(ciphertext) != CIPHERTEXT_SIZE:
            raise HandshakeError(f"a ciphertext of {len(ciphertext)} bytes")
        return cls(
            root_point,
            ephemeral_point,
            random,
            connection_id,
            ciphertext,
            PeerLimits.from_extensions(extensions),
            data,
        )


@dataclass(frozen=True)
class ServerHello2:
    """The answer to a hello, and the signature of the root key: r and s, 32 bytes each."""

    form: HelloForm
    hello_id: bytes
    answer: Answer
    signature: bytes

    @classmethod
    def create(
        cls,
        root_key: EllipticCurvePrivateKey,
        form: HelloForm,
        offer: Offer,
        client_point: bytes,
        answer: Answer,
    ) -> ServerHello2:
        """A hello that answers this one, signed by the root key."""
        signed = _signed(offer.transcript(form, client_point), answer)
        r, s = decode_dss_signature(root_key.sign(signed))
        signature = b"".join(number.to_bytes(_SIGNATURE_HALF, "big") for number in (r, s))
        return cls(form, offer.random[:HELLO_ID_SIZE], answer, signature)

    def encode(self) -> bytes:
        """The datagram."""
        return (
            _head(Kind.SERVER_HELLO2)
            + bytes([self.form])
            + self.hello_id
            + bytes16(self.answer.encode())
            + self.signature
        )

    @classmethod
    def decode(cls, datagram: bytes) -> ServerHello2:
        """The hello in a datagram, not verified. Raises HandshakeError if there is none."""
        reader = _read_head(datagram, Kind.SERVER_HELLO2)
        form, hello_id = _read_hello_id(reader)
        answer = Answer.decode(reader.bytes16())
        signature = reader.take(2 * _SIGNATURE_HALF)
        reader.finish()
        return cls(form, hello_id, answer, signature)

    def verify(
        self, offer: Offer, client_point: bytes, trusted: EllipticCurvePublicKey | None
    ) -> None:
        """Check that the trusted key, or the one in the hello if None, has signed this exchange.

        Raises HandshakeError if it has not: WrongKeyError if the hello names another root key than
        the trusted one.
        """
        if trusted is not None and point_of(trusted) != self.answer.root_point:
            raise WrongKeyError("the server's root key is not the trusted one")
        key = public_key_of(self.answer.root_point)
        r, s = (
            int.from_bytes(half, "big")
            for half in (self.signature[:_SIGNATURE_HALF], self.signature[_SIGNATURE_HALF:])
        )
        try:
            key.verify(
                encode_dss_signature(r, s),
                _signed(offer.transcript(self.form, client_point), self.answer),
            )
        except InvalidSignature:
            raise HandshakeError("the signature of the SERVER_HELLO2 is invalid") from None


@dataclass(frozen=True)
class StatelessReset:
    """The news that a session is gone, with the token of its connection id."""

    token: bytes

    def encode(self) -> bytes:
        """The datagram."""
        return _head(Kind.STATELESS_RESET) + self.token

    @classmethod
    def decode(cls, datagram: bytes) -> StatelessReset:
        """The reset in a datagram. Raises HandshakeError if there is none."""
        reader = _read_head(datagram, Kind.STATELESS_RESET)
        token = reader.take(RESET_TOKEN_SIZE)
        reader.finish()
        return cls(token)


def transcript_hash(transcript: bytes, answer: Answer) -> bytes:
    """SHA-256 of all that was said: what the signature covers, and the salt of the keys."""
    return sha256(transcript + answer.encode()).digest()


def _signed(transcript: bytes, answer: Answer) -> bytes:
    return _LABEL + transcript_hash(transcript, answer)


def _head(kind: Kind, routing: int = ANY_WORKER) -> bytes:
    return bytes([HANDSHAKE_FORM, routing, kind])


def _read_head(datagram: bytes, kind: Kind) -> FieldReader:
    """Read what a datagram of this kind to the client begins with."""
    reader = FieldReader(datagram)
    for value in (HANDSHAKE_FORM, ANY_WORKER, kind):
        _require(reader, value)
    return reader


def _require(reader: FieldReader, value: int) -> None:
    found = reader.integer(1)
    if found != value:
        raise HandshakeError(f"{found} instead of {value} at byte {reader.offset - 1}")


def _read_hello_id(reader: FieldReader) -> tuple[HelloForm, bytes]:
    form = reader.integer(1)
    if form not in (HelloForm.VERSION_1, HelloForm.VERSION_2):
        raise HandshakeError(f"a hello of the form {form}")
    return HelloForm(form), reader.take(HELLO_ID_SIZE)


def _read_point(reader: FieldReader) -> bytes:
    point = reader.take(POINT_SIZE)
    if point[0] != PUBLIC_KEY_PREFIX[-1]:
        raise HandshakeError("not an uncompressed point")
    return point


def _checked_cookie(cookie: bytes) -> bytes:
    if len(cookie) > MAX_COOKIE_SIZE:
        raise HandshakeError(f"a cookie of {len(cookie)} bytes")
    return cookie


_RETRY_HEAD = _head(Kind.RETRY)
