"""The command `netsim`: a bad link between programs, and statistics of its effects."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from mpgameserver.cli import argtypes
from mpgameserver.cli.display import Display, Table, kilobytes, open_display
from mpgameserver.cli.link_options import DIRECTIONS, add_link_options, link_conditions
from mpgameserver.cli.parser import EXIT_OK, Commands, add_json, add_seconds, add_seed
from mpgameserver.netsim import LinkConditions, LinkStats
from mpgameserver.transport.address import format_address
from mpgameserver.udpproxy import MAX_CLIENTS, ProxyStats, UdpProxy

__all__ = ["RelayReport", "RelaySettings", "register", "relay", "run"]

LOOK_INTERVAL = 0.1
"""Seconds between two checks for something to show, or the end of the time."""

_ROWS = (
    ("sent", "sent"),
    ("delivered", "delivered"),
    ("lost", "lost"),
    ("  at random", "lost_random"),
    ("  in bursts", "lost_burst"),
    ("  in blackouts", "lost_blackout"),
    ("  queue full", "lost_queue"),
    ("  too large", "lost_too_large"),
    ("  too many in flight", "lost_cap"),
    ("duplicated", "duplicated"),
    ("held back", "reordered"),
    ("bit flipped", "corrupted"),
    ("cut short", "truncated"),
    ("replayed", "replayed"),
    ("bytes sent", "sent_bytes"),
    ("bytes delivered", "delivered_bytes"),
)
"""Of the table: what people read, and the field of LinkStats."""

_DESCRIPTION = f"""\
A UDP proxy that puts a bad link between a server and its clients, in whatever language they are
written.

Clients connect to the address that it prints, and it forwards their datagrams to the server given
by --to. Each client, at most {MAX_CLIENTS} at a time, has its own link, and its own port towards
the server. Statistics are shown while it runs, and at the end.

A link option applies to both directions. With the prefix up- or down- it applies to the direction
towards the server or the clients, and takes precedence:
--loss 5 --up-loss 20 loses 20 % towards the server and 5 % towards the clients.
"""

_EPILOG = """\
The same seed gives each client the same link, by the order in which clients appear. Blackouts
count from the start of the program.

exit codes:
  0    the time is over, or it was interrupted or terminated
  1    it cannot listen, or cannot resolve the server's name
  2    invalid command line

examples:
  mpgameserver netsim --to localhost:1474 --loss 10 --latency 50
  mpgameserver netsim --to localhost:1474 --down-rate 125 --down-queue 100
  mpgameserver netsim --listen [::1]:4000 --to [::1]:1474 --burst-loss 5 --blackout 30:2
"""


@dataclass(frozen=True)
class RelaySettings:
    """The settings of the command."""

    listen: tuple[str, int]
    target: tuple[str, int]
    up: LinkConditions
    down: LinkConditions
    seed: int
    seconds: float
    """The time to run; infinite until interrupted."""


@dataclass(frozen=True)
class RelayReport:
    """The result of the command."""

    seed: int
    seconds: float
    """The time that it ran."""
    stats: ProxyStats

    def as_json(self) -> dict[str, Any]:
        """Return the statistics by name, for the json module."""
        return {"seed": self.seed, "seconds": self.seconds} | asdict(self.stats)

    def as_table(self) -> Table:
        """Return the statistics of the links, a row for each counter."""
        up, down = self.stats.up, self.stats.down
        rows = [
            (label, f"{getattr(up, field):,}", f"{getattr(down, field):,}")
            for label, field in _ROWS
        ]
        return Table(("datagrams", "up", "down"), rows, self.summary())

    def summary(self) -> str:
        """Return one line with the most important statistics."""
        stats = self.stats
        line = f"{self.seconds:.0f} s, {stats.clients} clients ({stats.clients_seen} seen)"
        for name, link in (("up", stats.up), ("down", stats.down)):
            line += (
                f", {name}: {link.sent:,} datagrams, {_per_cent_lost(link)} % lost, "
                f"{kilobytes(link.delivered_bytes / max(self.seconds, 1.0))} kB/s mean"
            )
        if stats.refused:
            line += f", {stats.refused:,} refused"
        if stats.socket_errors:
            line += f", {stats.socket_errors:,} socket errors"
        return line


def relay(settings: RelaySettings, display: Display) -> RelayReport:
    """Forward until the time is over, or SIGINT or SIGTERM comes; report what the links did.

    Raises OSError, which names the address, when it cannot listen or the target has no address.
    """
    began = time.perf_counter()
    with UdpProxy(
        settings.listen, settings.target, settings.up, settings.down, settings.seed
    ) as proxy:

        def report() -> RelayReport:
            return RelayReport(settings.seed, time.perf_counter() - began, proxy.stats)

        with suppress(KeyboardInterrupt), _terminated_as_interrupted(), display:
            display.print(
                f"listening on {format_address(proxy.address)}, forwarding to "
                f"{format_address(settings.target)}, seed {settings.seed}"
            )
            while (left := began + settings.seconds - time.perf_counter()) > 0:
                time.sleep(min(LOOK_INTERVAL, left))
                if display.is_due():
                    display.show(report().as_table())
    return report()


def _per_cent_lost(link: LinkStats) -> str:
    return f"{100 * link.lost / max(1, link.sent):.1f}"


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, as SIGINT does, where Python lets us."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if previous is not None:  # None: not set from Python, and not to be set again
            signal.signal(signal.SIGTERM, previous)


def register(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "netsim",
        help="put a bad link between a server and its clients",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    command.add_argument(
        "--to",
        metavar="HOST:PORT",
        required=True,
        type=argtypes.address(1),
        help="the server",
    )
    command.add_argument(
        "--listen",
        metavar="HOST:PORT",
        default=("127.0.0.1", 0),
        type=argtypes.address(0),
        help="address for clients to connect to; port 0 takes a free one (default: 127.0.0.1:0)",
    )
    add_seed(command, "of the links")
    add_seconds(command, "time to run")
    add_json(command)
    add_link_options(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return its exit code."""
    up, down = (link_conditions(arguments, direction) for direction in DIRECTIONS)
    settings = RelaySettings(
        arguments.listen, arguments.to, up, down, arguments.seed, arguments.seconds
    )
    if arguments.json:
        print(json.dumps(relay(settings, Display()).as_json(), indent=2))
    else:
        display = open_display(sys.stdout)
        report = relay(settings, display)
        display.print("", report.as_table(), "", report.summary())
    return EXIT_OK
