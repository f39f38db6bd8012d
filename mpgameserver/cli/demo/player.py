"""A player of the demo: a client that moves, chats and exchanges a file, frame by frame."""

from __future__ import annotations

import math
import random
import struct
import time
from dataclasses import dataclass

from mpgameserver.cli.demo.traffic import InOrder, Kind, Ledger
from mpgameserver.client.udpclient import UdpClient
from mpgameserver.enums import ConnectionStatus

__all__ = ["FILE_SIZE", "PLACE", "Player", "file_of"]

FILE_SIZE = 1 << 20
"""Bytes of the file that goes each way."""
CHAT_INTERVAL = 0.5
"""Seconds between two lines of chat of one player."""

PLACE = struct.Struct("!3f")
"""A player's position: metres east, north and up."""

_WALK_RADIUS = 50.0
_WALK_SPEED = 5.0


def file_of(seed: int, name: str) -> bytes:
    """The file of that name: the same bytes for the same seed."""
    return random.Random(f"{seed}/{name}").randbytes(FILE_SIZE)


@dataclass
class Player:
    """One client and what it does; `number` counts from 1."""

    number: int
    client: UdpClient
    file: bytes

    def __post_init__(self) -> None:
        self.ledger: Ledger = Ledger()
        self.token: int = 0
        """Of the session, kept after its end; 0 before."""
        self.chat: list[bytes] = []
        """The lines of all players, in order."""
        self.problems: list[str] = []
        """Problems of the connection itself."""
        self._chat_order = InOrder()
        self._next_chat = 0.0

    def frame(self, is_playing: bool) -> None:
        """Do one frame: act if `is_playing`, send and receive, read what has come."""
        if is_playing and self.client.connected():
            self._act(time.perf_counter())
        self.client.update()
        self._read(time.perf_counter())
        self.token = self.client.token() or self.token

    def _act(self, now: float) -> None:
        if not self.ledger.sent[Kind.FILE].digests:
            self.ledger.send(self.client, Kind.FILE, self.file, now)
        angle = now * _WALK_SPEED / _WALK_RADIUS + self.number
        place = PLACE.pack(_WALK_RADIUS * math.cos(angle), _WALK_RADIUS * math.sin(angle), 0.0)
        self.ledger.send(self.client, Kind.POSITION, place, now)
        if now >= self._next_chat:
            self._next_chat = now + CHAT_INTERVAL
            number = len(self.ledger.sent[Kind.CHAT].digests) + 1
            line = f"player {self.number}: line {number}"
            self.ledger.send(self.client, Kind.CHAT, line.encode(), now)

    def _read(self, now: float) -> None:
        for _, message in self.client.getMessages():
            read = self.ledger.receive(message, now)
            if read is not None and read[0] is Kind.CHAT:
                self.chat += self._chat_order.take(read[1], read[2])

    def leave(self) -> None:
        """Disconnect; note it as a problem if the connection has already ended."""
        failure = self.client.failure
        if failure is not None:
            self.problems.append(f"could not connect: {failure.value}")
        elif not self.client.connected():
            self.problems.append(f"lost the connection: {self.client.status().name.lower()}")
        self.client.disconnect()

    def is_over(self) -> bool:
        """True when the client is neither connected nor disconnecting."""
        return self.client.status() in (ConnectionStatus.DISCONNECTED, ConnectionStatus.DROPPED)
