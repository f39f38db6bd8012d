"""Models of the compiled modules in plain Python: obvious rather than quick.

Each model remembers everything that it was ever given, so that it has no windows to slide, no
bitmaps to grow and no wrap-around to get wrong. Ring arithmetic and bytes come from `wire`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from support import wire

RING = 65535


def to_wire(number: int) -> int:
    """Return the wire form of an absolute number."""
    return wire.add(0, number)


def expand(seq: int, near: int) -> int:
    """Return the absolute number with that wire form that is nearest to `near`."""
    if near == 0:
        return RING + seq
    return min(
        (lap * RING + seq for lap in range(near // RING - 2, near // RING + 3)),
        key=lambda number: abs(number - near),
    )


class DuplicateModel:
    """All numbers ever inserted; the newest `width` of them count."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.inserted: set[int] = set()
        self.newest = 0

    def contains(self, number: int) -> bool:
        return number in self.inserted or (self.newest > 0 and number <= self.newest - self.width)

    def insert(self, number: int) -> bool:
        if self.contains(number):
            return False
        self.inserted.add(number)
        self.newest = max(self.newest, number)
        return True


class ReceiveModel:
    """Every packet ever accepted, as (absolute number, send time)."""

    WIDTH = 1024
    MAX_JUMP = 16384

    def __init__(self) -> None:
        self.accepted: dict[int, int] = {}
        self.newest = 0
        self.first_time = 0
        self.clock_was_set = False
        self._second_start = 0

    def number_of(self, seq: int) -> int:
        return expand(seq, self.newest)

    def arrival(self, seq: int, time: int) -> str | None:
        """Return what the packet is; None where that depends on a sender's clock that was set.

        A window may accept that, or drop it where it is in doubt: it may then be the recording of
        a packet that had the number a lap before, sent ahead of the first one that was accepted.
        """
        number, since = self.number_of(seq), self._since_first(time)
        if self.newest == 0:
            return "fresh"
        if number > self.newest:
            if number - self.newest > self.MAX_JUMP:
                return "too far ahead"
            step = since - self._since_first(self.accepted[self.newest])
            is_overfull = step == 0 and number - self._second_start > RING // 2
            return "fresh" if step >= 0 and not self._is_in_doubt(number, is_overfull) else None
        if number < self.newest - self.WIDTH:
            return "behind"
        if number in self.accepted:
            return "duplicate"
        if since > self._since_first(self.accepted[self.newest]):
            return "out of time"
        fits = self._fits(number, since) and not self._is_in_doubt(number)
        return "fresh" if fits else None

    def _is_in_doubt(self, number: int, is_overfull: bool = False) -> bool:
        """True where the sender's clock was set and the number may have been used in a lap before.

        A second that is overfull, with more packets than half the ring, shows that it was set. The
        first packet has the number RING and what is on the wire.
        """
        return (self.clock_was_set or is_overfull) and number > 2 * RING

    def _since_first(self, time: int) -> int:
        """Seconds since the time of the first packet, as RFC 1982 compares serial numbers."""
        return (time - self.first_time + (1 << 31)) % (1 << 32) - (1 << 31)

    def _fits(self, number: int, since: int) -> bool:
        return all(
            (other < number) <= (self._since_first(then) <= since)
            and (other > number) <= (self._since_first(then) >= since)
            for other, then in self.accepted.items()
        )

    def accept(self, seq: int, time: int) -> None:
        number = self.number_of(seq)
        if self.newest == 0:
            self.first_time = time
        elif number > self.newest:
            step = self._since_first(time) - self._since_first(self.accepted[self.newest])
            if step != 0:
                self._second_start = number
            if step < 0 or number - self._second_start > RING // 2:
                self.clock_was_set = True
        self.accepted[number] = time
        self.newest = max(self.newest, number)

    @property
    def ack(self) -> int:
        return to_wire(self.newest) if self.newest else 0

    @property
    def ack_bits(self) -> int:
        return sum(1 << (32 - back) for back in range(1, 33) if self.newest - back in self.accepted)


@dataclass
class SentRecord:
    """The fate of one sent packet."""

    number: int
    sent_at: float
    contents: object
    owes_ack: bool
    acked: bool = False
    lost: bool = False
    timed_out: bool = False


Ranges = list[tuple[int, int]]
"""Packet numbers, each a tuple (newest, oldest)."""


class SentModel:
    """Every packet ever sent. Lost packets are found in the order in which they left."""

    def __init__(self, previous: int = 0) -> None:
        self.previous = self.newest = previous
        self.newest_acked = 0
        self.reordering = 3
        self.packets: dict[int, SentRecord] = {}
        self.skipped: set[int] = set()

    def send(self, now: float, contents: object, owes_ack: bool) -> int:
        self.newest += 1
        self.packets[self.newest] = SentRecord(self.newest, now, contents, owes_ack)
        return self.newest

    @property
    def oldest_undecided(self) -> int:
        undecided = (p.number for p in self.packets.values() if self._is_undecided(p))
        return min(undecided, default=self.newest + 1)

    @staticmethod
    def _is_undecided(packet: SentRecord) -> bool:
        return packet.owes_ack and not packet.acked and not packet.lost

    def unsettled(self, ack: int, ack_bits: int) -> list[SentRecord]:
        """The packets, newest first, that these ack fields report and that were not acked yet."""
        newest = expand(ack, self.newest) if ack else 0
        if not 0 < newest <= self.newest:
            return []
        bits = (newest - back for back in range(1, 33) if ack_bits >> (32 - back) & 1)
        packets = (self.packets.get(number) for number in (newest, *bits))
        return [packet for packet in packets if packet is not None and not packet.acked]

    def unsettled_in(self, ranges: Ranges) -> list[SentRecord]:
        """The packets of these ranges, in the order of the ranges, that were not acked yet."""
        found = {
            packet.number: packet
            for newest, oldest in ranges
            for packet in reversed(self.packets.values())
            if oldest <= packet.number <= newest and not packet.acked
        }
        return list(found.values())

    def skip(self) -> int:
        self.newest += 1
        self.skipped.add(self.newest)
        return self.newest

    def acknowledge(self, settled: list[SentRecord]) -> list[tuple[int, float, object]]:
        """Take packets that were not acked yet as acked."""
        for packet in settled:
            packet.acked = True
            if packet.lost:
                self.reordering = min(self.reordering * 2, 32768)
            self.newest_acked = max(self.newest_acked, packet.number)
        return [(packet.number, packet.sent_at, packet.contents) for packet in settled]

    def forget(self, packet: SentRecord) -> None:
        """Forget a packet that nothing waits for any more."""
        assert self.newest - packet.number >= 32
        assert not packet.owes_ack or (packet.lost and packet.timed_out)
        del self.packets[packet.number]

    def lost(self, now: float, loss_delay: float, pto: float) -> list[int]:
        found = []
        for packet in self.packets.values():
            if not self._is_undecided(packet):
                continue
            later = self.newest_acked - packet.number
            if not (
                later >= self.reordering
                or now >= packet.sent_at + (loss_delay if later > 0 else pto)
            ):
                break
            packet.lost = True
            found.append(packet.number)
        return found

    def timed_out(self, now: float, timeout: float) -> list[int]:
        found = []
        for packet in self.packets.values():
            if not packet.owes_ack or packet.acked or packet.timed_out:
                continue
            if now < packet.sent_at + timeout:
                break
            packet.timed_out = True
            found.append(packet.number)
        return found


@dataclass
class Unfinished:
    """A message of which some pieces came."""

    count: int
    last_arrival: float
    newest_message: int
    first_message: int = 0
    pieces: dict[int, bytes] = field(default_factory=dict)


class ReassemblyModel:
    """The unfinished messages by fragmented-message number."""

    def __init__(self, max_bytes: int, max_messages: int, cost: int, timeout: float) -> None:
        self.max_bytes, self.max_messages = max_bytes, max_messages
        self.cost, self.timeout = cost, timeout
        self.unfinished: OrderedDict[int, Unfinished] = OrderedDict()
        self.discarded = 0

    @property
    def held_bytes(self) -> int:
        return sum(
            len(piece) + self.cost
            for one in self.unfinished.values()
            for piece in one.pieces.values()
        )

    def has_room(self, number: int, size: int) -> bool:
        return self.held_bytes + size + self.cost <= self.max_bytes and (
            number in self.unfinished or len(self.unfinished) < self.max_messages
        )

    def add(
        self, number: int, index: int, count: int, piece: bytes, message: int, now: float
    ) -> tuple[int, bytes] | None:
        """Take a piece; BufferError when there is no room for one that is possible."""
        possible = 1 <= index <= count <= wire.MAX_PIECES and number != 0
        if possible and not self.has_room(number, len(piece)):
            raise BufferError
        one = self.unfinished.get(number)
        if one is not None and message - one.newest_message >= RING:
            self.discarded += 1  # a whole lap apart: two messages
            del self.unfinished[number]
            one = None
        if not possible or (one is not None and one.count != count):
            self.discarded += 1
            self.unfinished.pop(number, None)
            return None
        if one is None:
            one = self.unfinished[number] = Unfinished(count, now, message)
        if index in one.pieces:
            return None
        one.pieces[index] = piece
        one.last_arrival = now
        one.newest_message = max(one.newest_message, message)
        if index == 1:
            one.first_message = message
        if len(one.pieces) < count:
            return None
        del self.unfinished[number]
        return one.first_message, b"".join(data for _, data in sorted(one.pieces.items()))

    def expire(self, now: float) -> float:
        """Discard what did not grow; return when the next one would go."""
        for number, one in list(self.unfinished.items()):
            if now >= one.last_arrival + self.timeout:
                del self.unfinished[number]
                self.discarded += 1
        return min(
            (one.last_arrival + self.timeout for one in self.unfinished.values()),
            default=float("inf"),
        )


class RateModel:
    """Every event, by the second that it fell in."""

    BINS = 300

    def __init__(self, start: float) -> None:
        self.start = start
        self.current = 0
        self.sizes: dict[str, dict[int, list[int]]] = {"sent": {}, "received": {}}
        self.round_trips: dict[int, list[float]] = {}

    def _second(self, now: float) -> int:
        self.current = max(self.current, int((now - self.start) // 1))
        return self.current

    def count(self, way: str, size: int, now: float) -> None:
        self.sizes[way].setdefault(self._second(now), []).append(size)

    def round_trip(self, elapsed: float, now: float) -> None:
        self.round_trips.setdefault(self._second(now), []).append(elapsed)

    def lists(self, now: float) -> tuple[list[int], ...]:
        last = self._second(now)
        seconds = range(last - self.BINS + 1, last + 1)
        sent, received = self.sizes["sent"], self.sizes["received"]
        return (
            [sum(sent.get(s, ())) for s in seconds],
            [sum(received.get(s, ())) for s in seconds],
            [len(sent.get(s, ())) for s in seconds],
            [len(received.get(s, ())) for s in seconds],
            [self._latency(self.round_trips.get(s)) for s in seconds],
        )

    @staticmethod
    def _latency(samples: list[float] | None) -> int:
        return int(sum(samples) / len(samples) * 1000 + 0.5) if samples else 0


class RttModel:
    """The estimate of RFC 9002 section 5.3, as its text has it."""

    def __init__(self) -> None:
        self.samples: list[float] = []
        self.srtt = self.rttvar = 0.0

    def sample(self, elapsed: float) -> None:
        if not self.samples:
            self.srtt, self.rttvar = elapsed, elapsed / 2
        else:
            self.rttvar = 0.75 * self.rttvar + 0.25 * abs(self.srtt - elapsed)
            self.srtt = 0.875 * self.srtt + 0.125 * elapsed
        self.samples.append(elapsed)
