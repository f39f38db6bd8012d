"""The cipher of a session: AES-128-GCM, by the fastest library available or the chosen one."""

from __future__ import annotations

import logging
import os
from typing import Literal, TypeAlias

import cryptography
from cryptography.hazmat.backends.openssl.backend import backend
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.base import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.modes import ECB

from mpgameserver._core.aesgcm import LIBRARY, UNAVAILABLE, NativeAesGcm, NativeBlockCipher

__all__ = [
    "CIPHER",
    "CIPHER_VARIABLE",
    "SessionCipher",
    "block_cipher",
    "cipher_library",
    "may_open",
    "session_cipher",
]

CIPHER_VARIABLE = "MPGAMESERVER_CIPHER"
"""The environment variable that chooses between the two."""

Choice: TypeAlias = Literal["openssl", "cryptography"]
SessionCipher: TypeAlias = NativeAesGcm | AESGCM

_LOG = logging.getLogger("mpgameserver.cipher")
_told: set[str] = set()


def _chosen(wanted: str | None, unavailable: str | None) -> Choice:
    """Choose a cipher, given the environment's choice and the reason against OpenSSL, if any.

    Raises ImportError for a choice that is unknown or unavailable.
    """
    if wanted == "cryptography" or (not wanted and unavailable):
        return "cryptography"
    if wanted not in (None, "", "openssl"):
        raise ImportError(
            f"{CIPHER_VARIABLE} must be 'openssl' or 'cryptography', or not set, not {wanted!r}"
        )
    if unavailable:
        raise ImportError(f"{CIPHER_VARIABLE} is 'openssl', but {unavailable}")
    return "openssl"


CIPHER: Choice = _chosen(os.environ.get(CIPHER_VARIABLE), UNAVAILABLE)
"""openssl: the interpreter's, called in C (`_core.aesgcm`). cryptography: that package's AESGCM."""


def cipher_library() -> str:
    """The library that seals the packets of sessions, with its version."""
    if CIPHER == "openssl":
        return LIBRARY
    return f"cryptography {cryptography.__version__}, {backend.openssl_version_text()}"


def session_cipher(key: bytes) -> SessionCipher:
    """Return the cipher for a session's key, 16 bytes, for both directions.

    If OpenSSL cannot allocate one, it is `cryptography`'s, and a line of the log
    says so, once per process.
    """
    if CIPHER == "openssl":
        try:
            return NativeAesGcm(key)
        except RuntimeError as error:
            _tell_once(f"{error}: sessions for which it does not use cryptography")
    return AESGCM(key)


def block_cipher(key: bytes) -> NativeBlockCipher | CipherContext:
    """AES-128 under a key of 16 bytes, a block at a time, by the library of `session_cipher`."""
    if CIPHER == "openssl":
        try:
            return NativeBlockCipher(key)
        except RuntimeError as error:
            _tell_once(f"{error}: masks for which it does not use cryptography")
    return Cipher(AES(key), ECB()).encryptor()


def _tell_once(text: str) -> None:
    if text not in _told:
        _told.add(text)
        _LOG.warning(text)


def may_open(cipher: SessionCipher, datagram: bytes) -> bool:
    """Return False if a cipher cannot open a sealed packet, at a fifth of the cost of opening it.

    Always True for `cryptography`'s, which has no cheaper way to find out.
    """
    return not isinstance(cipher, NativeAesGcm) or cipher.opens(datagram)
