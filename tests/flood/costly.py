"""A server whose handler takes 5 µs for each message, in a process of its own: a program.

Arguments: the file of its private key. It says its port, serves until its input ends, and says as
JSON when its ticks came and how many messages of 1 byte it has handled. One of 8 bytes is sent
back.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.server import EventHandler, ServerClient, ServerContext, UdpServer

COST = 5e-6


class Costly(EventHandler):
    """Takes its time; `ticks` are the times of the updates, `handled` the messages of 1 byte."""

    def __init__(self) -> None:
        self.ticks: list[float] = []
        self.handled = 0

    def update(self, delta_t: float) -> None:
        self.ticks.append(time.monotonic())

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        until = time.perf_counter() + COST
        if len(msg) == 8:
            client.send(msg)
        else:
            self.handled += 1
        while time.perf_counter() < until:
            pass


def serve(key_file: str) -> dict[str, object]:
    """Serve, and tell what came of it."""
    handler = Costly()
    with open(key_file, encoding="ascii") as file:
        context = ServerContext(handler, EllipticCurvePrivateKey.fromPEM(file.read()))
    server = UdpServer(context, ("127.0.0.1", 0))

    def wait() -> None:
        sys.stdin.readline()
        context.shutdown()

    print(server.address[1], flush=True)
    threading.Thread(target=wait, daemon=True).start()
    server.run()
    return vars(handler)


if __name__ == "__main__":
    print(json.dumps(serve(sys.argv[1])), flush=True)
