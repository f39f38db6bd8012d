"""The two windows over packet numbers of a connection.

`ReceiveWindow` tells fresh packets from recorded ones, before anything is decrypted, and makes
the ack fields. A packet is judged first and entered only once its seal has opened.

`SentWindow` remembers when each packet left and what it carried, until an ack settles it. Each
packet that owes an ack is undecided until it is acked or declared lost; one that is acked late,
after it was declared lost or timed out, is still settled.

Send times are whole seconds. A sender of this package never lets them decrease, and puts at most
32,767 packets under one: so a number that the ring brings round again carries a newer time than
the packet that had it before, which tells a recorded packet from a fresh one after a wrap.

The published package writes its wall clock, which may be set. Once times have not risen with the
numbers, a packet is accepted only if no earlier packet of its number can have had its time. Its
number has been used once in each lap before, so the window keeps the times of eight laps, by
segments of numbers, and those of older laps as one range. Before the first wrap no number has been
used. Times are compared as seconds since that of the first packet, modulo 2**32 (RFC 1982).
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport INT32_MIN

from mpgameserver._core.seqnum cimport HALF_RING, RING_SIZE, check_number, expand, to_wire

__all__ = ["ReceiveWindow", "SentWindow"]

WIDTH = RECEIVE_WIDTH
MAX_SEQUENCE_JUMP = MAX_JUMP
ARRIVALS = ("fresh", "duplicate", "behind", "out of time", "too far ahead")

# Seconds after which a packet may still be acked, whatever the message timeout: twice the round
# trip over a geostationary satellite at either end. Without it, a path that is slower than the
# timeout would have every packet forgotten before its ack, and would never be measured.
cdef double LATE_ACK = 4.0

cdef enum:
    PACKET_THRESHOLD = 3   # RFC 9002 section 6.1.1: later packets acked that show a loss
    FIRST_SENT_SLOTS = 32  # an ack reports as many below its number
    MAX_SENT_SLOTS = 32768  # the packets of a second at the fastest rate
    WORD_INDEX = RECEIVE_WORDS - 1
    SEGMENT_INDEX = SEGMENTS - 1
    SEGMENT_NUMBERS = 8192  # an eighth of a lap: two minutes of the published package
    # Seconds: packets that were lost may have been sent so long before or after those accepted
    # around them. Several times the silence that ends a session by default.
    CLOCK_DOUBT = 64


cdef class ReceiveWindow:
    """Which packets were received: the newest, and the 1,024 before it.

    `newest` is the largest absolute number entered (0: none), `newest_time` its send time.
    """

    cdef Arrival judge(self, uint16_t seq, uint32_t time, int64_t *number) noexcept:
        """Judge a header; `number` gets the absolute packet number."""
        cdef int64_t n = expand(seq, self.newest)
        cdef int32_t offset = <int32_t>(time - self._base_time)
        cdef bint rises
        number[0] = n
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

    cdef void enter(self, int64_t number, uint32_t time) noexcept:
        """Enter a packet that was judged fresh and whose seal has opened."""
        cdef int64_t word, last = number >> 6
        cdef int32_t offset
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

    cdef uint32_t ack_bits_value(self) noexcept:
        cdef int64_t low = self.newest - ACK_BITS
        cdef uint32_t shift = low & 63
        cdef uint64_t bits
        if self.newest == 0:
            return 0
        bits = self._seen[(low >> 6) & WORD_INDEX] >> shift
        if shift > ACK_BITS:
            bits |= self._seen[((low >> 6) + 1) & WORD_INDEX] << (64 - shift)
        return <uint32_t>bits

    @property
    def ack(self):
        """The ack field: the newest number on the wire, 0 while there is none."""
        return 0 if self.newest == 0 else to_wire(self.newest)

    @property
    def ack_bits(self):
        """The ack bits field: bit 31 for `ack` - 1, ... bit 0 for `ack` - 32."""
        return self.ack_bits_value()

    def arrival(self, uint16_t seq, uint32_t time):
        """What a packet with this number and send time is, as one of `ARRIVALS`.

        Changes nothing. Raises ValueError for the number 0.
        """
        cdef int64_t number
        _check_wire_number(seq)
        return ARRIVALS[self.judge(seq, time, &number)]

    def receive(self, uint16_t seq, uint32_t time):
        """Enter a packet if it is fresh; True when it was.

        Raises ValueError for the number 0.
        """
        cdef int64_t number
        _check_wire_number(seq)
        if self.judge(seq, time, &number) != FRESH:
            return False
        self.enter(number, time)
        return True


cdef bint _is_unused(ReceiveWindow window, int64_t number, int32_t offset) noexcept:
    """True if no earlier packet of that number can have had that time."""
    cdef int64_t i = window._segment_count - 1
    cdef int64_t oldest = max(window._segment_count - SEGMENTS, 0)
    cdef Segment *segment
    number -= RING_SIZE
    while number > RING_SIZE:  # the first packet's number is that and what was on the wire
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
    """Note the time of a packet that is newer than all before."""
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
    """Note the time of a packet whose number is behind the newest, but in the window."""
    cdef int64_t i = window._segment_count - 1
    cdef int64_t oldest = max(window._segment_count - SEGMENTS, 0)
    cdef Segment *segment
    while i >= oldest and window._segments[i & SEGMENT_INDEX].start > number:
        i -= 1
    segment = &window._forgotten if i < oldest else &window._segments[i & SEGMENT_INDEX]
    segment.lowest = min(segment.lowest, offset)
    segment.highest = max(segment.highest, offset)


cdef void _begin_segment(ReceiveWindow window, int64_t number, int32_t offset) noexcept:
    """Let a segment begin behind the newest number; the oldest one is no longer told apart."""
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
    """True if that may be the time of a packet of a segment, be it one that was lost."""
    return (
        <int64_t>segment.lowest - CLOCK_DOUBT <= offset <= <int64_t>segment.highest + CLOCK_DOUBT
    )


cdef int _check_wire_number(uint16_t seq) except -1:
    if seq == 0:
        raise ValueError("packet sequence number must be 1...65535, not 0")
    return 0


cdef class SentWindow:
    """The packets sent, and what each carried, until they are settled.

    `newest` is the absolute number of the last one, starting after `previous`;
    `oldest_undecided` the first that owes an ack and was neither acked nor declared lost.
    `reordering` is how many later packets must be acked to show a loss: three, and twice as many
    whenever a packet that was declared lost is acked after all, for then the path reorders.
    """

    def __cinit__(self, int64_t previous=0):
        check_number(previous)
        self.newest = self._previous = previous
        self.reordering = PACKET_THRESHOLD
        self.oldest_undecided = self._oldest_waiting = previous + 1
        self._mask = FIRST_SENT_SLOTS - 1
        self._packets = <SentPacket *>PyMem_Calloc(FIRST_SENT_SLOTS, sizeof(SentPacket))
        if self._packets == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef uint32_t i
        if self._packets != NULL:
            for i in range(self._mask + 1):
                Py_XDECREF(self._packets[i].contents)
            PyMem_Free(self._packets)

    cdef int64_t push(self, double now, bint owes_ack, object contents) except -1:
        """Take the next number for a packet that leaves now."""
        cdef SentPacket *packet
        cdef int64_t oldest = min(self._oldest_waiting, self.oldest_undecided)
        if self._mask + 1 < MAX_SENT_SLOTS and (
            self.newest + 1 - oldest > self._mask or self._may_be_acked_yet(now)
        ):
            self._grow()
        self.newest += 1
        packet = self.packet(self.newest)
        self._put_contents(packet, contents)
        packet.sent_at = now
        packet.flags = OWES_ACK if owes_ack else 0
        packet.size_class = 0
        if not owes_ack and self.oldest_undecided == self.newest:
            self.oldest_undecided += 1
        return self.newest

    cdef bint _may_be_acked_yet(self, double now) noexcept:
        """True when the packet that the next one would displace can still be acked."""
        cdef int64_t number = self.newest - self._mask
        cdef SentPacket *packet = self.packet(number)
        return (
            self.remembers(number)
            and packet.flags & OWES_ACK
            and not packet.flags & ACKED
            and now < packet.sent_at + LATE_ACK
        )

    cdef object contents(self, int64_t number):
        """What a packet carried; None when that is forgotten."""
        if not self.remembers(number) or self.packet(number).contents == NULL:
            return None
        return <object>self.packet(number).contents

    cdef object take_contents(self, int64_t number):
        """What a remembered packet carried, which it is made to forget."""
        cdef PyObject *contents = self.packet(number).contents
        if contents == NULL:
            return None
        taken = <object>contents
        self.packet(number).contents = NULL
        Py_XDECREF(contents)  # the window's; `taken` has its own
        return taken

    cdef void _put_contents(self, SentPacket *packet, object contents):
        cdef PyObject *displaced = packet.contents
        packet.contents = NULL
        if contents is not None:
            packet.contents = <PyObject *>contents
            Py_INCREF(contents)
        Py_XDECREF(displaced)

    cdef void settle(self, uint16_t ack, uint32_t ack_bits) noexcept:
        """Settle what an ack reports: `newly_acked` holds the numbers, newest first.

        What was never sent, or was settled before, is passed over.
        """
        cdef int64_t number
        cdef uint32_t bits
        self.newly_acked_count = 0
        if ack == 0 or self.newest == 0:
            return
        number = expand(ack, self.newest)
        if number > self.newest:
            return
        bits = self._unreported(number, ack_bits)
        self._mark_acked(number)
        while bits:
            number -= 1
            if bits >> 31:
                self._mark_acked(number)
            bits <<= 1
        self._skip_decided()

    cdef uint32_t _unreported(self, int64_t ack, uint32_t ack_bits) noexcept:
        """The ack bits without those that earlier acks have reported: most, as a rule."""
        cdef int64_t step = ack - self._last_ack
        cdef uint32_t reported = 0
        if step < 0:
            return ack_bits
        if step <= ACK_BITS:
            reported = <uint32_t>((<uint64_t>1 << ACK_BITS | self._reported) >> step)
        self._last_ack = ack
        self._reported = reported | ack_bits
        return ack_bits & ~reported

    cdef void _skip_decided(self) noexcept:
        cdef SentPacket *packet
        while self.remembers(self.oldest_undecided):
            packet = self.packet(self.oldest_undecided)
            if packet.flags & OWES_ACK and not packet.flags & ACKED:
                return
            self.oldest_undecided += 1

    cdef bint _mark_acked(self, int64_t number) noexcept:
        cdef SentPacket *packet
        if not self.remembers(number):
            return False
        packet = self.packet(number)
        if packet.flags & ACKED:
            return False
        if packet.flags & LOST:
            self.reordering = min(self.reordering * 2, <uint32_t>MAX_SENT_SLOTS)
        packet.flags |= ACKED
        self.newly_acked[self.newly_acked_count] = number
        self.newly_acked_count += 1
        self.newest_acked = max(self.newest_acked, number)
        return True

    cdef int64_t pop_lost(self, double now, double reorder_delay, double probe_delay) noexcept:
        """Decide the oldest packets; the number of the next one that is lost, or 0.

        Lost is what `reordering` later packets were acked before, or one later packet and it left
        `reorder_delay` ago (RFC 9002 section 6.1), or what left `probe_delay` ago.
        """
        cdef SentPacket *packet
        cdef int64_t number
        self._skip_decided()
        number = self.oldest_undecided
        if number > self.newest:
            return 0
        if self.remembers(number):
            packet = self.packet(number)
            if not (
                number + self.reordering <= self.newest_acked
                or (number < self.newest_acked and now >= packet.sent_at + reorder_delay)
                or now >= packet.sent_at + probe_delay
            ):
                return 0
            packet.flags |= LOST
        self.oldest_undecided += 1
        return number

    cdef int64_t pop_timed_out(self, double now, double timeout) noexcept:
        """The number of the next packet that owed an ack and did not get it in time, or 0.

        One that is about to leave the window unacked has timed out too: no ack can reach it.
        """
        cdef SentPacket *packet
        cdef int64_t number
        while self._oldest_waiting <= self.newest:
            number = self._oldest_waiting
            packet = self.packet(number)
            if not self.remembers(number) or (
                packet.flags & OWES_ACK and not packet.flags & ACKED
            ):
                if now < packet.sent_at + timeout and self.newest - number < MAX_SENT_SLOTS - 1:
                    return 0
                self._oldest_waiting += 1
                return number
            self._oldest_waiting += 1
        return 0

    cdef int _grow(self) except -1:
        cdef uint32_t size = (self._mask + 1) * 2
        cdef uint32_t i
        cdef int64_t number
        cdef SentPacket *packets = <SentPacket *>PyMem_Calloc(size, sizeof(SentPacket))
        if packets == NULL:
            raise MemoryError
        for i in range(self._mask + 1):
            number = self.newest - i
            if number > self._previous:
                packets[number & (size - 1)] = self.packet(number)[0]
                self.packet(number).contents = NULL
        self._previous = max(self._previous, self.newest - self._mask - 1)
        for i in range(self._mask + 1):
            Py_XDECREF(self._packets[i].contents)
        PyMem_Free(self._packets)
        self._packets = packets
        self._mask = size - 1
        return 0

    def send(self, double now, contents=None, bint owes_ack=True):
        """Take the next number for a packet that leaves at `now`; its absolute number."""
        return self.push(now, owes_ack, contents)

    def acknowledge(self, uint16_t ack, uint32_t ack_bits):
        """Settle what the ack fields of a received packet report.

        Returns a list of tuples (absolute number, time sent, contents), newest first, of the
        packets that were not acked before; what was never sent is passed over.
        """
        cdef uint32_t i
        self.settle(ack, ack_bits)
        return [
            (self.newly_acked[i], self.packet(self.newly_acked[i]).sent_at,
             self.take_contents(self.newly_acked[i]))
            for i in range(self.newly_acked_count)
        ]

    def lost(self, double now, double reorder_delay, double probe_delay):
        """The absolute numbers of the packets that are found lost at `now`, once each.

        A packet is lost when `reordering` later ones were acked, or one later one and it left
        `reorder_delay` seconds ago, or when it left `probe_delay` seconds ago.
        """
        return list(iter(lambda: self.pop_lost(now, reorder_delay, probe_delay), 0))

    def timed_out(self, double now, double timeout):
        """The absolute numbers of the packets that were not acked within `timeout` seconds."""
        return list(iter(lambda: self.pop_timed_out(now, timeout), 0))
