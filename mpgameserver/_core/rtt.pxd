# The round-trip time of a path and the delays that follow from it (RFC 9002).

cdef class RoundTrip:
    cdef readonly double smoothed   # seconds; 0.0 before the first sample
    cdef readonly double variation
    cdef readonly double latest
    cdef readonly double least
    cdef readonly bint measured

    cpdef void sample(self, double elapsed)
    cpdef double reorder_delay(self)
    cpdef double probe_delay(self)
