"""An outgoing message of protocol 2: its bytes, and what of them is to be sent.

A message that fits into a packet is a MESSAGE, and in flight as a whole. Any other gets a grid when
its first fragment is cut: a bit for each unit of 64 bytes that waits to be sent, and one for each
that is acked. Fragments are cut from the units that wait, as large as the packet has room for. So a
lost fragment is cut anew if the path has shrunk, or joined with its neighbours, and an ack counts
for all that its packet carried, however the message has been cut since.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.string cimport memset

from mpgameserver._core.frames cimport FRAGMENT, FRAGMENT_UNIT, MESSAGE, frame_size
from mpgameserver._core.grid_reassembly cimport INCOMPLETE_TIMEOUT
from mpgameserver._core.message cimport RETRY_ON_TIMEOUT
from mpgameserver._core.unit_bits cimport WORD, bits_within, mpg_ones, run_of_bits

__all__ = ["OutgoingFragment", "OutgoingGrid", "OutgoingMessage"]

# Seconds: the receiver keeps an incomplete message for longer after each fragment.
cdef double KEPT = INCOMPLETE_TIMEOUT - 5.0


cdef inline bint _has(const uint64_t *bits, uint32_t unit) noexcept:
    return bits[unit // WORD] >> unit % WORD & 1


# None of these can be part of a cycle: messages and fragments know neither their channel nor their
# callback. Thousands of them in flight therefore cost the garbage collector nothing.
@cython.final
@cython.no_gc
cdef class OutgoingGrid:
    """The units of a message that wait, and those that are acked."""

    def __dealloc__(self):
        PyMem_Free(self._waiting)    # `_acked` is behind it

    cdef uint32_t waiting_run(self, uint32_t most, uint32_t *first) noexcept:
        """Return how many units wait in a row, at most `most`, and where the first row begins."""
        cdef uint32_t unit = self._first_waiting
        if self.waiting == 0:
            return 0
        unit += run_of_bits(self._waiting, unit, self._units, False)
        self._first_waiting = first[0] = unit
        return run_of_bits(self._waiting, unit, unit + min(most, self._units - unit), True)

    cdef uint32_t unacked_run(
        self, uint32_t start, uint32_t most, uint32_t *first
    ) noexcept:
        """Return how many units in a row are not acked, the first from `start` on, as above."""
        cdef uint32_t unit = start
        if unit < self._units:
            unit += run_of_bits(self._acked, unit, self._units, True)
        first[0] = unit
        if unit >= self._units:
            return 0
        return run_of_bits(self._acked, unit, unit + min(most, self._units - unit), False)

    cdef uint32_t acked_bytes(self, uint32_t size) noexcept:
        """Return how many bytes are acked of the message, which has `size`."""
        cdef uint32_t acked = (self._units - self.unacked) * FRAGMENT_UNIT
        if _has(self._acked, self._units - 1):
            acked -= self._units * FRAGMENT_UNIT - size    # the last unit may not be full
        return acked

    cdef void on_sent(self, uint32_t first, uint32_t count) noexcept:
        cdef uint32_t unit = first, end = first + count
        cdef uint64_t sent
        while unit < end:
            sent = bits_within(unit, end) & self._waiting[unit // WORD]
            self._waiting[unit // WORD] ^= sent
            self.waiting -= mpg_ones(sent)
            unit += WORD - unit % WORD

    cdef bint restarts(self, double sent_at, double now) noexcept:
        """Note the ack of a fragment that was sent at some time.

        If the receiver may have given the message up before it came, all of it waits again: return
        True then.
        """
        cdef bint is_late = self.unacked < self._units and now > self._arrived + KEPT
        if is_late:
            memset(self._waiting, 0, 2 * (self._acked - self._waiting) * sizeof(uint64_t))
            self.waiting = 0
            self.unacked = self._units
            self._kept_since = sent_at
            self.on_lost(0, self._units)
        self._arrived = max(self._arrived, sent_at)
        return is_late

    cdef bint counts(self, double sent_at) noexcept:
        """Return True if a fragment that was sent then is not one that was given up."""
        return sent_at >= self._kept_since

    cdef void on_acked(self, uint32_t first, uint32_t count) noexcept:
        cdef uint32_t unit = first, end = first + count
        cdef uint64_t acked, found
        while unit < end:
            acked = bits_within(unit, end) & ~self._acked[unit // WORD]
            found = acked & self._waiting[unit // WORD]    # they were taken for lost
            self._acked[unit // WORD] |= acked
            self._waiting[unit // WORD] ^= found
            self.unacked -= mpg_ones(acked)
            self.waiting -= mpg_ones(found)
            unit += WORD - unit % WORD

    cdef void on_lost(self, uint32_t first, uint32_t count) noexcept:
        """Let units wait to be sent again, but for those that are acked."""
        cdef uint32_t unit = first, end = first + count
        cdef uint64_t lost
        while unit < end:
            lost = bits_within(unit, end) & ~(
                self._acked[unit // WORD] | self._waiting[unit // WORD]
            )
            if lost:
                self._waiting[unit // WORD] |= lost
                self.waiting += mpg_ones(lost)
                self._first_waiting = min(self._first_waiting, unit)
            unit += WORD - unit % WORD


@cython.final
@cython.no_gc
@cython.freelist(256)
cdef class OutgoingMessage:
    """A message of a channel."""


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class OutgoingFragment:
    """Units of a message that a packet carries."""


cdef OutgoingMessage new_message(uint8_t channel, bytes data, int8_t retry):
    cdef OutgoingMessage message = OutgoingMessage.__new__(OutgoingMessage)
    message.data = data
    message.size = <uint32_t>PyBytes_GET_SIZE(data)
    message.channel = channel
    message.retry = retry
    return message


cdef OutgoingGrid new_grid(uint32_t size):
    """Return the grid of a message of `size` bytes, all of which waits."""
    cdef OutgoingGrid grid = OutgoingGrid.__new__(OutgoingGrid)
    cdef uint32_t units = (size + FRAGMENT_UNIT - 1) // FRAGMENT_UNIT
    cdef uint32_t words = (units + WORD - 1) // WORD
    grid._waiting = <uint64_t *>PyMem_Calloc(2 * words, sizeof(uint64_t))
    if grid._waiting == NULL:
        raise MemoryError
    grid._acked = grid._waiting + words
    grid._units = grid.unacked = units
    grid.on_lost(0, units)
    return grid


cdef OutgoingFragment cut_fragment(
    OutgoingMessage message, uint32_t first, uint32_t units, Py_ssize_t room
):
    """Return the largest fragment within a row of units that fits into `room` bytes, or None.

    It may fit only without its length, as the last frame of its packet.
    """
    cdef OutgoingFragment fragment
    cdef Frame frame
    cdef uint32_t offset = first * FRAGMENT_UNIT, end
    cdef uint32_t size = min(units * FRAGMENT_UNIT, message.size - offset)
    frame.type = FRAGMENT
    frame.channel = message.channel
    frame.number, frame.total, frame.offset = message.number, message.size, offset
    frame.size = 0
    room -= frame_size(&frame, True)
    if room < <Py_ssize_t>size:
        if room < FRAGMENT_UNIT:
            return None
        size = <uint32_t>room // FRAGMENT_UNIT * FRAGMENT_UNIT
    end = offset + size
    fragment = OutgoingFragment.__new__(OutgoingFragment)
    fragment.message = message
    fragment.offset = offset
    fragment.size = size
    fragment.fresh = end - max(offset, message.sent) if end > message.sent else 0
    return fragment


cdef int fill_frame(object part, Frame *frame) except -1:
    """Describe a part as a frame, whose data lies in the message.

    Nothing may run between this and the use of the frame that could complete the message. Raises
    SystemError if it is completed.
    """
    cdef OutgoingFragment fragment
    cdef OutgoingMessage message
    frame.total = frame.offset = 0
    if type(part) is OutgoingFragment:
        fragment = part
        message = fragment.message
        frame.type = FRAGMENT
        frame.offset, frame.size = fragment.offset, fragment.size
    else:
        message = <OutgoingMessage?>part
        frame.type = MESSAGE
        frame.size = message.size
    if message is None or message.data is None:
        raise SystemError("a completed message has no frame")
    if frame.type == FRAGMENT:
        frame.total = message.size
    frame.channel = message.channel
    frame.number = message.number
    frame.data = <const unsigned char *>PyBytes_AS_STRING(message.data) + frame.offset
    return 0


cdef bint is_fragment(object part) noexcept:
    return type(part) is OutgoingFragment


cdef bint is_reliable_unacked(object part) noexcept:
    """Return True for a part of a reliable message that is not acked."""
    cdef OutgoingMessage message
    if type(part) is OutgoingFragment:
        message = (<OutgoingFragment>part).message
    elif type(part) is OutgoingMessage:
        message = part
    else:
        return False
    return message is not None and message.retry == RETRY_ON_TIMEOUT and not message.completed
