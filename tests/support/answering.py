"""The server's side of the handshake as bytes, for tests of the client's."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import PacketType
from mpgameserver.wire.handshake import (
    ClientHello,
    ServerHello,
    decode_clear_packet,
    encode_clear_packet,
    new_token,
    session_key,
)

WALL_START = 1_700_000_000


@dataclass
class Answer:
    """A SERVER_HELLO datagram, and the session that the server opens with it."""

    datagram: bytes
    endpoint: Endpoint1
    token: int


def answer(hello_datagram: bytes, root_key: EllipticCurvePrivateKey, number: int = 1) -> Answer:
    """Answer a CLIENT_HELLO as a server with that root key does, in the packet of that number."""
    packet = decode_clear_packet(hello_datagram, PacketType.CLIENT_HELLO)
    client_key = ClientHello.decode(packet.message, 0).public_key()
    ephemeral_key, salt, token = EllipticCurvePrivateKey.new(), bytes(range(16)), new_token()
    hello = ServerHello.create(root_key, ephemeral_key.getPublicKey(), salt, token)
    key = session_key(ephemeral_key, client_key, salt)
    endpoint = Endpoint1(AESGCM(key), True, 0.0, WALL_START, packets_before=1, messages_before=1)
    datagram = encode_clear_packet(PacketType.SERVER_HELLO, number, 1, hello.encode(), WALL_START)
    return Answer(datagram, endpoint, token)
