"""Smooth places out of snapshots that come late, in the wrong order, or not at all.

Everything but the own player is drawn as it was `DELAY` seconds ago: by then there is most likely
a snapshot from before that moment and one from after it, and the place is between the two. What
moment that is follows from the tick in each snapshot and not from when it came, so that jitter on
the way moves nothing.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import replace
from operator import attrgetter

from star.protocol import Snapshot
from star.rules import TICK, between

DELAY = 0.1
"""Two snapshots' worth: one of them may be lost, or late by half of it."""
LAGS_KEPT = 40
"""Two seconds of snapshots; the one that was least on its way tells what the server's tick is."""
SLEW = 0.1
"""The part of a correction of the clock that is made at once, so that time never goes back."""
MAX_SLEW = 0.5
"""Seconds: a correction that is larger is made as a whole, as after a computer's sleep."""

_tick = attrgetter("tick")


class TickClock:
    """Tells which tick is on the server, but for the time that the quickest snapshot takes."""

    def __init__(self) -> None:
        self._lags: deque[float] = deque(maxlen=LAGS_KEPT)
        self._lag: float | None = None

    def note(self, tick: int, now: float) -> None:
        """A snapshot of that tick has come."""
        self._lags.append(now - tick * TICK)
        least = min(self._lags)
        if self._lag is None or abs(least - self._lag) > MAX_SLEW:
            self._lag = least
        else:
            self._lag += SLEW * (least - self._lag)

    def tick(self, now: float) -> float:
        """The tick, with a fraction; 0 before the first snapshot."""
        return 0.0 if self._lag is None else (now - self._lag) / TICK


class Timeline:
    """The snapshots that are still of use, and what can be seen between two of them."""

    def __init__(self) -> None:
        self._clock = TickClock()
        self._snapshots: list[Snapshot] = []

    @property
    def newest(self) -> Snapshot | None:
        """The snapshot with the highest tick so far."""
        return self._snapshots[-1] if self._snapshots else None

    def add(self, snapshot: Snapshot, now: float) -> None:
        """Sort a snapshot in; one that is older than what is drawn changes nothing."""
        self._clock.note(snapshot.tick, now)
        if not self._snapshots or snapshot.tick > self._snapshots[0].tick:
            insort(self._snapshots, snapshot, key=_tick)

    def seen(self, now: float) -> Snapshot | None:
        """The game as it was `DELAY` ago, or as it was last heard of where nothing newer came."""
        if not self._snapshots:
            return None
        tick = self._clock.tick(now) - DELAY / TICK
        while len(self._snapshots) > 1 and self._snapshots[1].tick <= tick:
            del self._snapshots[0]
        before, after = self._snapshots[0], self._snapshots[min(1, len(self._snapshots) - 1)]
        part = share(before, after, tick)
        places = {
            number: between(place, after.places.get(number, place), part)
            for number, place in before.places.items()
        }
        return replace(before, star=between(before.star, after.star, part), places=places)


def share(before: Snapshot, after: Snapshot, tick: float) -> float:
    """Return the position of a tick between two snapshots, from 0 to 1."""
    ticks = after.tick - before.tick
    return min(max((tick - before.tick) / ticks, 0.0), 1.0) if ticks else 0.0
