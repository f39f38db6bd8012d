"""The handshake: its three messages as bytes, the unencrypted packet, and the session key.

    client → server   CLIENT_HELLO     unencrypted   an ephemeral public key, padded
    server → client   SERVER_HELLO     unencrypted   an ephemeral public key, a salt and a token,
                                                     signed by the server's root key
    client → server   CHALLENGE_RESP   sealed        the token

Both sides derive the session key from the two ephemeral keys and the salt. The functions here only
convert between values and bytes: they keep no state, read no clock and make no decisions.

Anyone can send a hello from any address, so the cheapest work comes first. Reading a
packet or a message takes no public-key work: it checks every length and tag, the checksum and
the 26 bytes that every P-256 key starts with. The expensive steps are separate: `public_key`,
`ephemeral_key` (is the point on the curve), `verify` and `session_key`, some 5, 5, 50 and 40 µs.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from math import floor
from typing import NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mpgameserver._core.aesgcm import KEY_SIZE
from mpgameserver._core.packet_header import (
    CRC_SIZE,
    HEADER_SIZE,
    HeaderFields,
    decode_header,
    encode_header,
)
from mpgameserver.crypto import (
    PUBLIC_KEY_PREFIX,
    PUBLIC_KEY_SIZE,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from mpgameserver.enums import PacketType
from mpgameserver.errors import HandshakeError, InvalidSignature, PacketError
from mpgameserver.wire.tagged import TaggedReader, encode_bytes, encode_integer

__all__ = [
    "CLEAR_OVERHEAD",
    "CLIENT_HELLO_START",
    "HELLO_FILLER_START",
    "HELLO_MESSAGE_START",
    "PROTOCOL_VERSION",
    "SALT_SIZE",
    "ClearPacket",
    "ClientHello",
    "ServerHello",
    "WrongKeyError",
    "decode_challenge_response",
    "decode_clear_packet",
    "encode_challenge_response",
    "encode_clear_packet",
    "hello_size",
    "new_token",
    "session_key",
    "wire_time",
]

PROTOCOL_VERSION = 1
VERSION_FIELD = encode_integer(PROTOCOL_VERSION)
SALT_SIZE = 16

_NUMBER_SIZE = 2
CLEAR_OVERHEAD = HEADER_SIZE + _NUMBER_SIZE + CRC_SIZE
"""Bytes of an unencrypted packet besides its message."""
HELLO_MESSAGE_START = HEADER_SIZE + _NUMBER_SIZE
"""Bytes of a datagram before the CLIENT_HELLO in it."""
_FROM_SERVER = {PacketType.CLIENT_HELLO: False, PacketType.SERVER_HELLO: True}

_CLIENT_HELLO_TAG = bytes.fromhex("0082")
CLIENT_HELLO_START = (
    _CLIENT_HELLO_TAG
    + encode_bytes(bytes(PUBLIC_KEY_SIZE)).removesuffix(bytes(PUBLIC_KEY_SIZE))
    + PUBLIC_KEY_PREFIX
)
_CLIENT_KEY_START = len(CLIENT_HELLO_START) - len(PUBLIC_KEY_PREFIX)
_CLIENT_KEY_END = _CLIENT_KEY_START + PUBLIC_KEY_SIZE
HELLO_FILLER_START = _CLIENT_KEY_END + len(VERSION_FIELD)
"""Bytes of a CLIENT_HELLO before the filler, which version 1 ignores."""
_SERVER_HELLO_TAG = bytes.fromhex("0083")
_CHALLENGE_RESP_START = bytes.fromhex("0084000301")
_HELLO_MARGIN = 22
_TOKEN_BIT = 1 << 30
_MAX_SIGNATURE_SIZE = 72  # a DER sequence of two integers of up to 33 bytes
_SESSION_KEY_INFO = b"01-secp256r1-sha256-aesgcm128-server-client"

RandomBytes = Callable[[int], bytes]


class WrongKeyError(HandshakeError):
    """A SERVER_HELLO of a server whose root key is not the trusted one."""


class ClearPacket(NamedTuple):
    """An unencrypted packet: a header and the one message that it carries."""

    header: HeaderFields
    message_seq: int
    message: bytes


def encode_clear_packet(
    packet_type: PacketType,
    seq: int,
    message_seq: int,
    message: bytes,
    time: int,
    ack: int = 0,
    ack_bits: int = 0,
) -> bytes:
    """Encode an unencrypted packet: header, message number, message, CRC-32.

    `seq` and `message_seq` are 1...65535, `time` is whole seconds of Unix time. The ack fields
    mean nothing to the receiver.

    Raises ValueError for a type that is always sealed, and OverflowError for a number that its
    field does not hold.
    """
    header = encode_header(
        _is_from_server(packet_type),
        time,
        packet_type,
        seq,
        ack,
        ack_bits,
        _NUMBER_SIZE + len(message),
        1,
    )
    body = header + message_seq.to_bytes(_NUMBER_SIZE, "big") + message
    return body + _crc(body)


def decode_clear_packet(datagram: bytes, packet_type: PacketType) -> ClearPacket:
    """Decode the unencrypted packet of the given type in a datagram.

    It carries one message of the packet's own type, and travels in the direction of that type;
    anything else must be sealed, and raises PacketError here. Raises ValueError for a type that is
    always sealed.
    """
    from_server = _is_from_server(packet_type)
    header = decode_header(datagram)
    if header.packet_type != packet_type or header.from_server != from_server:
        raise PacketError(f"not a {packet_type.name}: {header}")
    if header.count != 1 or len(datagram) < CLEAR_OVERHEAD:
        raise PacketError(f"an unencrypted packet of {len(datagram)} bytes: {header}")
    if header.length != len(datagram) - HEADER_SIZE - CRC_SIZE:
        raise PacketError(f"length {header.length} in a datagram of {len(datagram)} bytes")
    if _crc(datagram[:-CRC_SIZE]) != datagram[-CRC_SIZE:]:
        raise PacketError("the CRC-32 does not match")
    message_start = HEADER_SIZE + _NUMBER_SIZE
    message_seq = int.from_bytes(datagram[HEADER_SIZE:message_start], "big")
    if header.seq == 0 or message_seq == 0:
        raise PacketError("0 is not a sequence number")
    return ClearPacket(header, message_seq, datagram[message_start:-CRC_SIZE])


def _is_from_server(packet_type: PacketType) -> bool:
    if packet_type not in _FROM_SERVER:
        raise ValueError(f"only a hello is sent unencrypted, not {packet_type!r}")
    return _FROM_SERVER[packet_type]


def _crc(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(CRC_SIZE, "big")


def wire_time(wall_now: float) -> int:
    """The send time in a header: whole seconds of Unix time, modulo 2**32.

    A clock may be set to before 1970 or after 2106, and sessions must work then, too.
    """
    return floor(wall_now) % (1 << 32)


def hello_size(max_payload: int) -> int:
    """Return the length of a CLIENT_HELLO, in bytes, if a datagram holds `max_payload` bytes.

    A server replies to none that is shorter, so that it never sends more to an address, which may
    be spoofed, than it has received from there.
    """
    return max_payload - _HELLO_MARGIN


@dataclass(frozen=True)
class ClientHello:
    """The client's hello: its ephemeral public key, in DER. Hellos with the same key are equal."""

    public_key_der: bytes

    def encode(
        self, size: int, random_bytes: RandomBytes = os.urandom, filler_start: bytes = b""
    ) -> bytes:
        """The message, padded with `random_bytes` to `size` bytes (see `hello_size`).

        The filler begins with `filler_start`. Raises ValueError for a size that does not hold it.
        """
        start = _CLIENT_HELLO_TAG + encode_bytes(self.public_key_der) + VERSION_FIELD + filler_start
        if size < len(start):
            raise ValueError(f"a CLIENT_HELLO takes at least {len(start)} bytes, not {size}")
        return start + random_bytes(size - len(start))

    @classmethod
    def decode(cls, message: bytes, minimum_size: int) -> ClientHello:
        """Decode a message, without public-key work.

        Each value has one form, so everything before and after the key is compared as a whole,
        which keeps the cost of a flood of hellos low.

        Raises HandshakeError for one that is malformed, of another protocol version, or shorter
        than `minimum_size` bytes.
        """
        if len(message) < minimum_size:
            raise HandshakeError(
                f"a CLIENT_HELLO of {len(message)} bytes, {minimum_size} are needed"
            )
        if not message.startswith(CLIENT_HELLO_START):
            raise HandshakeError("not a P-256 public key in DER behind the tag of a CLIENT_HELLO")
        if not message.startswith(VERSION_FIELD, _CLIENT_KEY_END):
            version = TaggedReader(message[_CLIENT_KEY_END:]).integer()
            raise HandshakeError(f"protocol version {version}, not {PROTOCOL_VERSION}")
        return cls(message[_CLIENT_KEY_START:_CLIENT_KEY_END])

    def public_key(self) -> EllipticCurvePublicKey:
        """Return the client's key. Raises HandshakeError for a point that is not on the curve."""
        return _load_key(self.public_key_der)


@dataclass(frozen=True)
class ServerHello:
    """The server's reply: its root public key, and the data that this key has signed.

    Keys are in DER. `token` identifies the session; it is not secret on the wire, but kept out of
    the `repr`, which may reach a log. The signature does not cover the client's key: a hello made
    for another handshake verifies, too, and only an encrypted packet proves the session.
    """

    root_key_der: bytes
    ephemeral_key_der: bytes
    salt: bytes
    token: int = field(repr=False)
    signature: bytes

    @classmethod
    def create(
        cls,
        root_key: EllipticCurvePrivateKey,
        ephemeral_key: EllipticCurvePublicKey,
        salt: bytes,
        token: int,
    ) -> ServerHello:
        """Return a hello signed by the root key.

        `salt` is `SALT_SIZE` random bytes, `token` is from `new_token`. Raises ValueError for
        others.
        """
        _check_salt(salt)
        _check_token(token)
        ephemeral_key_der = ephemeral_key.getBytes()
        signature = root_key.sign(_signed_part(ephemeral_key_der, salt, token))
        root_key_der = root_key.getPublicKey().getBytes()
        return cls(root_key_der, ephemeral_key_der, salt, token, signature)

    @property
    def signed(self) -> bytes:
        """The bytes that the signature covers."""
        return _signed_part(self.ephemeral_key_der, self.salt, self.token)

    def encode(self) -> bytes:
        """Encode the message: at most 303 bytes."""
        parts = (self.root_key_der, self.signed, self.signature)
        return _SERVER_HELLO_TAG + b"".join(map(encode_bytes, parts))

    @classmethod
    def decode(cls, message: bytes) -> ServerHello:
        """Decode a message, without verifying it and without public-key work.

        Raises HandshakeError if it is malformed.
        """
        reader = TaggedReader(message)
        reader.expect(_SERVER_HELLO_TAG)
        root_key_der = _read_key(reader)
        signed = TaggedReader(reader.byte_string())
        signature = reader.byte_string()
        reader.finish()
        ephemeral_key_der = _read_key(signed)
        salt = signed.byte_string()
        token = signed.integer()
        signed.finish()
        if len(signature) > _MAX_SIGNATURE_SIZE:
            raise HandshakeError(f"a signature of {len(signature)} bytes")
        if len(salt) != SALT_SIZE or not _is_token(token):
            raise HandshakeError(f"a salt of {len(salt)} bytes, or an invalid token")
        return cls(root_key_der, ephemeral_key_der, salt, token, signature)

    def verify(self, trusted: EllipticCurvePublicKey | None) -> None:
        """Verify the signature with the trusted key, whatever root key the hello contains.

        If that is None, the key in the hello is used, which detects accidents but not a man in the
        middle.

        Raises HandshakeError if the signature is invalid, and WrongKeyError if the hello contains
        a root key other than the trusted one.
        """
        key = _load_key(self.root_key_der) if trusted is None else trusted
        try:
            key.verify(self.signature, self.signed)
        except InvalidSignature:
            if trusted is not None and trusted.getBytes() != self.root_key_der:
                raise WrongKeyError("the server's root key is not the trusted one") from None
            raise HandshakeError("the signature of the SERVER_HELLO is invalid") from None

    def ephemeral_key(self) -> EllipticCurvePublicKey:
        """Return the server's key. Raises HandshakeError for a point that is not on the curve."""
        return _load_key(self.ephemeral_key_der)


def encode_challenge_response(token: int) -> bytes:
    """Encode the CHALLENGE_RESP. Raises ValueError for an invalid token."""
    _check_token(token)
    return _CHALLENGE_RESP_START + encode_integer(token)


def decode_challenge_response(message: bytes) -> int:
    """Decode a CHALLENGE_RESP; return its token. Raises HandshakeError if it is malformed."""
    reader = TaggedReader(message)
    reader.expect(_CHALLENGE_RESP_START)
    token = reader.integer()
    reader.finish()
    if not _is_token(token):
        raise HandshakeError("a CHALLENGE_RESP without a token")
    return token


def new_token(random_bytes: RandomBytes = os.urandom) -> int:
    """Return a token: 31 bits, of which bit 30 is set and the others are random."""
    return _TOKEN_BIT | (int.from_bytes(random_bytes(4), "big") & (_TOKEN_BIT - 1))


def session_key(
    private_key: EllipticCurvePrivateKey, peer_key: EllipticCurvePublicKey, salt: bytes
) -> bytes:
    """Derive the AES-128-GCM key of a session, 16 bytes: HKDF-SHA256 (RFC 5869) of the ECDH secret.

    `private_key` is this side's ephemeral key, `peer_key` the other's, `salt` that of the
    SERVER_HELLO. Raises ValueError unless the salt has `SALT_SIZE` bytes.
    """
    _check_salt(salt)
    hkdf = HKDF(algorithm=SHA256(), length=KEY_SIZE, salt=salt, info=_SESSION_KEY_INFO)
    return hkdf.derive(private_key.exchange(peer_key))


def _signed_part(ephemeral_key_der: bytes, salt: bytes, token: int) -> bytes:
    return encode_bytes(ephemeral_key_der) + encode_bytes(salt) + encode_integer(token)


def _read_key(reader: TaggedReader) -> bytes:
    der = reader.byte_string()
    if len(der) != PUBLIC_KEY_SIZE or not der.startswith(PUBLIC_KEY_PREFIX):
        raise HandshakeError("not a P-256 public key in DER")
    return der


def _load_key(der: bytes) -> EllipticCurvePublicKey:
    try:
        return EllipticCurvePublicKey.fromBytes(der)
    except ValueError as error:
        raise HandshakeError(f"a hello with an unusable public key: {error}") from error


def _is_token(value: int) -> bool:
    return _TOKEN_BIT <= value < 2 * _TOKEN_BIT


def _check_token(token: int) -> None:
    if not _is_token(token):
        raise ValueError("a token has 31 bits, with bit 30 set")


def _check_salt(salt: bytes) -> None:
    if len(salt) != SALT_SIZE:
        raise ValueError(f"a salt has {SALT_SIZE} bytes, not {len(salt)}")
