"""Fuzz the parsers: whatever the bytes, a value or the one error, and the second codec agrees.

What a parser accepts it must write again byte for byte: each value has one form. Hellos begin as
the golden ones, which the script then edits, and it may have their checksum right.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fuzz.inputs import Script
from support import wire

from mpgameserver._core.fragmenter import Reassembler
from mpgameserver._core.packet import decode_payload, encode_payload
from mpgameserver._core.packet_header import decode_header, encode_header
from mpgameserver.crypto import EllipticCurvePublicKey
from mpgameserver.enums import PacketType
from mpgameserver.errors import HandshakeError, PacketError
from mpgameserver.wire.handshake import (
    ClientHello,
    ServerHello,
    decode_challenge_response,
    decode_clear_packet,
    encode_challenge_response,
    encode_clear_packet,
)
from mpgameserver.wire.packet import Packet, PacketHeader
from mpgameserver.wire.tagged import TaggedReader, encode_bytes, encode_integer

T = TypeVar("T")

GOLDEN = json.loads(Path(__file__).parent.with_name("vectors.json").read_text())["handshake"]
TRUSTED = EllipticCurvePublicKey.fromPEM(GOLDEN["root_public_key_pem"])
KEY = bytes(range(16))
MTU = 1500
HELLO_SIZE = 1412
KEY_END = 101
"""Where the key and the version of a CLIENT_HELLO end: the rest is padding."""


def run(data: bytes) -> None:
    """Give one parser its bytes; an AssertionError says what it should have done."""
    script = Script(data)
    script.pick(PARSERS)(script)


def ours(parse: Callable[[], T], error: type[Exception]) -> T | None:
    """Return what a parser of the package makes of the bytes; None for its one error."""
    try:
        return parse()
    except error:
        return None


def second(parse: Callable[[], T]) -> T | None:
    """Return what the second codec makes of them."""
    try:
        return parse()
    except wire.WireError:
        return None


def edited(script: Script, golden: bytes) -> bytes:
    """The bytes after some edits: a few are cut out, and others put in, at a place."""
    data = bytearray(golden)
    for _ in range(script.below(4)):
        place = script.below(len(data) + 1)
        data[place : place + script.below(8)] = script.bytes(12)
    return bytes(data)


def header(script: Script) -> None:
    """Twenty bytes, and what follows them."""
    data = script.pick((b"", b"FSOS", b"FSOC")) + script.rest()
    fields = ours(lambda: decode_header(data), PacketError)
    expected = second(lambda: wire.unpack_header(data))
    assert (fields is None) == (expected is None)
    if fields is not None and expected is not None:
        assert encode_header(*fields) == wire.pack_header(expected) == data[:20]
        assert fields.from_server == (expected.identifier == wire.TO_CLIENT)


def payload(script: Script) -> None:
    """The messages of a packet."""
    count, kind, data = script.below(256), script.below(256), script.rest()
    messages = ours(lambda: decode_payload(data, count, kind), PacketError)
    fields = wire.Header(wire.TO_SERVER, 0, 1, 0, kind, len(data), count, 0)
    expected = second(lambda: wire.unpack_payload(data, fields))
    if expected is None or messages is None:
        assert messages is expected
        return
    assert messages == [(m.seq, m.type, m.payload) for m in expected]
    assert encode_payload(messages) == data


def sealed(script: Script) -> None:
    """A packet that opens."""
    kind, count, data = script.below(9), script.pick((0, 1, 2, 3, 255)), script.rest()
    fields = wire.Header(wire.TO_SERVER, 1, 1, 0, kind, len(data), count, 0)
    start = wire.pack_header(fields)
    datagram = start + AESGCM(KEY).encrypt(start[:12], data, start)
    packet = ours(lambda: _read_packet(datagram), PacketError)
    expected = second(lambda: wire.unseal(datagram, KEY))
    assert (packet is None) == (expected is None)
    if packet is not None and expected is not None:
        assert [(m.seq, m.type, m.payload) for m in packet.msgs] == expected[1]
        if not packet.msgs or packet.msgs[0].type == kind:
            assert Packet.create(packet.hdr, packet.msgs).to_bytes(KEY) == datagram


def _read_packet(datagram: bytes) -> Packet:
    return Packet.from_bytes(PacketHeader.from_bytes(True, datagram), KEY, datagram)


def clear_packet(script: Script) -> None:
    """A hello as a datagram."""
    name, kind = script.pick(
        (("client", PacketType.CLIENT_HELLO), ("server", PacketType.SERVER_HELLO))
    )
    datagram = edited(script, bytes.fromhex(GOLDEN[f"{name}_hello_datagram"]))
    if script.chance(2) and len(datagram) >= 24:
        length = (len(datagram) - 24) & 0xFFFF
        body = datagram[:13] + struct.pack(">H", length) + datagram[15:-4]
        datagram = body + struct.pack(">I", zlib.crc32(body))
    packet = ours(lambda: decode_clear_packet(datagram, kind), PacketError)
    expected = second(lambda: wire.unpack_clear(datagram))
    assert (packet is None) == (expected is None or expected[1].type != kind)
    if packet is not None and expected is not None:
        fields = packet.header
        assert (packet.message_seq, kind, packet.message) == expected[1]
        numbers = (fields.time, fields.ack, fields.ack_bits)
        again = encode_clear_packet(kind, fields.seq, packet.message_seq, packet.message, *numbers)
        assert again == datagram


def client_hello(script: Script) -> None:
    """A CLIENT_HELLO, without its datagram."""
    golden = bytes.fromhex(GOLDEN["client_hello_payload"])
    message = edited(script, golden[:KEY_END]) + golden[KEY_END + script.below(3) :]
    hello = ours(lambda: ClientHello.decode(message, HELLO_SIZE), HandshakeError)
    key = None if hello is None else ours(hello.public_key, HandshakeError)
    expected = second(lambda: wire.unpack_client_hello(message, MTU))
    assert (key is None) == (expected is None)
    if hello is not None and key is not None:
        assert key.getBytes() == hello.public_key_der == expected
        assert hello.encode(KEY_END, bytes) == message[:KEY_END]


def server_hello(script: Script) -> None:
    """A SERVER_HELLO, with and without a key that is trusted."""
    trusted = script.pick((TRUSTED, None))
    message = edited(script, bytes.fromhex(GOLDEN["server_hello_payload"]))
    hello = ours(lambda: _verified(message, trusted), HandshakeError)
    der = trusted and trusted.getBytes()
    expected = second(lambda: wire.unpack_server_hello(message, der))
    if hello is None:
        # The second codec does not look at the root key of a hello when it trusts another.
        assert expected is None or second(lambda: wire.load_key(expected.root_key)) is None
        return
    assert expected is not None
    assert (hello.token, hello.signed) == (expected.token, expected.signed)
    assert hello.encode() == message


def _verified(message: bytes, trusted: EllipticCurvePublicKey | None) -> ServerHello:
    hello = ServerHello.decode(message)
    hello.verify(trusted)
    hello.ephemeral_key()
    return hello


def challenge(script: Script) -> None:
    """A CHALLENGE_RESP message."""
    message = edited(script, bytes.fromhex(GOLDEN["challenge_response_payload"]))
    token = ours(lambda: decode_challenge_response(message), HandshakeError)
    assert token == second(lambda: wire.unpack_challenge_response(message))
    if token is not None:
        assert encode_challenge_response(token) == message


def tagged(script: Script) -> None:
    """Integers and byte strings, one after the other, as the script guesses."""
    guesses = [script.below(2) for _ in range(4)]
    rest = script.rest()
    reader = TaggedReader(rest)
    for guess in guesses:
        if guess:
            value = ours(reader.byte_string, HandshakeError)
            read = second(lambda data=rest: wire.unpack_bytes(data))
        else:
            value = ours(reader.integer, HandshakeError)
            read = second(lambda data=rest: wire.unpack_integer(data))
        if value is None or read is None:
            assert value is read
            return
        assert value == read[0]
        again = encode_bytes(value) if isinstance(value, bytes) else encode_integer(value)
        assert again + read[1] == rest
        rest = read[1]
    assert (ours(lambda: reader.finish() or True, HandshakeError) is None) == bool(rest)


def piece(script: Script) -> None:
    """Pieces of fragmented messages: those which are too short change nothing."""
    reassembler, number = Reassembler(), 0
    while not script.is_over:
        number += 1
        data = script.bytes(20)
        before = (len(reassembler), reassembler.held_bytes, reassembler.discarded)
        is_short = len(data) < 6
        try:
            reassembler.add(data, number, 0.0)
        except PacketError:
            assert is_short
            assert before == (len(reassembler), reassembler.held_bytes, reassembler.discarded)
        else:
            assert not is_short
    reassembler.expire(1e9)
    assert (len(reassembler), reassembler.held_bytes) == (0, 0)


PARSERS = (
    header,
    payload,
    sealed,
    clear_packet,
    client_hello,
    server_hello,
    challenge,
    tagged,
    piece,
)
