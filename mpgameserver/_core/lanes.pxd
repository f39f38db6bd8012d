# Scheduling of outgoing fragments: which fragmented message sends next.

from libc.stdint cimport uint16_t, uint32_t

from mpgameserver._core.fifo cimport Queue
from mpgameserver._core.message cimport Message, FragmentedMessage

cdef enum:
    # One for messages of up to 4 fragments, one for up to 16, and so on up to 8,192. The largest of
    # all lanes together take 16 MB at the receiver, and ours keeps 20 MiB.
    LANES = 7

cdef struct Lane:
    Queue unsent       # messages with unsent fragments; only the first one is in progress
    Queue retransmissions    # reliable fragments whose packet was lost

cdef class FragmentLanes:
    cdef uint32_t unsent          # messages with unsent fragments
    cdef uint32_t retransmissions       # fragments
    cdef Lane _lanes[LANES]
    cdef int _turn                # the lane that is next
    cdef uint16_t _newest_number  # of the fragmented messages, on the wire

    cdef int add(self, FragmentedMessage fragmented, Py_ssize_t payload_limit) except -1
    cdef int add_retransmission(self, Message fragment) except -1
    cdef Message next(self, Py_ssize_t limit, bint may_number)
    cdef Message _next_of(self, Lane *lane, Py_ssize_t limit, bint may_number)
    cdef Message _cut(self, Lane *lane, Py_ssize_t limit)
    cdef int recut(self, Py_ssize_t payload_limit) except -1
    cdef int drop_retransmissions(self) except -1
    cdef list take_unsent(self)
