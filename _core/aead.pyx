"""A C interface to any AEAD: AES-128-GCM by OpenSSL or by `cryptography`, or another one.

A `NativeAesGcm` is called in C. `cryptography`'s AESGCM can write into a buffer (since version 47);
a `_Memory` gives it access to memory for the duration of one call, so that nothing is copied. Any
other AEAD is passed bytes, because it might keep its arguments. Each call has its own `_Memory`
objects, because an AEAD in Python runs code before it reads its arguments: another thread may run
there, and a garbage collection can run any code.
"""

import os

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpgameserver._core.aesgcm cimport NativeAesGcm
from mpgameserver._core.packet_header cimport NONCE_SIZE, TAG_SIZE

__all__ = ["Aead", "disown_keys"]

# The number of forks that led to this process.
cdef unsigned int _generation = 0


def disown_keys():
    """Disable every existing `Aead`: it neither seals nor opens anything from then on.

    Called in a forked process, whose parent still uses the same keys: two packets sealed under one
    key with one nonce reveal each other (SP 800-38D, appendix A).
    """
    global _generation
    _generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=disown_keys)


@cython.final
@cython.no_gc
@cython.freelist(8)
cdef class _Memory:
    """Memory at an address, as an object with a buffer."""

    cdef unsigned char *start
    cdef Py_ssize_t size

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.start, self.size, False, flags)


cdef _Memory _memory_at(const unsigned char *start, Py_ssize_t size):
    cdef _Memory memory = _Memory.__new__(_Memory)
    memory.start = <unsigned char *>start
    memory.size = size
    return memory


cdef int _check_size(bytes made, Py_ssize_t size) except -1:
    """Raise ValueError if an AEAD has returned a result of the wrong length."""
    if made is None or PyBytes_GET_SIZE(made) != size:
        raise ValueError(f"the AEAD has returned {made!r}; expected {size} bytes")
    return 0


# Thousands of sessions have one, and none is part of a cycle: the collector is spared them.
@cython.final
@cython.no_gc
cdef class Aead:
    """Seals and opens with an AEAD: a `NativeAesGcm`, or one as `cryptography` has them.

    That has `encrypt(nonce, data, associated_data)` and `decrypt`, which raises `InvalidTag`.
    """

    def __cinit__(self, aead):
        self._aead = aead
        self._native = aead if type(aead) is NativeAesGcm else None
        self._writes_into = type(aead) is AESGCM and hasattr(aead, "encrypt_into")
        self._generation = _generation

    cdef bint seal(
        self, const unsigned char *nonce, const unsigned char *header, Py_ssize_t header_size,
        const unsigned char *payload, Py_ssize_t size, unsigned char *out
    ) except -1:
        """Write `size` bytes of payload, sealed, and their tag to `out`.

        Returns False if the cipher fails or the key belongs to another process.
        """
        cdef bytes sealed
        if self._generation != _generation:
            return False
        if self._native is not None:
            return self._native.seal(nonce, header, <int>header_size, payload, <int>size, out)
        if self._writes_into:
            self._aead.encrypt_into(
                _memory_at(nonce, NONCE_SIZE),
                _memory_at(payload, size),
                _memory_at(header, header_size),
                _memory_at(out, size + TAG_SIZE),
            )
            return True
        sealed = self._aead.encrypt(
            PyBytes_FromStringAndSize(<char *>nonce, NONCE_SIZE),
            PyBytes_FromStringAndSize(<char *>payload, size),
            PyBytes_FromStringAndSize(<char *>header, header_size),
        )
        _check_size(sealed, size + TAG_SIZE)
        memcpy(out, PyBytes_AS_STRING(sealed), size + TAG_SIZE)
        return True

    cdef bint open(
        self, const unsigned char *nonce, const unsigned char *header, Py_ssize_t header_size,
        const unsigned char *sealed, Py_ssize_t size, unsigned char *out
    ) except -1:
        """Write what is sealed in `size` bytes, and the tag behind them, to `out`.

        Returns False if it is not authentic, or if the key belongs to another process.
        """
        cdef bytes opened
        if self._generation != _generation:
            return False
        if self._native is not None:
            return self._native.open(nonce, header, <int>header_size, sealed, <int>size, out)
        try:
            if self._writes_into:
                self._aead.decrypt_into(
                    _memory_at(nonce, NONCE_SIZE),
                    _memory_at(sealed, size + TAG_SIZE),
                    _memory_at(header, header_size),
                    _memory_at(out, size),
                )
                return True
            opened = self._aead.decrypt(
                PyBytes_FromStringAndSize(<char *>nonce, NONCE_SIZE),
                PyBytes_FromStringAndSize(<char *>sealed, size + TAG_SIZE),
                PyBytes_FromStringAndSize(<char *>header, header_size),
            )
        except InvalidTag:
            mpg_wipe(out, size)
            return False
        _check_size(opened, size)
        memcpy(out, PyBytes_AS_STRING(opened), size)
        return True
