"""The sent window: the state of each packet that was sent.

It remembers when each packet was sent and what it carried, until it is acked. An ack-eliciting
packet is undecided until it is acked or declared lost. A late ack, after it was declared lost or
timed out, still counts.

Both protocols mark packets acked by absolute number: protocol 1 the 33 that an ack reports at most,
protocol 2 ranges, each of which a peer may make as long as the number space. So the window walks
its own packets over a range. Each acked packet leads past the acked ones below it, so that a range
that is reported again and again, as a receiver has to, does not cost its length again.

A packet of protocol 2 carries other frames than messages. Which ACK it carried is in its record,
because most packets have one. The rare frames that are sent again when it is lost are remembered
as its messages are: in its contents, as `FrameFields`.
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport uint64_t

from mpgameserver._core.packet_header cimport ACK_BITS
from mpgameserver._core.seqnum cimport check_number, expand

__all__ = ["SentWindow"]

# Seconds for which a packet may still be acked, whatever the message timeout: twice the round
# trip over a geostationary satellite at either end. Otherwise every packet would be forgotten
# before its ack on a path that is slower than the timeout, which would never be measured.
cdef double LATE_ACK = 4.0

cdef enum:
    FIRST_SENT_SLOTS = ACK_BITS
    FIRST_NEWLY_ACKED = ACK_BITS + 1  # what an ack of protocol 1 reports at most
    # A peer that acks what it has not received does so near the newest packets; those sent around
    # an older skipped number were acked or declared lost long ago.
    MAX_SKIPPED = 16


@cython.final
cdef class SentWindow:
    """The packets sent, and what each carried, until they are acked.

    `newest` is the absolute number of the last one, starting after `previous`; `oldest_undecided`
    is the first ack-eliciting one that was neither acked nor declared lost. `reordering` is how
    many later packets must be acked to declare a loss: three, doubled whenever a packet that was
    declared lost is acked after all, because then the path reorders.
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
        self._reserve()

    def __dealloc__(self):
        cdef uint32_t i
        PyMem_Free(self.newly_acked)
        PyMem_Free(self._skipped)
        if self._packets != NULL:
            for i in range(self._mask + 1):
                Py_XDECREF(self._packets[i].contents)
            PyMem_Free(self._packets)

    cpdef int64_t on_packet_sent(
        self, double now, bint ack_eliciting, object contents
    ) except -1:
        """Assign the next packet number to a packet that is sent now, and return it."""
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
        packet.newest.reported = 0
        packet.acked_below = 0
        packet.flags = ACK_ELICITING if ack_eliciting else 0
        packet.size_class = 0
        if not ack_eliciting and self.oldest_undecided == self.newest:
            self.oldest_undecided += 1
        return self.newest

    cpdef int64_t skip_number(self, double now) except -1:
        """Skip the next packet number, and return it.

        A peer that acks it also acks packets that it has not received, to be sent more than the
        path carries (RFC 9000 section 21.4).
        """
        cdef int64_t number
        if self._skipped == NULL:
            self._skipped = <int64_t *>PyMem_Calloc(MAX_SKIPPED, sizeof(int64_t))
            if self._skipped == NULL:
                raise MemoryError
        number = self.on_packet_sent(now, False, None)
        self.packet(number).flags = ACKED  # no ack finds it new
        self._skipped[self._skipped_count % MAX_SKIPPED] = number
        self._skipped_count += 1
        return number

    cpdef void note_size_class(self, int64_t number, uint8_t size_class) noexcept:
        """Record how large the datagram of a packet is, in classes of the protocol's own."""
        self.packet(number).size_class = size_class

    cpdef int64_t newest_acked_of(self, uint8_t size_class, int64_t after) noexcept:
        """Return the newest acked packet of at least that class with a number above `after`, or 0.
        """
        cdef int64_t number = self.newest_acked
        cdef SentPacket *packet
        while number > after and self.remembers(number):
            packet = self.packet(number)
            if packet.flags & ACKED and packet.size_class >= size_class:
                return number
            number -= 1
        return 0

    cpdef void on_report_sent(self, int64_t newest, uint32_t late) noexcept:
        """Record that the newest packet carries an ACK from `newest` down.

        `late` is the number of packets that had come late when it was made. The low 32 bits are
        enough: no packet is remembered while 2^32 arrive.
        """
        cdef SentPacket *packet = self.packet(self.newest)
        packet.newest.reported = newest
        packet.late = late

    cpdef int64_t newest_report_acked(self, uint32_t late) noexcept:
        """Return the newest packet that a newly acked packet reported, or 0.

        Reports made before the last packet that came late, which `late` tells, do not count.
        """
        cdef SentPacket *packet
        cdef int64_t newest = 0
        cdef uint32_t i
        for i in range(self.newly_acked_count):
            packet = self.packet(self.newly_acked[i])
            if packet.late == late:
                newest = max(newest, packet.newest.reported)
        return newest

    cpdef void on_path_changed(self) noexcept:
        """Take all packets sent so far for lost, since what follows takes another path.

        Their acks still count, but do not show that the new path reorders.
        """
        self.path_start = self.newest + 1
        self.reordering = PACKET_THRESHOLD

    cdef bint _may_be_acked_yet(self, double now) noexcept:
        """Return True if the packet that the next one would overwrite can still be acked."""
        cdef int64_t number = self.newest - self._mask
        cdef SentPacket *packet = self.packet(number)
        return (
            self.remembers(number)
            and packet.flags & ACK_ELICITING
            and not packet.flags & ACKED
            and now < packet.sent_at + LATE_ACK
        )

    cdef object contents(self, int64_t number):
        """Return what a packet carried, or None if that was forgotten."""
        if not self.remembers(number) or self.packet(number).contents == NULL:
            return None
        return <object>self.packet(number).contents

    cdef object take_contents(self, int64_t number):
        """Take what a remembered packet carried."""
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

    cpdef void on_ack(self, uint16_t ack, uint32_t ack_bits) noexcept:
        """Mark the packets that an ack of protocol 1 reports.

        Their numbers are put into `newly_acked`, newest first. Numbers that were never sent, or are
        acked already, are ignored.
        """
        cdef int64_t number
        cdef uint32_t bits
        self.begin_ack()
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
        """Return the ack bits without those that earlier acks reported, usually most."""
        cdef int64_t step = ack - self._last_ack
        cdef uint32_t reported = 0
        if step < 0:
            return ack_bits
        if step <= ACK_BITS:
            reported = <uint32_t>((<uint64_t>1 << ACK_BITS | self._reported) >> step)
        self._last_ack = ack
        self._reported = reported | ack_bits
        return ack_bits & ~reported

    cpdef bint was_sent(self, int64_t newest, int64_t oldest) noexcept:
        """Return True unless a range holds a packet number that was never sent.

        Of the skipped numbers it knows the last `MAX_SKIPPED`.
        """
        cdef uint32_t i
        if oldest < 1 or newest > self.newest:
            return False
        for i in range(min(self._skipped_count, <uint32_t>MAX_SKIPPED)):
            if oldest <= self._skipped[i] <= newest:
                return False
        return True

    cpdef void begin_ack(self) noexcept:
        """Empty `newly_acked`, before the ranges of a packet are marked."""
        self.newly_acked_count = 0

    cpdef int on_range_acked(self, int64_t newest, int64_t oldest) except -1:
        """Mark the packets of a range, and add the numbers that were not acked to `newly_acked`.

        They are in descending order if the ranges are. Numbers that were never sent are ignored.
        If it raises MemoryError, the packets in `newly_acked` are marked and the others are not.
        """
        cdef int64_t top = min(newest, self.newest)
        cdef int64_t number = top
        cdef int64_t lowest = max(oldest, max(self._previous + 1, self.newest - self._mask))
        while number >= lowest:
            if self.packet(number).flags & ACKED:
                number = self._pass_acked(number, lowest)
            else:
                if self.newly_acked_count == self._newly_acked_room:
                    self._reserve()
                self._mark_acked(number)
                number -= 1
        if number < top:
            self.packet(top).acked_below = _run(top, number)
        self._skip_decided()
        return 0

    cdef int64_t _pass_acked(self, int64_t number, int64_t lowest) noexcept:
        """Return the number below a run of acked packets that begins with `number`.

        Each run that is passed grows by the next one. So even ranges that a peer chooses cost, on
        average, no more than the logarithm of the packets that they pass.
        """
        cdef int64_t below = number - 1 - self.packet(number).acked_below
        if below >= lowest and self.packet(below).flags & ACKED:
            below -= 1 + self.packet(below).acked_below
            self.packet(number).acked_below = _run(number, below)
        return below

    cdef int _reserve(self) except -1:
        cdef uint32_t room = max(self._newly_acked_room * 2, <uint32_t>FIRST_NEWLY_ACKED)
        cdef int64_t *numbers = <int64_t *>PyMem_Realloc(self.newly_acked, room * sizeof(int64_t))
        if numbers == NULL:
            raise MemoryError
        self.newly_acked = numbers
        self._newly_acked_room = room
        return 0

    cdef void _skip_decided(self) noexcept:
        cdef SentPacket *packet
        while self.remembers(self.oldest_undecided):
            packet = self.packet(self.oldest_undecided)
            if packet.flags & ACK_ELICITING and not packet.flags & ACKED:
                return
            self.oldest_undecided += 1

    cdef bint _mark_acked(self, int64_t number) noexcept:
        cdef SentPacket *packet
        if not self.remembers(number):
            return False
        packet = self.packet(number)
        if packet.flags & ACKED:
            return False
        if packet.flags & LOST and number >= self.path_start:
            self.reordering = min(self.reordering * 2, <uint32_t>MAX_SENT_SLOTS)
        packet.flags |= ACKED
        self.newly_acked[self.newly_acked_count] = number
        self.newly_acked_count += 1
        self.newest_acked = max(self.newest_acked, number)
        return True

    cpdef int64_t pop_lost(self, double now, double loss_delay, double pto) noexcept:
        """Return the number of the next lost packet, once each, or 0 if there is none.

        A packet is lost if `reordering` later ones were acked, if any later one was acked and it
        was sent `loss_delay` seconds ago (RFC 9002 section 6.1), if none was and it was sent `pto`
        seconds ago, or if it took a former path.
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
                or now >= packet.sent_at + (loss_delay if number < self.newest_acked else pto)
                or number < self.path_start
            ):
                return 0
            packet.flags |= LOST
        self.oldest_undecided += 1
        return number

    cpdef int64_t pop_timed_out(self, double now, double timeout) noexcept:
        """Return the number of the next packet that was not acked within `timeout` seconds, or 0.

        A packet that is about to drop out of the window has timed out, too: no ack can reach it.
        """
        cdef SentPacket *packet
        cdef int64_t number
        while self._oldest_waiting <= self.newest:
            number = self._oldest_waiting
            packet = self.packet(number)
            if not self.remembers(number) or (
                packet.flags & ACK_ELICITING and not packet.flags & ACKED
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

    def take_newly_acked(self):
        """Take the packets that the last ack newly reported, in the order of its ranges.

        Returns a list of tuples (packet number, time sent, contents).
        """
        cdef uint32_t i
        return [
            (self.newly_acked[i], self.packet(self.newly_acked[i]).sent_at,
             self.take_contents(self.newly_acked[i]))
            for i in range(self.newly_acked_count)
        ]


cdef inline uint16_t _run(int64_t number, int64_t below) noexcept:
    """Return the packets between two; a field of 16 bits holds more than the window has."""
    return <uint16_t>min(number - below - 1, <int64_t>MAX_SENT_SLOTS)
