"""The sending side of an unordered channel, on which no message waits for a longer one.

MESSAGEs, repeated ones and fragments take turns by bytes. Messages in fragments wait in lanes by
size, which take turns by fragments; those of a lane are sent one after the other. So a message
never waits for one that is more than four times as long.
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free

from mpgameserver._core.fifo cimport (
    queue_append,
    queue_clear,
    queue_front,
    queue_pop,
    queue_pop_all,
)
from mpgameserver._core.frames cimport FRAGMENT_UNIT
from mpgameserver._core.outgoing cimport OutgoingFragment, message_size
from mpgameserver._core.turns cimport FRAGMENTS, NEW, REPEATED, take_turn, whose_turn
from mpgameserver._core.varint cimport MAX_VARINT

__all__ = ["UnorderedSender"]

cdef enum:
    LANES = 7              # up to 4 KiB, up to 16 KiB, and so on; the last one is above 4 MiB
    FIRST_LANE = 4096      # bytes
    LANE_FACTOR = 4


cdef inline int _lane_number(uint32_t size) noexcept:
    cdef int lane = 0
    cdef uint32_t largest = FIRST_LANE
    while size > largest and lane < LANES - 1:
        largest *= LANE_FACTOR
        lane += 1
    return lane


cdef inline uint32_t _size_of(object part) noexcept:
    if type(part) is OutgoingFragment:
        return (<OutgoingFragment>part).size
    return (<OutgoingMessage>part).size


@cython.final
@cython.no_gc
cdef class UnorderedSender(ChannelSender):
    """An unordered channel of a session, for the direction in which this side sends."""

    def __dealloc__(self):
        cdef int lane
        queue_clear(&self._repeats)
        if self._long != NULL:
            for lane in range(LANES):
                queue_clear(&self._long[lane].lost)
                queue_clear(&self._long[lane].waiting)
            PyMem_Free(self._long)

    cdef int add(self, OutgoingMessage message) except -1:
        """Queue a message."""
        if self._needs_fragments(message):
            return self._add_long(message)
        return ChannelSender.add(self, message)

    cdef int add_repeat(self, OutgoingMessage message) except -1:
        """Queue a best-effort MESSAGE to be sent again."""
        return queue_append(&self._repeats, message)

    cdef int _add_long(self, OutgoingMessage message) except -1:
        queue_append(&self._lane_of(message).waiting, message)
        message.is_queued = True
        return 0

    cdef MessageLane *_lane_of(self, OutgoingMessage message) except NULL:
        """Return the lane in which a message waits when it is sent in fragments."""
        if self._long == NULL:
            self._long = <MessageLane *>PyMem_Calloc(LANES, sizeof(MessageLane))
            if self._long == NULL:
                raise MemoryError
        return &self._long[_lane_number(message.size)]

    cdef object next(self, Py_ssize_t room, bint alone, double now):
        """Take the next part, of at most `room` bytes; None if none fits or there is none."""
        cdef uint32_t kinds = self._kinds(), tried = 0
        cdef OutgoingMessage message
        cdef int kind
        if kinds == 1 << NEW and self._retransmissions.count == 0:  # nearly always
            message = self._next_short(room, alone)
            if message is not None:
                take_turn(&self._turns, NEW, message.size, alone)
                return message
            kinds = self._kinds()
        while kinds & ~tried:
            kind = whose_turn(&self._turns, kinds & ~tried)
            part = self._take(kind, room, alone, now)
            if part is not None:
                take_turn(&self._turns, kind, _size_of(part), alone)
                return part
            tried |= <uint32_t>1 << kind
            kinds = self._kinds()  # a message that is too long for this packet has changed over
        return None

    cdef OutgoingMessage next_message(self, Py_ssize_t room):
        """Take the next MESSAGE, of at most `room` bytes; None if none fits or there is none."""
        cdef int kind
        for kind in (NEW, REPEATED):
            part = self._take(kind, room, False, 0.0)
            if part is not None:
                take_turn(&self._turns, kind, _size_of(part), False)
                return part
        return None

    cdef uint32_t _kinds(self) noexcept:
        """Return the kinds of which something is queued, one bit each."""
        cdef uint32_t kinds = 0
        cdef int lane
        if self._retransmissions.count or self._lane.waiting.count:
            kinds |= 1 << NEW
        if self._repeats.count:
            kinds |= 1 << REPEATED
        if self._long != NULL:
            for lane in range(LANES):
                if self._long[lane].lost.count or self._long[lane].waiting.count:
                    return kinds | 1 << FRAGMENTS
        return kinds

    cdef object _take(self, int kind, Py_ssize_t room, bint alone, double now):
        """Take the next part of a kind."""
        if kind == REPEATED:
            return self._next_whole(&self._repeats, room, alone)
        if kind == FRAGMENTS:
            return self._next_long(room, alone, now)
        part = self._next_whole(&self._retransmissions, room, alone)
        return self._next_short(room, alone) if part is None else part

    cdef OutgoingMessage _next_short(self, Py_ssize_t room, bint alone):
        """Take the first MESSAGE that waits."""
        cdef OutgoingMessage message
        while self._lane.waiting.count:
            message = queue_front(&self._lane.waiting)
            if not self.number_is_free() or self.newest == MAX_VARINT:
                return None
            if message_size(message, self.newest + 1, True) <= room:
                self._begin(message, False)
                message.sent = message.size
                message.is_queued = False
                return queue_pop(&self._lane.waiting)
            if message.size == 0 or not (alone or self._needs_fragments(message)):
                return None
            self._add_long(message)
            queue_pop(&self._lane.waiting)
        return None

    cdef object _next_long(self, Py_ssize_t room, bint alone, double now):
        """Take the next part of the lane whose turn it is."""
        cdef MessageLane *lane
        if room < FRAGMENT_UNIT:
            return None
        for _ in range(LANES):
            lane = &self._long[self._turn]
            part = self._next_of(lane, room, alone, now)
            if part is None and self._has_of(lane):
                return None  # it is first in the next packet
            self._turn = (self._turn + 1) % LANES
            if part is not None:
                return part
        return None

    cdef bint has_something(self) except -1:
        """Return True if a part can be sent now, in a packet of its own."""
        cdef int lane
        if self.has_message() or self._has_whole(&self._repeats):
            return True
        if self._long != NULL:
            for lane in range(LANES):
                if self._has_of(&self._long[lane]):
                    return True
        return False

    cdef bint has_message(self) except -1:
        """Return True if a MESSAGE can be sent now."""
        return self._has_whole(&self._retransmissions) or (
            self._lane.waiting.count > 0
            and self._may_begin(queue_front(&self._lane.waiting))
        )

    cdef bint has_queued(self) noexcept:
        """Return True if a part waits, for whatever reason."""
        return self._kinds() != 0

    cdef list take_all(self):
        """Take all messages, some of them twice, at the end of the session."""
        cdef int lane
        messages = ChannelSender.take_all(self)
        queue_clear(&self._repeats)
        if self._long != NULL:
            for lane in range(LANES):
                messages += queue_pop_all(&self._long[lane].lost)
                messages += queue_pop_all(&self._long[lane].waiting)
        return messages
