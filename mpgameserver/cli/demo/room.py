"""The server's side of the demo: a room that passes on where everybody is and what they say."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass, field

from mpgameserver.cli.demo.player import PLACE, file_of
from mpgameserver.cli.demo.traffic import Counts, InOrder, Kind, Ledger
from mpgameserver.enums import ConnectionStatus
from mpgameserver.server.client import ServerClient
from mpgameserver.server.handler import EventHandler

__all__ = ["MAX_PLAYERS", "Member", "Progress", "Room"]

MAX_PLAYERS = 64
"""The positions of all of them fit into one datagram, so they can be sent unreliably."""

_NUMBER = struct.Struct("!H")


@dataclass
class Member:
    """A client in the room; `number` counts from 1, in the order of arrival."""

    number: int
    client: ServerClient
    ledger: Ledger = field(default_factory=Ledger)
    chat_order: InOrder = field(default_factory=InOrder)
    place: bytes = PLACE.pack(0.0, 0.0, 0.0)
    newest_place: int = -1
    retried: int = 0
    """Messages and fragments that were retransmitted to it; known once it has left."""


@dataclass(frozen=True)
class Progress:
    """The progress of the room at one moment."""

    is_playing: bool = True
    members: dict[int, Counts] = field(default_factory=dict)
    """By token of the session."""


class Room(EventHandler):
    """Sends each member a file, everybody's place on every tick, and each line of chat.

    All of it runs on the server's thread; other threads read `progress`, which is replaced on
    every tick and never changed, and after the server has stopped `members`.
    """

    def __init__(self, seed: int) -> None:
        self.members: dict[int, Member] = {}
        """All that ever came, by token of the session."""
        self.progress: Progress = Progress()
        self._seed = seed
        self._is_playing = True

    @property
    def retried(self) -> int:
        """Messages and fragments that were retransmitted to those who have left."""
        return sum(member.retried for member in self.members.values())

    def ledger_of(self, token: int) -> Ledger:
        """The books of the session with that token; empty ones when it never got here."""
        return self.members[token].ledger if token in self.members else Ledger()

    def connect(self, client: ServerClient) -> None:
        """Let a client in, and start to send it its file."""
        member = Member(len(self.members) + 1, client)
        self.members[client.token] = member
        file = file_of(self._seed, f"down {member.number}")
        member.ledger.send(client, Kind.FILE, file, time.perf_counter())

    def disconnect(self, client: ServerClient) -> None:
        """Take leave of a client."""
        member = self.members[client.token]
        member.retried = client.stats.retransmitted

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        """Take a message, and pass on the lines of chat whose turn it is."""
        now = time.perf_counter()
        member = self.members[client.token]
        read = member.ledger.receive(msg, now)
        if read is None:
            return
        kind, sequence, body = read
        if kind is Kind.POSITION and sequence > member.newest_place:
            member.newest_place, member.place = sequence, body
        elif kind is Kind.CHAT:
            for line in member.chat_order.take(sequence, body):
                self._tell_all(Kind.CHAT, line)

    def update(self, delta_t: float) -> None:
        """Tell everybody where everybody is, and publish the progress."""
        if self._is_playing:
            places = (_NUMBER.pack(m.number) + m.place for m in self._present())
            self._tell_all(Kind.POSITION, b"".join(places))
        counts = {token: member.ledger.counts() for token, member in self.members.items()}
        self.progress = Progress(self._is_playing, counts)

    def stop_playing(self) -> None:
        """Send no more of its own; to be called on the server's thread."""
        self._is_playing = False

    def _present(self) -> list[Member]:
        return [m for m in self.members.values() if m.client.status == ConnectionStatus.CONNECTED]

    def _tell_all(self, kind: Kind, body: bytes) -> None:
        now = time.perf_counter()
        for member in self._present():
            member.ledger.send(member.client, kind, body, now)
