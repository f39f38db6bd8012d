"""The expected outcome of a peer's sealed packets, by the models and the codec.

`Expectation.of` tells before a packet is given to the endpoint whether it must be taken or
refused; `Expectation.take` has, after one that was taken, what it must have delivered. Where the
models do not decide, the endpoint may do either.
"""

from __future__ import annotations

import enum

from support import models, wire

from mpgameserver._core.budget import ITEM_COST
from mpgameserver._core.fragmenter import (
    MAX_REASSEMBLIES,
    MAX_REASSEMBLY_BYTES,
    REASSEMBLY_TIMEOUT,
)

MESSAGE_FILTER = 32_768
PIECE_HEADER = 6
MAX_HEARD = 1.0  # seconds


class Verdict(enum.Enum):
    """The expected outcome of a packet."""

    TAKE = "take"
    REFUSE = "refuse"
    EITHER = "either"


class Reassembly(models.ReassemblyModel):
    """The model, where the packet as a whole was asked whether there is room."""

    def __init__(self) -> None:
        super().__init__(MAX_REASSEMBLY_BYTES, MAX_REASSEMBLIES, ITEM_COST, REASSEMBLY_TIMEOUT)

    def has_room(self, number: int, size: int) -> bool:
        return True

    def take(self, piece: bytes, message: int, now: float) -> tuple[int, bytes] | None:
        """Take an APP_FRAGMENT message."""
        number, index, count = wire.struct.unpack_from(">HHH", piece)
        return self.add(number, index, count, piece[PIECE_HEADER:], message, now)


class Expectation:
    """One receiver, as the models see it."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._packets = models.ReceiveModel()
        self._messages = models.DuplicateModel(MESSAGE_FILTER)
        self._reassembly = Reassembly()
        self.disconnect_received = False
        self.repeated = 0
        self._heard_for = self._last_heard = 0.0

    @property
    def unfinished(self) -> int:
        """The number of unfinished fragmented messages."""
        return len(self._reassembly.unfinished)

    @property
    def held_bytes(self) -> int:
        """The bytes charged for them."""
        return self._reassembly.held_bytes

    def of(self, datagram: bytes) -> tuple[Verdict, list[wire.Message]]:
        """Return the expected outcome of a datagram, and its messages."""
        try:
            header, messages = wire.unseal(datagram, self._key)
        except wire.WireError:
            return Verdict.REFUSE, []
        if any(m.type == wire.APP_FRAGMENT and len(m.payload) < PIECE_HEADER for m in messages):
            return Verdict.REFUSE, []
        if messages and messages[0].type != header.type:
            return Verdict.REFUSE, []
        arrival = self._packets.arrival(header.seq, header.time)
        if arrival is None:
            return Verdict.EITHER, messages
        if arrival != "fresh":
            return Verdict.REFUSE, []
        return (Verdict.TAKE if self._is_roomy(messages) else Verdict.EITHER), messages

    def _is_roomy(self, messages: list[wire.Message]) -> bool:
        """True while the caps of reassembly are out of reach, however the room is counted."""
        pieces = [len(m.payload) for m in messages if m.type == wire.APP_FRAGMENT]
        return not pieces or (
            self.unfinished + len(pieces) <= MAX_REASSEMBLIES
            and self.held_bytes + sum(pieces) + ITEM_COST * len(pieces) <= MAX_REASSEMBLY_BYTES
        )

    def take(
        self, datagram: bytes, messages: list[wire.Message], now: float
    ) -> list[tuple[int, bytes]]:
        """The endpoint took it: what it must deliver, as (wire number, bytes)."""
        self._heard_for += min(now - self._last_heard, MAX_HEARD)
        self._last_heard = now
        header = wire.unpack_header(datagram)
        self._packets.accept(header.seq, header.time)
        delivered = []
        for message in messages:
            number = models.expand(message.seq, self._messages.newest)
            if not self._messages.insert(number):
                self.repeated += 1
                continue
            whole = self._use(message, number, self._heard_for)
            if whole is not None:
                delivered.append((models.to_wire(whole[0]), whole[1]))
        return delivered

    def _use(self, message: wire.Message, number: int, now: float) -> tuple[int, bytes] | None:
        if message.type == wire.APP:
            return number, message.payload
        if message.type == wire.APP_FRAGMENT:
            return self._reassembly.take(message.payload, number, now)
        if message.type == wire.DISCONNECT:
            self.disconnect_received = True
        return None

    def expire(self) -> None:
        """The endpoint has looked at the time: of an idle time, only so much counts."""
        self._reassembly.expire(self._heard_for)
