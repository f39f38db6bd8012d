"""One connection, and a peer that holds the session's key and does with it what the script says.

Its packets open, so that every byte of them reaches the parser and what stands behind it. What
the connection must make of each is known beforehand (`fuzz.expecting`); what it says itself is
read by the second codec.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fuzz.expecting import PIECE_HEADER, Expectation, Verdict
from fuzz.inputs import Script
from fuzz.talking import INDEX, PAUSES, WALL_START, Talker
from support import models, wire
from support.endpoints import KEY, GuardedAead
from support.visible import checked

from mpgameserver._core.endpoint import MAX_INBOX_BYTES
from mpgameserver._core.fragmenter import MAX_REASSEMBLIES, MAX_REASSEMBLY_BYTES

MOST_STEPS = 200
MOST_FLOODED = 400
"""Packets that one script may send in floods: they reach the caps of reassembly, within a tenth of
a second. That of the inbox would take thrice as many; tests/core/test_hostile.py reaches it."""
FLOODS = (8, 8, 8, 40, 40, 40, 40, MOST_FLOODED)
FLOOD_SIZE = 60_000
INBOX_COST = 128
INBOX_MARGIN = 0xFFFF + 255 * INBOX_COST + MAX_REASSEMBLY_BYTES
"""The most that the last packet with room may add: its messages, or one reassembled one."""
SECONDS = 1 << 32
KINDS = (wire.APP, wire.APP_FRAGMENT, wire.KEEP_ALIVE, wire.CHALLENGE_RESP, wire.DISCONNECT)
STEPS = (1, 2, 33, 1024, 1025, 16_384, 16_385, 32_767)
COUNTS = (1, 2, 3, 4, 300, 8192, 8193, 0)


class Packets:
    """Makes the packets: honest by habit, and anything else when the script says so."""

    def __init__(self, script: Script, is_server: bool, key: bytes = KEY) -> None:
        self._script = script
        self._identifier = wire.TO_CLIENT if is_server else wire.TO_SERVER
        self._aead = AESGCM(key)
        self.acks = wire.AckField(32)
        self.seq = self.message_seq = 0
        self.time = WALL_START

    def packet(self, messages: list[wire.Message]) -> bytes:
        """A packet of these messages."""
        kind = messages[0].type if messages else wire.KEEP_ALIVE
        return self.seal(wire.pack_payload(messages), len(messages), kind)

    def seal(self, payload: bytes, count: int, kind: int) -> bytes:
        """A packet with this payload, in the next number and time or in others."""
        ack, bits = self._ack_fields()
        header = wire.Header(
            self._identifier,
            self._next_time(),
            self._next_seq(),
            ack,
            kind,
            len(payload),
            count,
            bits,
        )
        header = self._altered(header)
        data = wire.pack_header(header)
        return data + self._aead.encrypt(data[:12], payload, data)

    def message(self, kind: int, payload: bytes) -> wire.Message:
        """A message in the next number, or in another."""
        self.message_seq = self._moved(self.message_seq)
        return wire.Message(self.message_seq, kind, payload)

    def plain(self, kind: int, payload: bytes) -> wire.Message:
        """A message in the next number, whatever the script says."""
        self.message_seq = wire.add(self.message_seq, 1)
        return wire.Message(self.message_seq, kind, payload)

    def piece(self) -> wire.Message:
        """A piece of one of a few fragmented messages."""
        number, count = self._script.below(5), self._script.pick(COUNTS)
        index = self._script.below(6) if count < 8 else self._script.below(count + 2)
        head = wire.struct.pack(">HHH", number, index, count)
        return self.message(wire.APP_FRAGMENT, head + self._script.bytes(20))

    def _next_seq(self) -> int:
        self.seq = self._moved(self.seq)
        return self.seq

    def _moved(self, number: int) -> int:
        """The next number nearly always; sometimes one ahead, behind, or the same."""
        kind = self._script.below(16)
        if kind == 15:
            return wire.add(number, self._script.pick(STEPS))
        if kind == 14:
            return wire.add(max(number, 1), -self._script.pick(STEPS))
        return wire.add(number, kind != 13)

    def _next_time(self) -> int:
        """The time of the last packet nearly always; sometimes later, or another."""
        kind = self._script.below(16)
        if kind == 15:
            return (self.time + self._script.pick((-1, -2, 1 << 31, -(1 << 31)))) % SECONDS
        self.time = (self.time + (kind == 14)) % SECONDS
        return self.time

    def _ack_fields(self) -> tuple[int, int]:
        """Return the ack that was read, and rarely a false one."""
        kind = self._script.below(8)
        if kind == 7:
            return self._script.below(1 << 16), self._script.below(1 << 32)
        if kind == 6:
            return wire.add(self.acks.ack, self._script.pick(STEPS)), 0xFFFFFFFF
        return self.acks.ack, self.acks.bits

    def _altered(self, header: wire.Header) -> wire.Header:
        """The header; once in a while with one field that is anything."""
        if not self._script.chance(8):
            return header
        field, size = self._script.pick((("type", 8), ("count", 8), ("length", 16), ("seq", 16)))
        return header._replace(**{field: self._script.below(1 << size)})


class Reports:
    """Which packets a connection has sent, what they carried, and which of them were acked."""

    def __init__(self, talker: Talker) -> None:
        self._newest = talker.endpoint.sent_packets.newest
        self._acked: set[int] = set()
        self._carriers: dict[int, dict[int, set[int]]] = {}
        self._packets_of_number: dict[int, set[int]] = {}
        self._counts: dict[int, int] = {}
        self._transfers: dict[int, int] = {}

    def note_sent(self, datagram: bytes) -> wire.Header:
        """Read a datagram of the connection, which must be without fault."""
        header, messages = wire.unseal(datagram, KEY)
        self._newest += 1
        assert header.seq == models.to_wire(self._newest)
        for message in messages:
            if message.type == wire.APP and not message.payload:
                self._check_probe(message)
                continue
            self._packets_of_number.setdefault(message.seq, set()).add(self._newest)
            if message.type in (wire.APP, wire.APP_FRAGMENT):
                self._note_carried(message)
        return header

    def _check_probe(self, message: wire.Message) -> None:
        """Check that an empty message, a probe of the path, has the number of an acked one."""
        carriers = self._packets_of_number.get(message.seq, set())
        assert carriers & self._acked, f"an empty message {message.seq} that repeats none"

    def _note_carried(self, message: wire.Message) -> None:
        index, part, count, payload = None, 1, 1, message.payload
        if message.type == wire.APP_FRAGMENT:
            number, part, count = wire.struct.unpack_from(">HHH", payload)
            payload = payload[PIECE_HEADER:]
            index = self._transfers.get(number)
        if index is None:
            assert part == 1, "the first piece leaves first"
            index = INDEX.unpack_from(payload)[0]
        if message.type == wire.APP_FRAGMENT:
            self._transfers[number] = index
        self._counts[index] = count
        self._carriers.setdefault(index, {}).setdefault(part, set()).add(self._newest)

    def note_acks(self, header: wire.Header) -> None:
        """The connection took a packet with these ack fields."""
        newest = models.expand(header.ack, self._newest) if header.ack else 0
        if 0 < newest <= self._newest:
            bits = {newest - back for back in range(1, 33) if header.ack_bits >> (32 - back) & 1}
            self._acked |= bits | {newest}

    def has_reported(self, index: int) -> bool:
        """True when every part of a message was acked."""
        parts = self._carriers.get(index, {})
        return len(parts) == self._counts.get(index) and all(
            carriers & self._acked for carriers in parts.values()
        )


class Peer:
    """The connection, the peer, and the time."""

    def __init__(self, script: Script) -> None:
        self._script = script
        is_server = bool(script.below(2))
        self.talker = Talker(script, is_server, GuardedAead())
        self._packets = Packets(script, not is_server)
        self._expectation = Expectation(KEY)
        self._now = 0.0
        self._reports = Reports(self.talker)
        self._sent: list[bytes] = []
        self._flooded = 0
        self._is_reading = True
        self._unread: list[tuple[int, bytes]] = []
        self._unread_bytes = 0
        self._steps: tuple[Callable[[], None], ...] = (
            lambda: self.talker.say(script),
            self._pause,
            self._send_messages,
            self._send_pieces,
            self._send_payload,
            self._send_again,
            self._send_damaged,
            self._flood,
            self._stop_reading,
            self._disconnect,
        )

    def run(self) -> None:
        """Do as the script says, and end."""
        for _ in self._script.turns(MOST_STEPS):
            self._script.pick(self._steps)()
            self._look()
        assert self.talker.endpoint.reassembler.held_bytes == self._expectation.held_bytes
        self.talker.end(self._now)

    # -- what the peer does -----------------------------------------------------------------

    def _send_messages(self) -> None:
        count = self._script.pick((1, 0, 2, 3, 4))
        kinds = [self._script.pick(KINDS) for _ in range(count)]
        messages = [
            self._packets.piece()
            if kind == wire.APP_FRAGMENT
            else self._packets.message(kind, self._script.bytes(20))
            for kind in kinds
        ]
        self._send(self._packets.packet(messages))

    def _send_pieces(self) -> None:
        """All pieces of a short message, in any order."""
        pieces = 1 + self._script.below(4)
        number = 1 + self._script.below(4)
        for _ in range(pieces):
            head = wire.struct.pack(">HHH", number, 1 + self._script.below(pieces), pieces)
            message = self._packets.message(wire.APP_FRAGMENT, head + self._script.bytes(8))
            self._send(self._packets.packet([message]))

    def _send_payload(self) -> None:
        """Bytes of the script under a seal."""
        kind, count = self._script.below(9), self._script.pick((1, 2, 3, 0, 255))
        self._send(self._packets.seal(self._script.bytes(60), count, kind))

    def _send_again(self) -> None:
        if self._sent:
            self._deliver(self._script.pick(self._sent))

    def _send_damaged(self) -> None:
        if self._sent:
            damaged = bytearray(self._script.pick(self._sent))
            damaged[self._script.below(min(len(damaged), 256))] ^= 1 << self._script.below(8)
            self._deliver(bytes(damaged))

    def _flood(self) -> None:
        """Many packets of a kind: half-sent messages, tiny messages, or large ones."""
        if not self._script.chance(32):
            return
        kind, many = self._script.below(4), self._script.pick(FLOODS)
        many = min(many if kind < 2 else many // 8, MOST_FLOODED - self._flooded)
        self._flooded += many
        for number in range(many):
            self._deliver(self._packets.packet(self._flood_messages(kind, number)))

    def _flood_messages(self, kind: int, number: int) -> list[wire.Message]:
        if kind == 0:
            return [self._packets.plain(wire.APP, bytes(FLOOD_SIZE))]
        if kind == 1:
            head = wire.struct.pack(">HHH", 1 + number % 60, 1 + number, 8192)
            return [self._packets.plain(wire.APP_FRAGMENT, head + bytes(FLOOD_SIZE))]
        if kind == 2:
            return [self._packets.plain(wire.APP, b"") for _ in range(255)]
        heads = (wire.struct.pack(">HHH", number * 255 + n + 1, 1, 2) for n in range(255))
        return [self._packets.plain(wire.APP_FRAGMENT, head) for head in heads]

    def _send(self, datagram: bytes) -> None:
        self._sent.append(datagram)
        self._deliver(datagram)

    def _deliver(self, datagram: bytes) -> None:
        connection = self.talker.connection
        verdict, messages = self._expectation.of(datagram)
        if verdict == Verdict.TAKE and self._unread_bytes >= MAX_INBOX_BYTES - INBOX_MARGIN:
            verdict = Verdict.EITHER
        reason = checked(connection.endpoint, lambda: connection.receive(datagram, self._now))
        if reason is not None:
            assert verdict != Verdict.TAKE, f"refused a good packet: {reason}"
            return
        assert verdict != Verdict.REFUSE, "took a packet that it must refuse"
        self._reports.note_acks(wire.unpack_header(datagram))
        delivered = self._expectation.take(datagram, messages, self._now)
        self._unread += delivered
        self._unread_bytes += sum(len(message) + INBOX_COST for _, message in delivered)

    # -- what the connection does -----------------------------------------------------------

    def _pause(self) -> None:
        self._now += self._script.pick(PAUSES)
        is_live = self.talker.connection.is_live
        for datagram in self.talker.leave(self._now):
            header = self._reports.note_sent(datagram)
            if not self._script.chance(4):
                self._packets.acks.receive(header.seq)
        if is_live:
            self._expectation.expire()

    def _stop_reading(self) -> None:
        """Or begin again."""
        self._is_reading = not self._is_reading

    def _disconnect(self) -> None:
        if self._script.chance(4):
            self.talker.connection.disconnect(self._now)

    def _look(self) -> None:
        """Compare all that can be seen with what is expected."""
        endpoint, expected = self.talker.endpoint, self._expectation
        assert endpoint.inbox_size == len(self._unread)
        assert self._unread_bytes <= MAX_INBOX_BYTES + INBOX_MARGIN
        if self._is_reading and self._unread:
            assert endpoint.take_messages() == self._unread
            self._unread, self._unread_bytes = [], 0
        assert endpoint.repeated_messages == expected.repeated
        assert endpoint.disconnect_received == expected.disconnect_received
        assert len(endpoint.reassembler) == expected.unfinished <= MAX_REASSEMBLIES
        assert endpoint.reassembler.held_bytes <= MAX_REASSEMBLY_BYTES
        for index, acked in self.talker.settle():
            assert not acked or self._reports.has_reported(index), f"message {index}: not acked"
