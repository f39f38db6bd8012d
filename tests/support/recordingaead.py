"""AES-GCM that remembers every packet that is sealed and opened, and fails at what repeats.

A nonce is the identifier, send time, number and ack of a packet. Time and number alone must be
new for a key and a direction, which says more than that the nonce is; and a packet that was
opened once must never be opened again: the check for replays comes before the decryption.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

RING = 65_535
SEALED, OPENED = 1, 2


class Seals:
    """A record of everything sealed and opened under the keys of a test."""

    def __init__(self) -> None:
        self.sealed = 0
        self.opened = 0
        self.refused = 0
        """Attempts to open what did not open."""
        self._directions: dict[bytes, dict[bytes, _Direction]] = {}

    @property
    def keys(self) -> int:
        """Number of keys."""
        return len(self._directions)

    @property
    def attempts(self) -> int:
        """Number of decryptions."""
        return self.opened + self.refused

    def aead(self, key: bytes) -> RecordingAead:
        """An AEAD with a key; those with the same key share what they remember."""
        return RecordingAead(self, key, self._directions.setdefault(key, {}))


class RecordingAead:
    """Has the methods of AESGCM."""

    def __init__(self, seals: Seals, key: bytes, directions: dict[bytes, _Direction]) -> None:
        self._seals, self._aead, self._directions = seals, AESGCM(key), directions

    def encrypt(self, nonce: bytes, data: bytes, header: bytes, /) -> bytes:
        assert len(header) == 20
        assert nonce == header[:12]
        self._mark(nonce, SEALED)
        self._seals.sealed += 1
        return self._aead.encrypt(nonce, data, header)

    def decrypt(self, nonce: bytes, data: bytes, header: bytes, /) -> bytes:
        try:
            opened = self._aead.decrypt(nonce, data, header)
        except InvalidTag:
            self._seals.refused += 1
            raise
        self._mark(nonce, OPENED)
        self._seals.opened += 1
        return opened

    def _mark(self, nonce: bytes, mark: int) -> None:
        direction = self._directions.get(nonce[:4])
        if direction is None:
            direction = self._directions[nonce[:4]] = _Direction()
        direction.mark(nonce, mark)


class _Direction:
    """A byte for each packet, by send time: millions are remembered in as many bytes."""

    def __init__(self) -> None:
        self._seconds: dict[bytes, tuple[int, bytearray]] = {}

    def mark(self, nonce: bytes, mark: int) -> None:
        number = int.from_bytes(nonce[8:10], "big")
        first, marks = self._seconds.setdefault(nonce[4:8], (number, bytearray()))
        place = (number - first) % RING
        if place >= len(marks):
            marks.extend(bytes(place + 1 - len(marks)))
        assert not marks[place] & mark, (
            f"packet {number} of the second {int.from_bytes(nonce[4:8], 'big')} "
            f"was {'sealed' if mark == SEALED else 'opened'} a second time"
        )
        marks[place] |= mark


@contextmanager
def recorded_sessions() -> Iterator[Seals]:
    """Record every session whose handshake is made inside: clients' and servers'."""
    seals = Seals()
    with (
        mock.patch("mpgameserver.client.handshake.session_cipher", seals.aead),
        mock.patch("mpgameserver.server.half_open.session_cipher", seals.aead),
    ):
        yield seals
