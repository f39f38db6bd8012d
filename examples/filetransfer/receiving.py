"""A file as it comes in, hidden beside those that are whole. Nothing here knows a network.

What is on the disk is always the beginning of the file, without a gap: pieces that come early wait
in memory. So the size of the hidden file says where to go on, also after a restart.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from filetransfer.sending import digest_of
from filetransfer.wire import CHUNK, WINDOW, Chunk, Offer


class Incoming:
    """A file that is being received into a folder."""

    def __init__(self, folder: Path, offer: Offer) -> None:
        self.offer = offer
        self.target = folder / offer.name
        # Named by what is in it: a file that was changed meanwhile is another one.
        self.part = folder / f".{offer.digest.hex()}.part"
        self.size = 0
        """The bytes from the beginning on that are on the disk."""
        self._file = self.part.open("ab")
        self._hash = hashlib.sha256()
        self._early: dict[int, Chunk] = {}
        self._early_bytes = 0

    @property
    def is_complete(self) -> bool:
        """All bytes are there."""
        return self.size == self.offer.size

    def resume(self) -> int:
        """Read what an earlier attempt has left; how much it is."""
        if self.part.stat().st_size > self.offer.size:  # not written by us
            self._file.truncate(0)
        with self.part.open("rb") as file:
            while data := file.read(1 << 20):
                self._hash.update(data)
                self.size += len(data)
        return self.size

    def take(self, chunk: Chunk) -> None:
        """Write a piece, when all before it are there.

        Raises ValueError for one that was there, or that no honest client can be at; OSError when
        it cannot be written.
        """
        if chunk.offset < self.size or chunk.offset in self._early:
            raise ValueError(f"the piece at {chunk.offset} was there already")
        if len(chunk.data) != CHUNK and chunk.end != self.offer.size:
            raise ValueError(f"the piece at {chunk.offset} has {len(chunk.data)} bytes")
        if chunk.end > self.offer.size or self._early_bytes >= 2 * WINDOW:
            raise ValueError(f"the piece at {chunk.offset} is beyond what was to come")
        self._early[chunk.offset] = chunk
        self._early_bytes += len(chunk.data)
        while (due := self._early.pop(self.size, None)) is not None:
            self._early_bytes -= len(due.data)
            self._file.write(due.data)
            self._hash.update(due.data)
            self.size = due.end

    def finish(self) -> None:
        """Give the file its name.

        Raises ValueError when it is not what was offered, or when another file has got that name
        meanwhile. Nothing is left of it then.
        """
        self.close()
        if self._hash.digest() != self.offer.digest:
            self.part.unlink()
            raise ValueError("what has arrived has another SHA-256 than what was offered")
        if self.target.exists():
            self.part.unlink()
            raise ValueError(f"there is another file {self.offer.name!r}")
        self.part.rename(self.target)

    def close(self) -> None:
        """Leave what is there for the next attempt; of no effect the second time."""
        self._file.close()


def is_there(folder: Path, offer: Offer) -> bool:
    """True when the folder has the file that is offered; ValueError when it has another one."""
    target = folder / offer.name
    if not target.exists():
        return False
    if target.stat().st_size != offer.size or digest_of(target) != offer.digest:
        raise ValueError(f"there is another file {offer.name!r}")
    return True
