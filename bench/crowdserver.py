"""The server that a crowd plays on: echoes, 60 ticks a second, on a core of its own.

Prints its port and its key. What begins with `CPU` is answered with the seconds of processor time
that it has used. `--idle` sends a keep-alive only once a second, as the crowd does.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import sys
import time

from mpgameserver import EventHandler, ServerContext, UdpServer

CPU = b"cpu"
MOST = 65536


class Handler(EventHandler):
    def handle_message(self, client, seqnum, msg=b""):
        if msg.startswith(CPU):
            client.send(CPU + struct.pack("d", time.process_time()))
        else:
            client.send(msg)


def main() -> None:
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
    context = ServerContext(Handler())
    context.setMaxClients(MOST)
    context.setMaxClientsPerHost(MOST)
    context.setMaxHandshakes(MOST)
    context.setMaxHandshakesPerHost(MOST)
    context.setHandshakeRate(MOST)
    if "--idle" in sys.argv:
        context.setKeepAliveInterval(1.0)
    server = UdpServer(context, ("127.0.0.1", 0))
    pem = context.root_key.getPublicKey().getPublicKeyPEM().encode()
    print(
        json.dumps({"port": server.address[1], "key": base64.b64encode(pem).decode()}), flush=True
    )
    server.run()


if __name__ == "__main__":
    main()
