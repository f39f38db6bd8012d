"""The command `netsim`: a bad link between programs, and figures of what it did."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from mpgameserver.cli.display import Display, Table, kilobytes
from mpgameserver.netsim import LinkConditions, LinkStats
from mpgameserver.transport.address import format_address
from mpgameserver.udpproxy import ProxyStats, UdpProxy

__all__ = ["RelayReport", "RelaySettings", "relay"]

LOOK_INTERVAL = 0.1
"""Seconds between two looks at whether there is something to show, or the time is over."""

_ROWS = (
    ("sent", "sent"),
    ("delivered", "delivered"),
    ("lost", "lost"),
    ("  at random", "lost_random"),
    ("  in bursts", "lost_burst"),
    ("  in blackouts", "lost_blackout"),
    ("  queue full", "lost_queue"),
    ("  too large", "lost_too_large"),
    ("  too many under way", "lost_cap"),
    ("duplicated", "duplicated"),
    ("held back", "reordered"),
    ("bit flipped", "corrupted"),
    ("cut short", "truncated"),
    ("replayed", "replayed"),
    ("bytes sent", "sent_bytes"),
    ("bytes delivered", "delivered_bytes"),
)
"""Of the table: what people read, and the field of LinkStats."""


@dataclass(frozen=True)
class RelaySettings:
    """What the command is asked to do."""

    listen: tuple[str, int]
    target: tuple[str, int]
    up: LinkConditions
    down: LinkConditions
    seed: int
    seconds: float | None
    """How long it works; None until interrupted."""


@dataclass(frozen=True)
class RelayReport:
    """What came of it."""

    seed: int
    seconds: float
    """How long it worked."""
    stats: ProxyStats

    def as_json(self) -> dict[str, Any]:
        """The figures by name, for the json module."""
        return {"seed": self.seed, "seconds": self.seconds} | asdict(self.stats)

    def as_table(self) -> Table:
        """What the links did, a row for each figure."""
        up, down = self.stats.up, self.stats.down
        rows = [
            (label, f"{getattr(up, field):,}", f"{getattr(down, field):,}")
            for label, field in _ROWS
        ]
        return Table(("datagrams", "up", "down"), rows, self.summary())

    def summary(self) -> str:
        """One line that tells the most important."""
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
    """Forward until the time is over, or SIGINT or SIGTERM comes; tell what the links did.

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
            end = math.inf if settings.seconds is None else began + settings.seconds
            while (left := end - time.perf_counter()) > 0:
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
