"""The sending side of a session's channels, and a receiving side behind a link that loses packets.

What the sender may not do is checked of each packet, by the rules of the page: the windows, how far
numbers may spread, and how much may be begun in fragments.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from support.wire2.frames import UNIT

from mpgameserver._core.channel_queues import ChannelQueues
from mpgameserver._core.channel_receiver import ChannelKind, ChannelReceiver, FrameFate
from mpgameserver._core.frames import FrameFields, FrameType, decode_frames, encode_frames
from mpgameserver._core.grid_reassembly import (
    INCOMPLETE_TIMEOUT,
    MAX_INCOMPLETE_BYTES,
    MAX_INCOMPLETE_MESSAGES,
    GridReassembler,
)

SPAN = 65_536
"""Numbers that a message may be ahead of one that may be retransmitted, and one more."""


@dataclass
class Packet:
    """A packet in flight."""

    number: int
    frames: list[FrameFields]
    contents: list[object]
    sent_at: float
    is_lost: bool = False
    """Reported as lost."""
    is_acked: bool = False


@dataclass
class Ledger:
    """All that was sent, and what of it was acked: the rules of the page look at it."""

    sequenced: set[int]
    """The channels of that kind, on which a delivered message ends all older ones."""
    totals: dict[tuple[int, int], int] = field(default_factory=dict)
    """The length of each message, by channel and number."""
    lengths: dict[int, list[int]] = field(default_factory=dict)
    """L(n) of the page, by channel and n."""
    units: dict[tuple[int, int], set[int]] = field(default_factory=dict)
    """Of those begun in fragments and not wholly acked, the units that are not acked."""
    last_sent: dict[tuple[int, int], float] = field(default_factory=dict)
    acked: set[tuple[int, int]] = field(default_factory=set)
    begun_most: int = 0

    def on_sent(self, frame: FrameFields, now: float) -> None:
        name = frame.channel, frame.number
        is_fragment = frame.type == FrameType.FRAGMENT
        total = frame.total if is_fragment else len(frame.data)
        if name not in self.totals:
            lengths = self.lengths.setdefault(frame.channel, [0])
            assert frame.number == len(lengths)
            lengths.append(lengths[-1] + total)
        assert self.totals.setdefault(name, total) == total
        if is_fragment and name not in self.acked:
            if name not in self.units:
                self.units[name] = set(range(-(-total // UNIT)))
            self.last_sent[name] = now
        self.check_room(now)

    def check_room(self, now: float) -> None:
        """Compare what is begun with what a receiver holds."""
        for name in list(self.units):
            if now > self.last_sent[name] + INCOMPLETE_TIMEOUT:
                del self.units[name]
        self.begun_most = max(self.begun_most, len(self.units))
        assert len(self.units) <= MAX_INCOMPLETE_MESSAGES
        held = sum(self.totals[name] for name in self.units)
        assert held <= MAX_INCOMPLETE_BYTES or len(self.units) == 1

    def on_acked(self, frame: FrameFields) -> None:
        channel, number = name = frame.channel, frame.number
        first = frame.offset // UNIT
        left = self.units.get(name, set())
        left.difference_update(range(first, first + -(-len(frame.data) // UNIT)))
        if left and frame.type == FrameType.FRAGMENT:
            return
        self.acked.add(name)
        self.units.pop(name, None)
        if channel in self.sequenced:
            for other in [n for n in self.units if n[0] == channel and n[1] < number]:
                del self.units[other]


class ChannelPair:
    """Both sides, and the link between them: `loss` of the packets, `ack_loss` of the acks."""

    delay = 0.02
    loss_delay = 0.1
    message_timeout = 1.0
    repeat_interval = 0.1

    def __init__(
        self,
        kinds: dict[int, ChannelKind] | None = None,
        *,
        loss: float = 0.0,
        seed: int = 0,
        payload: int = 1150,
        window: tuple[int, int] = (1000, 1 << 24),
        priorities: dict[int, int] | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.loss, self.payload = loss, payload
        self.now = 0.0
        self.queues = ChannelQueues(payload)
        self.reassembler = GridReassembler()
        self.receivers = {0: ChannelReceiver(0, ChannelKind.UNORDERED, self.reassembler)}
        self.windows: dict[int, tuple[int, int]] = {}
        self.outcomes: dict[object, list[bool]] = {}
        self.delivered: dict[int, list[bytes]] = {0: []}
        self.sent: list[FrameFields] = []
        self.packets: list[Packet] = []
        self.in_flight: list[Packet] = []
        self.arrivals: list[tuple[float, Packet]] = []
        """When which ack arrives."""
        self.read_counts: dict[int, int] = {}
        self.ledger = Ledger(
            {channel for channel, kind in (kinds or {}).items() if kind == ChannelKind.SEQUENCED}
        )
        for channel, kind in (kinds or {}).items():
            granted = window if kind == ChannelKind.ORDERED else (0, 0)
            self.queues.open(channel, kind, (priorities or {}).get(channel, 0), *granted)
            self.receivers[channel] = ChannelReceiver(channel, kind, self.reassembler, *granted)
            self.delivered[channel] = []
            if kind == ChannelKind.ORDERED:
                self.windows[channel] = granted

    # -- the sender ---------------------------------------------------------------------------

    def add(self, data: bytes, channel: int = 0, retry: int = -1, name: object = None) -> None:
        """Queue a message; `name` is what its outcome is kept under."""
        outcomes = self.outcomes.setdefault(name, [])
        callback = None if name is None else outcomes.append
        self.queues.add_on(channel, data, retry, callback)

    def send(self, *, ahead: bool = False) -> Packet | None:
        """Send a packet, if there is something to send."""
        number = len(self.packets) + 1
        payload, contents = self.queues.take_frames(
            self.payload, number, self.now, self.repeat_interval, ahead
        )
        if not payload:
            assert contents == []
            return None
        assert len(payload) <= self.payload
        packet = Packet(number, decode_frames(payload), contents, self.now)
        for frame in packet.frames:
            self.ledger.on_sent(frame, self.now)
            if frame.channel in self.windows:
                most, total = self.windows[frame.channel]
                assert frame.number <= most
                assert self.ledger.lengths[frame.channel][frame.number] <= total
        self.sent += packet.frames
        self.packets.append(packet)
        self.in_flight.append(packet)
        return packet

    def send_all(self, most: int = 10_000) -> list[Packet]:
        """Send packets until there is nothing to send now."""
        sent: list[Packet] = []
        while len(sent) < most and (packet := self.send()):
            sent.append(packet)
        return sent

    def frames(self, most: int = 10_000) -> list[FrameFields]:
        """Send, and return the frames of all packets."""
        return [frame for packet in self.send_all(most) for frame in packet.frames]

    def ack(self, packet: Packet) -> None:
        """Let the ack of a packet arrive."""
        if not packet.is_acked:
            packet.is_acked = True
            for frame in packet.frames:
                self.ledger.on_acked(frame)
            self.queues.on_packet_acked(packet.contents, packet.sent_at, self.now)
            self.complete()

    def lose(self, packet: Packet) -> None:
        """Let a packet be declared lost."""
        packet.is_lost = True
        self.queues.on_packet_lost(packet.contents, packet.number)
        self.complete()

    def complete(self) -> None:
        """Call the callbacks that are due."""
        for callback, acked in self.queues.completed:
            callback(acked)
        self.queues.completed.clear()

    # -- the receiver -------------------------------------------------------------------------

    def receive(self, packet: Packet) -> bool:
        """Take a packet; return whether it is acked."""
        self.reassembler.begin_packet()
        encoded = [(frame.channel, encode_frames([frame])) for frame in packet.frames]
        fates = [self.receivers[channel].inspect_frame(data) for channel, data in encoded]
        assert not {FrameFate.MALFORMED, FrameFate.WINDOW_BROKEN} & set(fates)
        for (channel, data), fate in zip(encoded, fates, strict=True):
            if fate != FrameFate.NO_ROOM:
                self.delivered[channel] += self.receivers[channel].take_frame(data, self.now)
        return FrameFate.NO_ROOM not in fates

    def read(self) -> None:
        """Let the game take all messages of ordered channels, and renew their windows."""
        for channel in self.windows:
            order = self.receivers[channel].order
            assert order is not None
            taken = self.delivered[channel]
            for message in taken[self.read_counts.get(channel, 0) :]:
                order.on_taken(len(message))
            self.read_counts[channel] = len(taken)
            if order.is_window_due():
                order.renew_window()
                self.windows[channel] = order.granted_number, order.granted_total
                assert self.queues.grant(channel, *self.windows[channel])

    # -- both ---------------------------------------------------------------------------------

    def tick(self, most: int = 20, seconds: float = 0.01) -> None:
        """Send some packets, and let others arrive, be acked or be lost."""
        for packet in self.send_all(most):
            if self.rng.random() >= self.loss and self.receive(packet):
                self.arrivals.append((self.now + self.delay, packet))
        self.now += seconds
        for due, packet in list(self.arrivals):
            if due <= self.now:
                self.arrivals.remove((due, packet))
                if self.rng.random() >= self.loss / 2:
                    self.ack(packet)
                    self.in_flight.remove(packet)
        for packet in list(self.in_flight):
            if self.now >= packet.sent_at + self.loss_delay:
                self.in_flight.remove(packet)
                self.lose(packet)
        self.queues.expire(self.now, self.message_timeout)
        self.complete()
        self.read()

    def run(self, seconds: float = 60.0, most: int = 20) -> None:
        """Go on until nothing is queued or in flight."""
        end = self.now + seconds
        while self.queues.has_more() or self.in_flight or self.queues.pending:
            self.tick(most)
            assert self.now < end, "something is never sent or never acked"
