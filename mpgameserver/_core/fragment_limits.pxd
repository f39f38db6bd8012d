# The messages of a session of protocol 2 that are begun in fragments and not wholly acked.

from libc.stdint cimport int64_t, uint32_t

from mpgameserver._core.fifo cimport Queue
from mpgameserver._core.outgoing cimport OutgoingMessage

cpdef enum:
    # By size, so that a message waits for none that is more than 16 times as large. Together 64
    # messages and 16 MiB, which is what every receiver has room for.
    SHORT_MESSAGES = 40
    SHORT_BYTES = 1024 * 1024
    MIDDLE_MESSAGES = 16
    MIDDLE_BYTES = 4 * 1024 * 1024
    LONG_MESSAGES = 8
    LONG_BYTES = 11 * 1024 * 1024    # one of the largest, and one that is a quarter of it
    LARGEST_SHORT = 64 * 1024        # bytes of a message
    LARGEST_MIDDLE = 1024 * 1024

cdef enum:
    SIZE_CLASSES = 3

cdef struct BegunMessages:
    uint32_t messages
    int64_t size         # bytes
    Queue claims         # refused ones; the first goes before any other of its size

cdef class FragmentLimits:
    cdef Py_ssize_t payload_limit    # bytes of frames; what takes more is sent in fragments
    cdef bint has_changed            # one that was refused may be begun now
    cdef BegunMessages _begun[SIZE_CLASSES]
    cdef double _most                # messages of each size, which the path serves in time
    cdef Queue _given_up             # by when something was last sent of each
    cdef bint admits(self, OutgoingMessage message) except -1
    cdef void hold(self, OutgoingMessage message) noexcept
    cdef void release(self, OutgoingMessage message) noexcept
    cdef void slow_down(self) noexcept
    cdef int give_up(self, OutgoingMessage message) except -1
    cdef int expire(self, double now) except -1
    cdef double next_timer(self) except? -1.0
    cdef int clear(self) except -1
