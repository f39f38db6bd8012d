"""Smooth places out of snapshots that come late, in the wrong order, or not at all.

Everything but the own player is drawn as it was a moment ago: by then there is most likely a
snapshot from before that moment and one from after it, and the place is between the two. Each
snapshot says when it was taken by the server's clock, which the client knows too, so when it came
does not matter, and jitter on the way moves nothing.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import replace
from operator import attrgetter

from star.protocol import Snapshot
from star.rules import between

DELAY = 0.1
"""Seconds behind the snapshot that is due now. Two snapshots' worth: one of them may be lost, or
late by half of it."""

_time = attrgetter("time")


class Timeline:
    """The snapshots that are still of use, and what can be seen between two of them."""

    def __init__(self) -> None:
        self._snapshots: list[Snapshot] = []
        self._server_ahead: float | None = None
        """The server's time at which a snapshot that comes now was taken, less the time here."""
        self._drawn = 0.0

    @property
    def newest(self) -> Snapshot | None:
        """The newest snapshot so far."""
        return self._snapshots[-1] if self._snapshots else None

    def set_clock(self, now: float, server_time: float, trip: float) -> None:
        """Note the server's time now, and the seconds that a snapshot is on its way."""
        self._server_ahead = server_time - trip - now

    def add(self, snapshot: Snapshot) -> None:
        """Sort a snapshot in; one that is older than what is drawn changes nothing."""
        if not self._snapshots or snapshot.time > self._snapshots[0].time:
            insort(self._snapshots, snapshot, key=_time)

    def seen(self, now: float) -> Snapshot | None:
        """The game as it was a moment ago, or as it was last heard of where nothing newer came."""
        if not self._snapshots or self._server_ahead is None:
            return None
        self._drawn = max(self._drawn, now + self._server_ahead - DELAY)  # time never goes back
        while len(self._snapshots) > 1 and self._snapshots[1].time <= self._drawn:
            del self._snapshots[0]
        before, after = self._snapshots[0], self._snapshots[min(1, len(self._snapshots) - 1)]
        part = share(before, after, self._drawn)
        places = {
            number: between(place, after.places.get(number, place), part)
            for number, place in before.places.items()
        }
        return replace(before, star=between(before.star, after.star, part), places=places)


def share(before: Snapshot, after: Snapshot, time: float) -> float:
    """Return the position of a time between two snapshots, from 0 to 1."""
    seconds = after.time - before.time
    return min(max((time - before.time) / seconds, 0.0), 1.0) if seconds else 0.0
