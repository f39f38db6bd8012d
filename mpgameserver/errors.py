"""All exceptions of this package: one small tree below `MpGameServerError`.

Each is also the built-in exception that fits it, so that a caller can catch either. Nothing that
the peer does wrong is ever raised out of `update()`; the protocol errors below reach only those who
call a codec or a key class themselves.
"""

from __future__ import annotations

from cryptography import exceptions

from mpgameserver.enums import CloseReason, ConnectFailure

__all__ = [
    "ConnectFailedError",
    "ConnectionEndedError",
    "DuplicationError",
    "HandshakeError",
    "InvalidSignature",
    "MpGameServerError",
    "NotConnectedError",
    "OldPeerError",
    "PacketError",
    "ProtocolError",
    "RefusedError",
    "SendQueueFullError",
]


class MpGameServerError(Exception):
    """The base class of this package's exceptions."""


class ProtocolError(MpGameServerError, ValueError):
    """Bytes that violate the wire protocol."""


class PacketError(ProtocolError):
    """A datagram that is not a packet: the only exception that the packet parser raises."""


class DuplicationError(ProtocolError):
    """A sequence number that was already inserted, or that is too old for the filter."""


class HandshakeError(ProtocolError):
    """A handshake message that is malformed or has an invalid signature or an unknown version."""


class InvalidSignature(MpGameServerError, exceptions.InvalidSignature, ValueError):
    """A signature that is not the key's for this data; also `cryptography`'s `InvalidSignature`."""


class NotConnectedError(MpGameServerError, ConnectionError):
    """A message for a client that is not connected; nothing was queued."""


class OldPeerError(MpGameServerError, RuntimeError):
    """A channel was used in a session of protocol 1, which has none; nothing was queued."""


class RefusedError(MpGameServerError, PermissionError):
    """Raise it in `authenticate` to refuse a client, which is shown the text: at most 256 bytes."""


class ConnectFailedError(MpGameServerError, ConnectionError):
    """An attempt to connect has failed; `failure`, a `ConnectFailure`, says why.

    `reason`, a `CloseReason`, is the code and the text of a server that has rejected the client.
    """

    def __init__(
        self,
        message: str,
        failure: ConnectFailure | None = None,
        reason: CloseReason | None = None,
    ) -> None:
        super().__init__(message)
        self.failure = failure
        self.reason = reason


class ConnectionEndedError(MpGameServerError, ConnectionError):
    """The connection ended before the awaited result."""


class SendQueueFullError(MpGameServerError, BufferError):
    """The send queue has no room for this message; messages queued before are unaffected."""
