"""The mark of a server that speaks protocol 2 and answers in version 1.

It stands in the salt of a SERVER_HELLO, which version 1 signs, so nobody can take it out.
"""

from __future__ import annotations

from mpgameserver.wire.handshake import SALT_SIZE, RandomBytes

__all__ = ["downgrade_salt", "is_downgrade"]

_MARK = b"MPG2DOWN"


def downgrade_salt(random_bytes: RandomBytes) -> bytes:
    """The salt of the answer to a client that has not offered version 2."""
    return random_bytes(SALT_SIZE - len(_MARK)) + _MARK


def is_downgrade(salt: bytes) -> bool:
    """Return True for a salt that a client which has offered version 2 must not accept."""
    return salt.endswith(_MARK)
