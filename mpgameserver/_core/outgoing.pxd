# An outgoing message of protocol 2, a fragment of one, and the units that are still to be sent.

from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t, uint64_t

from mpgameserver._core.frames cimport CHANNEL_MASK, Frame
from mpgameserver._core.varint cimport varint_size

cdef class OutgoingGrid:
    # Of a message in fragments: which units wait to be sent, and which are acked.
    cdef uint64_t *_waiting         # bit n: unit n
    cdef uint64_t *_acked
    cdef uint32_t _units
    cdef uint32_t waiting, unacked     # units
    cdef uint32_t _first_waiting    # none waits below
    cdef double _arrived            # the newest acked fragment was sent then
    cdef double _kept_since         # what was sent before may have been given up

    cdef uint32_t waiting_run(self, uint32_t most, uint32_t *first) noexcept
    cdef uint32_t unacked_run(
        self, uint32_t start, uint32_t most, uint32_t *first
    ) noexcept
    cdef uint32_t acked_bytes(self, uint32_t size) noexcept
    cdef void on_sent(self, uint32_t first, uint32_t count) noexcept
    cdef bint restarts(self, double sent_at, double now) noexcept
    cdef bint counts(self, double sent_at) noexcept
    cdef void on_acked(self, uint32_t first, uint32_t count) noexcept
    cdef void on_lost(self, uint32_t first, uint32_t count) noexcept

cdef class OutgoingMessage:
    cdef bytes data                 # None once completed
    cdef OutgoingGrid grid          # None: it is a MESSAGE
    cdef int64_t number             # 0 until its first byte is sent
    cdef int64_t packet_number      # the newest packet that carried some of it; 0: none
    cdef double first_sent          # of an unreliable one in fragments: when all had been sent
    cdef double last_sent
    cdef uint32_t size
    cdef uint32_t sent              # bytes from the start that were sent at least once
    cdef uint32_t copied            # units from the start that copies have passed
    cdef uint8_t channel
    cdef int8_t retry
    cdef uint8_t copies             # redundant copies sent
    cdef bint completed, has_callback
    cdef bint is_queued             # it waits in its channel
    cdef bint holds_room, awaits_room      # of those that may be begun in fragments

cdef class OutgoingFragment:
    cdef OutgoingMessage message
    cdef uint32_t offset, size
    cdef uint32_t fresh             # bytes of it that were never sent before


cdef OutgoingMessage new_message(uint8_t channel, bytes data, int8_t retry)
cdef OutgoingGrid new_grid(uint32_t size)
cdef OutgoingFragment cut_fragment(
    OutgoingMessage message, uint32_t first, uint32_t units, Py_ssize_t room
)
cdef inline Py_ssize_t message_size(
    OutgoingMessage message, int64_t number, bint is_last
) noexcept:
    # The bytes of a message's frame if it is a MESSAGE with that number.
    cdef Py_ssize_t size = 1 + (message.channel > CHANNEL_MASK) + varint_size(number)
    return size + message.size + (0 if is_last else varint_size(message.size))

cdef int fill_frame(object part, Frame *frame) except -1
cdef bint is_fragment(object part) noexcept
cdef bint is_reliable_unacked(object part) noexcept
