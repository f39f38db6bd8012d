# Which packets of protocol 2 were received, and the ranges in which an ACK reports them.

from libc.stdint cimport int64_t

from mpgameserver._core.duplicate_filter cimport DuplicateFilter
from mpgameserver._core.frames cimport AckRange

cpdef enum:
    REMEMBERED_PACKETS = 8192   # numbers below the newest that are told apart

cdef class ReceivedPackets:
    cdef readonly int64_t late      # packets that came after a newer one
    cdef DuplicateFilter _numbers
    cdef int64_t _unreported        # the peer knows what was received of the numbers below

    cdef inline int64_t newest(self) noexcept:
        return self._numbers.newest
    cpdef bint is_new(self, int64_t number) except -1
    cpdef bint enter(self, int64_t number) except -1
    cpdef void on_report_acked(self, int64_t newest, int64_t late) noexcept
    cdef Py_ssize_t ranges(self, AckRange *out) noexcept
