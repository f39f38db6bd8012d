"""Sealing for the plain sockets: the same key, nonce and header for every datagram."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_CIPHER = AESGCM(b"k" * 16)
_NONCE, _HEADER = b"n" * 12, b"h" * 20


def close(message: bytes) -> bytes:
    """Seal a message."""
    return _CIPHER.encrypt(_NONCE, message, _HEADER)


def open_(datagram: bytes) -> bytes:
    """Open a datagram."""
    return _CIPHER.decrypt(_NONCE, datagram, _HEADER)
