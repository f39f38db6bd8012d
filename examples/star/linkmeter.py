"""Current rates of a link, from counters that only ever grow."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from mpgameserver import ConnectionStats
from star.protocol import TICKS_PER_SNAPSHOT

INTERVAL = 0.25
"""Seconds between two looks at the counters."""
SPAN = 20
"""Looks that a loss is taken from: five seconds."""


@dataclass(frozen=True)
class LinkFigures:
    """The link statistics that are shown. Lost is a share, from 0 to 1; the rest is per second."""

    lost_up: float = 0.0
    lost_down: float = 0.0
    packets_sent: int = 0
    packets_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


@dataclass(frozen=True)
class _Counters:
    acked: int
    timeouts: int
    snapshots: int
    tick: int


class LinkMeter:
    """Remembers the counters of some seconds."""

    def __init__(self) -> None:
        self.figures = LinkFigures()
        self._seen: deque[_Counters] = deque(maxlen=SPAN)
        self._next = 0.0
        self._snapshots = 0
        self._tick = 0

    def note_snapshot(self, tick: int) -> None:
        """A snapshot has come. What the server sends is known, so what is missing was lost.

        But for what was sent before the first one: that was not sent to this player.
        """
        if self._snapshots == 0:
            self._seen.clear()
        self._snapshots += 1
        self._tick = max(self._tick, tick)

    def is_due(self, now: float) -> bool:
        """True when it is time for another look; then not again before the next time."""
        if now < self._next:
            return False
        self._next = now + INTERVAL
        return True

    def note(self, stats: ConnectionStats) -> None:
        """Look at the counters. The seconds shown are the last whole ones."""
        counters = _Counters(stats.acked, stats.timeouts, self._snapshots, self._tick)
        self._seen.append(counters)
        self.figures = LinkFigures(
            *_losses(self._seen[0], counters),
            stats.pkts_sent[-2],
            stats.pkts_recv[-2],
            stats.bytes_sent[-2],
            stats.bytes_recv[-2],
        )


def _losses(old: _Counters, new: _Counters) -> tuple[float, float]:
    """The shares lost up and down. Up, lost is what was not acked within a second."""
    timeouts = new.timeouts - old.timeouts
    decided = timeouts + new.acked - old.acked
    expected = (new.tick - old.tick) / TICKS_PER_SNAPSHOT
    missing = expected - (new.snapshots - old.snapshots)
    return _share(timeouts, decided), _share(missing, expected)


def _share(part: float, whole: float) -> float:
    return min(max(part / whole, 0.0), 1.0) if whole > 0 else 0.0
