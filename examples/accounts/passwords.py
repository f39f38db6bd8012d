"""Passwords, kept as what only guessing leads back from, and guessing takes long."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from dataclasses import dataclass

SALT_BYTES = 16


@dataclass(frozen=True)
class Cost:
    """The parameters of scrypt: 128 * 2**log_n * r bytes of memory, p times over."""

    log_n: int = 14
    r: int = 8
    p: int = 5


DEFAULT_COST = Cost()
"""16 MiB and some tenths of a second; one of the settings that the OWASP Password Storage Cheat
Sheet holds to be equal."""


def hashed(password: str, cost: Cost = DEFAULT_COST) -> str:
    """Return the text to store for a password: the parameters, a new salt and the hash."""
    salt = os.urandom(SALT_BYTES)
    parts = [str(cost.log_n), str(cost.r), str(cost.p), _text(salt)]
    return "$".join([*parts, _text(_scrypt(password, salt, cost))])


def is_right(password: str, kept: str) -> bool:
    """True if that was kept of this password."""
    log_n, r, p, salt, expected = kept.split("$")
    cost = Cost(int(log_n), int(r), int(p))
    found = _scrypt(password, base64.b64decode(salt), cost)
    return hmac.compare_digest(found, base64.b64decode(expected))


def _scrypt(password: str, salt: bytes, cost: Cost) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=1 << cost.log_n, r=cost.r, p=cost.p)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
