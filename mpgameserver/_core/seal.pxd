# The seal of a packet, and the buffers that payloads are written and opened in.

from mpgameserver._core.aesgcm cimport NativeAesGcm

cdef enum:
    BUFFER_SIZE = 65536 + 64  # any payload, and the head of its first message before it


cdef unsigned char *borrow_buffer() except NULL
cdef void give_back_buffer(unsigned char *buffer) noexcept

cdef class Seal:
    cdef object _aead
    cdef NativeAesGcm _native   # the same AEAD, where it is one that is called in C
    cdef bint _writes_into   # into a buffer that it is given

    cdef bytes close(
        self, const unsigned char *header, const unsigned char *payload, Py_ssize_t size
    )
    cdef bint open(self, bytes datagram, unsigned char *payload) except -1
