"""The enumerations that users and the wire share."""

from __future__ import annotations

from enum import Enum, IntEnum

__all__ = [
    "ConnectFailure",
    "ConnectionStatus",
    "DisconnectReason",
    "PacketIdentifier",
    "PacketType",
    "RetryMode",
]


class _NamedInt(IntEnum):
    """An IntEnum that reads as `ConnectionStatus.CONNECTED`; Python's own differ by version."""

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    def __format__(self, spec: str) -> str:
        """Format the name, or the number for a presentation type of integers."""
        if spec[-1:] in ("b", "c", "d", "o", "x", "X", "n"):
            return format(int(self), spec)
        return format(str(self), spec)


class ConnectionStatus(_NamedInt):
    """The state of a connection."""

    CONNECTING = 1
    """The client is attempting to connect; there are no session keys."""
    CONNECTED = 2
    """The session keys are set, and the other side has proved that it holds them."""
    DISCONNECTING = 3
    """A goodbye is under way."""
    DISCONNECTED = 4
    """Not connected: never was, or ended by a goodbye or by a failed attempt."""
    DROPPED = 5
    """The other side fell silent for longer than the connection allows, or the path to it drops
    every datagram as large as a reliable message needs that was sent already."""


class RetryMode(_NamedInt):
    """The delivery mode of a message."""

    RETRY_ON_TIMEOUT = -1
    """Sent again until it is acked or the connection ends."""
    NONE = 0
    """Sent once."""
    BEST_EFFORT = 1
    """Sent again every keep-alive interval until it is acked or the message timeout has passed."""


class PacketType(_NamedInt):
    """The kind of a message, and of the packet that it comes first in."""

    UNKNOWN = 0
    CLIENT_HELLO = 1
    SERVER_HELLO = 2
    CHALLENGE_RESP = 3
    KEEP_ALIVE = 4
    DISCONNECT = 5
    APP = 6
    APP_FRAGMENT = 7


class PacketIdentifier(bytes, Enum):
    """The first four bytes of a datagram: which way it travels."""

    TO_SERVER = b"FSOS"
    TO_CLIENT = b"FSOC"

    def __format__(self, spec: str) -> str:
        """Format the name; Python 3.10 formats the bytes."""
        return format(str(self), spec)


class DisconnectReason(Enum):
    """The reason why a session on the server has ended."""

    GOODBYE = "goodbye"
    """The client said goodbye."""
    TIMEOUT = "timeout"
    """The client fell silent."""
    KICKED = "kicked"
    """The server's own code disconnected the client."""
    SHUTDOWN = "shutdown"
    """The server is stopping."""
    REPLACED = "replaced"
    """The client came back from the same address with a new session."""
    STALLED = "stalled"
    """The client was there, but acked nothing for 10 s while more than 1 MiB waited for it."""
    EVICTED = "evicted"
    """Unfinished messages of the client held more than those of any other, and had to make room."""
    KEY_LIMIT = "key limit"
    """The session's key has sealed nearly as many packets as one key safely may: 2^28."""
    PATH_MTU = "path MTU"
    """The path dropped every datagram as large as a reliable message for the client needs, for 10 s
    or more, while smaller ones arrived: that message could never be delivered."""


class ConnectFailure(Enum):
    """The reason why an attempt to connect failed."""

    TIMEOUT = "timeout"
    """Nothing answered in time."""
    REFUSED = "refused"
    """Every address refused: no socket is bound to that port there."""
    WRONG_KEY = "wrong key"
    """An answer came, signed by another key than the one that the client was given."""
    UNRESOLVED = "unresolved name"
    """The host name has no address."""
    CANNOT_SEND = "cannot send"
    """The system refused every datagram: a firewall, no route. The log has the error."""

    @property
    def text(self) -> str:
        """A sentence that can be shown to a player."""
        return _FAILURE_TEXTS[self]


_FAILURE_TEXTS = {
    ConnectFailure.TIMEOUT: "The server did not answer in time.",
    ConnectFailure.REFUSED: "No server is running on that port.",
    ConnectFailure.WRONG_KEY: "The server does not have the key that was expected.",
    ConnectFailure.UNRESOLVED: "The host name could not be resolved.",
    ConnectFailure.CANNOT_SEND: "This computer could not send to the server: firewall or no route.",
}
