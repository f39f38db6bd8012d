"""The command `monitor`, which watches a running server, and the same for one's own server."""

from __future__ import annotations

import argparse
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mpgameserver.cli import argtypes
from mpgameserver.cli.connect import UnreachableError, reach
from mpgameserver.cli.display import Display, open_display
from mpgameserver.cli.monitor_tables import MonitorView, nothing_came
from mpgameserver.cli.parser import EXIT_OK, Commands, add_key, add_seconds, begin_log
from mpgameserver.client.udpclient import UdpClient
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import ConnectFailure
from mpgameserver.errors import ProtocolError
from mpgameserver.monitorchannel import DEFAULT_ADDRESS, make_proof
from mpgameserver.server.snapshot import FiguresAsker
from mpgameserver.server.stats import ServerFigures
from mpgameserver.transport.address import format_address
from mpgameserver.transport.poll import wait_readable

__all__ = ["monitor", "register", "run", "watching"]

INTERVAL = 1.0
"""Seconds between two snapshots of one's own server."""
PATIENCE = 3.0
"""Seconds without statistics after which that is shown."""
FRAME = 0.05
"""Seconds that the command sleeps at most."""

_DESCRIPTION = """\
Watch a running server: its clients, where the time of a tick goes, datagrams and bytes per second,
the median and the 99th percentile of latency, losses and retransmissions, queues, and drops by
reason. On a terminal it shows a live table if rich is installed (pip install rich), and otherwise
prints a line per second.

The server must have a monitor channel (serve --monitor-key, or MonitorChannel in a program). The
key is a private key that both sides have, used for nothing else. The channel is read-only.
"""

_EPILOG = """\
exit codes:
  0    the time is over, or it was interrupted
  1    the connection failed or ended, or the server did not accept the key
  2    invalid command line, or the key cannot be read

examples:
  mpgameserver monitor 127.0.0.1:1475 --key monitor.pem
  mpgameserver monitor 127.0.0.1:1475 --key monitor.pem --seconds 60 > figures.txt

for a server that was started with:
  mpgameserver genkey monitor.pem
  mpgameserver serve --key server.pem --monitor-key monitor.pem
"""


def monitor(
    address: tuple[str, int],
    key: EllipticCurvePrivateKey,
    display: Display,
    seconds: float = float("inf"),
) -> None:
    """Show the statistics of the server behind a `MonitorChannel`, for some seconds.

    KeyboardInterrupt ends it as well. Raises UnreachableError if the channel cannot be connected
    to, does not accept the key, ends, or sends statistics of another version.
    """
    with UdpClient(key.getPublicKey()) as client:
        _reach_channel(client, address)
        client.send_guaranteed(make_proof(key, client.token()))
        try:
            with display:
                has_shown = _show_all(client, display, time.perf_counter() + seconds)
        except KeyboardInterrupt:
            client.waitForDisconnect()
            return
        if not client.connected():
            reason = (
                f"the connection ended: {client.status().name.lower()}"
                if has_shown
                else "it has another key, or too many are watching already"
            )
            raise UnreachableError(f"{format_address(address)}: {reason}")
        client.waitForDisconnect()


def _reach_channel(client: UdpClient, address: tuple[str, int]) -> None:
    try:
        reach(client, address)
    except UnreachableError as error:
        if client.failure is not ConnectFailure.WRONG_KEY:
            raise
        raise UnreachableError(
            f"{error} If {address[1]} is the game's port: the monitor channel has a port of its "
            f"own, {DEFAULT_ADDRESS[1]} by default."
        ) from None


def _show_all(client: UdpClient, display: Display, end: float) -> bool:
    """Show what comes until the end; True when anything came."""
    view, has_shown = MonitorView(), False
    last = time.perf_counter()
    while client.connected() and (now := time.perf_counter()) < end:
        client.update()
        for _, message in client.getMessages():
            try:
                figures = ServerFigures.from_bytes(message)
            except ProtocolError as error:
                raise UnreachableError(str(error)) from error
            display.show(*view.take(figures))
            has_shown, last = True, now
        if now - last >= PATIENCE and display.is_due():
            display.show(nothing_came(now - last))
        if client.connected():
            wait_readable(client, FRAME)
    return has_shown


@contextmanager
def watching(asker: FiguresAsker, display: Display) -> Iterator[None]:
    """Show the statistics of a server of this process, in a thread, while it runs."""
    is_over = threading.Event()

    def show_all() -> None:
        view = MonitorView()
        last = time.perf_counter()
        while not is_over.wait(INTERVAL):
            figures = asker.wait(INTERVAL)
            if figures is not None:
                last = time.perf_counter()
                display.show(*view.take(figures))
            elif time.perf_counter() - last >= PATIENCE:
                display.show(nothing_came(time.perf_counter() - last))

    thread = threading.Thread(target=show_all, name="mpgameserver-monitor", daemon=True)
    with display:
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


def register(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "monitor", help="watch a running server", description=_DESCRIPTION, epilog=_EPILOG
    )
    command.add_argument(
        "address",
        metavar="HOST:PORT",
        type=argtypes.address(1),
        help="address of the server's monitor channel",
    )
    add_key(command, EllipticCurvePrivateKey, "private key of the channel", required=True)
    add_seconds(command, "time to watch")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return its exit code."""
    begin_log(logging.ERROR)
    monitor(arguments.address, arguments.key, open_display(sys.stdout), arguments.seconds)
    return EXIT_OK
