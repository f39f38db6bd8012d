# The send queue: messages that wait, are in flight or await retransmission.

from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t

from mpgameserver._core.fifo cimport Queue
from mpgameserver._core.lanes cimport FragmentLanes
from mpgameserver._core.message cimport Message, FragmentedMessage
from mpgameserver._core.outbox cimport Outbox
from mpgameserver._core.turns cimport Turns

cdef enum:
    # The published receiver's duplicate filter is 256 numbers wide, our own 32,768.
    NARROW_SPAN = 256
    WIDE_SPAN = 16384
    MESSAGE_LEAP = 16384
    # Redundant copies: the largest message, copies of each, bytes of them per packet.
    MAX_REDUNDANT_SIZE = 128
    MAX_REDUNDANT_COPIES = 2
    MAX_REDUNDANT_BYTES = 256

cdef class SendQueue(Outbox):
    cdef readonly int64_t newest    # message number; absolute
    cdef int64_t newest_acked       # the newest number known to have arrived
    cdef bint is_idle               # no packet is in flight
    cdef int64_t message_span       # largest distance from the oldest unacked reliable message
    cdef bint span_blocked          # the span has held back a message
    cdef Py_ssize_t _payload_limit
    cdef Turns _turns
    cdef bint _closing              # a DISCONNECT follows what is queued
    cdef Message _disconnect        # None unless closing
    cdef double _last_copy          # when a packet of copies was last sent
    cdef Queue _waiting              # messages never sent
    cdef FragmentLanes _lanes        # fragmented messages; None until there is one
    cdef Queue _control              # sent ahead of everything else, alone in a packet
    cdef Queue _retransmissions      # small reliable messages whose packet was lost
    cdef Queue _repeating            # best-effort messages, by last_sent
    cdef Queue _deadlines            # messages that time out, by first_sent
    cdef Queue _unacked              # reliable messages by number
    cdef int add_control(self, uint8_t message_type, bytes data) except -1
    cdef Message next_message(
        self, Py_ssize_t limit, bint alone, bint ahead, double now, double repeat_interval
    )
    cdef Message next_redundant(self, Py_ssize_t limit, double now, double interval)
    cdef int backlog(self) noexcept
    cdef bint on_message_sent(self, Message message, int64_t packet_number, double now) except -1
    cdef int on_packet_acked(self, object contents) except -1
    cdef int on_packet_lost(self, object contents, int64_t packet_number) except -1
    cdef int expire(self, double now, double timeout) except -1
    cdef bint has_more(self) except -1
    cdef int shrink(self, Py_ssize_t payload_limit) except -1
    cdef bint disconnect_acked(self) noexcept
    cdef bint may_number(self) except -1
    cdef uint32_t _kinds_with_something(self, double now, double repeat_interval) except? 0xFF
    cdef Message _take(self, int kind, Py_ssize_t limit)
    cdef Message _take_new(self, Py_ssize_t limit)
    cdef Message _take_fragment(self, Py_ssize_t limit)
    cdef bint _has_unsent(self) noexcept
    cdef bint _has_repeat(self, double now, double repeat_interval) except -1
    cdef int _complete_all(self, Queue *queue) except -1
    cdef int _complete(self, Message message, bint acked) except -1
    cdef int _complete_fragmented(self, FragmentedMessage fragmented, bint acked) except -1
