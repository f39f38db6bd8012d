"""The first data of a session: the client's connect data, and the server's accept data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise

from mpgameserver._core.frames import MAX_SETUP_SIZE, RESET_TOKEN_SIZE
from mpgameserver.errors import HandshakeError
from mpgameserver.wire.protocol2.fields import (
    FieldReader,
    bytes8,
    bytes16,
    extension_block,
    varint,
)
from mpgameserver.wire.protocol2.limits import DEFAULT_LIMITS, PeerLimits

__all__ = [
    "MAX_CREDENTIAL_SIZE",
    "MAX_NAME_SIZE",
    "AcceptData",
    "ChannelKind",
    "ConnectData",
    "DeclaredChannel",
    "Window",
]

MAX_CREDENTIAL_SIZE = 1024
"""Bytes: room for a signed token, and no more work for a server that checks it."""
MAX_NAME_SIZE = 64
"""Bytes of UTF-8 in the name of a channel."""


class ChannelKind(IntEnum):
    """The way in which the messages of a channel are delivered."""

    UNORDERED = 0
    ORDERED = 1
    SEQUENCED = 2
    LATEST = 3


@dataclass(frozen=True)
class Window:
    """The limit of an ordered channel: the highest number, and the highest total length."""

    number: int = 0
    total: int = 0

    def encode(self) -> bytes:
        """The two integers."""
        return varint(self.number) + varint(self.total)

    @classmethod
    def read(cls, reader: FieldReader) -> Window:
        """The next two integers. Raises HandshakeError if there are none."""
        return cls(reader.varint(), reader.varint())


@dataclass(frozen=True)
class DeclaredChannel:
    """A channel as a client declares it, with the window that it grants on an ordered one."""

    channel: int
    kind: ChannelKind
    name: str
    window: Window = Window()

    def encode(self) -> bytes:
        """Its row in the table of channels."""
        window = self.window.encode() if self.kind is ChannelKind.ORDERED else b""
        return bytes([self.channel, self.kind]) + window + bytes8(self.name.encode())

    @classmethod
    def read(cls, reader: FieldReader) -> DeclaredChannel:
        """The next row. Raises HandshakeError if there is none."""
        channel, number = reader.integer(1), reader.integer(1)
        try:
            kind = ChannelKind(number)
        except ValueError:
            raise HandshakeError(f"a channel of the kind {number}") from None
        window = Window.read(reader) if kind is ChannelKind.ORDERED else Window()
        name = reader.text(MAX_NAME_SIZE)
        if not name:
            raise HandshakeError(f"channel {channel} has no name")
        return cls(channel, kind, name, window)


@dataclass(frozen=True)
class ConnectData:
    """The first that a client says under the keys: who it is, and which channels it has."""

    credential: bytes = field(default=b"", repr=False)
    channels: Sequence[DeclaredChannel] = ()
    limits: PeerLimits = DEFAULT_LIMITS

    def encode(self) -> bytes:
        """The bytes. Raises ValueError for more than 8,192, or more than 1,024 of credential."""
        data = (
            bytes16(self.credential)
            + bytes([len(self.channels)])
            + b"".join(channel.encode() for channel in self.channels)
            + extension_block(self.limits.extensions())
        )
        if len(data) > MAX_SETUP_SIZE or len(self.credential) > MAX_CREDENTIAL_SIZE:
            raise ValueError(
                f"connect data of {len(data)} bytes, of which {len(self.credential)} are the "
                f"credential; at most {MAX_SETUP_SIZE} and {MAX_CREDENTIAL_SIZE} are allowed"
            )
        return data

    @classmethod
    def decode(cls, data: bytes) -> ConnectData:
        """The connect data that the bytes are. Raises HandshakeError if they are none."""
        reader = FieldReader(data)
        credential = reader.bytes16()
        if len(credential) > MAX_CREDENTIAL_SIZE:
            raise HandshakeError(f"a credential of {len(credential)} bytes")
        channels = tuple(DeclaredChannel.read(reader) for _ in range(reader.integer(1)))
        limits = PeerLimits.from_extensions(reader.extensions())
        reader.finish()
        numbers = [0, *(channel.channel for channel in channels)]
        if any(b <= a for a, b in pairwise(numbers)):
            raise HandshakeError(f"channels out of order: {numbers[1:]}")
        if len({channel.name for channel in channels}) != len(channels):
            raise HandshakeError("two channels have one name")
        return cls(credential, channels, limits)


@dataclass(frozen=True)
class AcceptData:
    """The reply to a client that the server takes: a reset token, and the windows it grants."""

    reset_token: bytes = field(repr=False)
    windows: Sequence[Window] = ()
    """One for each ordered channel, ascending."""

    def encode(self) -> bytes:
        """The bytes."""
        return self.reset_token + b"".join(window.encode() for window in self.windows)

    @classmethod
    def decode(cls, data: bytes, ordered_channels: int) -> AcceptData:
        """The accept data that the bytes are. Raises HandshakeError if they are none."""
        reader = FieldReader(data)
        token = reader.take(RESET_TOKEN_SIZE)
        windows = tuple(Window.read(reader) for _ in range(ordered_channels))
        reader.finish()
        return cls(token, windows)
