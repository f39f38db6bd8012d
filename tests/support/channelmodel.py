"""A receiver of protocol 2's channels in plain Python, from the page alone, and a sender for it.

It keeps everything, and looks at all of it for every frame.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import Enum

from support.wire2.frames import UNIT
from support.wire2.tables import ORDERED, UNORDERED

REMEMBERED = 65_535


class Fate(Enum):
    """The same names as the product's."""

    TAKEN = 0
    IGNORED = 1
    NO_ROOM = 2
    MALFORMED = 3
    WINDOW_BROKEN = 4


@dataclass(frozen=True)
class Part:
    """A MESSAGE, or a FRAGMENT if there is a total."""

    number: int
    data: bytes
    total: int | None = None
    offset: int = 0

    @property
    def length(self) -> int:
        return len(self.data) if self.total is None else self.total


@dataclass
class ChannelModel:
    """A channel of a receiver that has room for everything."""

    kind: int
    highest_number: int = 0
    highest_total: int = 0
    delivered: set[int] = field(default_factory=set)
    had: set[int] = field(default_factory=set)
    """All of which a part was used."""
    lengths: dict[int, int] = field(default_factory=dict)
    """Of every message of which the length is known, delivered ones included."""
    units: dict[int, dict[int, bytes]] = field(default_factory=dict)
    waiting: dict[int, bytes] = field(default_factory=dict)

    def is_over(self, number: int) -> bool:
        if self.kind == ORDERED:
            return number in self.delivered or number in self.waiting
        if self.kind == UNORDERED:
            return number in self.delivered or number < max(self.had, default=0) - REMEMBERED
        return number <= max(self.delivered, default=0)

    def inspect(self, parts: list[Part]) -> list[Fate]:
        """The fates of the parts of a packet, judged before any is used."""
        lengths = {n: size for n, size in self.lengths.items() if not self.is_over(n)}
        over = {n: size for n, size in self.lengths.items() if self.is_over(n)}
        return [self._fate(part, lengths, over) for part in parts]

    def _fate(self, part: Part, lengths: dict[int, int], over: dict[int, int]) -> Fate:
        if self.is_over(part.number):
            return Fate.IGNORED
        if lengths.get(part.number, part.length) != part.length:
            return Fate.MALFORMED
        known = {**over, **lengths, part.number: part.length}
        if self.kind == ORDERED and not self._is_within_window(known):
            return Fate.WINDOW_BROKEN
        if self.kind == ORDERED or part.total is not None:
            lengths[part.number] = part.length
        return Fate.TAKEN

    def _is_within_window(self, lengths: dict[int, int]) -> bool:
        """L(n) of every message that is known, as far as the lengths below it are known."""
        total = 0
        for number in sorted(lengths):
            total += lengths[number]
            if number > self.highest_number or total > self.highest_total:
                return False
        return True

    def take(self, part: Part) -> list[tuple[int, bytes]]:
        """Use a part; the numbers and messages that are delivered."""
        if self.is_over(part.number):
            return []
        self.had.add(part.number)
        self.lengths.setdefault(part.number, part.length)
        message = part.data if part.total is None else self._assemble(part, part.total)
        return [] if message is None else self._deliver(part.number, message)

    def _assemble(self, part: Part, total: int) -> bytes | None:
        units = self.units.setdefault(part.number, {})
        for start in range(0, len(part.data), UNIT):
            units.setdefault((part.offset + start) // UNIT, part.data[start : start + UNIT])
        whole = b"".join(units[unit] for unit in sorted(units))
        return whole if len(whole) == total else None

    def _deliver(self, number: int, message: bytes) -> list[tuple[int, bytes]]:
        self.units.pop(number, None)
        if self.kind not in (ORDERED, UNORDERED):
            for each in [n for n in self.units if n < number]:
                del self.units[each]
        if self.kind != ORDERED:
            self.delivered.add(number)
            return [(number, message)]
        self.waiting[number] = message
        ready = []
        while (following := len(self.delivered) + 1) in self.waiting:
            ready.append((following, self.waiting.pop(following)))
            self.delivered.add(following)
        return ready


@dataclass
class Outgoing:
    """A message of a sender, and which of its units were acked."""

    number: int
    message: bytes
    acked: set[int] = field(default_factory=set)

    @property
    def units(self) -> int:
        return max(1, -(-len(self.message) // UNIT))

    @property
    def is_acked(self) -> bool:
        return len(self.acked) == self.units

    def cut(self, rng: random.Random) -> Part:
        """Some part that was not acked, with others around it, cut anew each time."""
        missing = rng.choice([unit for unit in range(self.units) if unit not in self.acked])
        if not self.message or (self.units < 20 and rng.random() < 0.4):
            return Part(self.number, self.message)
        first = max(0, missing - rng.randrange(3))
        last = min(self.units, missing + rng.choice((1, 2, 5, 20)))
        data = self.message[first * UNIT : last * UNIT]
        return Part(self.number, data, len(self.message), first * UNIT)

    def ack(self, part: Part) -> None:
        if part.total is None:
            self.acked.update(range(self.units))
        else:
            first = part.offset // UNIT
            self.acked.update(range(first, first + -(-len(part.data) // UNIT)))
