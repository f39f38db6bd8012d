# What waits to be sent and what is in flight, on all channels of a session of protocol 2.

from cpython.object cimport PyObject
from libc.stdint cimport int8_t, int64_t, uint64_t

from mpgameserver._core.channel_sender cimport ChannelSender
from mpgameserver._core.fifo cimport Queue
from mpgameserver._core.fragment_limits cimport FragmentLimits
from mpgameserver._core.outbox cimport Outbox
from mpgameserver._core.outgoing cimport OutgoingFragment, OutgoingMessage

cpdef enum:
    # Weights from 1 to 16: the least of two channels that always have something gets 6 %.
    LOWEST_PRIORITY = -2
    HIGHEST_PRIORITY = 2

cdef class ChannelQueues(Outbox):
    cdef list _channels             # ChannelSender by channel; None: not open
    cdef PyObject *_ready           # the first of those that may have something; not owned
    cdef FragmentLimits _limits
    cdef int64_t _turn              # bytes that a channel is credited with when it becomes ready
    cdef uint64_t _call             # of `next_part`
    cdef Py_ssize_t _unsent         # messages of which something was never sent
    cdef Py_ssize_t _unacked        # reliable messages of which something was sent
    cdef Queue _repeating           # best-effort messages, by last_sent
    cdef Queue _deadlines           # messages that time out, by first_sent
    cdef Queue _copies              # while the session closes: those to be copied
    cdef bint _closing
    cdef double _last_copy          # when a packet of copies was last sent

    cpdef int open(
        self, int channel, int kind, int priority=*, int64_t number=*, int64_t total=*
    ) except -1
    cpdef bint grant(self, int channel, int64_t number, int64_t total) except -1
    cpdef int add_on(self, int channel, bytes data, int8_t retry=*, object callback=*) except -1
    cpdef int set_payload_limit(self, Py_ssize_t payload_limit) except -1
    cpdef Py_ssize_t pending_on(self, int channel) except -1
    cdef object next_part(self, Py_ssize_t room, double now, double repeat_interval, bint alone)
    cdef object next_message(self, Py_ssize_t room, double now, double repeat_interval)
    cdef object next_redundant(self, Py_ssize_t room, double now, double interval)
    cdef bint on_part_sent(self, object part, int64_t packet_number, double now) except -1
    cpdef int on_packet_acked(self, object contents, double sent_at=*, double now=*) except -1
    cpdef int on_packet_lost(self, object contents, int64_t packet_number) except -1
    cpdef int expire(self, double now, double timeout) except -1
    cpdef bint has_more(self) except -1
    cpdef int begin_close(self) except -1
    cpdef bint is_drained(self) except -1
    cpdef int close(self) except -1
    cdef ChannelSender _open(self, int channel, int kind, int priority)
    cdef ChannelSender _sender(self, int channel)
    cdef ChannelSender _sender_of(self, OutgoingMessage message)
    cdef bint _on_first_sent(self, OutgoingMessage message, double now) except -1
    cdef int _on_fragment_sent(
        self, OutgoingFragment fragment, int64_t packet_number, double now
    ) except -1
    cdef int _on_part_lost(self, object part, int64_t packet_number) except -1
    cdef int _complete(self, OutgoingMessage message, bint acked) except -1
    cdef void _activate(self, ChannelSender sender) noexcept
