"""A client with a session that sends datagrams of 255 messages, whatever is acked: a program.

Arguments: the server's port, the file of its public key, datagrams per second, seconds. It says
"ready", waits for a line, and says how many it has sent.
"""

from __future__ import annotations

import math
import os
import socket
import struct
import sys
import time
from unittest import mock

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpgameserver.client import UdpClient
from mpgameserver.wire.session_cipher import SessionCipher, session_cipher

HEADER = struct.Struct("!4sIHHBHBI")
MESSAGE = struct.Struct("!HHB")
APP = 6
PAUSE = 0.0002


def connected(port: int, key_file: str) -> tuple[UdpClient, AESGCM]:
    """A client that is connected, and the cipher of its session."""
    keys: list[bytes] = []

    def recorded(key: bytes) -> SessionCipher:
        keys.append(key)
        return session_cipher(key)

    with open(key_file, encoding="ascii") as file:
        client = UdpClient(file.read())
    with mock.patch("mpgameserver.client.handshake.session_cipher", recorded):
        client.connect(("127.0.0.1", port))
        while not client.connected():
            client.update()
            time.sleep(0.001)
    return client, AESGCM(keys[-1])


def payload(number: int) -> bytes:
    """The messages of a datagram: the n-th has the numbers behind those of the one before."""
    first = 100 + 255 * number
    numbers = ((first + i) % 65535 + 1 for i in range(255))
    return b"".join(MESSAGE.pack(1, n, APP) + b"!" for n in numbers)


def flood(port: int, key_file: str, rate: float, seconds: float) -> int:
    """Send, and tell how many. The payloads are made before, for that takes longer than sending."""
    payloads = [payload(number) for number in range(math.ceil(rate * seconds))]
    client, aead = connected(port, key_file)
    sock = socket.socket(fileno=os.dup(client.fileno()))
    print("ready", flush=True)
    sys.stdin.readline()
    sent, start = 0, time.monotonic()
    while (passed := time.monotonic() - start) < seconds:
        for number in range(sent, math.floor(passed * rate)):
            seq = (100 + number) % 65535 + 1
            size = len(payloads[number])
            head = HEADER.pack(b"FSOS", int(time.time()), seq, 0, APP, size, 255, 0)
            sock.send(head + aead.encrypt(head[:12], payloads[number], head))
            sent = number + 1
        time.sleep(PAUSE)
    sock.close()
    client.forceDisconnect()
    return sent


if __name__ == "__main__":
    arguments = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    print(flood(*arguments), flush=True)
