# The clock of the peer, as TIME_REPLY frames tell it.
from libc.stdint cimport int64_t

cdef class PeerClock:
    cdef readonly object offset     # seconds that it is ahead of ours; None: not known yet
    cdef object _asked              # the TIMEs without a reply, in microseconds
    cdef object _samples            # delays there and back, +- the offset, in microseconds
    cdef double _due_at

    cdef bint is_due(self, double now) noexcept
    cdef int on_asked(self, int64_t clock, double now) except -1
    cpdef int on_reply(
        self, int64_t echo, int64_t received, int64_t sent, int64_t now
    ) except -1
