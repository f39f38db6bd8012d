# Traffic per second, over the last five minutes.

from libc.stdint cimport int64_t, uint16_t, uint32_t

cdef enum:
    TRAFFIC_BINS = 300

cdef struct Second:
    uint32_t bytes_sent
    uint32_t bytes_received
    uint16_t packets_sent
    uint16_t packets_received
    uint16_t latency        # milliseconds, mean

cdef class TrafficBins:
    cdef double _start
    cdef int64_t _current      # seconds since _start
    cdef double _latency_sum   # seconds, of the current second
    cdef uint32_t _latency_samples
    cdef Second _seconds[TRAFFIC_BINS]

    cpdef void sent(self, uint32_t size, double now)
    cpdef void received(self, uint32_t size, double now)
    cpdef void round_trip(self, double elapsed, double now)
    cdef Second *_at(self, double now) noexcept
