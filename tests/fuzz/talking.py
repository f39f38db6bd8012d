"""A connection that a fuzzer drives, and the ledger of what it said.

Every message begins with its index, and the rest follows from that, so that what arrives can be
compared. The ledger holds each callback to be called once.
"""

from __future__ import annotations

import random
import struct

from fuzz.inputs import Script
from support.endpoints import GuardedAead

from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver.connection import Connection, Timing
from mpgameserver.enums import ConnectionStatus, RetryMode

WALL_START = 1_700_000_000
TOKEN = 0x4000_0001
INDEX = struct.Struct(">I")
LARGEST = 20_000
DATA = random.Random("fuzz").randbytes(LARGEST)
SIZES = (4, 5, 20, 300, 1433, 1434, 1435, 3000, LARGEST)
MODES = (RetryMode.RETRY_ON_TIMEOUT, RetryMode.NONE, RetryMode.BEST_EFFORT)
BEFORE = (0, 1, 32_700, 65_530)
"""Numbers that were used before the script: just before the half of the ring, and its end."""
DATAGRAMS = (1472, 548)
PAUSES = (0.0, 0.001, 1 / 64, 0.03, 0.1, 0.3, 1.1, 5.1, 31.0)
"""Seconds: nothing, a frame, an ack's delay, a keep-alive, a probe; then each of the timeouts."""
MOST_SAID = 200
MOST_BYTES_SAID = 100_000
"""Bounds on what one script says, so that each takes milliseconds."""


class Talker:
    """One side: a connection, what it said, and what became of that."""

    def __init__(self, script: Script, is_server: bool, aead: GuardedAead) -> None:
        self.max_datagram = script.pick(DATAGRAMS)
        before = script.pick(BEFORE)
        endpoint = Endpoint1(
            aead,
            is_server,
            0.0,
            WALL_START,
            max_datagram=self.max_datagram,
            packets_before=before,
            messages_before=before,
        )
        self.connection = Connection(endpoint, TOKEN, Timing())
        self.modes: list[RetryMode] = []
        self.sizes: list[int] = []
        self.results: dict[int, bool] = {}
        self._bytes_said = 0

    @property
    def endpoint(self) -> Endpoint1:
        """Its endpoint."""
        return self.connection.endpoint

    @property
    def is_connected(self) -> bool:
        """True while messages can be sent."""
        return self.connection.status == ConnectionStatus.CONNECTED

    def say(self, script: Script) -> None:
        """Queue a message of a kind that the script chooses, while the bounds allow one."""
        size, mode = script.pick(SIZES), script.pick(MODES)
        index = len(self.modes)
        if index >= MOST_SAID or self._bytes_said + size > MOST_BYTES_SAID:
            return
        if not self.is_connected:
            return
        self._bytes_said += size
        self.modes.append(mode)
        self.sizes.append(size)
        self.connection.send(
            self.message(index), mode, lambda acked: self._on_settled(index, acked)
        )

    def message(self, index: int) -> bytes:
        """The message with that index."""
        return INDEX.pack(index) + DATA[index : index + self.sizes[index] - INDEX.size]

    def index_of(self, message: bytes) -> int:
        """The index of a message that arrived; an AssertionError if it was never sent like that."""
        index = INDEX.unpack_from(message)[0]
        assert index < len(self.modes), f"message {index} was never sent"
        assert message == self.message(index), f"message {index} was altered"
        return index

    def settle(self) -> list[tuple[int, bool]]:
        """Call the callbacks that are due; which, and with what."""
        known = len(self.results)
        for callback, acked in self.connection.take_completed():
            callback(acked)
        return list(self.results.items())[known:]

    def leave(self, now: float) -> list[bytes]:
        """Advance, and take the datagrams that should leave now."""
        self.connection.advance(now)
        return self.flush(now)

    def flush(self, now: float) -> list[bytes]:
        """Take the datagrams that should leave now."""
        leaving = []
        while (datagram := self.connection.next_datagram(now)) is not None:
            assert len(datagram) <= self.max_datagram, f"a datagram of {len(datagram)} bytes"
            assert len(leaving) < 1000, "does not stop to send"
            self.endpoint.on_datagram_sent(len(datagram), now)
            leaving.append(datagram)
        return leaving

    def end(self, now: float) -> None:
        """End the connection: by now every callback has been called, once."""
        self.connection.abort(now)
        self.settle()
        missing = set(range(len(self.modes))) - set(self.results)
        assert not missing, f"callbacks missing: {sorted(missing)}"

    def _on_settled(self, index: int, acked: bool) -> None:
        assert index not in self.results, f"message {index}: callback called again"
        assert isinstance(acked, bool)
        self.results[index] = acked
        if self.modes[index] == RetryMode.RETRY_ON_TIMEOUT and not acked:
            assert not self.is_connected, f"message {index} was given up"
