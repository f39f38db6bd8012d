"""Choice of the piece of a file to send next. There is no network code here."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from filetransfer.wire import CHUNK, WINDOW, Chunk, Offer

_HASHED_AT_ONCE = 1 << 20


def digest_of(path: Path) -> bytes:
    """The SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_HASHED_AT_ONCE):
            found.update(data)
    return found.digest()


def offer_of(path: Path) -> Offer:
    """The offer of a file, for which it is read once."""
    return Offer(path.stat().st_size, digest_of(path), path.name)


class Outgoing:
    """A file that is being sent, from its beginning or from where the server has it already.

    That a piece was acked says that the server's computer has it, not that the server has come to
    write it. So what may be in flight follows from what the server says that it has.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._next = 0
        self.confirmed = 0
        """The bytes from the beginning on that the server has."""

    def resume(self, offset: int) -> None:
        """Go on at a place. ValueError for one behind the end."""
        if offset > self._size:
            raise ValueError(f"the server has {offset} bytes of a file of {self._size}")
        self._next = self.confirmed = offset

    def confirm(self, offset: int) -> None:
        """The server has come to a place; what it says may overtake what it said before.

        ValueError for one that it cannot have come to.
        """
        if offset > self._next:
            raise ValueError(f"the server has {offset} bytes, and was sent {self._next}")
        self.confirmed = max(self.confirmed, offset)

    def next_chunk(self) -> Chunk | None:
        """The next piece; None when there is none, or enough is in flight.

        Raises ValueError when the file has become shorter.
        """
        if self._next >= self._size or self._next - self.confirmed >= WINDOW:
            return None
        self._file.seek(self._next)
        data = self._file.read(min(CHUNK, self._size - self._next))
        if not data:
            raise ValueError("the file has become shorter while it was sent")
        chunk = Chunk(self._next, data)
        self._next = chunk.end
        return chunk

    def put_back(self, chunk: Chunk) -> None:
        """The piece that was taken last could not be sent: it is the next once more."""
        self._next = chunk.offset
