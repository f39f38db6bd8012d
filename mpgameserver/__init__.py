"""Encrypted, reliable messages over UDP for multiplayer games."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

from mpgameserver._core.seqnum import SeqNum
from mpgameserver.absent import REPLACEMENTS, AbsentModules, is_import, sentence
from mpgameserver.buildinfo import BuildInfo, build_info
from mpgameserver.channels import Channel
from mpgameserver.client.reconnect import Reconnector, ReconnectState
from mpgameserver.client.udpclient import UdpClient
from mpgameserver.crypto import EllipticCurvePrivateKey, EllipticCurvePublicKey
from mpgameserver.enums import (
    CloseCode,
    CloseReason,
    ConnectFailure,
    ConnectionStatus,
    DisconnectReason,
    RetryMode,
)
from mpgameserver.errors import (
    ConnectFailedError,
    ConnectionEndedError,
    DuplicationError,
    HandshakeError,
    InvalidSignature,
    MpGameServerError,
    NotConnectedError,
    OldPeerError,
    PacketError,
    ProtocolError,
    RefusedError,
    SendQueueFullError,
)
from mpgameserver.server.client import ServerChannel, ServerClient
from mpgameserver.server.context import ServerContext
from mpgameserver.server.groups import Group
from mpgameserver.server.handler import EventHandler
from mpgameserver.server.limits import Limits
from mpgameserver.server.stats import ServerStats
from mpgameserver.server.udpserver import ThreadedServer, UdpServer
from mpgameserver.stats import ConnectionStats
from mpgameserver.transport.address import format_address

__all__ = [
    "BuildInfo",
    "Channel",
    "CloseCode",
    "CloseReason",
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
    "Group",
    "HandshakeError",
    "InvalidSignature",
    "Limits",
    "MpGameServerError",
    "NotConnectedError",
    "OldPeerError",
    "PacketError",
    "ProtocolError",
    "ReconnectState",
    "Reconnector",
    "RefusedError",
    "RetryMode",
    "SendQueueFullError",
    "SeqNum",
    "ServerChannel",
    "ServerClient",
    "ServerContext",
    "ServerStats",
    "ThreadedServer",
    "UdpClient",
    "UdpServer",
    "__version__",
    "build_info",
    "format_address",
]

if AbsentModules not in sys.meta_path:
    sys.meta_path.append(AbsentModules)

if TYPE_CHECKING:
    TwistedServer = UdpServer
    __version__: str
else:  # with a __getattr__ in its sight, a type checker takes every name

    def __getattr__(name: str) -> object:
        if name == "__version__":
            # With what reads the metadata an import of this package would take half as long again.
            from importlib.metadata import PackageNotFoundError, version

            try:
                return version("mpgameserver")
            except PackageNotFoundError as error:  # a frozen program without it
                text = f"module {__name__!r} has no attribute {name!r}: {error}"
                raise AttributeError(text) from error
        if name == "TwistedServer":
            if not is_import():
                text = "TwistedServer is deprecated: use UdpServer"
                warnings.warn(text, DeprecationWarning, stacklevel=2)
            return UdpServer
        if name not in REPLACEMENTS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        text = sentence(name, REPLACEMENTS[name])
        # An import statement replaces the text of an AttributeError; hasattr() wants no other.
        raise ImportError(text, name=__name__) if is_import() else AttributeError(text)
