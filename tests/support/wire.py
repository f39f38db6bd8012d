"""The wire protocol a second time, written from the protocol page alone.

It imports nothing from the package, so that a misreading of the page would have to be made twice
to go unseen. It is plain rather than quick, and where the page says that a receiver rejects, it
raises `WireError`. Section numbers are those of the page.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

CLIENT_HELLO, SERVER_HELLO, CHALLENGE_RESP, KEEP_ALIVE, DISCONNECT, APP, APP_FRAGMENT = range(1, 8)
TO_SERVER, TO_CLIENT = b"FSOS", b"FSOC"

HEADER = struct.Struct(">4sIHHBHBI")
TAG_SIZE, CRC_SIZE = 16, 4
SESSION_INFO = b"01-secp256r1-sha256-aesgcm128-server-client"
MAX_PIECES = 8192


class WireError(ValueError):
    """Bytes that the page does not allow."""


# Section 1: sequence numbers.


def diff(a: int, b: int) -> int:
    """Return the shortest signed step from b to a."""
    return (a - b + 32767) % 65535 - 32767


def add(a: int, step: int) -> int:
    """Return the number `step` places after a; counting on from 0 gives 1."""
    return (a + step - 1) % 65535 + 1


class AckField:
    """The newest number received, and which of the `nbits` before it were."""

    def __init__(self, nbits: int) -> None:
        self.nbits = nbits
        self.ack = 0
        self.had: set[int] = set()

    def receive(self, number: int) -> bool:
        """Return whether the number is new; one that fell behind is not."""
        if number in self.had or (self.ack and diff(self.ack, number) > self.nbits):
            return False
        self.had.add(number)
        if self.ack == 0 or diff(number, self.ack) > 0:
            self.ack = number
            self.had = {one for one in self.had if 0 <= diff(number, one) <= self.nbits}
        return True

    @property
    def bits(self) -> int:
        if self.ack == 0:
            return 0
        places = (diff(self.ack, number) for number in self.had)
        return sum(1 << (self.nbits - place) for place in places if place)


# Section 2: the header.


class Header(NamedTuple):
    identifier: bytes
    time: int
    seq: int
    ack: int
    type: int
    length: int
    count: int
    ack_bits: int


def pack_header(header: Header) -> bytes:
    return HEADER.pack(*header)


def unpack_header(datagram: bytes) -> Header:
    if len(datagram) < HEADER.size:
        raise WireError("shorter than a header")
    header = Header(*HEADER.unpack_from(datagram))
    if header.identifier not in (TO_SERVER, TO_CLIENT):
        raise WireError("unknown identifier")
    return header


# Section 3: the body, and the sizes.


class Message(NamedTuple):
    seq: int
    type: int
    payload: bytes


def pack_payload(messages: list[Message]) -> bytes:
    if len(messages) == 1:
        return struct.pack(">H", messages[0].seq) + messages[0].payload
    return b"".join(
        struct.pack(">HHB", len(message.payload), message.seq, message.type) + message.payload
        for message in messages
    )


def unpack_payload(payload: bytes, header: Header) -> list[Message]:
    if header.count == 1:
        if len(payload) < 2:
            raise WireError("no message number")
        messages = [Message(*struct.unpack_from(">H", payload), header.type, payload[2:])]
    else:
        messages = _unpack_many(payload, header.count)
    if any(message.seq == 0 for message in messages):
        raise WireError("0 is no message number")
    return messages


def _unpack_many(payload: bytes, count: int) -> list[Message]:
    messages, rest = [], payload
    for _ in range(count):
        if len(rest) < 5:
            raise WireError("a message without its length, number and type")
        length, seq, kind = struct.unpack_from(">HHB", rest)
        if length > len(rest) - 5:
            raise WireError("a message that runs past the payload")
        messages.append(Message(seq, kind, rest[5 : 5 + length]))
        rest = rest[5 + length :]
    if rest:
        raise WireError("payload left over after the last message")
    return messages


def seal(
    identifier: bytes,
    time: int,
    seq: int,
    ack: int,
    ack_bits: int,
    messages: list[Message],
    key: bytes,
) -> bytes:
    """Return the datagram of a sealed packet, a KEEP_ALIVE if there are no messages."""
    payload = pack_payload(messages)
    kind = messages[0].type if messages else KEEP_ALIVE
    fields = Header(identifier, time, seq, ack, kind, len(payload), len(messages), ack_bits)
    header = pack_header(fields)
    return header + AESGCM(key).encrypt(header[:12], payload, header)


def unseal(datagram: bytes, key: bytes) -> tuple[Header, list[Message]]:
    header = unpack_header(datagram)
    if not CHALLENGE_RESP <= header.type <= APP_FRAGMENT or header.seq == 0:
        raise WireError("not a sealed packet")
    if len(datagram) != HEADER.size + header.length + TAG_SIZE:
        raise WireError("the length is another")
    try:
        payload = AESGCM(key).decrypt(
            datagram[:12], datagram[HEADER.size :], datagram[: HEADER.size]
        )
    except InvalidTag:
        raise WireError("does not open") from None
    messages = unpack_payload(payload, header)
    if not all(CHALLENGE_RESP <= message.type <= APP_FRAGMENT for message in messages):
        raise WireError("a message of a type that is never sealed")
    return header, messages


def pack_clear(header: Header, message: Message) -> bytes:
    """Return the datagram of a hello; length, count and type of the header are filled in here."""
    payload = pack_payload([message])
    fields = header._replace(type=message.type, length=len(payload), count=1)
    body = pack_header(fields) + payload
    return body + struct.pack(">I", zlib.crc32(body))


def unpack_clear(datagram: bytes) -> tuple[Header, Message]:
    header = unpack_header(datagram)
    way = {CLIENT_HELLO: TO_SERVER, SERVER_HELLO: TO_CLIENT}.get(header.type)
    if header.identifier != way or header.count != 1 or header.seq == 0:
        raise WireError("not a packet in the clear")
    if len(datagram) != HEADER.size + header.length + CRC_SIZE:
        raise WireError("the length is another")
    body, crc = datagram[:-CRC_SIZE], datagram[-CRC_SIZE:]
    if struct.pack(">I", zlib.crc32(body)) != crc:
        raise WireError("the CRC is another")
    (message,) = unpack_payload(body[HEADER.size :], header)
    return header, message


class Sizes(NamedTuple):
    datagram: int
    payload: int
    piece: int
    client_hello: int


def sizes(mtu: int, ip_and_udp: int = 28) -> Sizes:
    datagram = mtu - ip_and_udp
    payload = datagram - 20 - 16 - 2
    return Sizes(datagram, payload, min(1024, payload - 6), payload - 22)


# Section 4: fragments.


def split(number: int, message: bytes, mtu: int) -> list[bytes]:
    """Return the APP_FRAGMENT messages of a message."""
    limits = sizes(mtu)
    pieces, rest = [], memoryview(message)  # a slice of bytes would copy megabytes each time
    while len(rest) >= limits.payload - 6:
        pieces.append(rest[: limits.piece])
        rest = rest[limits.piece :]
    pieces += [rest] if rest else []
    return [
        struct.pack(">HHH", number, index, len(pieces)) + piece
        for index, piece in enumerate(pieces, 1)
    ]


def join(fragments: list[bytes]) -> bytes:
    """Return the message of which these are all the fragments, in whatever order."""
    heads = [struct.unpack_from(">HHH", fragment) for fragment in fragments]
    number, _, count = heads[0]
    if sorted(heads) != [(number, index, count) for index in range(1, count + 1)]:
        raise WireError("not all the fragments of one message")
    if count > MAX_PIECES:
        raise WireError("too many fragments")
    return b"".join(fragment[6:] for fragment in sorted(fragments))


# Section 5: the handshake.


INTEGERS = {
    3: struct.Struct(">Hb"),
    4: struct.Struct(">Hh"),
    5: struct.Struct(">Hi"),
    6: struct.Struct(">Hq"),
}


def pack_integer(value: int) -> bytes:
    for tag, form in INTEGERS.items():
        if abs(value) < 1 << (8 * (form.size - 2) - 1):
            return form.pack(tag, value)
    raise ValueError("too large")


def pack_bytes(value: bytes) -> bytes:
    return struct.pack(">H", 14) + pack_integer(len(value)) + value


def unpack_integer(data: bytes) -> tuple[int, bytes]:
    """Return the integer at the front of the data, and the rest."""
    form = INTEGERS.get(int.from_bytes(data[:2], "big"))
    if form is None or len(data) < form.size:
        raise WireError("not an integer")
    _, value = form.unpack_from(data)
    if value == -(1 << 63) or pack_integer(value) != data[: form.size]:
        raise WireError("not an integer in its shortest form")
    return value, data[form.size :]


def unpack_bytes(data: bytes) -> tuple[bytes, bytes]:
    """Return the byte string at the front of the data, and the rest."""
    if data[:2] != struct.pack(">H", 14):
        raise WireError("not a byte string")
    length, rest = unpack_integer(data[2:])
    if not 0 <= length <= len(rest):
        raise WireError("a byte string that runs past the end")
    return rest[:length], rest[length:]


def is_token(value: int) -> bool:
    return value.bit_length() == 31 and value > 0


def load_key(der: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key whose DER SubjectPublicKeyInfo this is, in its uncompressed form."""
    try:
        key = serialization.load_der_public_key(der)
    except Exception as error:
        raise WireError("not a public key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise WireError("not a P-256 key")
    if key_der(key) != der:
        raise WireError("not an uncompressed point")
    return key


def key_der(key: ec.EllipticCurvePublicKey) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.DER, form)


def pack_client_hello(public_key: bytes, padding: bytes) -> bytes:
    return b"\x00\x82" + pack_bytes(public_key) + pack_integer(1) + padding


def unpack_client_hello(message: bytes, mtu: int) -> bytes:
    """Return the client's public key in DER."""
    if len(message) < sizes(mtu).client_hello:
        raise WireError("a hello that is shorter than its answer may be")
    if message[:2] != b"\x00\x82":
        raise WireError("not a CLIENT_HELLO")
    public_key, rest = unpack_bytes(message[2:])
    version, _ = unpack_integer(rest)
    if version != 1:
        raise WireError("another protocol version")
    load_key(public_key)
    return public_key


class ServerHello(NamedTuple):
    root_key: bytes
    session_key: bytes
    salt: bytes
    token: int
    signed: bytes
    signature: bytes


def pack_server_hello(
    root: ec.EllipticCurvePrivateKey, session_key: bytes, salt: bytes, token: int
) -> bytes:
    signed = pack_bytes(session_key) + pack_bytes(salt) + pack_integer(token)
    signature = root.sign(signed, ec.ECDSA(hashes.SHA256()))
    parts = (key_der(root.public_key()), signed, signature)
    return b"\x00\x83" + b"".join(pack_bytes(part) for part in parts)


def unpack_server_hello(message: bytes, trusted: bytes | None) -> ServerHello:
    """Return a hello that verifies against the trusted key (DER), or against its own if None."""
    if message[:2] != b"\x00\x83":
        raise WireError("not a SERVER_HELLO")
    root_key, rest = unpack_bytes(message[2:])
    signed, rest = unpack_bytes(rest)
    signature, rest = unpack_bytes(rest)
    session_key, signed_rest = unpack_bytes(signed)
    salt, signed_rest = unpack_bytes(signed_rest)
    token, signed_rest = unpack_integer(signed_rest)
    if rest or signed_rest or len(salt) != 16 or not is_token(token):
        raise WireError("not the parts of a SERVER_HELLO")
    load_key(session_key)
    try:
        load_key(trusted or root_key).verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise WireError("the signature does not verify") from None
    return ServerHello(root_key, session_key, salt, token, signed, signature)


def pack_challenge_response(token: int) -> bytes:
    return b"\x00\x84\x00\x03\x01" + pack_integer(token)


def unpack_challenge_response(message: bytes) -> int:
    if message[:5] != b"\x00\x84\x00\x03\x01":
        raise WireError("not a CHALLENGE_RESP")
    token, rest = unpack_integer(message[5:])
    if rest or not is_token(token):
        raise WireError("not a token alone")
    return token


def session_key(private: ec.EllipticCurvePrivateKey, peer: bytes, salt: bytes) -> bytes:
    secret = private.exchange(ec.ECDH(), load_key(peer))
    return HKDF(hashes.SHA256(), 16, salt, SESSION_INFO).derive(secret)
