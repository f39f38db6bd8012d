"""AES-128 by the OpenSSL that the interpreter has loaded for its own `hashlib`: GCM, and the block.

It is the same cipher that `cryptography` calls, from an OpenSSL that the system keeps up to date,
at a third of the cost: creating objects, copying the cipher's state and looking things up takes
`cryptography` longer per call than AES-GCM takes for a datagram. Some interpreters have OpenSSL
built in, where it cannot be looked up. It is used only if it is recent enough and passes a
self-test; `UNAVAILABLE` is None then, and otherwise the reason. `LIBRARY` is its version string.
"""

import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from cryptography.exceptions import InvalidTag

from mpgameserver._core.packet_header cimport HEADER_SIZE, NONCE_SIZE, TAG_SIZE

__all__ = ["LIBRARY", "UNAVAILABLE", "NativeAesGcm", "NativeBlockCipher"]

cdef enum:
    MOST_BYTES = 1 << 30  # sizes are C ints to OpenSSL


cdef unsigned char *_start(bytes data) noexcept:
    return <unsigned char *>PyBytes_AS_STRING(data)


@cython.final
cdef class NativeAesGcm:
    """Seals and opens under a key of 16 bytes, as `cryptography`'s AESGCM does.

    One context serves both directions. Not for use by two threads at a time; no method releases the
    GIL. Raises ValueError for a key or a nonce of the wrong size, and RuntimeError without OpenSSL.
    """

    def __cinit__(self, bytes key):
        if PyBytes_GET_SIZE(key) != KEY_SIZE:
            raise ValueError(f"a key of {len(key)} bytes; expected {KEY_SIZE}")
        self._cipher = mpg_new_cipher(_start(key))
        if self._cipher == NULL:
            raise RuntimeError("OpenSSL cannot create a cipher context")

    def __dealloc__(self):
        if self._cipher != NULL:
            mpg_free_cipher(self._cipher)

    cdef bint seal(
        self, const unsigned char *nonce, const unsigned char *header, int header_size,
        const unsigned char *data, int size, unsigned char *out
    ) noexcept:
        """Write the encrypted data and the tag to `out`; return False if OpenSSL fails."""
        return mpg_seal(self._cipher, nonce, header, header_size, data, size, out)

    cdef bint open(
        self, const unsigned char *nonce, const unsigned char *header, int header_size,
        const unsigned char *data, int size, unsigned char *out
    ) noexcept:
        """Decrypt `data`, which has `size` bytes followed by a tag, to `out`.

        Returns False, with `out` overwritten, if the tag does not verify.
        """
        return mpg_open(self._cipher, nonce, header, header_size, data, size, out)

    def encrypt(self, bytes nonce, bytes data, bytes associated_data, /):
        """Return the encrypted data and its tag of 16 bytes."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef bytes sealed
        _check_sizes(nonce, size, associated_data)
        sealed = PyBytes_FromStringAndSize(NULL, size + TAG_SIZE)
        if not self.seal(
            _start(nonce), _start(associated_data), <int>PyBytes_GET_SIZE(associated_data),
            _start(data), <int>size, _start(sealed),
        ):
            raise RuntimeError("OpenSSL cannot encrypt")
        return sealed

    def decrypt(self, bytes nonce, bytes data, bytes associated_data, /):
        """Return the decrypted data.

        Raises `cryptography.exceptions.InvalidTag` if authentication fails; the object remains
        usable.
        """
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data) - TAG_SIZE
        cdef bytes opened
        _check_sizes(nonce, size, associated_data)
        if size < 0:
            raise InvalidTag
        opened = PyBytes_FromStringAndSize(NULL, size)
        if not self.open(
            _start(nonce), _start(associated_data), <int>PyBytes_GET_SIZE(associated_data),
            _start(data), <int>size, _start(opened),
        ):
            raise InvalidTag
        return opened

    def opens(self, bytes datagram not None, /):
        """Return True if a packet is authentic; its payload is discarded."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(datagram) - HEADER_SIZE - TAG_SIZE
        cdef unsigned char *data = _start(datagram)
        cdef bytes opened
        if not 0 <= size <= MOST_BYTES:
            return False
        opened = PyBytes_FromStringAndSize(NULL, size)
        return self.open(
            data, data, HEADER_SIZE, data + HEADER_SIZE, <int>size, _start(opened)
        )


@cython.final
cdef class NativeBlockCipher:
    """AES-128 under a key of 16 bytes, a block at a time: what the masks of packets are made of.

    Raises ValueError for a key of another size, RuntimeError where there is no OpenSSL.
    """

    def __cinit__(self, bytes key not None):
        if PyBytes_GET_SIZE(key) != KEY_SIZE:
            raise ValueError(f"a key of {len(key)} bytes; expected {KEY_SIZE}")
        self._cipher = mpg_new_block_cipher(_start(key))
        if self._cipher == NULL:
            raise RuntimeError("OpenSSL has made no cipher")

    def __dealloc__(self):
        if self._cipher != NULL:
            mpg_free_cipher(self._cipher)

    cdef bint encrypt_block(self, const unsigned char *data, unsigned char *out) noexcept:
        """Write the encrypted block, `BLOCK_SIZE` bytes, to `out`; False when OpenSSL fails."""
        return mpg_encrypt_block(self._cipher, data, out)

    def update(self, bytes data not None, /):
        """Encrypt one block, as an encryptor of `cryptography` does.

        Raises ValueError for data of another size than a block's.
        """
        cdef bytes out = PyBytes_FromStringAndSize(NULL, BLOCK_SIZE)
        if PyBytes_GET_SIZE(data) != BLOCK_SIZE:
            raise ValueError(f"a block of {len(data)} bytes; expected {BLOCK_SIZE}")
        if not self.encrypt_block(_start(data), _start(out)):
            raise RuntimeError("OpenSSL has encrypted nothing")
        return out


cdef int _check_sizes(bytes nonce, Py_ssize_t size, bytes associated_data) except -1:
    if PyBytes_GET_SIZE(nonce) != NONCE_SIZE:
        raise ValueError(f"a nonce of {len(nonce)} bytes; expected {NONCE_SIZE}")
    if size > MOST_BYTES or PyBytes_GET_SIZE(associated_data) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES} bytes")
    return 0


# Published vectors: key, nonce, associated data, plaintext, ciphertext with its tag. No block, one
# and two whole blocks, and a partial one with associated data as long as a packet header.
_VECTORS = [tuple(bytes.fromhex(field) for field in vector) for vector in (
    # McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B: test case 1
    ("00" * 16, "00" * 12, "", "", "58e2fccefa7e3061367f1d57a4e7455a"),
    # test case 2
    (
        "00" * 16, "00" * 12, "", "00" * 16,
        "0388dace60b6a392f328c2b971b2fe78" "ab6e47d42cec13bdf53a67b21257bddf",
    ),
    # NIST CAVP, gcmEncryptExtIV128.rsp: PTlen = 256, AADlen = 0, Count = 0
    (
        "9971071059abc009e4f2bd69869db338", "07a9a95ea3821e9c13c63251", "",
        "f54bc3501fed4f6f6dfb5ea80106df0bd836e6826225b75c0222f6e859b35983",
        "0556c159f84ef36cb1602b4526b12009c775611bffb64dc0d9ca9297cd2c6a01"
        "7870d9117f54811a346970f1de090c41",
    ),
    # McGrew and Viega, test case 4
    (
        "feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
        "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
        "5bc94fbc3221a5db94fae95ae7121a47",
    ),
)]


# FIPS 197, appendix C.1: key, plaintext, ciphertext.
_BLOCK_VECTOR = tuple(bytes.fromhex(field) for field in (
    "000102030405060708090a0b0c0d0e0f",
    "00112233445566778899aabbccddeeff",
    "69c4e0d86a7b0430d8cdb78070b4c55a",
))


def _is_right(kind, block_kind=NativeBlockCipher):
    """Return True if both ciphers compute the published vectors and GCM refuses forgeries."""
    key, block, encrypted = _BLOCK_VECTOR
    try:
        blocks = block_kind(key)
        return (
            all(_computes(kind, *vector) for vector in _VECTORS)
            and [blocks.update(block), blocks.update(block)] == [encrypted, encrypted]
        )
    except (InvalidTag, RuntimeError):
        return False


def _computes(kind, key, nonce, header, data, sealed):
    """Return True if one cipher can encrypt first (a client's) and another decrypt first (a
    server's).

    Each must still work after it has refused a forgery.
    """
    forged = sealed[:-1] + bytes([sealed[-1] ^ 1])
    client, server = kind(key), kind(key)
    return (
        client.encrypt(nonce, data, header) == sealed
        and server.decrypt(nonce, sealed, header) == data
        and _is_refused(client, nonce, forged, header)
        and _is_refused(server, nonce, forged, header)
        and server.encrypt(nonce, data, header) == sealed
        and client.decrypt(nonce, sealed, header) == data
    )


def _is_refused(cipher, nonce, forged, header):
    try:
        cipher.decrypt(nonce, forged, header)
    except InvalidTag:
        return True
    return False


# The oldest that CPython 3.10 itself supports (PEP 644) and that a distribution still patches.
MIN_OPENSSL = 0x10101000
MIN_OPENSSL_NAME = "OpenSSL 1.1.1"


def _objection(number, name):
    """Return why a library is not used, by its version number and string, or None if it is.

    The version numbers of LibreSSL, BoringSSL and others with OpenSSL's functions do not tell which
    of its bugs are fixed there.
    """
    if not name.startswith("OpenSSL "):
        return f"this interpreter has {name}, and only OpenSSL is called"
    if number < MIN_OPENSSL:
        return f"this interpreter has {name}, which is older than {MIN_OPENSSL_NAME}"
    return None


def _find():
    """Return the version of the OpenSSL that the interpreter has loaded, and why it is not used."""
    try:
        import _hashlib
    except ImportError:
        _hashlib = None
    # An interpreter with OpenSSL built in has no file to look it up in.
    path = getattr(_hashlib, "__file__", None)
    if path is None or not mpg_find_openssl(os.fsencode(path)):
        return "", "this interpreter has no OpenSSL whose functions can be looked up"
    name = mpg_openssl_name().decode("ascii", "replace")
    objection = _objection(mpg_openssl_number(), name)
    if objection is None and not _is_right(NativeAesGcm):
        objection = f"{name} has failed the self-test"
    return name, objection


LIBRARY, UNAVAILABLE = _find()
