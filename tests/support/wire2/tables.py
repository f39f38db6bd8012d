"""Connect data, accept data, the table of channels in both, and how pieces become whole."""

from __future__ import annotations

from typing import NamedTuple

from support.wire import WireError
from support.wire2.fields import (
    Reader,
    pack_bytes8,
    pack_bytes16,
    pack_extensions,
    pack_varint,
    to_text,
)
from support.wire2.frames import Accept, Connect, Kem
from support.wire2.handshake import LIMIT_SIZES, check_limits

UNORDERED, ORDERED, SEQUENCED, LATEST = range(4)
MAX_NAME = 64
MAX_CREDENTIAL = 1024
TOKEN_SIZE = 16


class Channel(NamedTuple):
    id: int
    kind: int
    window: tuple[int, int] | None
    """Highest number and highest total, of ordered channels alone."""
    name: str


def _pack_window(window: tuple[int, int] | None) -> bytes:
    return b"".join(pack_varint(each) for each in window or ())


def _read_window(reader: Reader, kind: int) -> tuple[int, int] | None:
    return (reader.varint(), reader.varint()) if kind == ORDERED else None


def pack_table(channels: list[Channel]) -> bytes:
    out = bytes([len(channels)])
    for channel in channels:
        out += bytes([channel.id, channel.kind]) + _pack_window(channel.window)
        out += pack_bytes8(channel.name.encode())
    return out


def read_table(reader: Reader) -> list[Channel]:
    channels: list[Channel] = []
    for _ in range(reader.byte()):
        channel = _read_channel(reader)
        if channel.id <= (channels[-1].id if channels else 0):
            raise WireError("channel 0, or channels out of order")
        if channel.name in [each.name for each in channels]:
            raise WireError("a name twice")
        channels.append(channel)
    return channels


def _read_channel(reader: Reader) -> Channel:
    id_, kind = reader.byte(), reader.byte()
    if kind > LATEST:
        raise WireError("a kind that there is not")
    window, name = _read_window(reader, kind), reader.bytes8()
    if not 1 <= len(name) <= MAX_NAME:
        raise WireError("a name that is empty or above 64 bytes")
    return Channel(id_, kind, window, to_text(name))


def first_difference(ours: list[Channel], theirs: list[Channel]) -> int | None:
    """Return the first channel in which number, kind and name differ between the sides."""
    declared, other = (
        {each.id: (each.kind, each.name) for each in table} for table in (ours, theirs)
    )
    differing = (
        id_ for id_ in declared.keys() | other.keys() if declared.get(id_) != other.get(id_)
    )
    return min(differing, default=None)


class ConnectData(NamedTuple):
    credential: bytes
    channels: list[Channel]
    extensions: dict[int, bytes]


def pack_connect_data(data: ConnectData) -> bytes:
    begin = pack_bytes16(data.credential) + pack_table(data.channels)
    return begin + pack_extensions(data.extensions)


def unpack_connect_data(data: bytes) -> ConnectData:
    reader = Reader(data)
    credential, channels = reader.bytes16(), read_table(reader)
    connect = ConnectData(credential, channels, reader.extensions(LIMIT_SIZES))
    reader.end()
    if len(credential) > MAX_CREDENTIAL:
        raise WireError("a credential above 1,024 bytes")
    check_limits(connect.extensions)
    return connect


class AcceptData(NamedTuple):
    reset_token: bytes
    windows: list[tuple[int, int]]
    """Highest number and highest total of each ordered channel."""


def pack_accept_data(data: AcceptData) -> bytes:
    return data.reset_token + b"".join(_pack_window(window) for window in data.windows)


def unpack_accept_data(data: bytes, channels: list[Channel]) -> AcceptData:
    """Return the accept data for a client that has declared these channels."""
    reader = Reader(data)
    token = reader.take(TOKEN_SIZE)
    windows = [_read_window(reader, each.kind) for each in channels if each.kind == ORDERED]
    reader.end()
    return AcceptData(token, windows)


class Pieces:
    """Puts the pieces of CONNECT, ACCEPT or KEM frames together."""

    def __init__(self) -> None:
        self._total: int | None = None
        self._had: dict[int, int] = {}
        """Each byte by its place."""

    def add(self, frame: Connect | Accept | Kem) -> bytes | None:
        """Take a piece; return the whole when it is there for the first time."""
        if len(self._had) == self._total:
            return None
        piece = dict(enumerate(frame.data, frame.offset))
        if self._total not in (None, frame.total):
            raise WireError("another total than that of an earlier piece")
        if any(self._had.get(place, byte) != byte for place, byte in piece.items()):
            raise WireError("a piece that contradicts an earlier one")
        self._total = frame.total
        self._had |= piece
        if len(self._had) < frame.total:
            return None
        return bytes(self._had[place] for place in range(frame.total))
