"""A connection: one session from one side, and the place of the protocol's names.

The session itself is the compiled `Lifecycle`; what is added here are its figures.

The names that users of the protocol know (`SeqNum`, `PacketHeader`, ...) are importable from here.
"""

from __future__ import annotations

from mpgameserver._core.connection import Lifecycle
from mpgameserver._core.seqnum import SeqNum
from mpgameserver.enums import ConnectionStatus, PacketIdentifier, PacketType, RetryMode
from mpgameserver.errors import (
    DuplicationError,
    PacketError,
    ProtocolError,
)
from mpgameserver.stats import ConnectionStats
from mpgameserver.wire.packet import BitField, Packet, PacketHeader, PendingMessage

__all__ = [
    "BitField",
    "Connection",
    "ConnectionStats",
    "ConnectionStatus",
    "DuplicationError",
    "Packet",
    "PacketError",
    "PacketHeader",
    "PacketIdentifier",
    "PacketType",
    "PendingMessage",
    "ProtocolError",
    "RetryMode",
    "SeqNum",
]


class Connection(Lifecycle):
    """An established session, seen from one side; see `Lifecycle`."""

    __slots__ = ()

    def stats(self, now: float) -> ConnectionStats:
        """A snapshot of the figures."""
        return ConnectionStats.of(self.endpoint, now)
