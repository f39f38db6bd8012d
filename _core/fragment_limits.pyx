"""The room that a peer has for messages in fragments, shared by the channels of a session.

A receiver holds 64 incomplete messages, and 16 MiB of them. The sender divides that by size, so
that a few long messages, which take long, never keep a short one waiting, and many short ones never
keep a long one from being begun. Within a size, those that had to wait are begun in that order,
whichever their channels are.

Where the path is so slow that a receiver gives up what is not, fewer are begun: half as many after
each such message, and one more after as many as there may be.

A message holds its room until it is wholly acked. One that was given up may be incomplete at the
receiver until that gives it up, too, and holds its room as long.
"""

cimport cython
from libc.math cimport INFINITY

from mpgameserver._core.fifo cimport queue_append, queue_clear, queue_front, queue_pop
from mpgameserver._core.grid_reassembly cimport INCOMPLETE_TIMEOUT

__all__ = ["FragmentLimits"]

# Seconds: a receiver's clock is a packet's way behind, and it looks at it from time to time.
cdef double GIVEN_UP = INCOMPLETE_TIMEOUT + 5.0

cdef uint32_t[SIZE_CLASSES] MOST_MESSAGES = [SHORT_MESSAGES, MIDDLE_MESSAGES, LONG_MESSAGES]
cdef int64_t[SIZE_CLASSES] MOST_BYTES = [SHORT_BYTES, MIDDLE_BYTES, LONG_BYTES]


cdef inline int _size_class(uint32_t size) noexcept:
    return 0 if size <= LARGEST_SHORT else 1 if size <= LARGEST_MIDDLE else 2


@cython.final
@cython.no_gc
cdef class FragmentLimits:
    """The messages that are begun in fragments, and those that wait for room."""

    def __cinit__(self):
        self._most = SHORT_MESSAGES

    def __dealloc__(self):
        cdef int size_class
        for size_class in range(SIZE_CLASSES):
            queue_clear(&self._begun[size_class].claims)
        queue_clear(&self._given_up)

    cdef bint admits(self, OutgoingMessage message) except -1:
        """Return True if a message may be begun in fragments; else it is before later ones."""
        cdef int size_class = _size_class(message.size)
        cdef BegunMessages *begun = &self._begun[size_class]
        cdef OutgoingMessage first
        while begun.claims.count:
            first = queue_front(&begun.claims)
            if first.awaits_room and not first.completed:
                break
            queue_pop(&begun.claims)
            self.has_changed = True
        if (begun.claims.count == 0 or first is message) and (
            begun.messages < min(<double>MOST_MESSAGES[size_class], self._most)
            and begun.size + message.size <= MOST_BYTES[size_class]
        ):
            return True
        if not message.awaits_room:
            queue_append(&begun.claims, message)
            message.awaits_room = True
        return False

    cdef void hold(self, OutgoingMessage message) noexcept:
        """Take the room for a message that is begun."""
        cdef BegunMessages *begun = &self._begun[_size_class(message.size)]
        begun.messages += 1
        begun.size += message.size
        message.holds_room = True
        if message.awaits_room:
            message.awaits_room = False
            self.has_changed = True

    cdef void release(self, OutgoingMessage message) noexcept:
        """Give the room of a message back, if it holds any."""
        cdef BegunMessages *begun = &self._begun[_size_class(message.size)]
        if message.holds_room:
            message.holds_room = False
            begun.messages -= 1
            begun.size -= message.size
            self._most = min(self._most + 1 / self._most, <double>SHORT_MESSAGES)
            self.has_changed = self.has_changed or begun.claims.count > 0

    cdef void slow_down(self) noexcept:
        """Begin fewer messages: the receiver may have given one up, of which nothing had come."""
        self._most = max(self._most / 2, 1.0)

    cdef int give_up(self, OutgoingMessage message) except -1:
        """Let a message hold its room until the receiver has given it up."""
        return queue_append(&self._given_up, message)

    cdef int expire(self, double now) except -1:
        """Give back the room of messages that the receiver has given up."""
        cdef OutgoingMessage message
        while self._given_up.count:
            message = queue_front(&self._given_up)
            if message.holds_room and now < message.last_sent + GIVEN_UP:
                break
            self.release(message)
            queue_pop(&self._given_up)
        return 0

    cdef double next_timer(self) except? -1.0:
        """Return when room is given back that a message waits for, or infinity."""
        cdef OutgoingMessage message
        cdef int size_class
        for size_class in range(SIZE_CLASSES):
            if self._begun[size_class].claims.count and self._given_up.count:
                message = queue_front(&self._given_up)
                return message.last_sent + GIVEN_UP
        return INFINITY

    cdef int clear(self) except -1:
        """Forget the messages, at the end of the session."""
        cdef int size_class
        for size_class in range(SIZE_CLASSES):
            queue_clear(&self._begun[size_class].claims)
            self._begun[size_class].messages = 0
            self._begun[size_class].size = 0
        queue_clear(&self._given_up)
        return 0
