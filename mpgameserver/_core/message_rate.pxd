# A limit on the messages accepted from one peer per second.

from libc.stdint cimport uint8_t

cdef class MessageRate:
    cdef double _interval       # seconds per message; 0: any number is taken
    cdef double _used_until     # when those that were taken are paid for

    cpdef bint admits(self, double now) noexcept
    cpdef void take(self, uint8_t count, double now) noexcept
