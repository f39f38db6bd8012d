"""The messages of a churn, each of which tells its sender and its session, and can be checked.

A word names the session's token, the player and which of its lives it is, and has a number of its
own. What follows the head is a hash of it, so that no byte can be altered and no two words mixed
without being found.
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

__all__ = ["NOBODY", "Word", "read", "write"]

NOBODY = 0xFFFF
"""The player of what a server says by itself."""

_HEAD = struct.Struct("!QHII?")


class Word(NamedTuple):
    """The head of a message."""

    token: int
    player: int
    life: int
    number: int
    kick_me: bool = False

    @property
    def speaker(self) -> tuple[int, int]:
        """The speaker, and which of its lives it is."""
        return self.player, self.life


def write(word: Word, size: int) -> bytes:
    """The message of a word, with `size` bytes behind its head."""
    head = _HEAD.pack(*word)
    return head + hashlib.shake_128(head).digest(size)


def read(message: bytes) -> Word | None:
    """The word that a message is; None where it is not what was written."""
    if len(message) < _HEAD.size:
        return None
    word = Word(*_HEAD.unpack_from(message))
    return word if message == write(word, len(message) - _HEAD.size) else None
