"""A server that echoes, in a process of its own: a program.

Arguments: the file of its private key. It says its port, serves until a line comes or its input
ends, and says what `ServerContext.stats` were then, as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import asdict

from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.server import EventHandler, ServerClient, ServerContext, UdpServer
from mpgameserver.server.stats import ServerStats


class Echo(EventHandler):
    """Sends every message back; `stats` are the figures of the last moment."""

    stats = ServerStats()

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        client.send(msg)


def serve(key_file: str) -> ServerStats:
    """Serve, and tell the figures from just before the end."""
    handler = Echo()
    with open(key_file, encoding="ascii") as file:
        context = ServerContext(handler, EllipticCurvePrivateKey.fromPEM(file.read()))
    server = UdpServer(context, ("127.0.0.1", 0))

    def end() -> None:
        handler.stats = context.stats
        context.shutdown()

    def wait() -> None:
        sys.stdin.readline()
        context.call_soon_threadsafe(end)

    print(server.address[1], flush=True)
    threading.Thread(target=wait, daemon=True).start()
    server.run()
    return handler.stats


if __name__ == "__main__":
    print(json.dumps(asdict(serve(sys.argv[1]))), flush=True)
