"""Vectors of frames, and of the sealed packets around them."""

from __future__ import annotations

from support.vectors2 import inputs
from support.vectors2.handshake import (
    CONNECTION_ID,
    PLAIN_ANSWER,
    TOKEN,
    Vector,
    hellos,
    hexed,
)
from support.vectors2.inputs import random_bytes
from support.wire2 import frames, handshake, keys, packets

LARGEST = (1 << 62) - 1
NAMES = dict(
    zip(
        (*frames.KINDS, frames.Reserved, frames.Message, frames.Fragment),
        (
            *("PADDING", "PING", "ACK", "WINDOW", "CONNECT", "ACCEPT", "CLOSE"),
            *("PATH_CHALLENGE", "PATH_RESPONSE", "NEW_CONNECTION_ID", "RETIRE_CONNECTION_ID"),
            *("TIME", "TIME_REPLY", "KEM", "RESERVED", "MESSAGE", "FRAGMENT"),
        ),
        strict=True,
    )
)
RANGES_32 = tuple((2 * n, 2 * n) for n in range(100, 68, -1))
FRAMES = (
    frames.Padding(),
    frames.Ping(),
    frames.Ack(0, ((1, 1),)),
    frames.Ack(12_345, ((1, LARGEST),)),
    frames.Ack(25_000, ((90, 100), (70, 88), (1, 1))),
    frames.Ack(LARGEST, RANGES_32),
    frames.Window(1, 2048, 524_288),
    frames.Window(255, LARGEST, 0),
    frames.Connect(40, 0, b"begin"),
    frames.Connect(8192, 8191, b"\0"),
    frames.Accept(300, 64, b"middle"),
    frames.Close(0, b""),
    frames.Close(256, "Schöne Grüße".encode()),
    frames.Close(LARGEST, b"t" * 256),
    frames.Close(1, b"not text: \xff"),
    frames.PathChallenge(random_bytes("challenge", 8)),
    frames.PathResponse(random_bytes("challenge", 8)),
    frames.NewConnectionId(1, CONNECTION_ID, TOKEN),
    frames.RetireConnectionId(0),
    frames.Time(1_700_000_000_000_000),
    frames.TimeReply(1_700_000_000_000_000, 64, 16_384),
    frames.Kem(1184, 1024, random_bytes("end of a key", 160)),
    frames.Reserved(64, b""),
    frames.Reserved(127, b"of a later version"),
    frames.Message(0, 1, b"hello"),
    frames.Message(0, 1, b"", has_length=False),
    frames.Message(15, 16_383, b"to the end", has_length=False),
    frames.Message(16, 16_384, b"behind the type"),
    frames.Message(255, LARGEST, b"", has_length=False),
    frames.Fragment(0, 7, 65, 1, b"!"),
    frames.Fragment(0, 7, 128, 1, b"f" * 64),
    frames.Fragment(3, 7, 8_389_011, 131_078, b"nineteen bytes here", has_length=False),
    frames.Fragment(3, 7, 8_389_011, 0, b"f" * 128, has_length=False),
    frames.Fragment(200, 64, 5, 0, b"whole"),
    frames.Fragment(200, 64, 1000, 14, b"f" * 64, has_length=False),
)


def as_vector(frame: frames.Frame) -> Vector:
    return hexed({"frame": NAMES[type(frame)]} | frame._asdict())


def frame_vectors() -> list[Vector]:
    return [as_vector(frame) | {"bytes": frames.pack(frame).hex()} for frame in FRAMES]


PAYLOADS = (
    [frames.Ping()],
    [frames.Ack(700, ((3, 9),)), frames.Message(1, 5, b"chat", has_length=False)],
    [frames.Message(0, 1, b"a"), frames.Message(16, 1, b""), frames.Ping(), frames.Padding()],
    [frames.Fragment(1, 2, 1000, 0, b"f" * 64), frames.Reserved(100, b"?"), frames.Time(5)],
    [frames.Ping(), *[frames.Padding()] * 100],
)
# What encoders do not write, but decoders read: varints longer than they need to be.
LONGER = (
    ("02 4009 4000 4000 4005", frames.Ack(0, ((4, 9),))),
    ("06 4001 4002 6f6b", frames.Close(1, b"ok")),
    ("90 c000000000000005 80000002 6869", frames.Message(0, 5, b"hi")),
    ("0b c000000000000000", frames.Time(0)),
)


def payload_vectors() -> list[Vector]:
    """Return payloads and their frames; `is_shortest` tells whether encoding gives them again."""
    found = [
        {"bytes": frames.pack_all(payload).hex(), "is_shortest": True, "frames": payload}
        for payload in PAYLOADS
    ]
    for data, frame in LONGER:
        found.append({"bytes": data.replace(" ", ""), "is_shortest": False, "frames": [frame]})
    return [each | {"frames": [as_vector(one) for one in each["frames"]]} for each in found]


# Numbers.

WRITTEN = (
    *((1, 0), (128, 0), (129, 0), (32_768, 0), (32_769, 0), (8_388_608, 0), (8_388_609, 0)),
    *((1 << 31, 0), (256, 255), (300, 172), (300, 171), (LARGEST, LARGEST - 1)),
    *((0xAC5C02, 0xABE8B3), (0xACE8FE, 0xABE8B3)),
)
READ = (
    *((0, "01"), (0, "80"), (0, "81"), (0, "82"), (0, "ff"), (0, "00"), (127, "00"), (128, "00")),
    *((255, "00"), (255, "80"), (255, "81"), (300, "2d"), (1000, "e8"), (0xA82F30EA, "9b32")),
    *((0xA82F30EA, "a82f9b32"), (70_000, "ffff"), (LARGEST - 1, "ff"), (LARGEST - 1, "fe")),
    *((LARGEST, "00"), (LARGEST, "ff"), (5, "ffffff"), ((1 << 32) + 5, "ffffffff")),
)


def numbers_written() -> list[list]:
    """Return [number, newest acked, bytes]."""
    found = []
    for number, acked in WRITTEN:
        size = packets.number_size(number, acked)
        found.append([number, acked, (number % (1 << 8 * size)).to_bytes(size, "big").hex()])
    return found


def numbers_read() -> list[list]:
    """Return [newest received, bytes, number]; numbers that a receiver rejects are among them."""
    found = []
    for newest, low in READ:
        size = len(low) // 2
        found.append([newest, low, packets.whole_number(int(low, 16), size, newest)])
    return found


# Sealed packets, under the keys of the answer without ML-KEM to the hello of form 1.


def secrets() -> dict[str, bytes]:
    """Return secret_0 of each side."""
    transcript, answer = hellos()["form 1"].transcript, handshake.pack_answer(PLAIN_ANSWER)
    ecdh = keys.shared_secret(inputs.CLIENT, PLAIN_ANSWER.ephemeral_key)
    return {
        side: keys.first_secret(label, transcript, answer, ecdh)
        for side, label in (("client", keys.CLIENT), ("server", keys.SERVER))
    }


SENT = (
    *((0, 1, 0), (0, 129, 0), (0, 1000, 999), (1, 70_000, 0), (2, 1 << 30, 5)),
    (1, LARGEST, LARGEST - 9),
)
"""n, packet number, newest acked."""


def keys_of(secret_0: bytes, n: int) -> keys.Keys:
    secret = secret_0
    for _ in range(n):
        secret = keys.next_secret(secret)
    return keys.packet_keys(n, secret)


def sealed_vectors() -> list[Vector]:
    found = []
    for sender in ("client", "server"):
        for place, (n, number, acked) in enumerate(SENT):
            payload = frames.pack_all(list(PAYLOADS[place % len(PAYLOADS)]))
            found.append(_sealed(sender, n, number, acked, payload))
    return found


def _sealed(sender: str, n: int, number: int, acked: int, payload: bytes) -> Vector:
    secret = secrets()[sender]
    phase, mask_key = keys_of(secret, n), keys.mask_key(secret)
    connection_id = CONNECTION_ID if sender == "client" else b""
    datagram = packets.seal(phase, mask_key, connection_id, number, payload, acked)
    size = packets.number_size(number, acked)
    return hexed(
        {
            "sender": sender,
            "secret_0": secret,
            "mask_key": mask_key,
            **phase._asdict(),
            "number": number,
            "newest_acked": acked,
            "connection_id": connection_id,
            "payload": payload,
            "header": packets.pack_header(phase, connection_id, number, size),
            "nonce": packets.nonce(phase.iv, number),
            "mask": packets.mask(mask_key, datagram[-16:]),
            "datagram": datagram,
        }
    )
