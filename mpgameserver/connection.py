"""A connection: one session from one side, and the place of the protocol's names.

The session itself is compiled; its intervals are here.

The names that users of the protocol know (`SeqNum`, `PacketHeader`, ...) are importable from here.
"""

from __future__ import annotations

from dataclasses import dataclass

from mpgameserver._core.connection import Connection
from mpgameserver._core.frames import MAX_CLOSE_TEXT
from mpgameserver._core.seqnum import SeqNum
from mpgameserver.enums import (
    CloseReason,
    ConnectionStatus,
    PacketIdentifier,
    PacketType,
    RetryMode,
)
from mpgameserver.errors import (
    DuplicationError,
    PacketError,
    ProtocolError,
)
from mpgameserver.stats import ConnectionStats
from mpgameserver.wire.packet import BitField, Packet, PacketHeader, PendingMessage

__all__ = [
    "BitField",
    "CloseReason",
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


FIRST_GAME_CODE = 256
"""The codes below it are the protocol's: `CloseCode`."""
LAST_GAME_CODE = (1 << 62) - 1
"""The largest varint."""


def check_close(code: int, text: str) -> CloseReason:
    """Return what a game ends a session with.

    Raises TypeError or ValueError unless `code` is 0 or 256...2**62 - 1, and `text` has at most 256
    bytes of UTF-8.
    """
    if isinstance(code, bool) or not isinstance(code, int):
        raise TypeError(f"code must be an int, not {type(code).__name__}")
    if code and not FIRST_GAME_CODE <= code <= LAST_GAME_CODE:
        raise ValueError(f"code must be 0 or {FIRST_GAME_CODE} to 2**62 - 1, not {code}")
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, not {type(text).__name__}")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError(f"text must be encodable as UTF-8: {text!r}") from None
    if size > MAX_CLOSE_TEXT:
        raise ValueError(f"text must have at most {MAX_CLOSE_TEXT} bytes of UTF-8, not {size}")
    return CloseReason(int(code), text)


CLIENT_IDLE_TIMEOUT = 5.0
"""Seconds without a packet after which a client drops its connection. It cannot be set, and is the
same in the published package."""


@dataclass
class Timing:
    """The intervals of a connection, in seconds."""

    keep_alive: float = 0.1
    """Between two packets of a side that has nothing else to send."""
    message: float = 1.0
    """Until a packet, or a message that is not RETRY_ON_TIMEOUT, has timed out."""
    idle_timeout: float = CLIENT_IDLE_TIMEOUT
    """The idle timeout: without an accepted packet for so long, the connection is dropped."""

    def contradiction(self) -> str | None:
        """Return why these intervals cannot work together, or None if they can.

        A server whose own idle timeout is longer must still keep its clients from dropping it. A
        message timeout below the keep-alive interval is no contradiction: a `BEST_EFFORT` message
        is sent once then, and acks do not wait for keep-alives.
        """
        whose, timeout = "the idle timeout", self.idle_timeout
        if timeout > CLIENT_IDLE_TIMEOUT:
            whose, timeout = "the idle timeout of clients", CLIENT_IDLE_TIMEOUT
        if self.keep_alive < timeout:
            return None
        return (
            f"the keep-alive interval ({self.keep_alive:g} s) must be shorter than "
            f"{whose} ({timeout:g} s), which would end every idle connection"
        )

    def check(self) -> None:
        """Raise ValueError if two intervals contradict each other; it names both."""
        contradiction = self.contradiction()
        if contradiction is not None:
            raise ValueError(contradiction)


def check_interval(name: str, seconds: float) -> float:
    """Return `seconds` as a float. Raises TypeError or ValueError unless finite and above 0."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {type(seconds).__name__}")
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{name} must be above 0 seconds, not {seconds!r}")
    return float(seconds)
