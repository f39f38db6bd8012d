"""Every error of this package: one small tree under `MpGameServerError`.

Each is also the built-in error that it specialises, so that a caller can catch either.
What the other side of a connection does wrong is never raised out of an `update()`;
the protocol errors below reach only those who call a codec or a key class themselves.
"""

from __future__ import annotations

from cryptography import exceptions

from mpgameserver.enums import ConnectFailure

__all__ = [
    "ConnectFailedError",
    "ConnectionEndedError",
    "DuplicationError",
    "HandshakeError",
    "InvalidSignature",
    "MpGameServerError",
    "NotConnectedError",
    "PacketError",
    "ProtocolError",
    "SendQueueFullError",
]


class MpGameServerError(Exception):
    """The root of the errors of this package."""


class ProtocolError(MpGameServerError, ValueError):
    """Bytes that break the rules of the wire protocol."""


class PacketError(ProtocolError):
    """A datagram that is not a packet: the one error that the packet parser raises."""


class DuplicationError(ProtocolError):
    """A sequence number that was inserted before, or that fell behind the filter."""


class HandshakeError(ProtocolError):
    """A handshake message that is malformed, or whose signature or version does not hold."""


class InvalidSignature(MpGameServerError, exceptions.InvalidSignature, ValueError):
    """A signature that the key did not make of that data; `cryptography`'s error of this name."""


class NotConnectedError(MpGameServerError, ConnectionError):
    """A message was given to a connection that is not connected; nothing was queued."""


class ConnectFailedError(MpGameServerError, ConnectionError):
    """An attempt to connect has failed; `failure` says why, as a `ConnectFailure`."""

    def __init__(self, message: str, failure: ConnectFailure | None = None) -> None:
        super().__init__(message)
        self.failure = failure


class ConnectionEndedError(MpGameServerError, ConnectionError):
    """The connection has ended before what was waited for."""


class SendQueueFullError(MpGameServerError, BufferError):
    """More waits to be sent than the send queue may hold; what was queued before is unharmed."""
