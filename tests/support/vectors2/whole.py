"""All the vectors, and the file of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.vectors2 import handshake, invalid_handshake, invalid_packets, packets
from support.vectors2.invalid_handshake import listed

FILE = Path(__file__).parents[2] / "protocol2.json"
ABOUT = {
    "": "Golden bytes of protocol version 2, made by the second codec, tests/support/wire2: "
    "`python -m support.vectors2` in tests/ writes them. All byte strings are hex.",
    "varints": "[bytes, value, whether an encoder writes it in so few bytes]",
    "hellos": "client_private: the scalar of the ephemeral key. Form 1 is a whole datagram of "
    "version 1, at an MTU of 1500, whose filler begins with the offer",
    "cookies": "address: the bytes of whatever form the server has of it",
    "server_hellos": "hello: the name of the hello that it answers. The signatures are those of "
    "RFC 6979; others are as good. phases_after_kem_frames: with kem.secret",
    "kem": "seed: d and z of FIPS 203; ciphertext: encapsulated once",
    "pieces": "payloads of packets that bring connect data, in the order of arrival",
    "frames": "a frame alone in a packet",
    "payloads": "is_shortest: whether encoding the frames gives these bytes again",
    "numbers_written": "[packet number, newest acked, bytes in the header]",
    "numbers_read": "[newest received, bytes in the header, packet number]; a packet with the "
    "number 0 or 2^62 is rejected then",
    "sealed": "header: before it is masked",
    "invalid": "to_server: its audience is empty. to_client: it has pinned the root key and sent "
    "the hellos `form 1` and `form 2`. sealed: to a server in the state of sealed_context. "
    "payloads: of packets that open. payloads_in_session: channels 1 (ordered) and 16 (unordered) "
    "are declared, the receiver has sent packets 1 to 10 but not 7, fragments of message 5 of "
    "channel 16, of 100 bytes in all, have arrived, the connection ids of session_ids were issued "
    "(id and token by sequence), none is retired, the packet came under that of sequence 0, and "
    "the answer has no empty extension 1. payloads_before_accept: of a client, to a server that "
    "has not sent ACCEPT. accept_data: for two ordered channels. pieces: each is right, the last "
    "contradicts the first",
}


def make() -> dict[str, Any]:
    return {
        "about": ABOUT,
        "varints": handshake.varints(),
        "extension_blocks": handshake.extension_blocks(),
        "hellos": handshake.hello_vectors(),
        "retries": handshake.retry_vectors(),
        "cookies": handshake.cookie_vectors(),
        "server_hellos": handshake.server_hello_vectors(),
        "kem": handshake.kem_vector(),
        "downgrade": handshake.downgrade_vectors(),
        "connect_data": handshake.connect_data_vectors(),
        "accept_data": handshake.accept_data_vectors(),
        "pieces": handshake.pieces_vectors(),
        "resets": handshake.reset_vectors(),
        "frames": packets.frame_vectors(),
        "payloads": packets.payload_vectors(),
        "numbers_written": packets.numbers_written(),
        "numbers_read": packets.numbers_read(),
        "sealed": packets.sealed_vectors(),
        "invalid": make_invalid(),
    }


def make_invalid() -> dict[str, Any]:
    return {
        "varints": listed(invalid_handshake.varints()),
        "offers": listed(invalid_handshake.offers()),
        "to_server": listed(invalid_handshake.to_server()),
        "to_client": listed(invalid_handshake.to_client()),
        "sealed_context": invalid_packets.sealed_context(),
        "sealed": listed(invalid_packets.sealed()),
        "payloads": listed(invalid_packets.payloads()),
        "session_ids": invalid_packets.session_ids(),
        "payloads_before_accept": listed(invalid_packets.payloads_before_accept()),
        "payloads_in_session": invalid_packets.payloads_in_session(),
        "connect_data": listed(invalid_packets.connect_data()),
        "accept_data": listed(invalid_packets.accept_data()),
        "pieces": invalid_packets.contradicting_pieces(),
    }


def as_text() -> str:
    return json.dumps(make(), indent=1, ensure_ascii=False) + "\n"
