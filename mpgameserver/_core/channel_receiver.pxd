# The receiving side of one channel of a session of protocol 2.

from cpython.list cimport PyList_GET_ITEM
from libc.stdint cimport int64_t, uint8_t, uint64_t

from mpgameserver._core.duplicate_filter cimport DuplicateFilter
from mpgameserver._core.frames cimport Frame
from mpgameserver._core.grid_reassembly cimport GridMessage, GridReassembler
from mpgameserver._core.ordered_delivery cimport OrderedDelivery

cpdef enum ChannelKind:
    UNORDERED = 0    # as the table of channels numbers them
    ORDERED = 1
    SEQUENCED = 2
    LATEST = 3

# What is to become of a MESSAGE or FRAGMENT.
cpdef enum FrameFate:
    TAKEN = 0
    IGNORED = 1          # the message was already delivered or dropped: its packet is acked
    NO_ROOM = 2          # its packet is not acked
    MALFORMED = 3        # the session is closed with PROTOCOL
    WINDOW_BROKEN = 4    # the session is closed with WINDOW

cdef class ChannelReceiver:
    cdef readonly uint8_t channel
    cdef readonly ChannelKind kind
    cdef readonly OrderedDelivery order     # of an ordered channel, else None
    cdef GridReassembler _reassembler
    cdef DuplicateFilter _delivered         # of an unordered channel; None until there is one
    cdef int64_t _newest                    # delivered; of an unordered channel, had a part of
    cdef dict _incomplete                   # number -> GridMessage; None until there is one
    cdef uint64_t _packet                   # the packet that was inspected last

    cdef int inspect(self, const Frame *frame) except -1
    cdef bytes take(self, const Frame *frame, double now)
    cdef bytes next_ready(self)
    cpdef list arriving(self)
    cdef bint _is_simple(self) noexcept
    cdef bytes _take_simple(self, const Frame *frame)
    cpdef int clear(self) except -1
    cdef bint _is_over(self, int64_t number) except -1
    cdef int64_t _length_of(self, int64_t number) except -2
    cdef bint _is_allowed(self, int64_t number, int64_t length, int64_t known) noexcept
    cdef bint _claim(self, const Frame *frame, bint is_begun) except -1
    cdef GridMessage _incomplete_of(self, int64_t number)
    cdef bytes _whole(self, const Frame *frame)
    cdef bytes _add_fragment(self, const Frame *frame, double now)
    cdef bytes _complete(self, int64_t number, bytes message)
    cdef int _discard(self, int64_t newest) except -1
    cdef int _read(self, bytes data, Frame *frame) except -1

cdef inline ChannelReceiver receiver_at(list receivers, uint8_t channel):
    # That of a list with a place for every channel; None: the channel is not open.
    return <ChannelReceiver>PyList_GET_ITEM(receivers, channel)
