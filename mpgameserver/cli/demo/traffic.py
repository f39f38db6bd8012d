"""The messages between the demo's players, and the ledgers that each side keeps of them.

Every message starts with its kind, its sequence number among the messages of that kind, and the
time when it was sent; both sides are in one process and read one clock. The sender notes a digest
of the message and how often its callback was called, the receiver notes what arrived. Nothing is
compared before the end, when nobody writes in the books any more (`audit`).
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Protocol

from mpgameserver.enums import RetryMode

__all__ = ["Counts", "InOrder", "Kind", "Ledger", "Received", "Sent"]

_HEAD = struct.Struct("!BId")

Callback = Callable[[bool], object]


class Kind(Enum):
    """A kind of message: the byte that it starts with, and how hard it is tried."""

    POSITION = (1, RetryMode.NONE)
    """Positions of players; the next one is sent before a lost one could be retransmitted."""
    CHAT = (2, RetryMode.RETRY_ON_TIMEOUT)
    """A line of chat."""
    FILE = (3, RetryMode.RETRY_ON_TIMEOUT)
    """A whole file."""

    def __init__(self, code: int, retry: RetryMode) -> None:
        self.code = code
        self.retry = retry

    @property
    def is_reliable(self) -> bool:
        """True when every message of this kind must arrive."""
        return self.retry is RetryMode.RETRY_ON_TIMEOUT


_KINDS = {kind.code: kind for kind in Kind}


class Sent:
    """Messages of one kind that one side has sent."""

    def __init__(self) -> None:
        self.digests: list[bytes] = []
        """Of each message, by sequence number."""
        self.bytes: int = 0
        self.first_at: float | None = None
        self.calls: Counter[int] = Counter()
        """Calls of each message's callback, by sequence number."""
        self.acked: set[int] = set()
        """The messages whose callback was called with True."""

    def add(self, message: bytes, now: float) -> None:
        """Enter a message."""
        self.digests.append(_digest(message))
        self.bytes += len(message)
        if self.first_at is None:
            self.first_at = now

    def settle(self, sequence: int, acked: bool) -> None:
        """Enter a call of the callback of a message."""
        self.calls[sequence] += 1
        if acked:
            self.acked.add(sequence)


class Received:
    """Messages of one kind that one side has received."""

    def __init__(self) -> None:
        self.arrivals: Counter[int] = Counter()
        """Arrivals of each message, by sequence number."""
        self.digests: dict[int, bytes] = {}
        """Of each message, as it arrived last."""
        self.bytes: int = 0
        self.latencies: list[float] = []
        """Seconds from sending to reading, of each arrival."""
        self.last_at: float | None = None

    def add(self, sequence: int, message: bytes, latency: float, now: float) -> None:
        """Enter a message."""
        self.arrivals[sequence] += 1
        self.digests[sequence] = _digest(message)
        self.bytes += len(message)
        self.latencies.append(latency)
        self.last_at = now


@dataclass(frozen=True)
class Counts:
    """Numbers of messages that a side has sent and received, each counted once."""

    sent: dict[Kind, int]
    received: dict[Kind, int]
    outstanding: int
    """Callbacks that were not called yet."""


class _Sender(Protocol):
    """A client, or what the server's handler gets for one."""

    def send(self, payload: bytes, retry: int, callback: Callback, /) -> None: ...


class Ledger:
    """One side's books of one connection."""

    def __init__(self) -> None:
        self.sent: dict[Kind, Sent] = {kind: Sent() for kind in Kind}
        self.received: dict[Kind, Received] = {kind: Received() for kind in Kind}
        self.unreadable: int = 0
        """Messages that this demo cannot have sent."""

    def send(self, sender: _Sender, kind: Kind, body: bytes, now: float) -> None:
        """Send a message at the monotonic time `now`, and enter it unless `sender` raises."""
        sent = self.sent[kind]
        sequence = len(sent.digests)
        message = _HEAD.pack(kind.code, sequence, now) + body
        sender.send(message, kind.retry, partial(sent.settle, sequence))
        sent.add(message, now)

    def receive(self, message: bytes, now: float) -> tuple[Kind, int, bytes] | None:
        """Enter a message that arrived: (kind, sequence number, body), None if unreadable."""
        kind = _KINDS.get(message[0]) if len(message) >= _HEAD.size else None
        if kind is None:
            self.unreadable += 1
            return None
        _, sequence, sent_at = _HEAD.unpack_from(message)
        self.received[kind].add(sequence, message, now - sent_at, now)
        return kind, sequence, message[_HEAD.size :]

    def counts(self) -> Counts:
        """The counts at this moment."""
        return Counts(
            sent={kind: len(sent.digests) for kind, sent in self.sent.items()},
            received={kind: len(received.arrivals) for kind, received in self.received.items()},
            outstanding=sum(len(s.digests) - len(s.calls) for s in self.sent.values()),
        )


class InOrder:
    """Puts the lines of a chat in order: delivery is not, so a line may come too early."""

    def __init__(self) -> None:
        self._next = 0
        self._early: dict[int, bytes] = {}

    def take(self, sequence: int, line: bytes) -> list[bytes]:
        """Take a line; those that are next to be shown, in order."""
        if sequence >= self._next:
            self._early[sequence] = line
        ready = []
        while self._next in self._early:
            ready.append(self._early.pop(self._next))
            self._next += 1
        return ready


def _digest(message: bytes) -> bytes:
    return hashlib.sha256(message).digest()
