"""The steps of a network that are the same whatever the protocol: to deliver, repeat and drop."""

from __future__ import annotations

from typing import Protocol

from fuzz.inputs import Script


class Direction(Protocol):
    """One direction: what is in flight, and who receives it."""

    in_flight: list[bytes]

    def deliver(self, datagram: bytes, now: float) -> None:
        """Give the receiver a datagram."""


class Delivery:
    """Does to what is in flight what the script says."""

    _script: Script
    _now: float

    def _deliver_next(self, way: Direction) -> None:
        if way.in_flight:
            way.deliver(way.in_flight.pop(0), self._now)

    def _deliver_any(self, way: Direction) -> None:
        if way.in_flight:
            place = self._script.below(len(way.in_flight))
            way.deliver(way.in_flight.pop(place), self._now)

    def _deliver_all(self, way: Direction) -> None:
        while way.in_flight:
            self._deliver_next(way)

    def _repeat(self, way: Direction) -> None:
        if way.in_flight:
            way.deliver(self._script.pick(way.in_flight), self._now)

    def _drop(self, way: Direction) -> None:
        if way.in_flight:
            way.in_flight.pop(self._script.below(len(way.in_flight)))
