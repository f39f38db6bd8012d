"""The first data of a session in protocol 2, which comes in CONNECT, ACCEPT or KEM frames.

A piece may be cut anywhere and come twice. One that contradicts what has come, in its total or in a
byte, was made by a peer that breaks the rules, and is refused while the whole is incomplete.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE

from mpgameserver._core.frames cimport MAX_SETUP_SIZE

__all__ = ["SetupPieces"]


@cython.final
@cython.no_gc
cdef class SetupPieces:
    """The pieces of one whole of at most 8,192 bytes."""

    cdef bint has_begun(self) noexcept:
        """Return True once a piece has come."""
        return self._data is not None or self.whole is not None

    cdef bint add(self, const Frame *piece) except -1:
        """Add a piece that lies within its total; return False if it contradicts an earlier one."""
        cdef unsigned char *data
        cdef char *known
        cdef Py_ssize_t i, at
        if self.whole is not None:
            return True
        if self._data is None:
            if not 0 < piece.total <= MAX_SETUP_SIZE:
                return False
            self._data = bytearray(piece.total)
            self._known = bytearray(piece.total)
            self._missing = <Py_ssize_t>piece.total
        if piece.total != PyByteArray_GET_SIZE(self._data):
            return False
        data = <unsigned char *>PyByteArray_AS_STRING(self._data)
        known = PyByteArray_AS_STRING(self._known)
        for i in range(piece.size):
            at = <Py_ssize_t>piece.offset + i
            if known[at] and data[at] != piece.data[i]:
                return False
        for i in range(piece.size):
            at = <Py_ssize_t>piece.offset + i
            self._missing -= not known[at]
            data[at], known[at] = piece.data[i], 1
        if self._missing == 0:
            self.whole = bytes(self._data)
            self._data = self._known = None
        return True
