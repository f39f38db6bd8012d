"""Unencrypted datagrams that a receiver must reject, each with the reason."""

from __future__ import annotations

from support import wire
from support.vectors2 import inputs
from support.vectors2.handshake import (
    COOKIE,
    HELLO_TIME,
    KEY,
    MTU,
    NAMED_OFFER,
    PLAIN_ANSWER,
    PLAIN_OFFER,
    Vector,
    hellos,
    hexed,
    server_hello,
)
from support.vectors2.inputs import point_of, random_bytes
from support.wire2 import handshake, keys
from support.wire2.fields import pack_bytes16
from support.wire2.handshake import Hello

Cases = list[tuple[str, bytes]]

PLAIN = handshake.pack_offer(PLAIN_OFFER)
OFF_CURVE = KEY[:-1] + bytes([KEY[-1] ^ 1])


def listed(cases: Cases) -> list[Vector]:
    return [hexed({"reason": reason, "bytes": data}) for reason, data in cases]


def block(*extensions: tuple[int, bytes]) -> bytes:
    """Return an extension block in the order given."""
    each = (type_.to_bytes(2, "big") + pack_bytes16(value) for type_, value in extensions)
    return pack_bytes16(b"".join(each))


def varints() -> Cases:
    whole = (b"\x40\x41", b"\x80\0\0\x41", b"\xc0" + b"\0" * 6 + b"\x41")
    return [("ends too soon", b"")] + [("ends too soon", each[:-1]) for each in whole]


def offers() -> Cases:
    extensions = handshake.pack_offer(PLAIN_OFFER)[-2:]
    begin = PLAIN_OFFER.random + b"\1\2\0"
    return [
        ("empty", b""),
        ("ends within the random", PLAIN[:31]),
        ("without an extension block", PLAIN[:-2]),
        ("a byte behind the end", PLAIN + b"\0"),
        ("versions out of order", PLAIN_OFFER.random + b"\2\3\2\0" + extensions),
        ("a version twice", PLAIN_OFFER.random + b"\2\2\2\0" + extensions),
        ("the audience is not UTF-8", PLAIN_OFFER.random + b"\1\2\1\xff" + extensions),
        ("the audience runs past the end", PLAIN_OFFER.random + b"\1\2\xff" + extensions),
        (
            "an audience of 41 bytes",
            handshake.pack_offer(PLAIN_OFFER._replace(audience="a" * 41)),
        ),
        ("an extension twice", begin + block((5, b""), (5, b""))),
        ("extensions out of order", begin + block((6, b""), (5, b""))),
        ("an extension that ends within its type", begin + b"\0\1\0"),
        ("an extension that runs past the block", begin + b"\0\5\0\5\0\2a"),
        ("a block that runs past the offer", begin + b"\0\5\0\5\0\0"),
        ("ML-KEM key of 1,183 bytes", begin + block((1, inputs.KEM_PUBLIC[:-1]))),
        ("ML-KEM key of 1,185 bytes", begin + block((1, inputs.KEM_PUBLIC + b"\0"))),
        (
            "ML-KEM key whose first coefficient is the modulus",
            begin
            + block((1, bytes([0x01, 0x0D | inputs.KEM_PUBLIC[1] & 0xF0]) + inputs.KEM_PUBLIC[2:])),
        ),
        (
            "ML-KEM key whose last coefficient is 4,095",
            begin + block((1, inputs.KEM_PUBLIC[:1150] + b"\xff\xff" + inputs.KEM_PUBLIC[1152:])),
        ),
        ("ML-KEM key that is empty", begin + block((1, b""))),
    ]


# Datagrams to a server whose audience is empty.


def hello1(filler: bytes, type_: int = wire.CLIENT_HELLO) -> bytes:
    """Return a hello of version 1 whose filler begins so, and is zero else."""
    key = wire.key_der(keys.load_point(KEY))
    used = len(wire.pack_client_hello(key, b""))
    padding = filler.ljust(wire.sizes(MTU).client_hello - used, b"\0")
    identifier = wire.TO_SERVER if type_ == wire.CLIENT_HELLO else wire.TO_CLIENT
    header = wire.Header(identifier, HELLO_TIME, 1, 0, type_, 0, 1, 0)
    return wire.pack_clear(header, wire.Message(1, type_, wire.pack_client_hello(key, padding)))


def to_server() -> Cases:
    good = hellos()["form 2"]
    packed = handshake.pack_hello2(good)
    other_kinds = [
        (f"kind {kind} does not go to the server", packed[:2] + bytes([kind]) + packed[3:])
        for kind in (0, 2, 3, 4, 5, 255)
    ]
    first_bytes = [
        (f"a first byte of {first}", bytes([first]) + packed[1:])
        for first in (0, 3, 5, 7, 16, 0x45, 0x47, 0x80, 0xFF)
    ]
    magic = handshake.MAGIC
    with_offer = magic + b"\0" + pack_bytes16(PLAIN)
    return [
        ("empty", b""),
        ("a first byte alone", packed[:1]),
        *first_bytes,
        *other_kinds,
        ("CLIENT_HELLO2 of 1,199 bytes", packed[:-1]),
        ("CLIENT_HELLO2 of 1,201 bytes", packed + b"\0"),
        *[
            (f"routing byte {routing}", handshake.pack_hello2(good._replace(routing=routing)))
            for routing in (1, 83, 254)
        ],
        ("no version", handshake.pack_hello2(_offering(b""))),
        ("version 2 is not named", handshake.pack_hello2(_offering(b"\1\3"))),
        ("a key that is not on the curve", handshake.pack_hello2(good._replace(key=OFF_CURVE))),
        (
            "a key in the hybrid form",
            handshake.pack_hello2(good._replace(key=bytes([6 | KEY[-1] & 1]) + KEY[1:])),
        ),
        ("a cookie of 33 bytes", handshake.pack_hello2(good._replace(cookie=b"c" * 33))),
        ("an offer that runs past the end", packed[:69] + b"\xff\xff" + packed[71:]),
        (
            "another audience",
            handshake.pack_hello2(Hello(2, KEY, b"", handshake.pack_offer(NAMED_OFFER))),
        ),
        *[
            (f"form 1, offer: {reason}", hello1(magic + b"\0" + pack_bytes16(offer)))
            for reason, offer in offers()
        ],
        ("form 1, in a packet of another type", hello1(with_offer, type_=wire.SERVER_HELLO)),
        ("form 1, a cookie of 33 bytes", hello1(magic + b"\x21" + b"c" * 33 + pack_bytes16(PLAIN))),
        ("form 1, an offer that runs past the end", hello1(magic + b"\0\xff\xff" + PLAIN)),
        (
            "form 1, another audience",
            hello1(magic + b"\0" + pack_bytes16(handshake.pack_offer(NAMED_OFFER))),
        ),
    ]


def _offering(versions: bytes) -> Hello:
    return Hello(2, KEY, b"", handshake.pack_offer(PLAIN_OFFER._replace(versions=versions)))


# Datagrams to a client that has pinned the root key and sent the hellos of forms 1 and 2, the
# first with an ML-KEM key.


def to_client() -> Cases:
    hello = hellos()["form 1"]
    retry = handshake.pack_retry(handshake.Retry(1, hello.offer[:8], 255, COOKIE))
    begin = retry[:13]
    reset = handshake.pack_reset(random_bytes("token", 16))
    client_hello = handshake.pack_hello2(hellos()["form 2"])
    return [
        ("empty", b""),
        ("CLIENT_HELLO2 does not go to the client", client_hello),
        ("kind 0", handshake.TO_CLIENT + b"\0" + retry[3:]),
        ("kind 5", handshake.TO_CLIENT + b"\5" + retry[3:]),
        ("RETRY: a first byte of 5", b"\5" + retry[1:]),
        ("RETRY: another second byte than 255", b"\4\0" + retry[2:]),
        ("RETRY: an empty cookie", begin + b"\0"),
        ("RETRY: a cookie of 33 bytes", begin + b"\x21" + b"c" * 33),
        ("RETRY: the cookie runs past the end", retry[:-1]),
        ("RETRY: a byte behind the end", retry + b"\0"),
        ("RETRY: the random of no hello sent", retry[:4] + b"\0" * 8 + retry[12:]),
        ("RETRY: form 0", retry[:3] + b"\0" + retry[4:]),
        ("RETRY: form 3", retry[:3] + b"\3" + retry[4:]),
        ("RETRY: routing byte 83", retry[:12] + b"\x53" + retry[13:]),
        ("RETRY: routing byte 254", retry[:12] + b"\xfe" + retry[13:]),
        ("stateless reset of 18 bytes", reset[:-1]),
        ("stateless reset of 20 bytes", reset + b"\0"),
        *server_hellos(),
    ]


def server_hellos() -> Cases:
    hello, form_2 = hellos()["form 1"], hellos()["form 2"]
    packed = handshake.pack_answer(PLAIN_ANSWER)
    good = server_hello(hello, packed)
    zero, order = b"\0" * 32, inputs.ORDER.to_bytes(32, "big")
    wrong_transcript = server_hello(form_2, packed)[12:]
    wrong_root = handshake.pack_answer(PLAIN_ANSWER._replace(root_key=point_of(inputs.OTHER)))
    return [
        *[(f"answer: {reason}", server_hello(on, data)) for reason, on, data in answers()],
        ("a byte behind the end", good + b"\0"),
        ("ends too soon", good[:-1]),
        ("the random of no hello sent", good[:4] + b"\0" * 8 + good[12:]),
        ("form 3", good[:3] + b"\3" + good[4:]),
        ("the other form", good[:3] + b"\2" + good[4:]),
        ("another second byte than 255", b"\4\0" + good[2:]),
        ("r is 0", good[:-64] + zero + good[-32:]),
        ("s is 0", good[:-32] + zero),
        ("s is the order of the group", good[:-32] + order),
        ("signed for another hello", handshake.TO_CLIENT + b"\3" + hello.name + wrong_transcript),
        ("signed by another key", server_hello(hello, packed, inputs.OTHER)),
        ("another root key than the pinned", server_hello(hello, wrong_root, inputs.OTHER)),
        ("the answer alone is signed", _signed(hello, packed, keys.sha256(packed))),
        (
            "signed without the label",
            _signed(hello, packed, handshake.signed_bytes(hello.transcript, packed)[28:]),
        ),
    ]


def _signed(hello: Hello, answer: bytes, signed: bytes) -> bytes:
    return handshake.pack_server_hello2(hello, answer, inputs.sign(inputs.ROOT, signed))


def answers() -> list[tuple[str, Hello, bytes]]:
    """Return answers to a hello that the signature does not speak against."""
    hello, form_2 = hellos()["form 1"], hellos()["form 2"]
    pack, good = handshake.pack_answer, PLAIN_ANSWER
    begin = pack(good._replace(extensions={}))[:-2]
    kem = inputs.KEM_CIPHERTEXT
    return [
        ("a byte behind the end", hello, pack(good) + b"\0"),
        ("ends too soon", hello, pack(good)[:-1]),
        ("version 1", hello, pack(good._replace(version=1))),
        ("version 3", hello, pack(good._replace(version=3))),
        ("an ephemeral key off the curve", hello, pack(good._replace(ephemeral_key=OFF_CURVE))),
        ("a ciphertext that was not asked for", form_2, begin + block((1, kem))),
        ("a ciphertext of 1,087 bytes", hello, begin + block((1, kem[:-1]))),
        ("an idle timeout of 2 bytes", hello, begin + block((2, b"\0\1"))),
        ("an idle timeout of 0", hello, begin + block((2, b"\0" * 4))),
        ("a connection id of no worker", hello, pack(good._replace(connection_id=b"\x53" * 8))),
        ("a largest datagram of 1 byte", hello, begin + block((3, b"\x0f"))),
        ("a largest datagram of 1,199", hello, begin + block((3, b"\4\xaf"))),
        ("an extension twice", hello, begin + block((9, b""), (9, b""))),
        ("extensions out of order", hello, begin + block((9, b""), (2, b"\0\0\0\1"))),
    ]
