"""`mpgameserver` 0.2.4 from PyPI: 60 ticks and frames a second, with `--tuned` as many as it can.

Uses documented names only.
"""

from __future__ import annotations

import base64
import socket
import sys
import time

import peer

from mpgameserver import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    EventHandler,
    RetryMode,
    ServerContext,
    TwistedServer,
    UdpClient,
)

TUNED = "--tuned" in sys.argv
if TUNED:
    sys.argv.remove("--tuned")
SHORTEST_TICK = 0.0001
FRAME = 1 / 60


class Echo(EventHandler):
    def handle_message(self, client, seqnum, msg=b""):
        client.send(msg, RetryMode.NONE)


class Handler(EventHandler):
    def __init__(self) -> None:
        super().__init__()
        self.bulk = peer.BulkCount()

    def handle_message(self, client, seqnum, msg=b""):
        if not self.bulk.takes(msg):
            client.send(msg, RetryMode.NONE)
        elif self.bulk.is_over():
            client.send(peer.DONE, RetryMode.RETRY_ON_TIMEOUT)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def server(use: str) -> None:
    key, port = EllipticCurvePrivateKey.new(), free_port()
    context = ServerContext(Echo() if use else Handler(), key)
    if use:
        context.setConnectionTimeout(peer.IDLE_TIMEOUT)
    if TUNED:
        context.setInterval(SHORTEST_TICK)
    pem = key.getPublicKey().getPublicKeyPEM().encode()
    peer.tell({"port": port, "key": base64.b64encode(pem).decode()})
    TwistedServer(context, ("127.0.0.1", port)).run()


def frame() -> None:
    if not TUNED:
        time.sleep(FRAME)


def connected(port: int, key: str) -> UdpClient:
    pem = base64.b64decode(key).decode()
    client = UdpClient(server_public_key=EllipticCurvePublicKey.fromPEM(pem))
    client.connect(("127.0.0.1", port))

    def done() -> bool:
        client.update()
        time.sleep(0.005)
        return client.connected()

    peer.patiently(done)
    return client


def echo(port: int, key: str, count: peer.Echo, wait: str) -> None:
    client = connected(port, key)
    for _ in range(count.outstanding):
        client.send(peer.MESSAGE, RetryMode.NONE)
    answers = 0
    while count.counts(answers):
        client.update()
        answers = 0
        while client.hasMessages():
            _, message = client.getMessage()
            client.send(message, RetryMode.NONE)
            answers += 1
        frame()
    client.forceDisconnect()


def bulk(port: int, key: str, size: int) -> None:
    client = connected(port, key)
    began = time.perf_counter()
    client.send(peer.BULK + b"%d" % size, RetryMode.RETRY_ON_TIMEOUT)
    for message in peer.parts(size):
        client.send(message, RetryMode.RETRY_ON_TIMEOUT)
    while not client.hasMessages():
        client.update()
        frame()
    peer.tell({"seconds": time.perf_counter() - began})
    client.forceDisconnect()


peer.run(server, echo, bulk)
