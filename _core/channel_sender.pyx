"""The sending side of a channel: which of its messages is sent next, and in which parts.

Here the messages begin in the order in which they were added, each when all of the one before it
has been sent; on a latest channel, when one in fragments is wholly acked, for its receiver drops
what is older than the newest delivered. An unordered channel (`UnorderedSender`) extends this.

Lost parts go before new ones. Messages with lost fragments take turns, and a message in progress
goes before them when nothing of it was sent for `OVERDUE` seconds: so a receiver, which gives up a
message of which it gets nothing for 30 s, gets something of each in 10 s on any path that carries
a fragment of each of the 64 in that time. (A fragment that is in flight for a probe timeout is
lost, and waits here again.)

A message is not begun while its number, the window of an ordered channel, or the limits on what is
begun in fragments (`FragmentLimits`) do not allow it.
"""

cimport cython

from mpgameserver._core.channel_receiver cimport LATEST, ORDERED, SEQUENCED
from mpgameserver._core.fifo cimport (
    queue_append,
    queue_clear,
    queue_front,
    queue_pop,
    queue_pop_all,
)
from mpgameserver._core.frames cimport FRAGMENT_UNIT, MAX_MESSAGE_SIZE
from mpgameserver._core.message cimport RETRY_ON_TIMEOUT
from mpgameserver._core.outgoing cimport OutgoingGrid, cut_fragment, message_size, new_grid
from mpgameserver._core.varint cimport MAX_VARINT

__all__ = ["ChannelSender"]

cdef enum:
    MOST_HEAD = 10    # bytes of a MESSAGE before its data if it is the last frame, at most

# Seconds: half of the 10 in which a sender must send something of each incomplete message.
cdef double OVERDUE = 5.0


cdef inline uint32_t _units(Py_ssize_t size) noexcept:
    return <uint32_t>((size + FRAGMENT_UNIT - 1) // FRAGMENT_UNIT)


@cython.no_gc
cdef class ChannelSender:
    """A channel of a session, for the direction in which this side sends."""

    def __cinit__(self, int channel=0, int kind=ORDERED, FragmentLimits limits=None):
        if not (0 <= channel <= 255 and 0 <= kind <= LATEST):
            raise ValueError(f"no channel {channel} of the kind {kind}")
        self.channel, self.kind = channel, <ChannelKind>kind
        self.largest = MAX_MESSAGE_SIZE
        self._limits = FragmentLimits() if limits is None else limits

    def __dealloc__(self):
        queue_clear(&self._lane.lost)
        queue_clear(&self._lane.waiting)
        queue_clear(&self._retransmissions)
        queue_clear(&self._unacked)

    cdef int add(self, OutgoingMessage message) except -1:
        """Queue a message."""
        queue_append(&self._lane.waiting, message)
        message.is_queued = True
        return 0

    cdef OutgoingMessage take_replaced(self):
        """Take the message of a latest channel that waits, of which no part was sent, or None."""
        cdef OutgoingMessage message
        for message in queue_pop_all(&self._lane.waiting):
            if message.number == 0:
                return message
            queue_append(&self._lane.waiting, message)
        return None

    # -- out --------------------------------------------------------------------------------------

    cdef object next(self, Py_ssize_t room, bint alone, double now):
        """Take the next part, of at most `room` bytes; None if none fits or there is none.

        `alone`: a message that does not fit is cut, and a fragment may be small.
        """
        if self.kind == LATEST and self._has_of(&self._lane):
            return self._next_of(&self._lane, room, alone, now)  # what is lost is older
        part = self._next_whole(&self._retransmissions, room, alone)
        return self._next_of(&self._lane, room, alone, now) if part is None else part

    cdef OutgoingMessage next_message(self, Py_ssize_t room):
        """Take the next MESSAGE, of at most `room` bytes; None if none fits or there is none."""
        cdef OutgoingMessage message = None
        if self.kind != LATEST or not self._has_of(&self._lane):
            message = self._next_whole(&self._retransmissions, room, False)
        if message is None and _has_message(self):
            return self._next_waiting(&self._lane, room, False)
        return message

    cdef OutgoingMessage _next_whole(self, Queue *queue, Py_ssize_t room, bint alone):
        """Take the first MESSAGE of a queue of those that were sent before."""
        cdef OutgoingMessage message
        while self._has_whole(queue):
            message = queue_front(queue)
            if message_size(message, message.number, True) <= room:
                message.is_queued = False
                return queue_pop(queue)
            if not alone and not self._needs_fragments(message):
                return None  # it is first in the next packet
            if not self._to_fragments(message):
                return None
            queue_pop(queue)
        return None

    cdef bint _to_fragments(self, OutgoingMessage message) except -1:
        """Let a lost MESSAGE be sent in fragments; return False if there is no room for that.

        Its path has shrunk. One that is only repeated is not sent again.
        """
        message.is_queued = False
        if message.retry != RETRY_ON_TIMEOUT or message.size == 0:
            return True
        if not self._limits.admits(message):
            message.is_queued = True
            return False
        message.grid = new_grid(message.size)
        self._limits.hold(message)
        if self.kind == LATEST:
            self._in_fragments = message
        return self.add_lost(message) == 0

    cdef object _next_of(self, MessageLane *lane, Py_ssize_t room, bint alone, double now):
        """Take the next part of a lane."""
        cdef OutgoingMessage first
        if lane.lost.count and lane.waiting.count:
            first = queue_front(&lane.waiting)
            if first.grid is not None and now >= first.last_sent + OVERDUE:
                part = self._next_waiting(lane, room, alone)
                if part is not None:
                    return part
        part = self._next_lost(lane, room, alone)
        return self._next_waiting(lane, room, alone) if part is None else part

    cdef OutgoingFragment _next_lost(self, MessageLane *lane, Py_ssize_t room, bint alone):
        """Take a fragment of what was lost, of each message in turn."""
        cdef OutgoingMessage message
        cdef OutgoingFragment fragment
        while lane.lost.count:
            message = queue_front(&lane.lost)
            fragment = None
            if not message.completed and message.grid.waiting:
                fragment = _cut(message, room, alone)
                if fragment is None:
                    return None
            if not message.completed and message.grid.waiting:
                queue_append(&lane.lost, message)
            else:
                message.is_queued = False
            queue_pop(&lane.lost)
            if fragment is not None:
                return fragment
        return None

    cdef object _next_waiting(self, MessageLane *lane, Py_ssize_t room, bint alone):
        """Take the first message that waits, or its next fragment."""
        cdef OutgoingMessage message = _first_waiting(lane)
        cdef OutgoingFragment fragment
        if message is None:
            return None
        if message.grid is not None:
            fragment = _cut(message, room, alone)
        elif not self._may_begin(message):
            return None
        elif message_size(message, self.newest + 1, True) <= room:
            self._begin(message, False)
            message.sent = message.size
            message.is_queued = False
            return queue_pop(&lane.waiting)
        elif alone or self._needs_fragments(message):
            fragment = self._begin_fragments(message, room, alone)
        else:
            return None  # it is first in the next packet
        if fragment is not None and message.grid.waiting == 0:
            message.is_queued = False
            queue_pop(&lane.waiting)
        return fragment

    cdef OutgoingFragment _begin_fragments(
        self, OutgoingMessage message, Py_ssize_t room, bint alone
    ):
        """Begin a message in fragments and take the first; None if it must wait."""
        cdef OutgoingFragment fragment
        cdef OutgoingGrid grid
        if message.size == 0:
            return None
        message.number = self.newest + 1
        fragment = _fragment(message, 0, _units(message.size), room, alone)
        message.number = 0
        if fragment is None or not self._limits.admits(message):
            return None
        grid = new_grid(message.size)
        self._begin(message, True)
        message.grid = grid
        self._limits.hold(message)
        if self.kind == LATEST:
            self._in_fragments = message
        return _take(fragment)

    cdef int _begin(self, OutgoingMessage message, bint in_fragments) except -1:
        """Give a message its number."""
        if in_fragments or message.retry == RETRY_ON_TIMEOUT:
            queue_append(&self._unacked, message)
        self.newest += 1
        self._total += message.size
        message.number = self.newest
        return 0

    # -- limits -----------------------------------------------------------------------------------

    cdef bint _may_begin(self, OutgoingMessage message) except -1:
        """Return True if a message can have the next number."""
        if self.newest == MAX_VARINT:
            return False
        if self.kind == SEQUENCED:
            return True  # nothing is retransmitted
        if self.kind == LATEST and self._in_fragments is not None:
            if not self._in_fragments.completed:
                return False
            self._in_fragments = None
        if not self.number_is_free():
            return False
        return self.kind != ORDERED or (
            self.newest < self.granted_number
            and self._total + message.size <= self.granted_total
        )

    cdef bint number_is_free(self) except -1:
        """Return True if the next number is within the span of the oldest unacked message."""
        cdef OutgoingMessage oldest
        while self._unacked.count:
            oldest = queue_front(&self._unacked)
            if not oldest.completed:
                return self.newest + 1 - oldest.number < MESSAGE_SPAN
            queue_pop(&self._unacked)
        return True

    cdef bint _needs_fragments(self, OutgoingMessage message) noexcept:
        """Return True for a message that no packet carries."""
        cdef int64_t number = message.number if message.number else self.newest + 1
        if message.size + MOST_HEAD <= self._limits.payload_limit:  # nearly always
            return False
        return message_size(message, number, True) > self._limits.payload_limit

    cdef bint has_something(self) except -1:
        """Return True if a part can be sent now, in a packet of its own."""
        return self._has_whole(&self._retransmissions) or self._has_of(&self._lane)

    cdef bint has_message(self) except -1:
        """Return True if a MESSAGE can be sent now."""
        return self._has_whole(&self._retransmissions) or _has_message(self)

    cdef bint has_queued(self) noexcept:
        """Return True if a part waits, for whatever reason."""
        return (
            self._retransmissions.count > 0
            or self._lane.lost.count > 0
            or self._lane.waiting.count > 0
        )

    cdef bint _has_whole(self, Queue *queue) except -1:
        """Return True if a queue has a MESSAGE to be sent again; drops those that need not be."""
        cdef OutgoingMessage message
        while queue.count:
            message = queue_front(queue)
            if not message.completed and self.newest - message.number < MESSAGE_SPAN:
                return True
            message.is_queued = False
            queue_pop(queue)
        return False

    cdef bint _has_of(self, MessageLane *lane) except -1:
        """Return True if a lane has a part that can be sent now."""
        cdef OutgoingMessage message
        while lane.lost.count:
            message = queue_front(&lane.lost)
            if not message.completed and message.grid.waiting:
                return True
            message.is_queued = False
            queue_pop(&lane.lost)
        message = _first_waiting(lane)
        return message is not None and (message.grid is not None or (
            self._may_begin(message)
            and (not self._needs_fragments(message) or self._limits.admits(message))
        ))

    # -- what becomes of them ---------------------------------------------------------------------

    cdef MessageLane *_lane_of(self, OutgoingMessage message) except NULL:
        """Return the lane in which a message waits when it is sent in fragments."""
        return &self._lane

    cdef int add_retransmission(self, OutgoingMessage message) except -1:
        """Queue a MESSAGE that was lost."""
        queue_append(&self._retransmissions, message)
        message.is_queued = True
        return 0

    cdef int add_lost(self, OutgoingMessage message) except -1:
        """Queue a message of whose fragments some were lost, unless it waits already."""
        if not message.is_queued:
            queue_append(&self._lane_of(message).lost, message)
            message.is_queued = True
        return 0

    cdef list take_retransmissions(self):
        """Take the lost MESSAGEs: a newer one of a latest channel has been sent."""
        return queue_pop_all(&self._retransmissions)

    cdef list unacked(self):
        """Return the reliable messages that were begun and are not wholly acked."""
        cdef Queue *queue = &self._unacked
        cdef OutgoingMessage message
        messages = []
        for i in range(queue.count):
            message = <OutgoingMessage>queue.items[(queue.first + i) & (queue.room - 1)]
            if not message.completed and message.retry == RETRY_ON_TIMEOUT:
                messages.append(message)
        return messages

    cdef bint has_older(self) noexcept:
        """Return True if a sequenced channel has messages in fragments that are not acked."""
        return self._unacked.count > 0

    cdef int release_older(self, int64_t number) except -1:
        """Give back the room of a sequenced channel's messages below one that was delivered.

        The receiver has discarded what it had of them.
        """
        cdef OutgoingMessage message
        while self._unacked.count:
            message = queue_front(&self._unacked)
            if message.holds_room and message.number >= number:
                break
            self._limits.release(message)
            queue_pop(&self._unacked)
        return 0

    cdef list take_all(self):
        """Take all messages, some of them twice, at the end of the session."""
        self._in_fragments = None
        return (
            queue_pop_all(&self._unacked)
            + queue_pop_all(&self._retransmissions)
            + queue_pop_all(&self._lane.lost)
            + queue_pop_all(&self._lane.waiting)
        )


cdef OutgoingMessage _first_waiting(MessageLane *lane):
    """Return the first message of which something is to be sent, or None."""
    cdef OutgoingMessage message
    while lane.waiting.count:
        message = queue_front(&lane.waiting)
        if not message.completed and (message.grid is None or message.grid.waiting):
            return message
        message.is_queued = False
        queue_pop(&lane.waiting)
    return None


cdef OutgoingFragment _cut(OutgoingMessage message, Py_ssize_t room, bint alone):
    """Take the next fragment of a message that is begun, or None."""
    cdef OutgoingFragment fragment
    cdef uint32_t first = 0, units
    if room < FRAGMENT_UNIT:
        return None
    units = message.grid.waiting_run(_units(room), &first)
    fragment = _fragment(message, first, units, room, alone)
    return None if fragment is None else _take(fragment)


cdef OutgoingFragment _fragment(
    OutgoingMessage message, uint32_t first, uint32_t units, Py_ssize_t room, bint alone
):
    """Return a fragment of a row of units; None if it does not fit or is not worth its frame."""
    cdef OutgoingFragment fragment = cut_fragment(message, first, units, room)
    if fragment is not None and (
        not alone and fragment.size < LEAST_FILLER and _units(fragment.size) < units
    ):
        return None
    return fragment


cdef OutgoingFragment _take(OutgoingFragment fragment):
    cdef OutgoingMessage message = fragment.message
    message.grid.on_sent(fragment.offset // FRAGMENT_UNIT, _units(fragment.size))
    message.sent = max(message.sent, fragment.offset + fragment.size)
    return fragment


cdef bint _has_message(ChannelSender sender) except -1:
    """Return True if a MESSAGE that was never sent can be sent now."""
    cdef OutgoingMessage message = _first_waiting(&sender._lane)
    return (
        message is not None
        and message.grid is None
        and not sender._needs_fragments(message)
        and sender._may_begin(message)
    )
