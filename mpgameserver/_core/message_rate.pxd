# A limit on the messages accepted from one peer per second.

from libc.stdint cimport uint32_t

cdef class MessageRate:
    cdef double _interval       # seconds per message; 0: unlimited
    cdef double _used_until     # when the accepted messages are within the rate again

    cpdef bint admits(self, double now) noexcept
    cpdef void take(self, uint32_t count, double now) noexcept
