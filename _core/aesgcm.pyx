"""AES-128-GCM by the OpenSSL that the interpreter has loaded for its own `hashlib`.

It is the same cipher that `cryptography` calls, from an OpenSSL that the system keeps up to date,
and it costs a third: the objects, the copy of the cipher's state and the lookups around each call
of `cryptography` take longer than AES-GCM does for a datagram. Not every interpreter has one to be
found, for some have it built in, and one is used only after it has computed a published example
rightly and refused a forged one: `IS_AVAILABLE` tells. Elsewhere `cryptography` does the work.
"""

import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from cryptography.exceptions import InvalidTag

from mpgameserver._core.header cimport HEADER_SIZE, NONCE_SIZE, TAG_SIZE

__all__ = ["IS_AVAILABLE", "NativeAesGcm"]

cdef enum:
    KEY_SIZE = 16
    MOST_BYTES = 1 << 30  # sizes are C ints to OpenSSL


cdef unsigned char *_start(bytes data) noexcept:
    return <unsigned char *>PyBytes_AS_STRING(data)


@cython.final
cdef class NativeAesGcm:
    """Seals and opens under a key of 16 bytes, as `cryptography`'s AESGCM does.

    One context serves both directions. Not for use by two threads at a time; nothing in it lets
    another Python thread in. Raises ValueError for a key or a nonce of another size, RuntimeError
    where there is no OpenSSL.
    """

    def __cinit__(self, bytes key):
        if PyBytes_GET_SIZE(key) != KEY_SIZE:
            raise ValueError(f"a key of {len(key)} bytes; expected {KEY_SIZE}")
        self._cipher = mpg_new_cipher(_start(key))
        if self._cipher == NULL:
            raise RuntimeError("OpenSSL has made no cipher")

    def __dealloc__(self):
        if self._cipher != NULL:
            mpg_free_cipher(self._cipher)

    cdef int seal(
        self, const unsigned char *nonce, const unsigned char *header, int header_size,
        const unsigned char *data, int size, unsigned char *out
    ) except -1:
        """Write the sealed data, and the tag behind it, to `out`."""
        if not mpg_seal(self._cipher, nonce, header, header_size, data, size, out):
            raise RuntimeError("OpenSSL has sealed nothing")
        return 0

    cdef bint open(
        self, const unsigned char *nonce, const unsigned char *header, int header_size,
        const unsigned char *data, int size, unsigned char *out
    ) noexcept:
        """Write what is sealed in `data`, which has `size` bytes and a tag behind them, to `out`.

        False when the seal does not hold: what was written then means nothing.
        """
        return mpg_open(self._cipher, nonce, header, header_size, data, size, out)

    def encrypt(self, bytes nonce, bytes data, bytes associated_data, /):
        """The sealed data with its tag of 16 bytes."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef bytes sealed
        _check_sizes(nonce, size, associated_data)
        sealed = PyBytes_FromStringAndSize(NULL, size + TAG_SIZE)
        self.seal(
            _start(nonce), _start(associated_data), <int>PyBytes_GET_SIZE(associated_data),
            _start(data), <int>size, _start(sealed),
        )
        return sealed

    def decrypt(self, bytes nonce, bytes data, bytes associated_data, /):
        """What is sealed in `data`. Raises `cryptography.exceptions.InvalidTag` when the seal
        does not hold; the object is usable afterwards."""
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
        """True when the seal of a packet holds; what is in it is thrown away."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(datagram) - HEADER_SIZE - TAG_SIZE
        cdef unsigned char *data = _start(datagram)
        cdef bytes opened
        if not 0 <= size <= MOST_BYTES:
            return False
        opened = PyBytes_FromStringAndSize(NULL, size)
        return self.open(
            data, data, HEADER_SIZE, data + HEADER_SIZE, <int>size, _start(opened)
        )


cdef int _check_sizes(bytes nonce, Py_ssize_t size, bytes associated_data) except -1:
    if PyBytes_GET_SIZE(nonce) != NONCE_SIZE:
        raise ValueError(f"a nonce of {len(nonce)} bytes; expected {NONCE_SIZE}")
    if size > MOST_BYTES or PyBytes_GET_SIZE(associated_data) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES} bytes")
    return 0


def _is_right(kind):
    """Whether a kind of AES-GCM does what McGrew and Viega's test case 4 says, and refuses a
    forgery, and then goes on.

    "The Galois/Counter Mode of Operation (GCM)", appendix B.
    """
    nonce = bytes.fromhex("cafebabefacedbaddecaf888")
    header = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    data = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    sealed = bytes.fromhex(
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
        "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
        "5bc94fbc3221a5db94fae95ae7121a47"
    )
    try:
        cipher = kind(bytes.fromhex("feffe9928665731c6d6a8f9467308308"))
        return (
            cipher.encrypt(nonce, data, header) == sealed
            and _is_refused(cipher, nonce, sealed[:-1] + b"\0", header)
            and cipher.decrypt(nonce, sealed, header) == data
        )
    except (InvalidTag, RuntimeError):
        return False


def _is_refused(cipher, nonce, forged, header):
    try:
        cipher.decrypt(nonce, forged, header)
    except InvalidTag:
        return True
    return False


def _find():
    """Whether the interpreter has loaded an OpenSSL, and it is right."""
    try:
        import _hashlib
    except ImportError:
        return False
    # An interpreter with OpenSSL built in has no file to look it up in.
    path = getattr(_hashlib, "__file__", None)
    if path is None or not mpg_find_openssl(os.fsencode(path)):
        return False
    return _is_right(NativeAesGcm)


IS_AVAILABLE = _find()
