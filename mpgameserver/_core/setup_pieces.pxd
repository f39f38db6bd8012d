# What the peer sends in CONNECT, ACCEPT or KEM frames, put together from its pieces.
from mpgameserver._core.frames cimport Frame

cdef class SetupPieces:
    cdef readonly bytes whole       # None until every byte has come
    cdef bytearray _data, _known    # _known: 1 for each byte that has come
    cdef Py_ssize_t _missing

    cdef bint has_begun(self) noexcept
    cdef bint add(self, const Frame *piece) except -1
