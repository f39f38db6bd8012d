"""Hellos of protocol 2 from thousands of addresses, each sent twice: a program.

Arguments: the server's port, hellos per second. It says "ready", and goes on until it is killed.
"""

from __future__ import annotations

import math
import os
import socket
import sys
import time

from peer import CLIENT_CORE

from mpgameserver import EllipticCurvePrivateKey
from mpgameserver.wire.protocol2.hello import ClientHello2, Offer, point_of

ADDRESSES, HELLOS = 2000, 251  # prime to the addresses: a pair comes again after half a million
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


def flood(port: int, rate: float) -> None:
    """Send for ever."""
    from_where = sources(port)
    points = [point_of(EllipticCurvePrivateKey.new().getPublicKey()) for _ in range(HELLOS)]
    hellos = [ClientHello2(point, Offer(os.urandom(32))).encode() for point in points]
    print("ready", flush=True)
    sent, began = 0, time.monotonic()
    while True:
        due = math.floor((time.monotonic() - began) * rate / 2)
        for number in range(sent, due):
            for _ in range(2):
                from_where[number % ADDRESSES].send(hellos[number % HELLOS])
        sent = due
        time.sleep(PAUSE)


if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > CLIENT_CORE:
    os.sched_setaffinity(0, {CLIENT_CORE})
flood(int(sys.argv[1]), float(sys.argv[2]))
