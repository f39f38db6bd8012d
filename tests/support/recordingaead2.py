"""AES-GCM that remembers every packet of protocol 2, and fails at what repeats.

A key is that of one direction and one phase, and a nonce its IV with the packet number in it. So a
nonce that repeats under a key is a number that was used twice; and what was opened once must never
be opened again, for the check for replays comes before the decryption.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpgameserver._core.receiving2 import MAX_EARLY_PACKETS

BLOCK_BITS = 10
SEALED, OPENED = 1, 2


class Seals2:
    """A record of everything sealed and opened under the keys of a test.

    A client keeps packets that come before it is accepted, such as NEW_CONNECTION_ID, and opens
    them a second time then: as many as it keeps, under the server's first key.
    """

    def __init__(self, may_reopen: int = 0) -> None:
        self.sealed = 0
        self.opened = 0
        self.refused = 0
        """Attempts to open what did not open."""
        self.may_reopen = may_reopen
        self._keys: dict[bytes, _Marks] = {}

    @property
    def keys(self) -> int:
        """The number of keys that have sealed something."""
        return sum(marks.has_sealed for marks in self._keys.values())

    def aead(self, key: bytes) -> RecordingAead2:
        """An AEAD with a key; those with the same key share what they remember."""
        return RecordingAead2(self, key, self._keys.setdefault(key, _Marks()))


class RecordingAead2:
    """Has the methods of AESGCM."""

    def __init__(self, seals: Seals2, key: bytes, marks: _Marks) -> None:
        self._seals, self._aead, self._marks = seals, AESGCM(key), marks

    def encrypt(self, nonce: bytes, data: bytes, header: bytes, /) -> bytes:
        assert self._marks.mark(nonce, SEALED), "a key has sealed a packet number a second time"
        self._seals.sealed += 1
        self._marks.has_sealed = True
        return self._aead.encrypt(nonce, data, header)

    def decrypt(self, nonce: bytes, data: bytes, header: bytes, /) -> bytes:
        try:
            opened = self._aead.decrypt(nonce, data, header)
        except InvalidTag:
            self._seals.refused += 1
            raise
        if self._marks.mark(nonce, OPENED):
            self._seals.opened += 1
        else:
            self._marks.reopened += 1
            assert self._marks.reopened <= self._seals.may_reopen, "a packet was opened twice"
        return opened


class _Marks:
    """A byte for each nonce of a key, in blocks of those that differ in the low bits only."""

    def __init__(self) -> None:
        self.has_sealed = False
        self.reopened = 0
        self._blocks: dict[int, bytearray] = {}

    def mark(self, nonce: bytes, mark: int) -> bool:
        """Mark a nonce; return False if it was marked so before."""
        block, place = divmod(int.from_bytes(nonce, "big"), 1 << BLOCK_BITS)
        marks = self._blocks.get(block)
        if marks is None:
            marks = self._blocks[block] = bytearray(1 << BLOCK_BITS)
        is_new = not marks[place] & mark
        marks[place] |= mark
        return is_new


@contextmanager
def recorded_sessions2(may_reopen: int = MAX_EARLY_PACKETS) -> Iterator[Seals2]:
    """Record every session of protocol 2 that begins inside: clients' and servers'."""
    seals = Seals2(may_reopen)
    with mock.patch("mpgameserver.wire.protocol2.keys.session_cipher", seals.aead):
        yield seals
