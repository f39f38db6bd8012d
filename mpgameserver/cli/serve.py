"""An echo server: every message goes back as it came, once, to whom it came from."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mpgameserver.cli import argtypes
from mpgameserver.cli.display import Display, open_display
from mpgameserver.cli.monitor import watching
from mpgameserver.cli.parser import (
    EXIT_OK,
    EXIT_USAGE,
    Commands,
    add_key,
    add_key_log,
    fail,
    print_at_once,
)
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.errors import SendQueueFullError
from mpgameserver.monitorchannel import DEFAULT_ADDRESS, MonitorChannel
from mpgameserver.server.client import ServerClient
from mpgameserver.server.context import ServerContext
from mpgameserver.server.handler import EventHandler
from mpgameserver.server.snapshot import FiguresAsker
from mpgameserver.server.udpserver import UdpServer
from mpgameserver.transport.address import format_address

__all__ = ["EchoHandler", "Watched", "register", "run", "serve"]

_DESCRIPTION = """\
Run an echo server: it sends each message back to its sender, unchanged, with RetryMode.NONE.

It prints its address and its public key, and a line for each client that connects or disconnects.
It serves until SIGINT (Ctrl-C) or SIGTERM, and then disconnects every client.
"""

_EPILOG = """\
exit codes:
  0    stopped by a signal
  1    it cannot serve: not an address of this host, or the port is in use
  2    invalid command line, or the key cannot be read

examples:
  mpgameserver serve                                all IPv4 addresses, a new key
  mpgameserver serve --host :: --key server.pem     IPv4 and IPv6, a key that the clients know
  mpgameserver serve --host 127.0.0.1 --port 0      loopback, a free port
  mpgameserver serve --monitor                      with a live table
"""


class EchoHandler(EventHandler):
    """Echoes; `tell` gets a line for each client that comes or goes.

    Echoes are unreliable whatever the message was, for a server cannot see that; so a client that
    counts what comes back measures the loss of both ways.
    """

    def __init__(self, tell: Callable[[str], object]) -> None:
        self.greeting: list[str] = []
        """Lines to print when the server is ready, and signals stop it as they should."""
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
    """Ways to watch a server, besides its log."""

    display: Display | None = None
    """The display of its statistics."""
    channel_key: EllipticCurvePrivateKey | None = None
    """The key of the monitor channel; None for no channel."""
    channel_address: tuple[str, int] = DEFAULT_ADDRESS
    key_log: Path | None = None
    """The file to which the keys of sessions are appended; None for that of the environment."""


def serve(
    address: tuple[str, int],
    key: EllipticCurvePrivateKey | None,
    interval: float,
    tell: Callable[[str], object],
    watched: Watched | None = None,
) -> None:
    """Echo until SIGINT or SIGTERM, with a tick each `interval` seconds.

    `key` is the server's private key, a new one if None. `tell` gets each line for the user; the
    first ones are the address and the public key. Raises OSError if it cannot listen or write the
    key log, and ValueError if the monitor's key is its own.
    """
    watched = watched or Watched()
    root_key = key or EllipticCurvePrivateKey.new()
    handler = EchoHandler(tell)
    context = ServerContext(handler, root_key)
    context.setInterval(interval)
    if watched.key_log is not None:
        context.setKeyLog(watched.key_log)
    with ExitStack() as stack:
        if watched.channel_key is not None:
            channel = MonitorChannel(context, watched.channel_key, watched.channel_address)
            stack.enter_context(channel)
            handler.greeting = [f"monitor channel on {format_address(channel.address)}"]
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


def register(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "serve", help="run an echo server", description=_DESCRIPTION, epilog=_EPILOG
    )
    command.add_argument(
        "--host",
        default="0.0.0.0",
        help="address or name to listen on (default: 0.0.0.0, all IPv4 addresses)",
    )
    command.add_argument(
        "--port",
        metavar="N",
        type=argtypes.number(int, 0, argtypes.MAX_PORT),
        default=argtypes.DEFAULT_PORT,
        help="UDP port to listen on, 0 for a free one (default: %(default)s)",
    )
    text = "private key made by genkey (default: a new key each time)"
    add_key(command, EllipticCurvePrivateKey, text)
    command.add_argument(
        "--tick",
        metavar="N",
        type=argtypes.number(float, 1, 1000),
        default=60.0,
        help="ticks per second (default: %(default)g)",
    )
    command.add_argument(
        "--monitor", action="store_true", help="show live statistics, as the command monitor does"
    )
    text = "let whoever has this private key watch with the command monitor"
    add_key(command, EllipticCurvePrivateKey, text, "--monitor-key")
    host, port = DEFAULT_ADDRESS
    command.add_argument(
        "--monitor-listen",
        metavar="HOST:PORT",
        type=argtypes.address(0),
        default=DEFAULT_ADDRESS,
        help=f"address of the monitor channel (default: {host}:{port})",
    )
    add_key_log(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return its exit code."""
    logging.basicConfig(level=logging.WARNING)
    if arguments.monitor_key is not None and _is_same(arguments.monitor_key, arguments.key):
        return fail("serve", "--monitor-key must differ from --key", EXIT_USAGE)
    display = open_display(sys.stdout) if arguments.monitor else None
    serve(
        (arguments.host, arguments.port),
        arguments.key,
        1 / arguments.tick,
        print_at_once if display is None else display.print,
        Watched(display, arguments.monitor_key, arguments.monitor_listen, arguments.key_log),
    )
    return EXIT_OK


def _is_same(key: EllipticCurvePrivateKey, other: EllipticCurvePrivateKey | None) -> bool:
    return other is not None and key.getPublicKey() == other.getPublicKey()
