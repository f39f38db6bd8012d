"""The receive window: which packets were received.

It distinguishes fresh packets from replayed ones before anything is decrypted, and provides the ack
fields. A packet is judged first, and entered only once it is known to be authentic.

Send times are whole seconds. A sender of this package never decreases them, and sends at most
32,767 packets with one. When numbers wrap around, a reused number therefore has a later time than
before, which distinguishes a fresh packet from a recorded one.

The published package writes its wall clock, which may be set back. Once times have not risen with
the numbers, a packet is accepted only if no earlier packet with its number can have had its time.
The number was used once in each earlier lap of the ring, so the window keeps the times of eight
laps, by segments of numbers, and those of older laps as one range. Before the first wrap no number
was used. Times are compared as seconds since the first packet's, modulo 2**32 (RFC 1982).
"""

cimport cython
from libc.stdint cimport INT32_MIN

from mpgameserver._core.packet_header cimport ACK_BITS
from mpgameserver._core.seqnum cimport HALF_RING, RING_SIZE, expand, to_wire

__all__ = ["ReceiveWindow"]

cdef enum:
    WORD_INDEX = RECEIVE_WORDS - 1
    SEGMENT_INDEX = SEGMENTS - 1
    SEGMENT_NUMBERS = 8192  # an eighth of a lap: two minutes with the published package
    # Seconds by which the times of lost packets may differ from those accepted around them:
    # several times the default idle timeout.
    CLOCK_DOUBT = 64


@cython.final
cdef class ReceiveWindow:
    """The packets received: the newest, and which of the 1,024 before it.

    `newest` is the largest absolute number entered (0: none), `newest_time` its send time.
    """

    cpdef int judge(self, uint16_t seq, uint32_t time) except -1:
        """Return `FRESH`, or why a packet with this number and send time is not.

        Changes nothing. Raises ValueError for the number 0.
        """
        cdef int64_t n
        cdef int32_t offset = <int32_t>(time - self._base_time)
        cdef bint rises
        _check_wire_number(seq)
        n = expand(seq, self.newest)
        if n > self.newest:
            if self.newest == 0:
                return FRESH
            if n - self.newest > MAX_JUMP:
                return TOO_FAR_AHEAD
            rises = offset > self._newest_offset or (
                offset == self._newest_offset and n - self._second_start <= HALF_RING
            )
        else:
            if self.newest - n > RECEIVE_WIDTH:
                return BEHIND
            if self._seen[(n >> 6) & WORD_INDEX] >> (n & 63) & 1:
                return DUPLICATE
            if offset > self._newest_offset:
                return OUT_OF_TIME
            rises = offset >= self._floors[(n >> 6) & WORD_INDEX]
        if rises and not self._clock_was_set:
            return FRESH
        return FRESH if _is_unused(self, n, offset) else OUT_OF_TIME

    cpdef int enter(self, uint16_t seq, uint32_t time) except -1:
        """Enter a packet that was judged fresh, once it is known to be authentic.

        Raises ValueError for the number 0.
        """
        cdef int64_t number, word, last
        cdef int32_t offset
        _check_wire_number(seq)
        number = expand(seq, self.newest)
        last = number >> 6
        if self.newest == 0:
            self._base_time = time
            self._newest_offset = INT32_MIN
        offset = <int32_t>(time - self._base_time)
        if number > self.newest:
            word = max((self.newest >> 6) + 1, last - WORD_INDEX)
            while word <= last:
                self._seen[word & WORD_INDEX] = 0
                self._floors[word & WORD_INDEX] = self._newest_offset
                word += 1
            _note_time(self, number, offset)
            self.newest = number
            self.newest_time = time
        else:
            _note_late_time(self, number, offset)
        self._seen[last & WORD_INDEX] |= <uint64_t>1 << (number & 63)
        return 0

    cpdef uint32_t ack_bits(self) noexcept:
        """Return the ack bits field: bit 31 for `ack` - 1, ... bit 0 for `ack` - 32."""
        cdef int64_t low = self.newest - ACK_BITS
        cdef uint32_t shift = low & 63
        cdef uint64_t bits
        if self.newest == 0:
            return 0
        bits = self._seen[(low >> 6) & WORD_INDEX] >> shift
        if shift > ACK_BITS:
            bits |= self._seen[((low >> 6) + 1) & WORD_INDEX] << (64 - shift)
        return <uint32_t>bits

    cpdef uint16_t ack(self) noexcept:
        """Return the ack field: the newest number in wire form, or 0 if there is none."""
        return 0 if self.newest == 0 else to_wire(self.newest)


cdef bint _is_unused(ReceiveWindow window, int64_t number, int32_t offset) noexcept:
    """Return True if no earlier packet with that number can have had that time."""
    cdef int64_t i = window._segment_count - 1
    cdef int64_t oldest = max(window._segment_count - SEGMENTS, 0)
    cdef Segment *segment
    number -= RING_SIZE
    while number > RING_SIZE:  # the first packet's number is RING_SIZE plus its wire form
        while i >= oldest and window._segments[i & SEGMENT_INDEX].start > number:
            i -= 1
        if i < oldest:
            return not _may_have_had(&window._forgotten, offset)
        segment = &window._segments[i & SEGMENT_INDEX]
        if _may_have_had(segment, offset):
            return False
        if number < segment.first and i > 0:  # lost, and perhaps sent before the clock was set
            segment = (
                &window._segments[(i - 1) & SEGMENT_INDEX] if i > oldest else &window._forgotten
            )
            if _may_have_had(segment, offset):
                return False
        number -= RING_SIZE
    return True


cdef void _note_time(ReceiveWindow window, int64_t number, int32_t offset) noexcept:
    """Record the time of a packet that is newer than all others."""
    cdef Segment *segment = &window._segments[(window._segment_count - 1) & SEGMENT_INDEX]
    cdef int64_t step = <int64_t>offset - window._newest_offset
    if step != 0:
        window._second_start = number
        if step < 0:
            window._clock_was_set = True
    elif number - window._second_start > HALF_RING:
        window._clock_was_set = True
    if number - segment.start >= SEGMENT_NUMBERS or not -CLOCK_DOUBT <= step <= CLOCK_DOUBT:
        _begin_segment(window, number, offset)
    else:
        segment.lowest = min(segment.lowest, offset)
        segment.highest = max(segment.highest, offset)
    window._newest_offset = offset


cdef void _note_late_time(ReceiveWindow window, int64_t number, int32_t offset) noexcept:
    """Record the time of a packet whose number is behind the newest, but in the window."""
    cdef int64_t i = window._segment_count - 1
    cdef int64_t oldest = max(window._segment_count - SEGMENTS, 0)
    cdef Segment *segment
    while i >= oldest and window._segments[i & SEGMENT_INDEX].start > number:
        i -= 1
    segment = &window._forgotten if i < oldest else &window._segments[i & SEGMENT_INDEX]
    segment.lowest = min(segment.lowest, offset)
    segment.highest = max(segment.highest, offset)


cdef void _begin_segment(ReceiveWindow window, int64_t number, int32_t offset) noexcept:
    """Begin a segment after the newest number; the oldest one is merged into `_forgotten`."""
    cdef Segment *segment = &window._segments[window._segment_count & SEGMENT_INDEX]
    if window._segment_count == SEGMENTS:
        window._forgotten = segment[0]
    elif window._segment_count > SEGMENTS:
        window._forgotten.lowest = min(window._forgotten.lowest, segment.lowest)
        window._forgotten.highest = max(window._forgotten.highest, segment.highest)
    segment.start = <uint32_t>(window.newest + 1)
    segment.first = <uint32_t>number
    segment.lowest = segment.highest = offset
    window._segment_count += 1


cdef bint _may_have_had(Segment *segment, int32_t offset) noexcept:
    """Return True if a packet of a segment, even a lost one, may have had that time."""
    return (
        <int64_t>segment.lowest - CLOCK_DOUBT <= offset <= <int64_t>segment.highest + CLOCK_DOUBT
    )


cdef inline int _check_wire_number(uint16_t seq) except -1:
    if seq == 0:
        raise ValueError("packet sequence number must be 1...65535, not 0")
    return 0
