"""The messages of one side to the other, and the check of their outcomes.

Every message begins with its index, and the rest of its bytes, its size and its retry mode follow
from that and from the seed. So every byte that arrives is compared without keeping what was sent,
and a message of another talk is recognized as foreign.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from mpgameserver.connection import Connection
from mpgameserver.enums import RetryMode

INDEX = struct.Struct(">I")
LAP = 8191
"""Messages after which sizes and retry modes repeat. A prime, as is the number of different
places in `DATA` that bytes are taken from, so that the two coincide late."""
PLACES = 65_521
LARGEST = 1 << 20
DATA = random.Random("soak").randbytes(PLACES + LARGEST)

NOT_CALLED, CALLED_FALSE, CALLED_TRUE = range(3)


@dataclass(frozen=True)
class Kind:
    """A kind of message: how often among `weight` of all, its sizes in bytes, its retry mode."""

    weight: float
    smallest: int
    largest: int
    mode: RetryMode = RetryMode.RETRY_ON_TIMEOUT


class Send(Protocol):
    """`send` of a connection, or of what a server's handler sees of one."""

    def __call__(
        self, payload: bytes, retry: int, callback: Callable[[bool], object] | None
    ) -> None: ...


class Talk:
    """One direction. Any breach of what was promised of a message is an AssertionError."""

    lap = LAP

    def __init__(self, send: Send, kinds: Sequence[Kind], seed: str) -> None:
        rng = random.Random(seed)
        chosen = rng.choices(kinds, [kind.weight for kind in kinds], k=self.lap)
        self._lap = [(rng.randint(kind.smallest, kind.largest), kind.mode) for kind in chosen]
        self._first_place = rng.randrange(PLACES)
        self._send = send
        self._arrived = bytearray()
        self._called = bytearray()
        self.settled = 0
        self.reliable = 0
        self.bytes_arrived = 0
        self.has_ended = False
        """The connection has ended, which is when even a reliable message may be given up."""

    @property
    def said(self) -> int:
        """The number of messages queued so far."""
        return len(self._arrived)

    @property
    def open(self) -> int:
        """The number of messages whose callback has not been called."""
        return self.said - self.settled

    def say(self) -> None:
        """Queue the next message."""
        index = self.said
        mode = self._lap[index % self.lap][1]
        callback: Callable[[bool], None] = partial(self._on_settled, index)
        self._send(self._message(index), mode, callback)
        self._arrived.append(0)
        self._called.append(NOT_CALLED)
        self.reliable += mode == RetryMode.RETRY_ON_TIMEOUT

    def take(self, message: bytes) -> None:
        """Check a message that has arrived."""
        index = INDEX.unpack_from(message)[0]
        assert index < self.said, f"message {index} was never sent"
        assert message == self._message(index), f"message {index} was altered"
        assert not self._arrived[index], f"message {index} arrived twice"
        self._arrived[index] = 1
        self.bytes_arrived += len(message)

    def check(self) -> None:
        """When all is over: every callback called, every reliable message there."""
        assert self.open == 0, f"{self.open} callbacks missing"
        for index, called in enumerate(self._called):
            assert called != NOT_CALLED, f"message {index}: no callback"
            if self._is_reliable(index) and not self.has_ended:
                assert self._arrived[index], f"message {index} was lost"

    def _is_reliable(self, index: int) -> bool:
        return self._lap[index % self.lap][1] == RetryMode.RETRY_ON_TIMEOUT

    def _message(self, index: int) -> bytes:
        place = (self._first_place + index) % PLACES
        size = self._lap[index % self.lap][0]
        return INDEX.pack(index) + DATA[place : place + size - INDEX.size]

    def _on_settled(self, index: int, acked: bool) -> None:
        assert self._called[index] == NOT_CALLED, f"message {index}: callback called again"
        self._called[index] = CALLED_TRUE if acked else CALLED_FALSE
        self.settled += 1
        if acked:
            self._check_acked(index)
        elif not self.has_ended:
            assert not self._is_reliable(index), f"message {index}: reliable, but False"

    def _check_acked(self, index: int) -> None:
        assert self._arrived[index], f"message {index}: True, but it did not arrive"


class ConnectionTalk(Talk):
    """The messages of one connection to another one."""

    def __init__(
        self, sender: Connection, receiver: Connection, kinds: Sequence[Kind], seed: str
    ) -> None:
        super().__init__(sender.send, kinds, seed)
        self._sender, self._receiver = sender, receiver

    def look(self) -> None:
        """Read what has arrived, and call what is settled."""
        for _, message in self._receiver.endpoint.take_messages():
            self.take(message)
        for callback, acked in self._sender.take_completed():
            callback(acked)
