"""The messages of a transfer as bytes: a letter for the kind, and its fields.

    client                               server
    Offer: size, SHA-256, name    ──>
                                  <──    Have: what it has of it already, or Busy, or Refused
    Chunk: place, bytes           ──>
    ...                           <──    Have, again and again
                                  <──    Done: the SHA-256 is right; or Refused

Whatever the bytes, `decode` raises ValueError and nothing else.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

CHUNK = 32 * 1024
"""Bytes of a file in one message: two dozen datagrams, so that what is written down of each one
is little, and what is sent again after a reconnect, too."""
WINDOW = 4 << 20
"""Bytes that a client is ahead of what the server says that it has: what a path of 300 Mbit/s and
100 ms carries. So much waits in the server's memory at the most."""
REPORT = 64 * 1024
"""Bytes after which the server says what it has."""
MAX_SIZE = 1 << 40
"""Bytes of a file."""
MAX_NAME = 200
"""Bytes of a file's name, in UTF-8: with what is put before it, a name that file systems take."""
_OFFER = struct.Struct(">cQ32s")
_PLACE = struct.Struct(">cQ")


@dataclass(frozen=True)
class Offer:
    """A file that a client would send."""

    size: int
    digest: bytes
    name: str

    def encode(self) -> bytes:
        """As bytes."""
        return _OFFER.pack(b"O", self.size, self.digest) + self.name.encode()


@dataclass(frozen=True)
class Chunk:
    """A piece of the file."""

    offset: int
    data: bytes

    @property
    def end(self) -> int:
        """The place behind it."""
        return self.offset + len(self.data)

    def encode(self) -> bytes:
        """As bytes."""
        return _PLACE.pack(b"C", self.offset) + self.data


@dataclass(frozen=True)
class Have:
    """The server has the file up to a place, on its disk."""

    offset: int

    def encode(self) -> bytes:
        """As bytes."""
        return _PLACE.pack(b"H", self.offset)


@dataclass(frozen=True)
class Done:
    """The server has the whole file, and has checked it."""

    def encode(self) -> bytes:
        """As bytes."""
        return b"D"


@dataclass(frozen=True)
class Busy:
    """Another client is sending this file: an earlier one that is lost, or one that is faster."""

    def encode(self) -> bytes:
        """As bytes."""
        return b"B"


@dataclass(frozen=True)
class Refused:
    """The server does not take the file, and says why."""

    reason: str

    def encode(self) -> bytes:
        """As bytes."""
        return b"R" + self.reason.encode()


Message = Offer | Chunk | Have | Done | Busy | Refused


def decode(message: bytes) -> Message:
    """The message."""
    kind = message[:1]
    if kind == b"O" and len(message) > _OFFER.size:
        _, size, digest = _OFFER.unpack_from(message)
        return _checked(Offer(size, digest, message[_OFFER.size :].decode()))
    if kind == b"C" and _PLACE.size < len(message) <= _PLACE.size + CHUNK:
        return Chunk(_PLACE.unpack_from(message)[1], message[_PLACE.size :])
    if kind == b"H" and len(message) == _PLACE.size:
        return Have(_PLACE.unpack(message)[1])
    if kind == b"R":
        return Refused(message[1:].decode())
    if message in (b"D", b"B"):
        return Done() if kind == b"D" else Busy()
    raise ValueError(f"no message: {len(message)} bytes of kind {kind!r}")


def _checked(offer: Offer) -> Offer:
    if offer.size > MAX_SIZE:
        raise ValueError(f"a file has at most {MAX_SIZE} bytes, not {offer.size}")
    require_file_name(offer.name)
    return offer


def require_file_name(name: str) -> None:
    """ValueError unless it is a plain name, that leads to no other folder on any system."""
    if len(name.encode()) > MAX_NAME or not name.isprintable():
        raise ValueError(f"a name has up to {MAX_NAME} printable bytes, and is not {name!r}")
    if not name or name[0] in ". " or name[-1] in ". " or set(name) & set('/\\:*?"<>|'):
        raise ValueError(f"not a plain file name: {name!r}")
