# The message numbers that were already received.

from libc.stdint cimport int64_t, uint32_t, uint64_t

cpdef enum:
    MESSAGE_FILTER_WIDTH = 32768  # half the ring of 65,535: all numbers that look older
    # The newest number of a channel of protocol 2 and the 65,535 below it: a sender sends none that
    # is further above one that it may still retransmit.
    CHANNEL_FILTER_WIDTH = 65536

cdef class DuplicateFilter:
    cdef readonly uint32_t width
    cdef readonly int64_t newest  # absolute; 0: none yet
    cdef int64_t _oldest          # no number below it was inserted
    cdef uint64_t *_words         # bit n & _mask: n was inserted
    cdef uint32_t _mask           # bits allocated - 1; a power of two, less one
    cdef uint32_t _full_size

    cpdef bint contains(self, int64_t number) except -1
    cpdef bint insert(self, int64_t number) except -1
    cdef uint64_t *_word(self, int64_t number) noexcept
    cdef int _make_room(self, int64_t span) except -1
    cdef void _clear(self, int64_t first, int64_t last) noexcept

cdef int64_t run_start(
    DuplicateFilter numbers, int64_t number, int64_t lowest, bint inserted
) noexcept
