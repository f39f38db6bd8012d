"""Forged hellos of protocol 2, and what they cost a server beside the system calls.

Each comes from an address of its own, with a key of its own, after as many as it takes for the
server to ask for cookies. The server is the package's, without its socket: a hello goes in where a
datagram that was read does, and the RETRY is taken where the next one to be sent is.
"""

from __future__ import annotations

import os
import time
from itertools import cycle

from timing import Timed

from mpgameserver import EventHandler, ServerContext
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import PacketType
from mpgameserver.server.engine import ServerEngine
from mpgameserver.server.limits import Limits
from mpgameserver.wire.handshake import (
    ClientHello,
    encode_clear_packet,
    hello_size,
)
from mpgameserver.wire.packet import Packet
from mpgameserver.wire.protocol2.hello import POINT_SIZE, ClientHello2, Offer, offer_filler

NOW, WALL_NOW = 1000.0, 1_800_000_000.0
COOKIE_SIZE = 17
HOT = 64
"""Different hellos: what was just read is in the cache."""
_DER = EllipticCurvePrivateKey.new().getPublicKey().getBytes()


def _point() -> bytes:
    """Bytes that look like a key: whether it is one is not asked before a cookie came back."""
    return b"\x04" + os.urandom(POINT_SIZE - 1)


def hello2(cookie: bytes) -> bytes:
    """A hello in 1,200 bytes."""
    return ClientHello2(_point(), Offer(os.urandom(32)), cookie).encode()


def hello1(cookie: bytes) -> bytes:
    """A hello of version 1 with an offer."""
    size = hello_size(Packet.MAX_PAYLOAD_SIZE)
    der = _DER[:-POINT_SIZE] + _point()
    message = ClientHello(der).encode(size, os.urandom, offer_filler(Offer(os.urandom(32)), cookie))
    return encode_clear_packet(PacketType.CLIENT_HELLO, 1, 1, message, int(WALL_NOW))


def forged(form: int, has_cookie: bool, count: int) -> Timed:
    """A flood of hellos of one form, with a cookie that is none or without one."""
    make = hello2 if form == 2 else hello1
    load = int(Limits().handshake_rate) + 1
    cookies = [os.urandom(COOKIE_SIZE) if has_cookie else b"" for _ in range(HOT)]
    hellos = [make(cookie) for cookie in cookies]
    addresses = [(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 5000) for n in range(load + count)]

    def timed() -> float:
        engine = ServerEngine(ServerContext(EventHandler()))
        engine.start(NOW)
        receive, answers = engine.dispatcher.receive, engine.dispatcher.answers
        for datagram, address in zip(cycle(hellos), addresses[:load], strict=False):
            receive(datagram, address, NOW, WALL_NOW)
        engine.admission.handshakes2.clear()
        answers.take_all()
        asked = engine.stats.retries
        began = time.perf_counter()
        for datagram, address in zip(cycle(hellos), addresses[load:], strict=False):
            receive(datagram, address, NOW, WALL_NOW)
            answers.take()
        elapsed = time.perf_counter() - began
        if engine.stats.retries - asked != count:
            raise AssertionError(f"not every hello was answered with RETRY: {engine.stats}")
        return elapsed / count * 1e6

    return timed
