"""Enumerations shared by the public API and the wire protocol, and the reason of an end."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple

__all__ = [
    "CloseCode",
    "CloseReason",
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
    """The session is established: the peer has proved that it holds the session key."""
    DISCONNECTING = 3
    """The connection is being closed."""
    DISCONNECTED = 4
    """Not connected: never was, was closed by either side, or the attempt failed."""
    DROPPED = 5
    """Nothing arrived from the peer for the idle timeout, the server has lost the session, or the
    path drops every datagram as large as a reliable message needs that was already sent."""


class RetryMode(_NamedInt):
    """The delivery mode of a message."""

    RETRY_ON_TIMEOUT = -1
    """Retransmitted until it is acked or the connection ends."""
    NONE = 0
    """Sent once."""
    BEST_EFFORT = 1
    """Resent every keep-alive interval until it is acked or the message timeout has passed."""


class PacketType(_NamedInt):
    """The type of a message, and of the packet whose first message it is."""

    UNKNOWN = 0
    CLIENT_HELLO = 1
    SERVER_HELLO = 2
    CHALLENGE_RESP = 3
    KEEP_ALIVE = 4
    DISCONNECT = 5
    APP = 6
    APP_FRAGMENT = 7


class PacketIdentifier(bytes, Enum):
    """The first four bytes of a datagram, which tell its direction."""

    TO_SERVER = b"FSOS"
    TO_CLIENT = b"FSOC"

    def __format__(self, spec: str) -> str:
        """Format the name; Python 3.10 formats the bytes."""
        return format(str(self), spec)


class DisconnectReason(Enum):
    """The reason why a session on the server has ended."""

    CLIENT = "closed by client"
    """The client disconnected."""
    TIMEOUT = "timeout"
    """Nothing arrived from the client for the idle timeout."""
    KICKED = "kicked"
    """The server's program disconnected the client."""
    SHUTDOWN = "shutdown"
    """The server is stopping."""
    REPLACED = "replaced"
    """The client came back from the same address with a new session."""
    STALLED = "stalled"
    """The client sent packets but acked nothing for 10 s, while more than 1 MiB was queued."""
    EVICTED = "evicted"
    """The client's incomplete messages held the most memory, and had to make room for others."""
    KEY_LIMIT = "key limit"
    """The session's key has sealed nearly as many packets as it safely may: 2^28."""
    PATH_MTU = "path MTU"
    """For 10 s or more the path dropped every datagram as large as a reliable message needs, while
    smaller ones arrived: that message could never be delivered."""
    REFUSED = "refused"
    """The handler's `authenticate` has refused the client; it had no `connect` event."""
    CHANNELS = "channels differ"
    """The client has declared other channels than the server; it had no `connect` event."""
    PROTOCOL = "protocol violated"
    """The client has broken a rule of the protocol, or sent more than a window allows."""


class CloseCode(_NamedInt):
    """The code with which a side ends a session of protocol 2; from 256 on they are the game's."""

    CLOSED = 0
    """The game has ended the session."""
    PROTOCOL = 1
    """The peer has broken a rule of the protocol."""
    CHANNELS = 2
    """The two sides have declared different channels."""
    REFUSED = 3
    """The server has refused the credential."""
    TIMEOUT = 4
    """The server could not check the credential in time."""
    FULL = 5
    """The server is full."""
    SHUTDOWN = 6
    """The server stops."""
    WINDOW = 7
    """The peer has sent more on an ordered channel than it was allowed to."""
    KEYS = 8
    """The session's keys have sealed nearly as many packets as they safely may."""


class CloseReason(NamedTuple):
    """The code and the text with which a session was ended, by either side."""

    code: int
    """A `CloseCode`, or from 256 on a number of the game's own."""
    text: str


class ConnectFailure(Enum):
    """The reason why an attempt to connect failed."""

    TIMEOUT = "timeout"
    """No reply arrived in time."""
    REFUSED = "refused"
    """Every address of the host refused: no socket is bound to the port."""
    WRONG_KEY = "wrong key"
    """A reply was signed by another key than the one that the client was given."""
    UNRESOLVED = "unresolved name"
    """The host name has no address."""
    CANNOT_SEND = "cannot send"
    """The system refused to send every datagram: a firewall, or no route. The log has the error."""
    REJECTED = "rejected"
    """The server ended the session before it began; `UdpClient.reason` has the code and a text."""
    TOO_OLD = "server too old"
    """The server speaks protocol 1 only, and the client requires protocol 2."""
    DOWNGRADED = "downgraded"
    """The server speaks protocol 2, but something on the path keeps the client's offer from it."""
    NOT_HYBRID = "not hybrid"
    """The server did not agree on a key with ML-KEM, which the client requires."""
    NO_CREDENTIAL = "no credential"
    """The game's function for the credential has failed; the log has the exception."""

    @property
    def text(self) -> str:
        """A sentence to show to the player."""
        return _FAILURE_TEXTS[self]


_FAILURE_TEXTS = {
    ConnectFailure.TIMEOUT: "The server did not answer in time.",
    ConnectFailure.REFUSED: "No server is running on that port.",
    ConnectFailure.WRONG_KEY: "The server does not have the expected key.",
    ConnectFailure.UNRESOLVED: "The host name could not be resolved.",
    ConnectFailure.CANNOT_SEND: "This computer cannot send to the server: a firewall, or no route.",
    ConnectFailure.REJECTED: "The server did not let this player in.",
    ConnectFailure.TOO_OLD: "The server is older than this game.",
    ConnectFailure.DOWNGRADED: "Something on the way interferes with the connection.",
    ConnectFailure.NOT_HYBRID: "The server does not have the encryption that this game requires.",
    ConnectFailure.NO_CREDENTIAL: "This game could not log in.",
}
