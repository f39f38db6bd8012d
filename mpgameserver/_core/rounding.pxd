# Conversion of doubles to integers, safe for any value of a clock.

from libc.math cimport floor
from libc.stdint cimport int64_t


cdef inline int64_t floor_integer(double value) noexcept nogil:
    # The largest integer that is not above `value`, at most 2^53 away from 0; -2^53 for NaN. In C
    # it is undefined to convert what 64 bits do not hold, and sums of a few of these they do. Not
    # by fmin and fmax, because each is a call of the C library, for every datagram.
    cdef double limit = 9007199254740992.0
    if -limit <= value <= limit:
        return <int64_t>floor(value)
    return <int64_t>(limit if value > 0 else -limit)

cdef inline int64_t microseconds(double now) noexcept nogil:
    return max(floor_integer(now * 1e6), <int64_t>0)
