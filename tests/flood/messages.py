"""A client with a session that sends datagrams of 255 messages, whatever is acked: a program.

Arguments: the server's port, the file of its public key, datagrams per second, seconds. It says
"ready", waits for a line, and says how many it has sent.
"""

from __future__ import annotations

import math
import os
import socket
import sys
import time
from typing import Any
from unittest import mock

from mpgameserver._core.endpoint2 import Endpoint2
from mpgameserver._core.packet_protection import PacketSealer
from mpgameserver.client import UdpClient
from mpgameserver.wire.protocol2.keys import TrafficSecret

FIRST_PACKET = 1000
"""A packet number that the client itself does not get to."""
FIRST_MESSAGE = 1 << 14
MESSAGE = 0x90
"""The type of a frame: a message of channel 0 whose length precedes it."""
PAUSE = 0.0002


def connected(port: int, key_file: str) -> tuple[UdpClient, PacketSealer, bytes]:
    """A client that is connected, what seals its packets, and its connection id."""
    made: list[tuple[TrafficSecret, bytes]] = []

    def recorded(own: TrafficSecret, *arguments: Any, **options: Any) -> Endpoint2:
        endpoint = Endpoint2(own, *arguments, **options)
        made.append((own, endpoint.connection_id))
        return endpoint

    with open(key_file, encoding="ascii") as file:
        client = UdpClient(file.read())
    with mock.patch("mpgameserver.client.setup2.Endpoint2", recorded):
        client.connect(("127.0.0.1", port))
        while not client.connected():
            client.update()
            time.sleep(0.001)
    secret, connection_id = made[-1]
    return client, PacketSealer(secret, secret.mask()), connection_id


def payload(number: int) -> bytes:
    """The messages of a datagram: the n-th has the numbers behind those of the one before."""
    first = FIRST_MESSAGE + 255 * number
    varints = ((2 << 30 | n).to_bytes(4, "big") for n in range(first, first + 255))
    return b"".join(bytes([MESSAGE]) + varint + b"\1!" for varint in varints)


def flood(port: int, key_file: str, rate: float, seconds: float) -> int:
    """Send, and tell how many. The payloads are made before, for that takes longer than sending."""
    payloads = [payload(number) for number in range(math.ceil(rate * seconds))]
    client, sealer, connection_id = connected(port, key_file)
    sock = socket.socket(fileno=os.dup(client.fileno()))
    print("ready", flush=True)
    sys.stdin.readline()
    sent, start = 0, time.monotonic()
    while (passed := time.monotonic() - start) < seconds:
        for number in range(sent, math.floor(passed * rate)):
            sock.send(sealer.seal(connection_id, FIRST_PACKET + number, 0, payloads[number]))
            sent = number + 1
        time.sleep(PAUSE)
    sock.close()
    client.forceDisconnect()
    return sent


if __name__ == "__main__":
    arguments = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    print(flood(*arguments), flush=True)
