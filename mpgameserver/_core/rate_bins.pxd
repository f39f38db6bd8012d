# Statistics per second, over the last five minutes.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

cpdef enum:
    BINS = 300

cdef struct Second:
    uint32_t bytes_sent
    uint32_t bytes_received
    uint16_t packets_sent
    uint16_t packets_received
    uint16_t latency        # milliseconds, mean

# Wide enough for a second of a player who sends a datagram per frame.
cdef struct NarrowSecond:
    uint16_t bytes_sent
    uint16_t bytes_received
    uint8_t packets_sent
    uint8_t packets_received
    uint16_t latency

cdef class RateBins:
    cdef double _start
    cdef int64_t _current      # seconds since _start
    cdef Second _counts        # of the current second
    cdef double _latency_sum   # seconds, of the current second
    cdef uint32_t _latency_samples
    cdef NarrowSecond *_narrow   # the seconds before; NULL once they are in _seconds
    cdef Second *_seconds

    cpdef void on_sent(self, uint32_t size, double now)
    cpdef void on_received(self, uint32_t size, double now)
    cpdef void on_rtt_sample(self, double rtt, double now)
    cdef void _move_to(self, double now) noexcept
    cdef void _store(self) noexcept
    cdef Second _at(self, int64_t second) noexcept
    cdef void _clear(self, int64_t second) noexcept
    cdef bint _widen(self) noexcept
