"""Cookies and reset tokens, whose contents are the server's own business."""

from __future__ import annotations

from hashlib import blake2s

EPOCH = 10
"""Seconds of the server's clock."""


def cookie(secret: bytes, epoch: int, address: bytes, client_key: bytes) -> bytes:
    whole = blake2s(epoch.to_bytes(8, "big") + address + client_key, key=secret).digest()
    return bytes([epoch % 256]) + whole[:16]


def cookie_holds(
    given: bytes, secret: bytes, epoch: int, address: bytes, client_key: bytes
) -> bool:
    """Tell whether a cookie was made in this epoch or the one before."""
    epochs = [each for each in (epoch, epoch - 1) if each >= 0]
    return given in [cookie(secret, each, address, client_key) for each in epochs]


def reset_token(secret: bytes, connection_id: bytes) -> bytes:
    return blake2s(connection_id, key=secret).digest()[:16]
