# The order of an ordered channel of protocol 2: what waits for a gap, and the window.

from libc.stdint cimport int64_t

from mpgameserver._core.budget cimport Share

cdef class OrderedDelivery:
    cdef readonly int64_t delivered         # the number of the message that was delivered last
    cdef readonly int64_t granted_number    # the window: what the peer may send, by number...
    cdef readonly int64_t granted_total     # ...and by the sum of all lengths
    cdef Share _share                       # charged for what waits
    cdef dict _waiting                      # number -> bytes: after a gap; None until there is one
    cdef int64_t _known_total               # the lengths of all messages of which it is known
    cdef int64_t _first_number, _first_total    # the first window
    cdef int64_t _taken_number, _taken_total    # messages and bytes that the game has taken
    cdef bint _is_window_lost
    # The packet under inspection: new lengths in it, and how far its messages go without a gap.
    cdef int64_t _packet_total, _packet_end

    cdef bint has(self, int64_t number) except -1
    cdef void begin_packet(self) noexcept
    cdef bint allows(self, int64_t number, int64_t length) noexcept
    cdef void inspect_length(self, int64_t length) noexcept
    cdef bint continues(self, int64_t number) noexcept
    cdef void add_length(self, int64_t length) noexcept
    cdef bytes take(self, int64_t number, bytes message)
    cpdef bytes next_ready(self)
    cpdef int on_taken(self, int64_t size) except -1
    cpdef bint is_window_due(self) noexcept
    cpdef void renew_window(self) noexcept
    cpdef void on_window_lost(self) noexcept
    cpdef int clear(self) except -1
