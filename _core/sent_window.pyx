"""The sent window: the state of each packet that was sent.

It remembers when each packet was sent and what it carried, until it is acked. An ack-eliciting
packet is undecided until it is acked or declared lost. A late ack, after it was declared lost or
timed out, still counts.
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free
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
    PACKET_THRESHOLD = 3   # RFC 9002 section 6.1.1: later packets acked that show a loss
    FIRST_SENT_SLOTS = ACK_BITS
    MAX_SENT_SLOTS = 32768  # packets per second at the highest rate


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

    def __dealloc__(self):
        cdef uint32_t i
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
        packet.flags = ACK_ELICITING if ack_eliciting else 0
        packet.size_class = 0
        if not ack_eliciting and self.oldest_undecided == self.newest:
            self.oldest_undecided += 1
        return self.newest

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
        """Mark the packets that an ack reports; `newly_acked` holds their numbers, newest first.

        Numbers that were never sent, or are acked already, are ignored.
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
        if packet.flags & LOST:
            self.reordering = min(self.reordering * 2, <uint32_t>MAX_SENT_SLOTS)
        packet.flags |= ACKED
        self.newly_acked[self.newly_acked_count] = number
        self.newly_acked_count += 1
        self.newest_acked = max(self.newest_acked, number)
        return True

    cpdef int64_t pop_lost(self, double now, double loss_delay, double pto) noexcept:
        """Return the number of the next lost packet, once each, or 0 if there is none.

        A packet is lost if `reordering` later ones were acked, if any later one was acked and it
        was sent `loss_delay` seconds ago (RFC 9002 section 6.1), or if it was sent `pto` seconds
        ago.
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
                or (number < self.newest_acked and now >= packet.sent_at + loss_delay)
                or now >= packet.sent_at + pto
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
        """Take the packets that the last ack newly reported, newest first.

        Returns a list of tuples (packet number, time sent, contents).
        """
        cdef uint32_t i
        return [
            (self.newly_acked[i], self.packet(self.newly_acked[i]).sent_at,
             self.take_contents(self.newly_acked[i]))
            for i in range(self.newly_acked_count)
        ]
