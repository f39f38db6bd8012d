"""The unencrypted packets: hellos with an offer, RETRY, SERVER_HELLO2 and stateless reset."""

from __future__ import annotations

from typing import NamedTuple

from support import wire
from support.wire import WireError
from support.wire2.fields import (
    Reader,
    pack_bytes8,
    pack_bytes16,
    pack_extensions,
    to_text,
)
from support.wire2.keys import check_encapsulation_key, load_point, sha256, verify

VERSION = 2
HANDSHAKE = 4
CLIENT_HELLO2, RETRY, SERVER_HELLO2, RESET = range(1, 5)
KINDS = {"server": {CLIENT_HELLO2}, "client": {RETRY, SERVER_HELLO2, RESET}}
"""The kinds of handshake packet that each side receives."""
ANY_WORKER = 255
TO_CLIENT = bytes([HANDSHAKE, ANY_WORKER])
HELLO_SIZE = 1200
MAX_COOKIE = 32
MAX_AUDIENCE = 40
LAST_WORKER = 82
MAGIC = b"MPGOFFER"
DOWNGRADED = b"MPG2DOWN"
SIGNED = b"mpgameserver 2 server hello\0"

ML_KEM, IDLE_TIMEOUT, LARGEST_DATAGRAM = 1, 2, 3
OFFER_SIZES = {ML_KEM: {1184}}
CIPHERTEXT_SIZE = 1088
LIMIT_SIZES = {IDLE_TIMEOUT: {4}, LARGEST_DATAGRAM: {2}}
ANSWER_SIZES = {ML_KEM: {0, CIPHERTEXT_SIZE}} | LIMIT_SIZES
LEAST = {IDLE_TIMEOUT: 1, LARGEST_DATAGRAM: 1200}


def kind_of_datagram(datagram: bytes, receiver: str) -> str:
    """Return "version 1", "sealed" or "handshake" for a datagram to the "server" or "client"."""
    first = Reader(datagram).byte()
    if first == ord("F"):
        return "version 1"
    if 8 <= first <= 15:
        return "sealed"
    if first != HANDSHAKE or len(datagram) < 3 or datagram[2] not in KINDS[receiver]:
        raise WireError("not a datagram of this direction")
    return "handshake"


# The offer.


class Offer(NamedTuple):
    random: bytes
    versions: bytes
    audience: str
    extensions: dict[int, bytes]


def pack_offer(offer: Offer) -> bytes:
    strings = pack_bytes8(offer.versions) + pack_bytes8(offer.audience.encode())
    return offer.random + strings + pack_extensions(offer.extensions)


def unpack_offer(data: bytes) -> Offer:
    reader = Reader(data)
    random, versions, audience = reader.take(32), reader.bytes8(), reader.bytes8()
    offer = Offer(random, versions, to_text(audience), reader.extensions(OFFER_SIZES))
    reader.end()
    if list(versions) != sorted(set(versions)):
        raise WireError("versions out of order")
    if len(audience) > MAX_AUDIENCE:
        raise WireError("an audience above 40 bytes")
    if ML_KEM in offer.extensions:
        check_encapsulation_key(offer.extensions[ML_KEM])
    return offer


# The hellos. Form 1 is that of version 1, form 2 is CLIENT_HELLO2.


class Hello(NamedTuple):
    form: int
    key: bytes
    cookie: bytes
    offer: bytes
    routing: int = ANY_WORKER

    @property
    def transcript(self) -> bytes:
        return bytes([self.form]) + self.key + pack_bytes16(self.offer)

    @property
    def name(self) -> bytes:
        """By which the server's packets name it: the form, and the begin of the random."""
        return bytes([self.form]) + self.offer[:8]

    @property
    def speaks_version_2(self) -> bool:
        """False for one that is answered in version 1."""
        return VERSION in unpack_offer(self.offer).versions


def pack_filler(hello: Hello, size: int, random: bytes) -> bytes:
    """Return the filler of a hello of version 1, whose rest is the begin of `random`."""
    begin = MAGIC + pack_bytes8(hello.cookie) + pack_bytes16(hello.offer)
    if len(begin) > size:
        raise ValueError(f"{len(begin)} bytes do not fit into {size}")
    return begin + random[: size - len(begin)]


def hello_in_filler(filler: bytes, key: bytes) -> Hello | None:
    """Return the hello with an offer that a filler begins with, None if there is none."""
    if not filler.startswith(MAGIC):
        return None
    reader = Reader(filler[len(MAGIC) :])
    hello = Hello(1, key, reader.bytes8(), reader.bytes16())
    return _checked(hello)


def pack_hello1(hello: Hello, header: wire.Header, mtu: int, random: bytes) -> bytes:
    """Return the datagram of a hello of version 1 that has an offer."""
    der = wire.key_der(load_point(hello.key))
    used = len(wire.pack_client_hello(der, b""))
    filler = pack_filler(hello, wire.sizes(mtu).client_hello - used, random)
    message = wire.Message(header.seq, wire.CLIENT_HELLO, wire.pack_client_hello(der, filler))
    return wire.pack_clear(header, message)


def unpack_hello1(datagram: bytes, mtu: int) -> Hello | None:
    """Return the hello of a CLIENT_HELLO of version 1, None if it has no offer."""
    header, message = wire.unpack_clear(datagram)
    if header.type != wire.CLIENT_HELLO:
        raise WireError("not a CLIENT_HELLO")
    der = wire.unpack_client_hello(message.payload, mtu)
    filler = message.payload[len(wire.pack_client_hello(der, b"")) :]
    return hello_in_filler(filler, der[-65:])


def pack_hello2(hello: Hello, padding: bytes = bytes(HELLO_SIZE)) -> bytes:
    begin = bytes([HANDSHAKE, hello.routing, CLIENT_HELLO2]) + hello.key
    whole = begin + pack_bytes8(hello.cookie) + pack_bytes16(hello.offer)
    return whole + padding[: HELLO_SIZE - len(whole)]


def unpack_hello2(datagram: bytes) -> Hello:
    if len(datagram) != HELLO_SIZE:
        raise WireError("not 1,200 bytes")
    reader = Reader(datagram)
    reader.constant(bytes([HANDSHAKE]))
    routing = reader.byte()
    reader.constant(bytes([CLIENT_HELLO2]))
    hello = Hello(2, reader.take(65), reader.bytes8(), reader.bytes16(), routing)
    if not _checked(hello).speaks_version_2:
        raise WireError("version 2 is not offered")
    return hello


def _checked(hello: Hello) -> Hello:
    """Return a hello whose parts are as the page has them, for a server of any audience."""
    if len(hello.cookie) > MAX_COOKIE:
        raise WireError("a cookie above 32 bytes")
    unpack_offer(hello.offer)
    load_point(hello.key)
    return hello


# RETRY and stateless reset.


class Retry(NamedTuple):
    form: int
    hello_random: bytes
    routing: int
    cookie: bytes


def pack_retry(retry: Retry) -> bytes:
    name = bytes([retry.form]) + retry.hello_random
    return TO_CLIENT + bytes([RETRY]) + name + bytes([retry.routing]) + pack_bytes8(retry.cookie)


def unpack_retry(datagram: bytes, hellos: list[Hello]) -> tuple[Retry, Hello]:
    """Return a RETRY, and the hello to go on with, of those that the attempt has or may send."""
    reader = Reader(datagram)
    reader.constant(TO_CLIENT + bytes([RETRY]))
    retry = Retry(reader.byte(), reader.take(8), reader.byte(), reader.bytes8())
    reader.end()
    if not 1 <= len(retry.cookie) <= MAX_COOKIE:
        raise WireError("a cookie that is empty or above 32 bytes")
    if LAST_WORKER < retry.routing < ANY_WORKER:
        raise WireError("the routing byte of no worker")
    hello = _named(bytes([retry.form]) + retry.hello_random, hellos)
    if retry.routing != ANY_WORKER:
        # A hello of version 1 has no routing byte of its own.
        hello = next((each for each in hellos if each.form == 2), hello)
    return retry, hello._replace(cookie=retry.cookie, routing=retry.routing)


def _named(name: bytes, hellos: list[Hello]) -> Hello:
    for hello in hellos:
        if hello.name == name:
            return hello
    raise WireError("the name of no hello of this attempt")


def pack_reset(token: bytes) -> bytes:
    return TO_CLIENT + bytes([RESET]) + token


def unpack_reset(datagram: bytes) -> bytes:
    """Return the token of a stateless reset."""
    reader = Reader(datagram)
    reader.constant(TO_CLIENT + bytes([RESET]))
    token = reader.take(16)
    reader.end()
    return token


# SERVER_HELLO2.


class Answer(NamedTuple):
    version: int
    root_key: bytes
    ephemeral_key: bytes
    random: bytes
    connection_id: bytes
    extensions: dict[int, bytes]


def pack_answer(answer: Answer) -> bytes:
    keys = answer.root_key + answer.ephemeral_key
    begin = bytes([answer.version]) + keys + answer.random + answer.connection_id
    return begin + pack_extensions(answer.extensions)


def unpack_answer(data: bytes, offer: Offer) -> Answer:
    """Return the answer to that offer."""
    reader = Reader(data)
    begin = reader.byte(), reader.take(65), reader.take(65), reader.take(32), reader.take(8)
    answer = Answer(*begin, reader.extensions(ANSWER_SIZES))
    reader.end()
    if answer.version != VERSION or VERSION not in offer.versions:
        raise WireError("a version that is not 2, or was not offered")
    load_point(answer.root_key)
    load_point(answer.ephemeral_key)
    if answer.connection_id[0] > LAST_WORKER:
        raise WireError("a connection id of no worker")
    if answer.extensions.get(ML_KEM) and ML_KEM not in offer.extensions:
        raise WireError("an ML-KEM ciphertext that was not asked for")
    check_limits(answer.extensions)
    return answer


def check_limits(extensions: dict[int, bytes]) -> None:
    """Check an idle timeout and a largest datagram, which connect data may have too."""
    for type_, least in LEAST.items():
        if type_ in extensions and int.from_bytes(extensions[type_], "big") < least:
            raise WireError(f"extension {type_} is below {least}")


def signed_bytes(transcript: bytes, answer: bytes) -> bytes:
    """Return what the root key signs."""
    return SIGNED + sha256(transcript + answer)


def pack_server_hello2(hello: Hello, answer: bytes, signature: bytes) -> bytes:
    return TO_CLIENT + bytes([SERVER_HELLO2]) + hello.name + pack_bytes16(answer) + signature


class ServerHello(NamedTuple):
    hello: Hello
    answer: bytes
    parts: Answer
    signature: bytes


def unpack_server_hello2(
    datagram: bytes, hellos: list[Hello], pinned: bytes | None = None
) -> ServerHello:
    """Return a SERVER_HELLO2 that answers one of the hellos and verifies.

    The pinned root key is a point; without one the hello's own is believed.
    """
    reader = Reader(datagram)
    reader.constant(TO_CLIENT + bytes([SERVER_HELLO2]))
    hello = _named(reader.take(9), hellos)
    answer, signature = reader.bytes16(), reader.take(64)
    reader.end()
    parts = unpack_answer(answer, unpack_offer(hello.offer))
    if pinned not in (None, parts.root_key):
        raise WireError("another root key than the pinned one")
    verify(parts.root_key, signature, signed_bytes(hello.transcript, answer))
    return ServerHello(hello, answer, parts, signature)


# What each side does with an unencrypted datagram.


def at_server(datagram: bytes, audience: str, mtu: int, worker: int = 0) -> Hello | None:
    """Return the hello that came to a server of that audience, None if it has no offer."""
    if kind_of_datagram(datagram, "server") == "version 1":
        hello = unpack_hello1(datagram, mtu)
    else:
        hello = unpack_hello2(datagram)
    if hello and unpack_offer(hello.offer).audience != audience:
        raise WireError("another audience")
    if hello and hello.routing not in (worker, ANY_WORKER):
        raise WireError("for another worker")
    return hello


def at_client(
    datagram: bytes, hellos: list[Hello], pinned: bytes | None = None
) -> tuple[Retry, Hello] | ServerHello | bytes:
    """Return what came to a client that has sent these hellos: bytes are a reset token."""
    if kind_of_datagram(datagram, "client") != "handshake":
        raise WireError("not a handshake packet of version 2")
    if datagram[2] == RETRY:
        return unpack_retry(datagram, hellos)
    if datagram[2] == RESET:
        return unpack_reset(datagram)
    return unpack_server_hello2(datagram, hellos, pinned)


# Downgrade.


def downgraded_salt(random: bytes) -> bytes:
    """Return the salt of a SERVER_HELLO to a client without an offer, from 8 random bytes."""
    return random + DOWNGRADED


def is_downgraded(salt: bytes) -> bool:
    return salt.endswith(DOWNGRADED)
