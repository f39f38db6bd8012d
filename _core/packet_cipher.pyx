"""Sealing and opening packets: AES-128-GCM, with the header as associated data.

The nonce is the first 12 bytes of the header. A `NativeAesGcm` is called in C. `cryptography`'s
AESGCM, where it can write into a buffer (from 47 on), is shown the bytes at an address, for one
call only, by a `_Memory`, so that nothing is copied; others are handed each part as bytes, for
they might keep what they were shown.

A payload lives in a buffer that is borrowed for one call. They are not owned by connections, of
which a server has thousands. Each call has one of its own, and `_Memory`s of its own, for an AEAD
in Python runs code before it looks at what it was given: another thread may get its turn there,
and a garbage collection can run any code.
"""

import os

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.string cimport memcpy

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpgameserver._core.aesgcm cimport NativeAesGcm
from mpgameserver._core.packet_header cimport HEADER_SIZE, NONCE_SIZE, TAG_SIZE

__all__ = ["PacketCipher", "disown_keys"]

cdef enum:
    SPARE_BUFFERS = 4  # calls are seldom nested, and never deep

cdef unsigned char *_spare[SPARE_BUFFERS]
cdef int _spare_count = 0


# Counts the forks that led to this process.
cdef unsigned int _generation = 0


def disown_keys():
    """Disable every `PacketCipher` that exists now: none seals or opens anything from then on.

    For a process that was forked: its parent goes on under the same keys, and two packets that
    are sealed under one key with one nonce betray each other (SP 800-38D, appendix A).
    """
    global _generation
    _generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=disown_keys)


cdef unsigned char *borrow_buffer() except NULL:
    """Return a buffer of `BUFFER_SIZE` bytes, to be given back at the end of the call."""
    global _spare_count
    cdef unsigned char *buffer
    if _spare_count:
        _spare_count -= 1
        return _spare[_spare_count]
    buffer = <unsigned char *>PyMem_Malloc(BUFFER_SIZE)
    if buffer == NULL:
        raise MemoryError
    return buffer


cdef void give_back_buffer(unsigned char *buffer) noexcept:
    global _spare_count
    if _spare_count < SPARE_BUFFERS:
        _spare[_spare_count] = buffer
        _spare_count += 1
    else:
        PyMem_Free(buffer)


@cython.final
@cython.no_gc
@cython.freelist(8)
cdef class _Memory:
    """Bytes at an address, as an object that has a buffer."""

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
cdef class PacketCipher:
    """Seals and opens packets with an AEAD: a `NativeAesGcm`, or one as `cryptography` has them.

    That has `encrypt(nonce, data, associated_data)` and `decrypt`, which raises `InvalidTag`.
    """

    def __cinit__(self, aead):
        self._aead = aead
        self._native = aead if type(aead) is NativeAesGcm else None
        self._writes_into = type(aead) is AESGCM and hasattr(aead, "encrypt_into")
        self._generation = _generation

    cdef bytes seal(
        self, const unsigned char *header, const unsigned char *payload, Py_ssize_t size
    ):
        """Return the datagram: the header and the encrypted payload of `size` bytes.

        Returns None if the cipher fails or the key belongs to another process; to the session, the
        packet is lost.
        """
        cdef bytes datagram, sealed
        cdef unsigned char *out
        if not 0 <= size <= BUFFER_SIZE:
            raise SystemError(f"a payload of {size} bytes")
        if self._generation != _generation:
            return None
        datagram = PyBytes_FromStringAndSize(NULL, HEADER_SIZE + size + TAG_SIZE)
        out = <unsigned char *>PyBytes_AS_STRING(datagram)
        memcpy(out, header, HEADER_SIZE)
        if self._native is not None:
            if self._native.seal(
                header, header, HEADER_SIZE, payload, <int>size, out + HEADER_SIZE
            ):
                return datagram
            return None
        if self._writes_into:
            self._aead.encrypt_into(
                _memory_at(header, NONCE_SIZE),
                _memory_at(payload, size),
                _memory_at(header, HEADER_SIZE),
                _memory_at(out + HEADER_SIZE, size + TAG_SIZE),
            )
            return datagram
        sealed = self._aead.encrypt(
            PyBytes_FromStringAndSize(<char *>header, NONCE_SIZE),
            PyBytes_FromStringAndSize(<char *>payload, size),
            PyBytes_FromStringAndSize(<char *>header, HEADER_SIZE),
        )
        _check_size(sealed, size + TAG_SIZE)
        memcpy(out + HEADER_SIZE, PyBytes_AS_STRING(sealed), size + TAG_SIZE)
        return datagram

    cdef bint open(self, bytes datagram, unsigned char *payload) except -1:
        """Decrypt the payload of a datagram into a buffer; return False if it is not authentic.

        That includes datagrams without header and tag, and those larger than the buffer.
        """
        cdef unsigned char *data = <unsigned char *>PyBytes_AS_STRING(datagram)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(datagram) - HEADER_SIZE
        cdef bytes opened
        if self._generation != _generation or not TAG_SIZE <= size <= BUFFER_SIZE:
            return False
        if self._native is not None:
            return self._native.open(
                data, data, HEADER_SIZE, data + HEADER_SIZE, <int>(size - TAG_SIZE), payload
            )
        try:
            if self._writes_into:
                self._aead.decrypt_into(
                    _memory_at(data, NONCE_SIZE),
                    _memory_at(data + HEADER_SIZE, size),
                    _memory_at(data, HEADER_SIZE),
                    _memory_at(payload, size - TAG_SIZE),
                )
                return True
            opened = self._aead.decrypt(
                PyBytes_FromStringAndSize(<char *>data, NONCE_SIZE),
                PyBytes_FromStringAndSize(<char *>data + HEADER_SIZE, size),
                PyBytes_FromStringAndSize(<char *>data, HEADER_SIZE),
            )
        except InvalidTag:
            mpg_wipe(payload, size - TAG_SIZE)
            return False
        _check_size(opened, size - TAG_SIZE)
        memcpy(payload, PyBytes_AS_STRING(opened), size - TAG_SIZE)
        return True
