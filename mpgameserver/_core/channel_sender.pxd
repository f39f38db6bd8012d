# The sending side of one channel of a session of protocol 2 that keeps the order of its messages.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from mpgameserver._core.channel_receiver cimport ChannelKind
from mpgameserver._core.fifo cimport Queue
from mpgameserver._core.fragment_limits cimport FragmentLimits
from mpgameserver._core.outgoing cimport OutgoingFragment, OutgoingMessage

cdef enum:
    # A receiver recognizes a number down to 65,535 below the newest.
    MESSAGE_SPAN = 65536
    # Bytes. A smaller fragment fills a packet only if it ends its message: the message would take
    # another frame, and often another packet.
    LEAST_FILLER = 256

cdef struct MessageLane:
    Queue lost           # sent once, in fragments, of which some were lost; they take turns
    Queue waiting        # not wholly sent; only the first one may be begun

cdef class ChannelSender:
    cdef uint8_t channel
    cdef ChannelKind kind
    cdef int64_t newest              # number
    cdef Py_ssize_t pending          # bytes never sent
    cdef Py_ssize_t largest          # bytes of a message
    cdef int64_t granted_number, granted_total     # of an ordered channel
    # How the channels of a session take turns, which is theirs to know.
    cdef int64_t turn
    cdef int weight                  # bits
    cdef bint is_ready
    cdef uint64_t tried
    cdef PyObject *next_ready        # not owned
    cdef FragmentLimits _limits
    cdef int64_t _total              # bytes of the messages that were begun
    cdef MessageLane _lane
    cdef Queue _retransmissions      # lost MESSAGEs
    cdef Queue _unacked              # begun, by number: reliable ones and those in fragments
    cdef OutgoingMessage _in_fragments     # of a latest channel, the last one

    cdef int add(self, OutgoingMessage message) except -1
    cdef OutgoingMessage take_replaced(self)
    cdef object next(self, Py_ssize_t room, bint alone, double now)
    cdef OutgoingMessage next_message(self, Py_ssize_t room)
    cdef bint has_something(self) except -1
    cdef bint has_queued(self) noexcept
    cdef bint has_message(self) except -1
    cdef int add_retransmission(self, OutgoingMessage message) except -1
    cdef int add_lost(self, OutgoingMessage message) except -1
    cdef list take_retransmissions(self)
    cdef list unacked(self)
    cdef bint has_older(self) noexcept
    cdef int release_older(self, int64_t number) except -1
    cdef list take_all(self)
    cdef MessageLane *_lane_of(self, OutgoingMessage message) except NULL
    cdef bint _may_begin(self, OutgoingMessage message) except -1
    cdef bint number_is_free(self) except -1
    cdef bint _needs_fragments(self, OutgoingMessage message) noexcept
    cdef int _begin(self, OutgoingMessage message, bint in_fragments) except -1
    cdef OutgoingMessage _next_whole(self, Queue *queue, Py_ssize_t room, bint alone)
    cdef bint _to_fragments(self, OutgoingMessage message) except -1
    cdef object _next_of(self, MessageLane *lane, Py_ssize_t room, bint alone, double now)
    cdef OutgoingFragment _next_lost(self, MessageLane *lane, Py_ssize_t room, bint alone)
    cdef object _next_waiting(self, MessageLane *lane, Py_ssize_t room, bint alone)
    cdef OutgoingFragment _begin_fragments(
        self, OutgoingMessage message, Py_ssize_t room, bint alone
    )
    cdef bint _has_of(self, MessageLane *lane) except -1
    cdef bint _has_whole(self, Queue *queue) except -1
