"""Vectors of the handshake: hellos, RETRY, SERVER_HELLO2, keys, and the data behind them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from support import wire
from support.vectors2 import inputs
from support.vectors2.inputs import point_of, random_bytes, scalar_of
from support.wire2 import fields, frames, handshake, keys, tables, tokens
from support.wire2.handshake import Answer, Hello, Offer

Vector = dict[str, Any]

MTU = 1500
HELLO_TIME = 0x6553F100
KEY = point_of(inputs.CLIENT)
COOKIE = tokens.cookie(random_bytes("cookie secret", 32), 172_000_000, b"192.0.2.1:5000", KEY)
KEM_OFFER = Offer(random_bytes("offer", 32), b"\2", "", {1: inputs.KEM_PUBLIC})
PLAIN_OFFER = KEM_OFFER._replace(extensions={})
NAMED_OFFER = Offer(random_bytes("named offer", 32), b"\1\2\x09", "Köln-1", {0x7777: b"new"})
CONNECTION_ID = b"\0" + random_bytes("connection id", 7)
PLAIN_ANSWER = Answer(
    2,
    point_of(inputs.ROOT),
    point_of(inputs.EPHEMERAL),
    random_bytes("answer", 32),
    CONNECTION_ID,
    {2: (30_000).to_bytes(4, "big"), 3: (1472).to_bytes(2, "big")},
)
KEM_ANSWER = PLAIN_ANSWER._replace(extensions={1: inputs.KEM_CIPHERTEXT})
EMPTY_KEM_ANSWER = PLAIN_ANSWER._replace(extensions={1: b""} | PLAIN_ANSWER.extensions)
FULL_ANSWER = PLAIN_ANSWER._replace(
    connection_id=b"\x52" + random_bytes("another id", 7),
    extensions=KEM_ANSWER.extensions | PLAIN_ANSWER.extensions | {0xFFFF: b""},
)


def hexed(value: Any) -> Any:
    """Return a value with every byte string as hex, and dictionaries with texts as keys."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(name): hexed(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [hexed(each) for each in value]
    return value


def varints() -> list[list[Any]]:
    """Return [bytes, value, whether they are as few as it needs]."""
    values = (0, 1, 63, 64, 16_383, 16_384, 494_878_333, (1 << 30) - 1, 1 << 30, (1 << 62) - 1)
    shortest = [[fields.pack_varint(value).hex(), value, True] for value in values]
    longer = ((0, 2), (0, 8), (37, 2), (63, 4), (16_383, 8))
    return shortest + [
        [fields.pack_varint(value, size).hex(), value, False] for value, size in longer
    ]


def extension_blocks() -> list[Vector]:
    blocks = ({}, {1: b"abc"}, {0: b"", 1: b"x", 256: b"\0" * 3, 65_535: b"last"})
    return [
        hexed({"extensions": block, "bytes": fields.pack_extensions(block)}) for block in blocks
    ]


# Hellos.


def hellos() -> dict[str, Hello]:
    kem, plain = handshake.pack_offer(KEM_OFFER), handshake.pack_offer(PLAIN_OFFER)
    named = handshake.pack_offer(NAMED_OFFER)
    of_others = handshake.pack_offer(PLAIN_OFFER._replace(versions=b"\1\3"))
    of_none = handshake.pack_offer(PLAIN_OFFER._replace(versions=b""))
    return {
        "form 1": Hello(1, KEY, b"", kem),
        "form 1 with a cookie": Hello(1, KEY, COOKIE, kem),
        "form 1 without ML-KEM": Hello(1, KEY, b"", plain),
        "form 1 with a name and an unknown extension": Hello(1, KEY, b"\xab" * 32, named),
        "form 1 for versions 1 and 3": Hello(1, KEY, b"", of_others),
        "form 1 for no version": Hello(1, KEY, b"", of_none),
        "form 2": Hello(2, KEY, b"", plain),
        "form 2 with a cookie": Hello(2, KEY, COOKIE, plain, routing=5),
        "form 2 with a name and an unknown extension": Hello(2, KEY, b"\xab" * 32, named),
    }


def hello_vectors() -> list[Vector]:
    return [hexed(_hello_vector(name, hello)) for name, hello in hellos().items()]


def _hello_vector(name: str, hello: Hello) -> Vector:
    offer = handshake.unpack_offer(hello.offer)
    vector = {
        "name": name,
        "form": hello.form,
        "client_private": scalar_of(inputs.CLIENT),
        "key": hello.key,
        "cookie": hello.cookie,
        "offer": offer._asdict() | {"bytes": hello.offer},
        "transcript": hello.transcript,
        "is_answered_in_version_2": hello.speaks_version_2,
    }
    if hello.form == 2:
        return vector | {
            "routing": hello.routing,
            "datagram": handshake.pack_hello2(hello, padding_of(hello)),
        }
    random = random_bytes("filler", 1311)
    header = wire.Header(wire.TO_SERVER, HELLO_TIME, 1, 0, wire.CLIENT_HELLO, 0, 1, 0)
    filler = handshake.pack_filler(hello, 1311, random)
    datagram = handshake.pack_hello1(hello, header, MTU, random)
    return vector | {"mtu": MTU, "time": HELLO_TIME, "filler": filler, "datagram": datagram}


def padding_of(hello: Hello) -> bytes:
    """Return zeros, or with a cookie what nobody looks at either."""
    return random_bytes("padding", 1200) if hello.cookie else bytes(1200)


def retry_vectors() -> list[Vector]:
    found = []
    for name, routing, cookie in (
        ("form 1", 255, COOKIE),
        ("form 1", 5, COOKIE),
        ("form 2", 255, b"c"),
        ("form 2", 82, b"\xab" * 32),
        ("form 2", 0, COOKIE),
    ):
        hello = hellos()[name]
        retry = handshake.Retry(hello.form, hello.offer[:8], routing, cookie)
        parts = retry._asdict() | {"datagram": handshake.pack_retry(retry)}
        found.append(hexed({"hello": name} | parts))
    return found


def cookie_vectors() -> list[Vector]:
    secret = random_bytes("cookie secret", 32)
    found = []
    for epoch, address in ((172_000_000, b"192.0.2.1:5000"), (0, b""), (255, b"[2001:db8::1]:9")):
        given = {"secret": secret, "epoch": epoch, "address": address, "key": KEY}
        made = tokens.cookie(secret, epoch, address, KEY)
        found.append(hexed(given | {"cookie": made}))
    return found


# Answers, and the keys that come of them.


def answers() -> list[tuple[str, Answer]]:
    """Return which answer each hello gets."""
    return [
        ("form 1", KEM_ANSWER),
        ("form 1", PLAIN_ANSWER),
        ("form 2", PLAIN_ANSWER),
        ("form 1", EMPTY_KEM_ANSWER),
        ("form 2", EMPTY_KEM_ANSWER),
        ("form 1 with a name and an unknown extension", PLAIN_ANSWER._replace(extensions={})),
        ("form 1", FULL_ANSWER),
    ]


def server_hello_vectors() -> list[Vector]:
    return [hexed(_server_hello_vector(name, answer)) for name, answer in answers()]


def server_hello(hello: Hello, answer: bytes, root=inputs.ROOT) -> bytes:
    """Return the SERVER_HELLO2 that a root key has signed."""
    signature = inputs.sign(root, handshake.signed_bytes(hello.transcript, answer))
    return handshake.pack_server_hello2(hello, answer, signature)


def _server_hello_vector(name: str, answer: Answer) -> Vector:
    hello = hellos()[name]
    packed = handshake.pack_answer(answer)
    datagram = server_hello(hello, packed)
    return {
        "hello": name,
        "root_private": scalar_of(inputs.ROOT),
        "ephemeral_private": scalar_of(inputs.EPHEMERAL),
        "answer": answer._asdict() | {"bytes": packed},
        "signed": handshake.signed_bytes(hello.transcript, packed),
        "signature": datagram[-64:],
        "datagram": datagram,
        "keys": _schedule(hello, answer, packed),
    }


def _schedule(hello: Hello, answer: Answer, packed: bytes) -> Vector:
    ecdh = keys.shared_secret(inputs.CLIENT, answer.ephemeral_key)
    kem = inputs.KEM_SECRET if answer.extensions.get(handshake.ML_KEM) else b""
    salt = keys.sha256(hello.transcript + packed)
    schedule: Vector = {"ecdh": ecdh, "kem_secret": kem, "salt": salt}
    schedule["prk"] = keys.extract(salt, ecdh + kem)
    schedule["export"] = keys.exported(hello.transcript, packed, ecdh + kem)
    for side, label in (("client", keys.CLIENT), ("server", keys.SERVER)):
        secret = keys.first_secret(label, hello.transcript, packed, ecdh + kem)
        schedule[side] = {"mask_key": keys.mask_key(secret), "phases": _phases(secret, 3)}
        if answer.extensions.get(handshake.ML_KEM) == b"":
            late = keys.late_secret(secret, inputs.KEM_SECRET)
            schedule[side]["phases_after_kem_frames"] = _phases(late, 2, first=1)
    return schedule


def _phases(secret: bytes, count: int, first: int = 0) -> list[Vector]:
    found = []
    for n in range(first, first + count):
        found.append({"n": n, "secret": secret} | keys.packet_keys(n, secret)._asdict())
        secret = keys.next_secret(secret)
    return found


def kem_vector() -> Vector:
    parts = {"seed": inputs.KEM_SEED, "encapsulation_key": inputs.KEM_PUBLIC}
    return hexed(parts | {"ciphertext": inputs.KEM_CIPHERTEXT, "secret": inputs.KEM_SECRET})


def downgrade_vectors() -> list[Vector]:
    marked = handshake.downgraded_salt(random_bytes("salt", 8))
    salts = (marked, random_bytes("salt", 16), marked[8:] + marked[:8])
    return [hexed({"salt": each, "is_downgraded": handshake.is_downgraded(each)}) for each in salts]


# Connect data and accept data.

CHANNELS = [
    tables.Channel(1, tables.ORDERED, (1024, 262_144), "chat"),
    tables.Channel(7, tables.LATEST, None, "x"),
    tables.Channel(15, tables.SEQUENCED, None, "é" * 32),
    tables.Channel(16, tables.UNORDERED, None, "loot"),
    tables.Channel(255, tables.ORDERED, (0, (1 << 62) - 1), "last"),
]
LIMITS = {2: (10_000).to_bytes(4, "big"), 3: (1200).to_bytes(2, "big"), 9: b"?"}
CONNECT_DATA = tables.ConnectData(b"token of the game", CHANNELS, {})
TOKEN = tokens.reset_token(random_bytes("reset secret", 32), CONNECTION_ID)
ACCEPT_DATA = tables.AcceptData(TOKEN, [(64, 65_536), (1, 8_389_011)])


def connect_data_vectors() -> list[Vector]:
    each = (
        CONNECT_DATA,
        tables.ConnectData(b"", [], {}),
        tables.ConnectData(b"\xff" * 1024, CHANNELS[:1], LIMITS),
    )
    return [_data_vector(data, tables.pack_connect_data(data)) for data in each]


def accept_data_vectors() -> list[Vector]:
    """Return accept data, each with the ordered channels that its windows are of."""
    each = (([1, 255], ACCEPT_DATA), ([], tables.AcceptData(TOKEN, [])))
    return [
        hexed({"ordered": ordered} | data._asdict() | {"bytes": tables.pack_accept_data(data)})
        for ordered, data in each
    ]


def _data_vector(data: tables.ConnectData, packed: bytes) -> Vector:
    channels = [channel._asdict() for channel in data.channels]
    return hexed(data._asdict() | {"channels": channels, "bytes": packed})


def pieces_vectors() -> list[Vector]:
    """Return the payloads, one frame each, in which connect data may come."""
    data = tables.pack_connect_data(CONNECT_DATA)
    cuts = ([0, len(data)], [0, 20, 21, len(data)])
    found = []
    for cut in cuts:
        pieces = [frames.Connect(len(data), a, data[a:b]) for a, b in pairwise(cut)]
        found.append({"payloads": [frames.pack(piece) for piece in pieces], "whole": data})
    overlapping = [frames.Connect(len(data), a, data[a:]) for a in (30, 10, 0)]
    found.append({"payloads": [frames.pack(piece) for piece in overlapping], "whole": data})
    return hexed(found)


def reset_vectors() -> list[Vector]:
    secret = random_bytes("reset secret", 32)
    found = []
    for connection_id in (CONNECTION_ID, b"\0" * 8, FULL_ANSWER.connection_id):
        token = tokens.reset_token(secret, connection_id)
        given = {"secret": secret, "connection_id": connection_id, "token": token}
        found.append(hexed(given | {"datagram": handshake.pack_reset(token)}))
    return found
