# How many messages are taken from one peer per second.

from libc.stdint cimport uint8_t

cdef class MessageRate:
    cdef double _interval       # seconds per message; 0: any number is taken
    cdef double _used_until     # when those that were taken are paid for

    cdef inline bint admits(self, double now) noexcept:
        return self._used_until <= now + MESSAGE_BURST_SECONDS
    cdef inline void take(self, uint8_t count, double now) noexcept:
        self._used_until = max(self._used_until, now) + count * self._interval

cdef enum:
    # Of the rate, what may come at once: what a client has to say after a long frame.
    MESSAGE_BURST_SECONDS = 1
