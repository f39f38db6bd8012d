"""Encrypted, reliable messages over UDP for multiplayer games."""

from __future__ import annotations

from importlib.metadata import version

from mpgameserver.buildinfo import BuildInfo, build_info
from mpgameserver.client import UdpClient
from mpgameserver.crypto import EllipticCurvePrivateKey, EllipticCurvePublicKey
from mpgameserver.enums import ConnectFailure, ConnectionStatus, DisconnectReason, RetryMode
from mpgameserver.errors import (
    ConnectFailedError,
    ConnectionEndedError,
    DuplicationError,
    HandshakeError,
    InvalidSignature,
    MpGameServerError,
    NotConnectedError,
    PacketError,
    ProtocolError,
    SendQueueFullError,
)
from mpgameserver.reconnect import Reconnector, ReconnectState
from mpgameserver.server import (
    EventHandler,
    ServerClient,
    ServerContext,
    ServerStats,
    ThreadedServer,
    UdpServer,
)
from mpgameserver.stats import ConnectionStats

__all__ = [
    "BuildInfo",
    "ConnectFailedError",
    "ConnectFailure",
    "ConnectionEndedError",
    "ConnectionStats",
    "ConnectionStatus",
    "DisconnectReason",
    "DuplicationError",
    "EllipticCurvePrivateKey",
    "EllipticCurvePublicKey",
    "EventHandler",
    "HandshakeError",
    "InvalidSignature",
    "MpGameServerError",
    "NotConnectedError",
    "PacketError",
    "ProtocolError",
    "ReconnectState",
    "Reconnector",
    "RetryMode",
    "SendQueueFullError",
    "ServerClient",
    "ServerContext",
    "ServerStats",
    "ThreadedServer",
    "UdpClient",
    "UdpServer",
    "__version__",
    "build_info",
]

__version__ = version("mpgameserver")
