"""Hellos at a rate, each from an address and with a key that go together only once: a program.

Arguments: the server's port, hellos per second, seconds. It says "ready", waits for a line, and
says how many it has sent.
"""

from __future__ import annotations

import math
import socket
import sys
import time

from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import PacketType
from mpgameserver.wire.handshake import ClientHello, encode_clear_packet, hello_size
from mpgameserver.wire.packet import Packet

ADDRESSES = 3989
KEYS = 257  # prime to the addresses: a pair comes again only after a million hellos
PAUSE = 0.0005


def sources(port: int) -> list[socket.socket]:
    """Sockets of thousands of hosts, all towards the server."""
    found = []
    for number in range(ADDRESSES):
        source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        source.bind((f"127.1.{number // 200}.{1 + number % 200}", 0))
        source.connect(("127.0.0.1", port))
        source.setblocking(False)
        found.append(source)
    return found


def hellos() -> list[bytes]:
    """Hellos that pass every check."""
    size = hello_size(Packet.MAX_PAYLOAD_SIZE)
    keys = (EllipticCurvePrivateKey.new().getPublicKey().getBytes() for _ in range(KEYS))
    messages = (ClientHello(key).encode(size) for key in keys)
    now = int(time.time())
    return [encode_clear_packet(PacketType.CLIENT_HELLO, 1, 1, m, now) for m in messages]


def flood(port: int, rate: float, seconds: float) -> int:
    """Send, and tell how many."""
    from_where, what = sources(port), hellos()
    print("ready", flush=True)
    sys.stdin.readline()
    sent, start = 0, time.monotonic()
    while (passed := time.monotonic() - start) < seconds:
        for number in range(sent, math.floor(passed * rate)):
            from_where[number % ADDRESSES].send(what[number % KEYS])
            sent = number + 1
        time.sleep(PAUSE)
    return sent


if __name__ == "__main__":
    print(flood(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])), flush=True)
