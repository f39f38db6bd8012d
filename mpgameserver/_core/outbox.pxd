# What a connection has to say: messages that wait, that are in flight, that are due again.

from libc.stdint cimport int8_t, int64_t, uint8_t, uint16_t, uint32_t

from mpgameserver._core.fifo cimport Fifo

cdef enum:
    # The published receiver's duplicate filter reaches 256 numbers back.
    MESSAGE_SPAN = 256
    # Several of the largest messages; a game that has more waiting is not keeping up.
    MAX_PENDING_BYTES = 64 * 1024 * 1024
    # What a waiting message costs beside its bytes, so that empty ones are bounded too.
    MESSAGE_COST = 128

# The retry modes (twin of enums.RetryMode).
cdef enum:
    RETRY_ON_TIMEOUT = -1
    NO_RETRY = 0
    BEST_EFFORT = 1

cdef class Transfer:
    # A message on its way in pieces.
    cdef bytes data
    cdef object callback
    cdef int8_t retry
    cdef bint settled
    cdef uint16_t number    # of the fragmented message, on the wire
    cdef uint32_t count
    cdef uint32_t next_index
    cdef uint32_t unacked

cdef class Message:
    # A message, or a piece of one, that has a number of its own.
    cdef bytes data
    cdef Transfer transfer  # None: not a piece
    cdef object callback
    cdef double first_sent
    cdef double last_sent
    cdef int64_t number     # absolute; 0 before it first left
    cdef int64_t carrier    # the newest packet that it left in
    cdef uint32_t offset    # of the piece, in data
    cdef uint32_t size
    cdef uint16_t index     # of the piece, from 1
    cdef uint8_t message_type
    cdef int8_t retry
    cdef bint settled

    cdef uint32_t wire_size(self) noexcept
    cdef bint travels_alone(self) noexcept

cdef class Outbox:
    cdef readonly list settled      # (callback, acked) of messages that are over
    cdef readonly Py_ssize_t pending     # bytes of messages and pieces that never left
    cdef readonly int64_t newest    # message number; absolute
    cdef readonly int64_t retransmitted
    cdef public Py_ssize_t max_pending
    cdef readonly Py_ssize_t max_message
    cdef Py_ssize_t _payload_limit
    cdef Py_ssize_t _charged        # against max_pending
    cdef uint16_t _newest_transfer
    cdef bint _pieces_next          # the last packet had no room for a piece
    cdef bint _closing
    cdef Message _goodbye           # None until there is one to say
    cdef bint _goodbye_waits
    cdef Fifo _waiting              # messages that never left
    cdef Fifo _transfers            # fragmented messages with pieces that never left
    cdef Fifo _due_again            # reliable messages whose packet was lost
    cdef Fifo _repeating            # best-effort messages, by last_sent
    cdef Fifo _deadlines            # messages that time out, by first_sent
    cdef Fifo _unacked              # reliable messages by number

    cdef int add(self, object payload, object retry, object callback) except -1
    cdef int add_control(self, uint8_t message_type, bytes data) except -1
    cdef Message next_message(
        self, Py_ssize_t limit, bint alone, double now, double repeat_interval
    )
    cdef bint note_sent(self, Message message, int64_t carrier, double now) except -1
    cdef int note_acked(self, list messages) except -1
    cdef int note_lost(self, list messages, int64_t carrier) except -1
    cdef int expire(self, double now, double timeout) except -1
    cdef double next_timer(self, double timeout, double repeat_interval) except? -1.0
    cdef bint has_more(self) except -1
    cdef int begin_goodbye(self) except -1
    cdef int close(self) except -1
    cdef Transfer _new_transfer(self, bytes data, int8_t retry, object callback)
    cdef bint _may_number(self) except -1
    cdef Message _next_unsent(self, Py_ssize_t limit, bint alone)
    cdef Message _next_piece(self, Py_ssize_t limit)
    cdef Message _next_repeat(self, Py_ssize_t limit, double now, double repeat_interval)
    cdef int _settle(self, Message message, bint acked) except -1
    cdef int _settle_transfer(self, Transfer transfer, bint acked) except -1
