"""A session's cipher is the quickest that there is, and any of them opens what another seals."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpgameserver._core import aesgcm
from mpgameserver.wire import session_cipher

KEY, NONCE, HEADER = bytes(16), bytes(12), bytes(20)


called_in_c = pytest.mark.skipif(
    session_cipher.CIPHER != "openssl", reason="no OpenSSL can be used, or cryptography was chosen"
)


@called_in_c
def test_it_is_called_in_c_where_it_can_be():
    assert isinstance(session_cipher.session_cipher(KEY), aesgcm.NativeAesGcm)


@pytest.mark.skipif(sys.platform == "win32", reason="there it is never looked up")
def test_an_openssl_that_the_interpreter_has_loaded_is_found():
    hashlib = pytest.importorskip("_hashlib", reason="this interpreter has no OpenSSL")
    path = getattr(hashlib, "__file__", None)
    has_it = path is not None and hasattr(ctypes.CDLL(path), "EVP_CipherInit")
    assert has_it == (aesgcm.UNAVAILABLE is None), aesgcm.UNAVAILABLE


def test_elsewhere_cryptography_does_the_work(monkeypatch):
    sealed = session_cipher.session_cipher(KEY).encrypt(NONCE, b"data", HEADER)
    monkeypatch.setattr(session_cipher, "CIPHER", "cryptography")
    cipher = session_cipher.session_cipher(KEY)
    assert isinstance(cipher, AESGCM)
    assert cipher.decrypt(NONCE, sealed, HEADER) == b"data"


def test_a_cipher_that_cannot_be_made_is_cryptographys_and_the_log_says_so_once(
    monkeypatch, caplog
):
    def fail(key: bytes) -> None:
        raise RuntimeError("OpenSSL cannot create a cipher context")

    monkeypatch.setattr(session_cipher, "CIPHER", "openssl")
    monkeypatch.setattr(session_cipher, "NativeAesGcm", fail)
    monkeypatch.setattr(session_cipher, "_told", set())
    for _ in range(3):
        assert isinstance(session_cipher.session_cipher(KEY), AESGCM)
    assert len(caplog.messages) == 1


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd="/",
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


NONE_FOUND = "this interpreter has no OpenSSL whose functions can be looked up"
WITHOUT_OPENSSL = "import sys; sys.modules['_hashlib'] = None;"


def test_an_interpreter_without_openssl_has_none_to_call():
    """It must not be a crash."""
    program = """
from mpgameserver._core.aesgcm import LIBRARY, UNAVAILABLE, NativeAesGcm
print(repr(LIBRARY), UNAVAILABLE)
try:
    NativeAesGcm(bytes(16))
except RuntimeError as error:
    print(error)
"""
    done = run(WITHOUT_OPENSSL + program, MPGAMESERVER_CIPHER="")
    lines = [f"'' {NONE_FOUND}", "OpenSSL cannot create a cipher context"]
    assert (done.returncode, done.stdout.splitlines()) == (0, lines), done.stderr


SHOW = "import mpgameserver as m; i = m.build_info(); print(i.cipher, '|', i.cipher_library)"


def test_the_environment_chooses_cryptography():
    done = run(SHOW, MPGAMESERVER_CIPHER="cryptography")
    assert done.stdout.startswith("cryptography | cryptography "), done.stderr
    assert "OpenSSL " in done.stdout


@pytest.mark.skipif(aesgcm.UNAVAILABLE is not None, reason=str(aesgcm.UNAVAILABLE))
@pytest.mark.parametrize("wanted", ["openssl", ""])
def test_the_environment_chooses_openssl_or_leaves_it_to_the_package(wanted):
    done = run(SHOW, MPGAMESERVER_CIPHER=wanted)
    assert done.stdout == f"openssl | {aesgcm.LIBRARY}\n", done.stderr


def test_an_unknown_choice_is_an_error_at_import():
    done = run(SHOW, MPGAMESERVER_CIPHER="OpenSSL")
    assert done.returncode == 1
    expected = (
        "ImportError: MPGAMESERVER_CIPHER must be 'openssl' or 'cryptography', or not set, "
        "not 'OpenSSL'"
    )
    assert done.stderr.splitlines()[-1] == expected


def test_a_choice_that_cannot_be_met_is_an_error_at_import():
    done = run(WITHOUT_OPENSSL + SHOW, MPGAMESERVER_CIPHER="openssl")
    assert done.returncode == 1
    expected = f"ImportError: MPGAMESERVER_CIPHER is 'openssl', but {NONE_FOUND}"
    assert done.stderr.splitlines()[-1] == expected


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0x1010004F, "OpenSSL 1.1.0d  26 Jan 2017"),
        (0x1000214F, "OpenSSL 1.0.2t  10 Sep 2019"),
        (0x20000000, "LibreSSL 3.8.2"),
        (0x1010107F, "BoringSSL"),
        (0x1010107F, "AWS-LC 1.40.0"),
    ],
)
def test_a_library_that_is_too_old_or_another_is_not_called(number, name):
    assert name in aesgcm._objection(number, name)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0x1010100F, "OpenSSL 1.1.1  11 Sep 2018"),
        (0x1010117F, "OpenSSL 1.1.1w  11 Sep 2023"),
        (0x30000130, "OpenSSL 3.0.19 27 Jan 2026"),
        (0x40000030, "OpenSSL 4.0.3 29 Sep 2026"),
    ],
)
def test_a_supported_openssl_is_called(number, name):
    assert aesgcm._objection(number, name) is None


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


class OpensOnlyOnceItHasSealed(Cipher):
    """A server opens first."""

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self._has_sealed = False

    def encrypt(self, nonce: bytes, data: bytes, header: bytes | None) -> bytes:
        self._has_sealed = True
        return super().encrypt(nonce, data, header)

    def decrypt(self, nonce: bytes, data: bytes, header: bytes) -> bytes:
        if not self._has_sealed:
            raise InvalidTag
        return super().decrypt(nonce, data, header)


class SealsNothingWrongly(Cipher):
    def encrypt(self, nonce: bytes, data: bytes, header: bytes | None) -> bytes:
        return super().encrypt(nonce, data, header) if data else bytes(16)


class SealsWholeBlocksWrongly(Cipher):
    def encrypt(self, nonce: bytes, data: bytes, header: bytes | None) -> bytes:
        sealed = super().encrypt(nonce, data, header)
        return sealed if len(data) % 16 or not data else sealed[::-1]


class SealsTwoBlocksWrongly(Cipher):
    def encrypt(self, nonce: bytes, data: bytes, header: bytes | None) -> bytes:
        sealed = super().encrypt(nonce, data, header)
        return sealed[::-1] if len(data) == 32 else sealed


def test_a_cipher_that_is_right_is_used() -> None:
    assert aesgcm._is_right(Cipher)


@pytest.mark.parametrize(
    "kind",
    [
        MakesNone,
        SealsOtherwise,
        RefusesNothing,
        RefusesEverything,
        OpensWrongly,
        OpensOnlyOnceItHasSealed,
        SealsNothingWrongly,
        SealsWholeBlocksWrongly,
        SealsTwoBlocksWrongly,
    ],
)
def test_one_that_is_not_right_is_not_and_that_raises_nothing(kind: type[Cipher]) -> None:
    assert not aesgcm._is_right(kind)
