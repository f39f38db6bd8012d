"""The order of an ordered channel of protocol 2, and the window that bounds what waits for a gap.

Packets with messages behind a gap are acked, so what waits cannot be dropped. The window is how
much of that the peer may send. It breaks the window if the number of a message is above it, or if
the lengths that are known, of messages in fragments too, come to more: the largest message of which
the length is known has all of them at or below it.

The game has room for the first window at any time, however little of it is used up: the next
message may be as large as all of it. Each WINDOW therefore grants half as much again, so that one
is due only after half a window was taken.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE

from mpgameserver._core.budget cimport ITEM_COST
from mpgameserver._core.frames cimport MAX_MESSAGE_SIZE
from mpgameserver._core.varint cimport MAX_VARINT

__all__ = ["OrderedDelivery"]

cdef enum:
    SPARE_PART = 2   # a WINDOW grants 1 / SPARE_PART of the first window more than it must


cdef inline int64_t _grant(int64_t taken, int64_t first) noexcept:
    return taken + min(first + first // SPARE_PART, MAX_VARINT - taken)


@cython.final
cdef class OrderedDelivery:
    """Puts the messages of a channel into the order of their numbers.

    `number` and `total` are the first window. Raises ValueError unless they are 1...2^62 - 1.
    """

    def __cinit__(self, Share share not None, int64_t number, int64_t total):
        if not (1 <= number <= MAX_VARINT and 1 <= total <= MAX_VARINT):
            raise ValueError(f"a window has 1...2**62 - 1 messages and bytes: {number}, {total}")
        self._share = share
        self.granted_number = self._first_number = number
        self.granted_total = self._first_total = total

    def __del__(self):
        self.clear()

    # -- before a packet is used ------------------------------------------------------------------

    cdef bint has(self, int64_t number) except -1:
        """Return True if the message was delivered or waits."""
        return number <= self.delivered or (self._waiting is not None and number in self._waiting)

    cdef void begin_packet(self) noexcept:
        self._packet_total = 0
        self._packet_end = self.delivered

    cdef bint allows(self, int64_t number, int64_t length) noexcept:
        """Return True if the window allows a message of which the length was not known."""
        return number <= self.granted_number and (
            length <= self.granted_total - self._known_total - self._packet_total
        )

    cdef void inspect_length(self, int64_t length) noexcept:
        """Count the length of a message that the packet under inspection makes known."""
        self._packet_total += length

    cdef bint continues(self, int64_t number) noexcept:
        """Return True if a complete message of the packet is delivered without having to wait."""
        if number != self._packet_end + 1:
            return False
        self._packet_end = number
        return True

    # -- when it is used --------------------------------------------------------------------------

    cdef void add_length(self, int64_t length) noexcept:
        """Count the length of a message from now on."""
        self._known_total += length

    cdef bytes take(self, int64_t number, bytes message):
        """Return a complete message that is the next, or keep it and return None."""
        if number == self.delivered + 1:
            self.delivered = number
            return message
        if self._waiting is None:
            self._waiting = {}
        self._waiting[number] = message
        self._share.charge(PyBytes_GET_SIZE(message) + ITEM_COST)
        return None

    cpdef bytes next_ready(self):
        """Return the next message if it was waiting, else None."""
        cdef bytes message
        if not self._waiting:
            return None
        message = self._waiting.pop(self.delivered + 1, None)
        if message is not None:
            self.delivered += 1
            self._share.charge(-(PyBytes_GET_SIZE(message) + ITEM_COST))
        return message

    # -- the window -------------------------------------------------------------------------------

    cpdef int on_taken(self, int64_t size) except -1:
        """Note that the game has taken the next message, of `size` bytes.

        Raises ValueError for more messages than were delivered, and for a size that none has.
        """
        if self._taken_number == self.delivered or not 0 <= size <= MAX_MESSAGE_SIZE:
            raise ValueError(
                f"{size} bytes, after {self._taken_number} of {self.delivered} messages"
            )
        self._taken_number += 1
        self._taken_total += size
        return 0

    cpdef bint is_window_due(self) noexcept:
        """Return True if a WINDOW is to be sent."""
        return self._is_window_lost or (
            self.granted_number < min(self._taken_number + self._first_number, MAX_VARINT)
            or self.granted_total < min(self._taken_total + self._first_total, MAX_VARINT)
        )

    cpdef void renew_window(self) noexcept:
        """Set `granted_number` and `granted_total` to what the WINDOW that is sent now says."""
        self._is_window_lost = False
        self.granted_number = _grant(self._taken_number, self._first_number)
        self.granted_total = _grant(self._taken_total, self._first_total)

    cpdef void on_window_lost(self) noexcept:
        """Note that a packet with a WINDOW was lost: another is due, with the values of then."""
        self._is_window_lost = True

    cpdef int clear(self) except -1:
        """Drop what waits."""
        cdef bytes message
        while self._waiting:
            _, message = self._waiting.popitem()
            self._share.charge(-(PyBytes_GET_SIZE(message) + ITEM_COST))
        return 0
