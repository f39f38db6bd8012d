"""A whole peer a second time, written from the protocol page alone: simple, slow and plain.

It holds one side of a session whose key is known: it numbers, seals and opens packets, acks what
it takes, sends again what is not acked, cuts long messages up, joins pieces, and delivers each
message once. It shares nothing with the package but the page; bytes come from the second codec.

Where the page leaves a choice it takes the plainest: one message or piece per packet, an ack for
every packet that owes one, and everything that is not acked sent again after a fixed time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from support import wire

PACKETS_PER_SECOND = 32_767
"""Under one written second, so that no nonce comes twice."""
SPAN = 32
"""The most that the newest packet may be ahead of the oldest undecided one: what acks cover."""
RESEND_AFTER = 0.35
KEEP_ALIVE = 0.1
PACKET_WINDOW = 1024
MESSAGE_WINDOW = 32_768
MAX_LEAP = 16_384
MESSAGES_UNACKED = 255
"""Newer messages that may be sent while one is not acked."""


class Numbers:
    """The received numbers of a ring: the newest, and those behind it within the window."""

    def __init__(self, window: int) -> None:
        self._window = window
        self.newest = 0
        self._had: dict[int, None] = {}

    def step(self, number: int) -> int:
        """Return the distance of a number ahead of the newest."""
        return wire.diff(number, self.newest) if self.newest else 1

    def is_new(self, number: int) -> bool:
        """False for a number that was had, or is too far behind to tell."""
        return number not in self._had and self.step(number) > -self._window

    def add(self, number: int) -> None:
        """Remember a number that is new."""
        if self.step(number) > 0:
            self.newest = number
        self._had[number] = None
        if len(self._had) > 2 * self._window:
            self._had = {n: None for n in self._had if -self.step(n) < self._window}

    def bits(self) -> int:
        """The ack bits: the 32 before the newest."""
        return sum(
            1 << (32 - back)
            for back in range(1, 33)
            if self.newest and wire.add(self.newest, -back) in self._had
        )


@dataclass
class Outgoing:
    """One message, or one piece, until it is acked or sent for the last time."""

    message: wire.Message
    name: object
    is_reliable: bool
    due: float = 0.0
    was_sent: bool = False


@dataclass
class Unfinished:
    """The pieces of a message that have arrived."""

    count: int
    first: int = 0
    pieces: dict[int, bytes] = field(default_factory=dict)


class SecondPeer:
    """One side of a session. `now` is in seconds, and never goes back."""

    def __init__(self, is_server: bool, key: bytes, wall_start: int, before: int = 0) -> None:
        self.acked: list[object] = []
        """The names of the reliable messages that have arrived whole, in the order of the acks."""
        self.delivered: list[tuple[int, bytes]] = []
        """Return the received messages, by message number."""
        self.disconnect_received = False
        self._identifier = wire.TO_CLIENT if is_server else wire.TO_SERVER
        self._key, self._wall_start = key, wall_start
        self._packet = self._message = wire.add(0, before) if before else 0
        self._fragmented = 0
        self._received = Numbers(PACKET_WINDOW)
        self._received_time = 0
        self._messages = Numbers(MESSAGE_WINDOW)
        self._unfinished: dict[int, Unfinished] = {}
        self._waiting: list[Outgoing] = []
        self._parts_left: dict[object, int] = {}
        self._under_way: dict[int, tuple[float, list[Outgoing]]] = {}
        self._owes_ack = False
        self._last_sent = -math.inf
        self._second = self._sent_this_second = 0

    @property
    def is_done(self) -> bool:
        """True when nothing reliable waits for an ack."""
        return not self._parts_left

    # -- out --------------------------------------------------------------------------------

    def say(self, name: object, message: bytes, mtu: int, *, is_reliable: bool) -> None:
        """Send a message, under a name of the caller's."""
        if len(message) <= wire.sizes(mtu).payload:
            parts, kind = [message], wire.APP
        else:
            self._fragmented = wire.add(self._fragmented, 1)
            parts, kind = wire.split(self._fragmented, message, mtu), wire.APP_FRAGMENT
        if is_reliable:
            self._parts_left[name] = len(parts)
        for part in parts:
            self._message = wire.add(self._message, 1)
            numbered = wire.Message(self._message, kind, part)
            self._waiting.append(Outgoing(numbered, name, is_reliable))

    def datagrams(self, now: float) -> list[bytes]:
        """Return the datagrams to send now."""
        leaving = []
        self._give_up_packets(now)
        while (one := self._next_due(now)) is not None:
            leaving.append(self._seal([one], now))
        if self._owes_ack or now >= self._last_sent + KEEP_ALIVE:
            leaving.append(self._seal([], now))
        return leaving

    def _give_up_packets(self, now: float) -> None:
        """A packet without an ack for so long is no longer in flight."""
        for number, (sent_at, _) in list(self._under_way.items()):
            if now >= sent_at + RESEND_AFTER:
                del self._under_way[number]

    def _next_due(self, now: float) -> Outgoing | None:
        if self._under_way:
            oldest = next(iter(self._under_way))
            if wire.diff(wire.add(self._packet, 1), oldest) > SPAN:
                return None
        first = next((one.message.seq for one in self._waiting if one.was_sent), None)
        for one in self._waiting:
            if first is not None and wire.diff(one.message.seq, first) > MESSAGES_UNACKED:
                return None
            if now >= one.due:
                return one
        return None

    def _seal(self, carried: list[Outgoing], now: float) -> bytes:
        second = math.floor(self._wall_start + now)
        if second != self._second:
            self._second, self._sent_this_second = second, 0
        self._sent_this_second += 1
        assert self._sent_this_second <= PACKETS_PER_SECOND
        self._packet = wire.add(self._packet, 1)
        self._last_sent, self._owes_ack = now, False
        for one in carried:
            one.was_sent, one.due = True, now + RESEND_AFTER
            if not one.is_reliable:
                self._waiting.remove(one)
        if carried:
            self._under_way[self._packet] = (now, carried)
        messages = [one.message for one in carried]
        acks = (self._received.newest, self._received.bits())
        return wire.seal(self._identifier, second, self._packet, *acks, messages, self._key)

    # -- in ---------------------------------------------------------------------------------

    def receive(self, datagram: bytes) -> bool:
        """Take a datagram; False for one that is rejected, which changes nothing."""
        try:
            header, messages = wire.unseal(datagram, self._key)
        except wire.WireError:
            return False
        if header.identifier == self._identifier or not self._is_honest(header):
            return False
        if self._received.step(header.seq) > 0:
            self._received_time = header.time
        self._received.add(header.seq)
        self._take_acks(header.ack, header.ack_bits)
        for message in messages:
            self._owes_ack = True
            self._take(message)
        return True

    def _is_honest(self, header: wire.Header) -> bool:
        """The number was not had, and the time does not contradict it."""
        if self._received.newest == 0:
            return True
        if not self._received.is_new(header.seq) or self._received.step(header.seq) > MAX_LEAP:
            return False
        if self._received.step(header.seq) > 0:
            return header.time >= self._received_time
        return header.time <= self._received_time

    def _take_acks(self, ack: int, bits: int) -> None:
        reported = [ack] if ack else []
        reported += [wire.add(ack, -back) for back in range(1, 33) if bits >> (32 - back) & 1]
        for number in reported:
            _, carried = self._under_way.pop(number, (0.0, []))
            for one in carried:
                self._settle(one)

    def _settle(self, one: Outgoing) -> None:
        if one not in self._waiting:
            return
        self._waiting.remove(one)
        self._parts_left[one.name] -= 1
        if self._parts_left[one.name] == 0:
            del self._parts_left[one.name]
            self.acked.append(one.name)

    def _take(self, message: wire.Message) -> None:
        if not self._messages.is_new(message.seq):
            return
        self._messages.add(message.seq)
        if message.type == wire.APP:
            self.delivered.append((message.seq, message.payload))
        elif message.type == wire.APP_FRAGMENT:
            self._take_piece(message)
        elif message.type == wire.DISCONNECT:
            self.disconnect_received = True

    def _take_piece(self, message: wire.Message) -> None:
        number, index, count = wire.struct.unpack_from(">HHH", message.payload)
        one = self._unfinished.setdefault(number, Unfinished(count))
        if number == 0 or not 1 <= index <= count <= wire.MAX_PIECES or count != one.count:
            del self._unfinished[number]
            return
        one.pieces[index] = message.payload
        if index == 1:
            one.first = message.seq
        if len(one.pieces) == count:
            del self._unfinished[number]
            self.delivered.append((one.first, wire.join(list(one.pieces.values()))))
