# Black-hole detection: paths that drop large datagrams.

from libc.stdint cimport uint8_t, uint32_t

cdef enum SizeClass:
    SMALL       # every path carries it
    MEDIUM      # more than LEAST_DATAGRAM bytes
    LARGE       # more than SAFE_DATAGRAM bytes
    SIZE_CLASSES

cdef enum:
    SAFE_DATAGRAM = 1232    # bytes: IPv6's minimum MTU of 1,280 less the headers
    LEAST_DATAGRAM = 548    # what every IPv4 host has to take (RFC 791: 576), less the headers
    LOSSES_OF_A_BLACK_HOLE = 10
    LOSSES_BEFORE_A_PROBE = 3
    LOSSES_THAT_END = 40

cdef struct PathLimit:
    Py_ssize_t body            # bytes: the largest payload of a packet of several messages
    Py_ssize_t largest_body    # needed by messages that were fragmented before
    SizeClass unsafe           # what the path was found to drop, and all above it
    uint32_t losses[SIZE_CLASSES]   # in a row, with the next smaller packet acked
    double since[SIZE_CLASSES]      # of the detection, or of the last one acked after it
    uint32_t unexplained       # losses without such a pair since the last ack of a large one
    bint is_stuck              # a reliable message needs a packet that the path drops
    bint wants_small           # no smaller packet was sent after the lost ones

cdef inline SizeClass size_class(Py_ssize_t datagram) noexcept:
    return <SizeClass>((datagram > LEAST_DATAGRAM) + (datagram > SAFE_DATAGRAM))

cdef inline Py_ssize_t carried(const PathLimit *path) noexcept:    # bytes, of a datagram
    return SAFE_DATAGRAM if path.unsafe == LARGE else LEAST_DATAGRAM

cdef void on_acked(PathLimit *path, SizeClass size, double now) noexcept
cdef bint on_lost(PathLimit *path, SizeClass size, bint is_reliable, double now) noexcept
cdef void on_unexplained_loss(PathLimit *path) noexcept
