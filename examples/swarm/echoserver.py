"""A server to try the swarm on: sends everything back, and takes thousands of clients of one host.

The limits of one host keep a single attacker from filling a server; a load test from one machine is
like such an attacker. They are raised here, and belong into no server on the internet.
"""

from __future__ import annotations

import argparse
import contextlib

from mpgameserver import (
    EllipticCurvePrivateKey,
    EventHandler,
    Limits,
    SendQueueFullError,
    ServerClient,
    ServerContext,
    UdpServer,
    format_address,
)
from swarm.command import MOST_BOTS
from swarm.options import key_file


class EchoServer(EventHandler):
    """Sends everything back, once."""

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        """Send it back."""
        with contextlib.suppress(SendQueueFullError):
            client.send(msg)


def limits_for(clients: int) -> Limits:
    """Return limits that let one host have so many clients, and connect them quickly."""
    return Limits(
        clients=clients,
        clients_per_host=clients,
        half_open_per_host=clients,
        handshake_rate=2000.0,
    )


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m swarm.echoserver", description=__doc__)
    parser.add_argument("--port", type=int, default=1474, help="0: a free one (%(default)s)")
    parser.add_argument(
        "--key", type=key_file, default="swarm.pem", help="private key (%(default)s)"
    )
    options = parser.parse_args()
    key = EllipticCurvePrivateKey.fromPEM(options.key.read_text())
    context = ServerContext(EchoServer(), key, limits_for(MOST_BOTS))
    server = UdpServer(context, ("127.0.0.1", options.port))
    print(f"serving on {format_address(server.address)}", flush=True)
    server.run()


if __name__ == "__main__":
    main()
