"""The packets of protocol 2 that were received, and what an ACK says of them.

A number is asked for before its packet is opened, and entered once it has opened. An ACK reports
ranges from the newest number down. What an ACK has reported that was acked itself need not be
reported again, so that ACKs stay short on a path that has lost packets long ago; but a packet that
came late, between that ACK and its ack, was not in it. So a report counts only if no packet has
come late since.
"""

cimport cython

from mpgameserver._core.duplicate_filter cimport run_start
from mpgameserver._core.frames cimport MAX_ACK_RANGES

__all__ = ["ReceivedPackets"]


@cython.final
cdef class ReceivedPackets:
    """The numbers received in one direction, of which the newest 8,192 are told apart."""

    def __cinit__(self):
        self._numbers = DuplicateFilter(REMEMBERED_PACKETS + 1)
        self._unreported = 1

    cpdef bint is_new(self, int64_t number) except -1:
        """Return True if a packet with this number was not received, and is not too old to tell."""
        return not self._numbers.contains(number)

    cpdef bint enter(self, int64_t number) except -1:
        """Enter a new number; return True if its packet came out of order.

        That is every one but the number after the newest: a gap is news to the sender too.
        """
        cdef int64_t newest = self._numbers.newest
        self._numbers.insert(number)
        if number < newest:
            self.late += 1
            self._unreported = min(self._unreported, number)
        return number != newest + 1

    cpdef void on_report_acked(self, int64_t newest, int64_t late) noexcept:
        """Note that the peer has an ACK from `newest` down, made when `late` packets had come late.
        """
        if late == self.late:
            self._unreported = max(self._unreported, newest + 1)

    cdef Py_ssize_t ranges(self, AckRange *out) noexcept:
        """Write up to `MAX_ACK_RANGES` ranges, from new to old; return how many there are."""
        cdef int64_t number = self._numbers.newest
        cdef int64_t lowest = max(
            1, min(self._unreported, number), number - REMEMBERED_PACKETS
        )
        cdef Py_ssize_t count = 0
        while number >= lowest and count < MAX_ACK_RANGES:
            out[count].newest = number
            out[count].oldest = run_start(self._numbers, number, lowest, True)
            number = run_start(self._numbers, out[count].oldest - 1, lowest, False) - 1
            count += 1
        return count

    def ack_ranges(self):
        """Return the ranges of the next ACK as tuples (newest, oldest), from new to old."""
        cdef AckRange ranges[MAX_ACK_RANGES]
        cdef Py_ssize_t i
        return [
            (ranges[i].newest, ranges[i].oldest) for i in range(self.ranges(ranges))
        ]
