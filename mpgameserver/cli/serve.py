"""An echo server: every message goes back as it came, once, to whom it came from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from mpgameserver.cli.display import Display
from mpgameserver.cli.monitor import watching
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.errors import SendQueueFullError
from mpgameserver.monitorchannel import DEFAULT_ADDRESS, MonitorChannel
from mpgameserver.server.client import ServerClient
from mpgameserver.server.context import EventHandler, ServerContext
from mpgameserver.server.snapshot import FiguresAsker
from mpgameserver.server.udpserver import UdpServer
from mpgameserver.transport.address import format_address

__all__ = ["EchoHandler", "Watched", "serve"]


class EchoHandler(EventHandler):
    """Echoes; `tell` gets a line for each client that comes or goes.

    Echoes are unreliable whatever the message was, for a server cannot see that; so a client that
    counts what comes back measures the loss of both ways.
    """

    def __init__(self, tell: Callable[[str], object]) -> None:
        self.greeting: list[str] = []
        """Lines to tell when the server is ready, and signals stop it as they should."""
        self._tell = tell

    def starting(self) -> None:
        """Tell that the server is ready."""
        for line in self.greeting:
            self._tell(line)

    def connect(self, client: ServerClient) -> None:
        """Tell that a client came."""
        self._tell(f"{format_address(client.addr)} connected")

    def disconnect(self, client: ServerClient) -> None:
        """Tell that a client is gone, and why."""
        reason = "" if client.reason is None else f": {client.reason.value}"
        self._tell(f"{format_address(client.addr)} disconnected{reason}")

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        """Send the message back; it is lost when too much waits to be sent to that client."""
        with contextlib.suppress(SendQueueFullError):
            client.send(msg)


@dataclass(frozen=True)
class Watched:
    """How a server can be watched, beside what it tells."""

    display: Display | None = None
    """Where its figures are shown."""
    channel_key: EllipticCurvePrivateKey | None = None
    """The key of those who may watch it from elsewhere; None for nobody."""
    channel_address: tuple[str, int] = DEFAULT_ADDRESS


def serve(
    address: tuple[str, int],
    key: EllipticCurvePrivateKey | None,
    interval: float,
    tell: Callable[[str], object],
    watched: Watched | None = None,
) -> None:
    """Echo until SIGINT or SIGTERM, with a tick each `interval` seconds.

    `key` is the server's private key, a new one if None. `tell` gets each line that a user should
    see; the first ones are the address and the public key. Raises OSError when it cannot listen,
    and ValueError when the key of those who watch is its own.
    """
    watched = watched or Watched()
    root_key = key or EllipticCurvePrivateKey.new()
    handler = EchoHandler(tell)
    context = ServerContext(handler, root_key)
    context.setInterval(interval)
    with ExitStack() as stack:
        if watched.channel_key is not None:
            channel = MonitorChannel(context, watched.channel_key, watched.channel_address)
            stack.enter_context(channel)
            handler.greeting = [f"to be watched at {format_address(channel.address)}"]
        asker = None if watched.display is None else FiguresAsker(context)
        server = UdpServer(context, address)
        handler.greeting = [
            f"listening on {format_address(server.address)}",
            root_key.getPublicKey().getPublicKeyPEM().rstrip(),
            *handler.greeting,
        ]
        if watched.display is not None and asker is not None:
            stack.enter_context(watching(asker, watched.display))
        server.run()
