"""A session's cipher is the quickest that there is, and any of them opens what another seals."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpgameserver import sessioncipher
from mpgameserver._core import aesgcm

KEY, NONCE, HEADER = bytes(16), bytes(12), bytes(20)


@pytest.mark.skipif(
    not sessioncipher.IS_AVAILABLE, reason="no OpenSSL is to be found, or to be used"
)
def test_it_is_called_in_c_where_it_can_be():
    assert isinstance(sessioncipher.session_cipher(KEY), aesgcm.NativeAesGcm)


@pytest.mark.skipif(sys.platform == "win32", reason="there it is never looked up")
def test_an_openssl_that_the_interpreter_has_loaded_is_found():
    hashlib = pytest.importorskip("_hashlib", reason="this interpreter has no OpenSSL")
    path = getattr(hashlib, "__file__", None)
    has_it = path is not None and hasattr(ctypes.CDLL(path), "EVP_CipherInit")
    assert has_it == aesgcm.IS_AVAILABLE


def test_elsewhere_cryptography_does_the_work(monkeypatch):
    sealed = sessioncipher.session_cipher(KEY).encrypt(NONCE, b"data", HEADER)
    monkeypatch.setattr(sessioncipher, "IS_AVAILABLE", False)
    cipher = sessioncipher.session_cipher(KEY)
    assert isinstance(cipher, AESGCM)
    assert cipher.decrypt(NONCE, sealed, HEADER) == b"data"


def test_an_interpreter_without_openssl_has_none_to_call():
    """It must not be a crash."""
    program = """
import sys
sys.modules["_hashlib"] = None
from mpgameserver._core.aesgcm import IS_AVAILABLE, NativeAesGcm
assert not IS_AVAILABLE
try:
    NativeAesGcm(bytes(16))
except RuntimeError as error:
    print(error)
"""
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "OpenSSL has made no cipher\n"), done.stderr


class Cipher:
    """AES-GCM by `cryptography`, from which others go astray."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def encrypt(self, nonce: bytes, data: bytes, header: bytes | None) -> bytes:
        return self._aead.encrypt(nonce, data, header)

    def decrypt(self, nonce: bytes, data: bytes, header: bytes) -> bytes:
        return self._aead.decrypt(nonce, data, header)


class MakesNone(Cipher):
    def __init__(self, key: bytes) -> None:
        raise RuntimeError


class SealsOtherwise(Cipher):
    def encrypt(self, nonce: bytes, data: bytes, header: bytes | None) -> bytes:
        return super().encrypt(nonce, data, None)


class RefusesNothing(Cipher):
    def decrypt(self, nonce: bytes, data: bytes, header: bytes) -> bytes:
        return self.encrypt(nonce, data[:-16], header)[:-16]  # to seal twice is to open


class RefusesEverything(Cipher):
    def decrypt(self, nonce: bytes, data: bytes, header: bytes) -> bytes:
        raise InvalidTag


class OpensWrongly(Cipher):
    def decrypt(self, nonce: bytes, data: bytes, header: bytes) -> bytes:
        return super().decrypt(nonce, data, header)[::-1]


def test_a_cipher_that_is_right_is_used() -> None:
    assert aesgcm._is_right(Cipher)


@pytest.mark.parametrize(
    "kind", [MakesNone, SealsOtherwise, RefusesNothing, RefusesEverything, OpensWrongly]
)
def test_one_that_is_not_right_is_not_and_that_raises_nothing(kind: type[Cipher]) -> None:
    assert not aesgcm._is_right(kind)
