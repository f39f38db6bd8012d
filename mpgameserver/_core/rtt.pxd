# The round-trip time of a path and the delays that follow from it (RFC 9002).

cdef double LOSS_MARGIN      # of the round-trip time: RFC 9002 section 6.1.2

cdef class Rtt:
    cdef readonly double srtt   # seconds; 0.0 before the first sample
    cdef readonly double rttvar
    cdef readonly double latest_rtt
    cdef readonly double min_rtt
    cdef readonly bint measured

    cpdef void sample(self, double rtt)
    cpdef double loss_delay(self, double margin=*)
    cpdef double pto(self)
