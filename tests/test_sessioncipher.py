"""A session's cipher is the quickest that there is, and any of them opens what another seals."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpgameserver import sessioncipher
from mpgameserver._core import aesgcm

KEY, NONCE, HEADER = bytes(16), bytes(12), bytes(20)


@pytest.mark.skipif(not aesgcm.IS_AVAILABLE, reason="this interpreter has no OpenSSL to be found")
def test_it_is_called_in_c_where_it_can_be():
    assert isinstance(sessioncipher.session_cipher(KEY), aesgcm.NativeAesGcm)


def test_elsewhere_cryptography_does_the_work(monkeypatch):
    sealed = sessioncipher.session_cipher(KEY).encrypt(NONCE, b"data", HEADER)
    monkeypatch.setattr(sessioncipher, "IS_AVAILABLE", False)
    cipher = sessioncipher.session_cipher(KEY)
    assert isinstance(cipher, AESGCM)
    assert cipher.decrypt(NONCE, sealed, HEADER) == b"data"
