"""The cipher of a session: AES-128-GCM, by the quickest that there is here."""

from __future__ import annotations

from typing import TypeAlias

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpgameserver._core.aesgcm import IS_AVAILABLE, NativeAesGcm

__all__ = ["SessionCipher", "may_open", "session_cipher"]

SessionCipher: TypeAlias = NativeAesGcm | AESGCM


def session_cipher(key: bytes) -> SessionCipher:
    """The cipher under a session's key, 16 bytes, for both directions.

    It is called in C where the interpreter has an OpenSSL to be found (`_core.aesgcm`), and else
    by `cryptography`.
    """
    return NativeAesGcm(key) if IS_AVAILABLE else AESGCM(key)


def may_open(cipher: SessionCipher, datagram: bytes) -> bool:
    """False when a cipher is known not to open a sealed packet, at a fifth of what that costs.

    `cryptography`'s is not asked: it has no cheaper way of finding out.
    """
    return not isinstance(cipher, NativeAesGcm) or cipher.opens(datagram)
