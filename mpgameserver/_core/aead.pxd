# An AEAD behind one pair of calls from C, and the disowning of keys after a fork.

from mpgameserver._core.aesgcm cimport NativeAesGcm

cdef extern from "wipe.h":
    void mpg_wipe(void *data, size_t size)

cdef class Aead:
    cdef object _aead
    cdef NativeAesGcm _native   # the same AEAD, where it is one that is called in C
    cdef bint _writes_into   # into a buffer that it is given
    cdef unsigned int _generation   # of the process that made it

    cdef bint seal(
        self, const unsigned char *nonce, const unsigned char *header, Py_ssize_t header_size,
        const unsigned char *payload, Py_ssize_t size, unsigned char *out
    ) except -1
    cdef bint open(
        self, const unsigned char *nonce, const unsigned char *header, Py_ssize_t header_size,
        const unsigned char *sealed, Py_ssize_t size, unsigned char *out
    ) except -1
