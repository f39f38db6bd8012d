# Black-hole detection: what becomes of large packets tells whether the path carries them.

from libc.stdint cimport uint32_t

cdef enum:
    SAFE_DATAGRAM = 1232    # bytes: IPv6's minimum MTU of 1,280 less the headers
    LOSSES_OF_A_BLACK_HOLE = 10
    LOSSES_THAT_END = 40

cdef struct PathLimit:
    Py_ssize_t body            # bytes: the largest payload of a packet of several messages
    Py_ssize_t largest_body    # what a message may need that was cut before
    uint32_t losses            # of large packets in a row, with the next smaller packet acked
    bint is_narrow             # large packets do not arrive
    bint is_stuck              # nor does a reliable message that needs one
    bint wants_small           # no smaller packet was sent behind a large one that was lost
    double since               # of the detection, or of the last large packet acked after it

cdef inline bint is_large(Py_ssize_t datagram) noexcept:
    return datagram > SAFE_DATAGRAM

cdef void on_large_acked(PathLimit *path, double now) noexcept
cdef bint on_large_lost(PathLimit *path, bint is_reliable, double now) noexcept
