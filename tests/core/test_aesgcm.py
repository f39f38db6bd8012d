"""AES-GCM called in C is the one of `cryptography`: the same bytes, and the same refusals."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from mpgameserver._core import aesgcm
from mpgameserver._core.aesgcm import NativeAesGcm

pytestmark = pytest.mark.skipif(aesgcm.UNAVAILABLE is not None, reason=str(aesgcm.UNAVAILABLE))

KEY, NONCE, HEADER = bytes(range(16)), bytes(range(12)), bytes(range(20))

keys = st.binary(min_size=16, max_size=16)
nonces = st.binary(min_size=12, max_size=12)
texts = st.binary(max_size=1500)
headers = st.binary(max_size=40)


@given(keys, nonces, texts, headers)
def test_it_seals_and_opens_what_cryptography_does(key, nonce, data, header):
    ours, theirs = NativeAesGcm(key), AESGCM(key)
    sealed = ours.encrypt(nonce, data, header)
    assert sealed == theirs.encrypt(nonce, data, header)
    assert ours.decrypt(nonce, sealed, header) == data


@given(texts, headers, st.data())
def test_one_changed_bit_is_refused_and_the_next_packet_opens(data, header, choose):
    cipher = NativeAesGcm(KEY)
    sealed = cipher.encrypt(NONCE, data, header)
    bit = choose.draw(st.integers(0, 8 * len(sealed) - 1))
    forged = bytearray(sealed)
    forged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidTag):
        cipher.decrypt(NONCE, bytes(forged), header)
    assert cipher.decrypt(NONCE, sealed, header) == data


@pytest.mark.parametrize("changed", ["nonce", "header", "key"])
def test_the_seal_covers_nonce_and_header_and_needs_the_key(changed):
    sealed = NativeAesGcm(KEY).encrypt(NONCE, b"data", HEADER)
    key = KEY[::-1] if changed == "key" else KEY
    nonce = NONCE[::-1] if changed == "nonce" else NONCE
    header = HEADER[::-1] if changed == "header" else HEADER
    with pytest.raises(InvalidTag):
        NativeAesGcm(key).decrypt(nonce, sealed, header)


LEFTOVERS = """
import ctypes
from mpgameserver._core.aesgcm import NativeAesGcm

SIZE, PIECE = 448, 64  # the allocator of CPython has pieces of 512 bytes at the most
DATA_OFFSET = bytes.__basicsize__ - 1


def left_by(datagram):
    place = bytes(SIZE)
    address = id(place) + DATA_OFFSET
    del place  # what is allocated next with this size is there
    opens = cipher.opens(datagram)
    pieces = range(address, address + SIZE, PIECE)
    return opens, b"".join([ctypes.string_at(piece, PIECE) for piece in pieces])


cipher = NativeAesGcm(bytes(16))
header, text = bytes(20), b"secret: " * (SIZE // 8)
sealed = header + cipher.encrypt(header[:12], text, header)
forged = sealed[:-1] + bytes([sealed[-1] ^ 1])
assert left_by(sealed) == (True, text)  # so this is where it was opened
assert left_by(forged) == (False, bytes(SIZE))
"""


def test_what_was_decrypted_before_the_tag_failed_is_overwritten():
    environment = os.environ | {"PYTHONMALLOC": "pymalloc", "PYTHONDEVMODE": ""}
    done = subprocess.run(
        [sys.executable, "-c", LEFTOVERS],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("size", range(16))
def test_what_is_shorter_than_a_tag_is_refused(size):
    with pytest.raises(InvalidTag):
        NativeAesGcm(KEY).decrypt(NONCE, bytes(size), HEADER)


HEADERS = Path(__file__).resolve().parents[2] / "_core"
NEGATIVE_SIZES = """
#include <stddef.h>
#include "openssl.h"

int main(void)  /* where no library was found yet: to call it would be a crash */
{
    unsigned char bytes[64] = {0};
    return mpg_seal(NULL, bytes, bytes, 20, bytes, -1, bytes)
        || mpg_seal(NULL, bytes, bytes, -1, bytes, 16, bytes)
        || mpg_open(NULL, bytes, bytes, 20, bytes, -1, bytes)
        || mpg_open(NULL, bytes, bytes, -1, bytes, 16, bytes);
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.skipif(not HEADERS.is_dir(), reason="the sources are not here")
def test_a_negative_size_is_refused_before_anything_is_read_or_written(tmp_path):
    (tmp_path / "sizes.c").write_text(NEGATIVE_SIZES)
    compile_it = ["cc", "-D_GNU_SOURCE", "-I", HEADERS, "sizes.c", "-o", "sizes", "-ldl"]
    subprocess.run(compile_it, cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "sizes"], check=False).returncode == 0


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_a_key_of_another_size_is_a_mistake(size):
    with pytest.raises(ValueError, match=f"a key of {size} bytes; expected 16"):
        NativeAesGcm(bytes(size))


@pytest.mark.parametrize("call", ["encrypt", "decrypt"])
@pytest.mark.parametrize("size", [0, 11, 13])
def test_a_nonce_of_another_size_is_a_mistake(call, size):
    with pytest.raises(ValueError, match=f"a nonce of {size} bytes; expected 12"):
        getattr(NativeAesGcm(KEY), call)(bytes(size), bytes(32), HEADER)


@pytest.mark.parametrize("wrong", [None, bytearray(16), "k" * 16])
def test_a_key_must_be_bytes(wrong):
    with pytest.raises(TypeError):
        NativeAesGcm(wrong)


def test_a_refusal_leaves_no_error_behind_for_the_ssl_module():
    import _hashlib

    library = ctypes.CDLL(_hashlib.__file__)
    library.ERR_clear_error()
    with pytest.raises(InvalidTag):
        NativeAesGcm(KEY).decrypt(NONCE, bytes(32), HEADER)
    assert library.ERR_peek_error() == 0
