"""The send queue: the messages that a connection has to send, and their outcomes.

A message gets its number when it is first sent. Messages that are too long for a packet wait in
lanes, and are fragmented only when packets have room for them. After the first transmission the
retry mode decides:

- RETRY_ON_TIMEOUT: retransmitted whenever the newest packet that carried it is lost.
- NONE: completed at its timeout.
- BEST_EFFORT: resent every repeat interval, completed at its timeout.

Retransmissions, new messages, repeated ones and fragments take turns by bytes: the kind that has
sent the fewest goes first in a packet, where any message fits, and the others fill the rest. A
message therefore waits for at most one message of each other kind, however many and however large
they are.

New messages wait while the oldest unacked reliable one is `message_span` numbers behind, because
the receiver's duplicate filter must still cover that number. They also wait, except for one at a
time, while the newest acked one is `MESSAGE_LEAP` numbers behind: beyond half the ring, new numbers
would look old.

`begin_close` drains the queue: what is queued is sent, reliable messages are retransmitted until
they are acked, and then a DISCONNECT is sent and retransmitted in the same way. The owner calls
`end_drain` when the DISCONNECT must be sent regardless. There is no time to wait for losses to
show, so every `COPY_INTERVAL` a packet with redundant copies of unacked messages is sent.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from libc.math cimport INFINITY

from mpgameserver._core.budget cimport ITEM_COST
from mpgameserver._core.fifo cimport (
    Queue,
    queue_append,
    queue_clear,
    queue_front,
    queue_pop,
    queue_pop_all,
)
from mpgameserver._core.lanes cimport FragmentLanes
from mpgameserver._core.message cimport (
    BEST_EFFORT,
    RETRY_ON_TIMEOUT,
    new_message,
    new_fragmented,
)
from mpgameserver._core.outbox cimport Outbox
from mpgameserver._core.packet cimport SHARED_OVERHEAD, max_message
from mpgameserver._core.packet_header cimport APP, DISCONNECT
from mpgameserver._core.seqnum cimport check_number
from mpgameserver._core.turns cimport RETRANSMITTED, FRAGMENTS, NEW, REPEATED, take_turn, whose_turn

__all__ = ["SendQueue"]

# Seconds between two packets of copies while a connection closes: 16 chances within a drain, all of
# which a link with 33 % loss drops once in 40 million; fewer packets than a game sends.
cdef double COPY_INTERVAL = 0.05

cdef enum:
    UNFRAGMENTED = 1 << RETRANSMITTED | 1 << NEW   # the kinds that are sent ahead of fragments


@cython.final
cdef class SendQueue(Outbox):
    """The messages of one direction of a connection.

    `payload_limit` is the largest message that is not fragmented, in bytes; `previous` the number
    of messages sent before (a handshake's hello).
    """

    def __cinit__(self, Py_ssize_t payload_limit, int64_t previous=0):
        check_number(previous)
        self._payload_limit = payload_limit
        self.max_message = max_message(payload_limit)
        self.message_span = NARROW_SPAN
        self.newest = self.newest_acked = previous

    def __dealloc__(self):
        queue_clear(&self._waiting)
        queue_clear(&self._control)
        queue_clear(&self._retransmissions)
        queue_clear(&self._repeating)
        queue_clear(&self._deadlines)
        queue_clear(&self._unacked)

    cdef int enqueue(self, bytes data, int8_t retry, object callback) except -1:
        """Queue a message, to be fragmented if it does not fit into one packet."""
        cdef Py_ssize_t size = len(data)
        cdef Message message
        cdef FragmentedMessage fragmented
        self.admit(size)
        if size <= self._payload_limit:
            message = new_message(data, APP, retry)
            message.has_callback = callback is not None
            queue_append(&self._waiting, message)
            if callback is not None:
                self._keep_callback(message, callback, size)
        else:
            fragmented = new_fragmented(data, retry)
            fragmented.has_callback = callback is not None
            _add_fragmented(self, fragmented)
            if callback is not None:
                self._keep_callback(fragmented, callback, size)
        return 0

    cdef int shrink(self, Py_ssize_t payload_limit) except -1:
        """Fragment messages for packets of `payload_limit` bytes from now on.

        That includes queued ones. Messages that were sent keep their fragments and numbers, and
        `max_message` does not change.
        """
        cdef Message message
        cdef FragmentedMessage fragmented
        self._payload_limit = payload_limit
        for _ in range(self._waiting.count):
            message = queue_pop(&self._waiting)
            if message.size <= payload_limit:
                queue_append(&self._waiting, message)
                continue
            fragmented = new_fragmented(message.data, message.retry)
            fragmented.has_callback = message.has_callback
            if message.has_callback:
                self._keep_callback(fragmented, self._callbacks.pop(message), message.size)
                if self.watched is not None:
                    self.watched.pop(message, None)
            _add_fragmented(self, fragmented)
        if self._lanes is not None:
            self._lanes.recut(payload_limit)
        return 0

    cdef int add_control(self, uint8_t message_type, bytes data) except -1:
        """Queue a handshake message: reliable, alone in its packet, ahead of all else."""
        queue_append(&self._control, new_message(data, message_type, RETRY_ON_TIMEOUT))
        return 0

    cdef Message next_message(
        self, Py_ssize_t limit, bint alone, bint ahead, double now, double repeat_interval
    ):
        """Return the next message for a packet, of at most `limit` bytes, or None if none fits.

        `alone`: the packet is empty so far. `ahead`: it may not begin with a fragment. The caller
        calls `on_message_sent` with the message.
        """
        cdef Message message
        cdef uint32_t kinds
        cdef int kind
        if self._closing and _is_drained(self):
            return _next_disconnect(self, alone, now)
        if alone:
            message = _take_uncompleted(&self._control, limit)
            if message is not None:
                return message
        kinds = self._kinds_with_something(now, repeat_interval)
        ahead = ahead and alone
        if ahead:
            kinds &= UNFRAGMENTED
        while kinds:
            kind = whose_turn(&self._turns, kinds)
            message = self._take(kind, limit)
            if message is not None:
                take_turn(
                    &self._turns, kind, message.wire_size() + SHARED_OVERHEAD, alone and not ahead
                )
                return message
            kinds &= ~(<uint32_t>1 << kind)
        return _next_copy(self, limit, alone, now) if self._closing and not ahead else None

    cdef uint32_t _kinds_with_something(self, double now, double repeat_interval) except? 0xFF:
        """Return the kinds that have something to send now, one bit each."""
        cdef uint32_t kinds = 0
        cdef uint32_t unsent = self._waiting.count > 0
        if self._retransmissions.count:
            kinds |= 1 << RETRANSMITTED
        if self._repeating.count and self._has_repeat(now, repeat_interval):
            kinds |= 1 << REPEATED
        if self._lanes is not None:
            if self._lanes.retransmissions:
                kinds |= 1 << FRAGMENTS
            unsent |= (self._lanes.unsent > 0) << 1
        if unsent and self.may_number():
            kinds |= (unsent & 1) << NEW | (unsent >> 1) << FRAGMENTS
        return kinds

    cdef Message _take(self, int kind, Py_ssize_t limit):
        """Take the next message of a kind, of at most `limit` bytes."""
        if kind == NEW:
            return self._take_new(limit)
        if kind == RETRANSMITTED:
            return _take_uncompleted(&self._retransmissions, limit)
        if kind == REPEATED:
            return _take_uncompleted(&self._repeating, limit)
        return self._take_fragment(limit)

    cdef Message _take_new(self, Py_ssize_t limit):
        cdef Message message = queue_front(&self._waiting)
        if message.size > limit:
            return None
        self.pending -= message.size
        self._charged -= message.size + ITEM_COST
        return queue_pop(&self._waiting)

    cdef Message _take_fragment(self, Py_ssize_t limit):
        cdef Message fragment = self._lanes.next(limit, self.may_number())
        if fragment is not None and fragment.number == 0:
            self.pending -= fragment.size
            self._charged -= fragment.size
            if fragment.index == fragment.parent.count:
                self._charged -= ITEM_COST
        return fragment

    cdef bint _has_unsent(self) noexcept:
        """Return True while messages or fragments wait that were never sent."""
        return self._waiting.count > 0 or (self._lanes is not None and self._lanes.unsent > 0)

    cdef bint _has_repeat(self, double now, double repeat_interval) except -1:
        """Return True if a best-effort message is due to be repeated."""
        cdef Message message
        while self._repeating.count and not self._closing:
            message = queue_front(&self._repeating)
            if not message.completed and self.newest - message.number < self.message_span:
                return now >= message.last_sent + repeat_interval
            queue_pop(&self._repeating)
        return False

    cdef Message next_redundant(self, Py_ssize_t limit, double now, double interval):
        """Return a small unacked reliable message for a redundant copy, or None.

        Each is copied a few times, `interval` seconds apart: if it is lost, it arrives with the
        next packet, long before an ack could show the loss.
        """
        cdef Message message
        while self._redundant.count:
            message = queue_front(&self._redundant)
            if message.completed:
                queue_pop(&self._redundant)
                continue
            if message.size > limit or now < message.last_sent + interval:
                return None
            message.copies += 1
            return queue_pop(&self._redundant)
        return None

    cdef int backlog(self) noexcept:
        """Return the number of unfragmented messages that were never sent."""
        return <int>self._waiting.count

    cdef bint may_number(self) except -1:
        """Return True if the receiver can still interpret the next message number."""
        cdef Message oldest
        if not self.is_idle and self.newest - self.newest_acked >= MESSAGE_LEAP:
            return False
        oldest = _oldest_unacked(self)
        if oldest is None or self.newest + 1 - oldest.number < self.message_span:
            return True
        self.span_blocked = True
        return False

    cdef bint on_message_sent(self, Message message, int64_t packet_number, double now) except -1:
        """Record that a packet carries a message; return True if the packet must remember it."""
        message.packet_number = packet_number
        message.last_sent = now
        if message.number:
            self.retransmitted += 1
        else:
            self.newest += 1
            message.number = self.newest
            message.first_sent = now
            if message.retry == RETRY_ON_TIMEOUT:
                queue_append(&self._unacked, message)
            elif message.retry == BEST_EFFORT or message.has_callback or (
                message.parent is not None
            ):
                queue_append(&self._deadlines, message)
            else:
                self.share.charge(-(<Py_ssize_t>message.size + ITEM_COST))
                return False
        if message.retry == BEST_EFFORT:
            queue_append(&self._repeating, message)
        elif self.sends_redundantly and message.retry == RETRY_ON_TIMEOUT and (
            message.copies < MAX_REDUNDANT_COPIES
            and message.size <= MAX_REDUNDANT_SIZE
            and message.message_type == APP
        ):
            queue_append(&self._redundant, message)
        return True

    cdef int on_packet_acked(self, object contents) except -1:
        """Complete the message, or list of messages, of a packet that was acked."""
        cdef Message message
        if type(contents) is Message:
            return self._complete(<Message>contents, True)
        for message in <list?>contents:
            self._complete(message, True)
        return 0

    cdef int on_packet_lost(self, object contents, int64_t packet_number) except -1:
        """Retransmit the reliable messages of a lost packet; `contents` is a message or a list."""
        cdef Message message
        for message in [contents] if type(contents) is Message else <list?>contents:
            if (
                message.retry == RETRY_ON_TIMEOUT
                and not message.completed
                and message.packet_number == packet_number
            ):
                _add_retransmission(self, message)
        return 0

    cdef int expire(self, double now, double timeout) except -1:
        """Complete messages that are not acked `timeout` seconds after they were first sent."""
        cdef Message message
        while self._deadlines.count:
            message = queue_front(&self._deadlines)
            if not message.completed and now < message.first_sent + timeout:
                break
            queue_pop(&self._deadlines)
            self._complete(message, False)
        return 0

    cpdef double next_timer(
        self, double timeout, double repeat_interval, bint may_send
    ) except? -1.0:
        cdef double when = INFINITY
        cdef Message message
        if self._deadlines.count:
            message = queue_front(&self._deadlines)
            when = message.first_sent + timeout
        if may_send and self._closing:
            when = min(when, _next_copy_time(self))
        elif may_send and self._repeating.count:
            message = queue_front(&self._repeating)
            when = min(when, message.last_sent + repeat_interval)
        return when

    cdef bint has_more(self) except -1:
        """Return True if there is something to send, timers aside."""
        if self._closing and _is_drained(self):
            return self._disconnect.number == 0
        return (
            self._control.count > 0
            or self._retransmissions.count > 0
            or (self._lanes is not None and self._lanes.retransmissions > 0)
            or (self._has_unsent() and self.may_number())
        )

    cpdef bint has_unfragmented(self) except -1:
        cdef Message message
        while self._retransmissions.count:
            message = queue_front(&self._retransmissions)
            if not message.completed:
                return True
            queue_pop(&self._retransmissions)
        return self._waiting.count > 0 and self.may_number()

    cdef int begin_close(self) except -1:
        """Drain: send a DISCONNECT once everything was sent and reliable messages are acked."""
        self._disconnect = new_message(b"", DISCONNECT, RETRY_ON_TIMEOUT)
        self._closing = True
        return 0

    cdef bint disconnect_acked(self) noexcept:
        return self._disconnect is not None and self._disconnect.completed

    cdef int close(self) except -1:
        """Complete all outstanding messages as not acked, and discard them."""
        self._complete_all(&self._unacked)
        self._complete_all(&self._deadlines)
        self._complete_all(&self._control)
        self._complete_all(&self._retransmissions)
        self._complete_all(&self._waiting)
        if self._lanes is not None:
            self._lanes.drop_retransmissions()
            for fragmented in self._lanes.take_unsent():
                self._complete_fragmented(fragmented, False)
        queue_clear(&self._repeating)
        queue_clear(&self._redundant)
        self._closing = False
        self.pending = self._charged = 0
        self.share.charge(-self.share.held)
        return 0

    cdef int _complete_all(self, Queue *queue) except -1:
        for message in queue_pop_all(queue):
            self._complete(message, False)
        return 0

    cdef Py_ssize_t _acked_of(self, object message) except -1:
        if type(message) is FragmentedMessage:
            return (<FragmentedMessage>message).acked
        return 0

    cdef int _complete(self, Message message, bint acked) except -1:
        cdef FragmentedMessage fragmented = message.parent
        if message.completed:
            return 0
        message.completed = True
        message.data = None
        if fragmented is None:
            if not message.travels_alone():
                self.share.charge(-(<Py_ssize_t>message.size + ITEM_COST))
            if message.has_callback:
                self._add_completed(message, acked)
            return 0
        message.parent = None
        if acked:
            fragmented.unacked -= 1
            fragmented.acked += message.size
        if fragmented.unacked == 0 or not acked:
            self._complete_fragmented(fragmented, acked)
        return 0

    cdef int _complete_fragmented(self, FragmentedMessage fragmented, bint acked) except -1:
        if not fragmented.completed:
            fragmented.completed = True
            self.share.charge(-(PyBytes_GET_SIZE(fragmented.data) + ITEM_COST))
            if fragmented.has_callback:
                self._add_completed(fragmented, acked)
        return 0


cdef int _add_fragmented(SendQueue queue, FragmentedMessage fragmented) except -1:
    if queue._lanes is None:
        queue._lanes = FragmentLanes()
    return queue._lanes.add(fragmented, queue._payload_limit)


cdef Message _take_uncompleted(Queue *queue, Py_ssize_t limit):
    """Take the first message that is not completed; None if it is larger than `limit` bytes."""
    cdef Message message
    while queue.count:
        message = queue_front(queue)
        if not message.completed and message.wire_size() > limit:
            return None
        queue_pop(queue)
        if not message.completed:
            return message
    return None


cdef Message _next_copy(SendQueue queue, Py_ssize_t limit, bint alone, double now):
    """Return the next unacked reliable message, all in turn, one packet per `COPY_INTERVAL`.

    Only once all were sent: until then, later packets show the losses.
    """
    cdef Message message = _oldest_unacked(queue)
    if message is None or queue._has_unsent():
        return None
    if alone and now < queue._last_copy + COPY_INTERVAL:
        return None
    if message.wire_size() > limit or now < message.last_sent + COPY_INTERVAL:
        return None
    queue_pop(&queue._unacked)
    queue_append(&queue._unacked, message)
    if alone:
        queue._last_copy = now
    return message


cdef double _next_copy_time(SendQueue queue) except? -1.0:
    """Return when a drain has a copy to send, or infinity."""
    cdef Message oldest
    if _is_drained(queue):
        return INFINITY if queue._disconnect.completed else _disconnect_due(queue)
    oldest = _oldest_unacked(queue)
    if oldest is None or queue._has_unsent():
        return INFINITY
    return max(oldest.last_sent, queue._last_copy) + COPY_INTERVAL


cdef Message _next_disconnect(SendQueue queue, bint alone, double now):
    """Return the DISCONNECT, repeatedly until it is acked; nothing follows it."""
    if not alone or queue._disconnect.completed or now < _disconnect_due(queue):
        return None
    return queue._disconnect


cdef double _disconnect_due(SendQueue queue) noexcept:
    if queue._disconnect.number == 0:
        return -INFINITY
    return queue._disconnect.last_sent + COPY_INTERVAL


cdef bint _is_drained(SendQueue queue) except -1:
    """Return True once only the DISCONNECT is left to send."""
    if not queue.drain_ended:
        queue.drain_ended = not queue._has_unsent() and _oldest_unacked(queue) is None
    return queue.drain_ended


cdef Message _oldest_unacked(SendQueue queue):
    """Return the first of the reliable messages in flight, or None if all are acked."""
    cdef Message message
    while queue._unacked.count:
        message = queue_front(&queue._unacked)
        if not message.completed:
            return message
        queue_pop(&queue._unacked)
    return None


cdef int _add_retransmission(SendQueue queue, Message message) except -1:
    if message.parent is not None:
        return queue._lanes.add_retransmission(message)
    return queue_append(
        &queue._control if message.travels_alone() else &queue._retransmissions, message
    )
