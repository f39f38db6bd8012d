"""The messages that a session of protocol 2 has to send on its channels, and their outcomes.

A `ChannelSender` for each channel says which of its messages is next. The channels that have
something take turns by bytes (start-time fair queueing: Goyal, Vin and Cheng, 1996), lost parts
included: while two of them always have something, one of priority *p* sends 2^*p* times the bytes
of one of priority 0. No channel is ever ahead of all others, for it could keep them from sending
anything. One that was idle has saved up no credit, but its next message is sent at once, in front
of what the others have queued.

After the first transmission the kind of the channel decides, and on an unordered channel the retry
mode:

- ordered, and RETRY_ON_TIMEOUT: retransmitted whenever the newest packet that carried it is lost.
- latest: so as long as no newer one has been sent; then it is completed, not acked, at its loss.
- sequenced, and NONE: sent once, completed at its timeout.
- BEST_EFFORT: resent every repeat interval, completed at its timeout.

Lost fragments of an unordered channel are retransmitted in every mode, until the message times out:
a receiver would keep the others for 30 s, and has room for 64 such messages.

Each message with a callback is completed exactly once. During a drain (`begin_close`) what is
queued is sent and reliable messages are retransmitted until they are acked. There is no time to
wait for losses to show, so every `COPY_INTERVAL` a packet with copies of unacked ones is sent.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from libc.math cimport INFINITY
from libc.stdint cimport INT64_MAX, uint32_t

from mpgameserver._core.budget cimport ITEM_COST
from mpgameserver._core.channel_receiver cimport LATEST, ORDERED, SEQUENCED, UNORDERED
from mpgameserver._core.fifo cimport (
    queue_append,
    queue_clear,
    queue_front,
    queue_pop,
    queue_pop_all,
)
from mpgameserver._core.frames cimport (
    FRAGMENT_UNIT,
    MAX_MESSAGE_SIZE,
    Frame,
    frame_size,
    put_frame,
)
from mpgameserver._core.message cimport BEST_EFFORT, NO_RETRY, RETRY_ON_TIMEOUT
from mpgameserver._core.outgoing cimport (
    OutgoingGrid,
    cut_fragment,
    fill_frame,
    message_size,
    new_message,
)
from mpgameserver._core.send_queue cimport MAX_REDUNDANT_COPIES, MAX_REDUNDANT_SIZE
from mpgameserver._core.unordered_sender cimport UnorderedSender
from mpgameserver._core.varint cimport MAX_VARINT

__all__ = ["ChannelQueues"]

# Seconds between two packets of copies while a session closes, as in protocol 1: 16 chances within
# a drain, all of which a link with 33 % loss drops once in 40 million.
cdef double COPY_INTERVAL = 0.05

cdef enum:
    LEAST_PAYLOAD = 128    # bytes: a fragment of one unit, whatever the numbers in its frame
    MOST_PAYLOAD = 65535
    FRAME_HEAD = 8         # bytes of a frame around its data that count in a channel's turn


@cython.final
cdef class ChannelQueues(Outbox):
    """The messages of one direction of a session of protocol 2.

    `payload_limit` is the size of the frames that a packet holds, in bytes. Channel 0 is open, and
    unordered.
    """

    def __cinit__(self, Py_ssize_t payload_limit):
        self.max_message = MAX_MESSAGE_SIZE
        self._limits = FragmentLimits()
        self._channels = []
        self.set_payload_limit(payload_limit)
        self._open(0, UNORDERED, 0)

    def __dealloc__(self):
        queue_clear(&self._repeating)
        queue_clear(&self._deadlines)
        queue_clear(&self._copies)

    # -- channels and messages --------------------------------------------------------------------

    cpdef int open(
        self, int channel, int kind, int priority=0, int64_t number=0, int64_t total=0
    ) except -1:
        """Open a channel; `number` and `total` are the peer's first window of an ordered one.

        Raises ValueError for what no table of channels holds, and for one that is open.
        """
        cdef ChannelSender sender
        if not (0 < channel <= 255 and UNORDERED <= kind <= LATEST):
            raise ValueError(f"no channel {channel} of the kind {kind}")
        if self._sender(channel) is not None:
            raise ValueError(f"channel {channel} is open already")
        if not LOWEST_PRIORITY <= priority <= HIGHEST_PRIORITY:
            raise ValueError(
                f"priority must be {LOWEST_PRIORITY}...{HIGHEST_PRIORITY}, not {priority}"
            )
        if not (0 <= number <= MAX_VARINT and 0 <= total <= MAX_VARINT):
            raise ValueError(f"no window of {number} messages and {total} bytes")
        sender = self._open(channel, kind, priority)
        if kind == ORDERED:
            sender.granted_number, sender.granted_total = number, total
            sender.largest = <Py_ssize_t>min(<int64_t>MAX_MESSAGE_SIZE, total)
        return 0

    cdef ChannelSender _open(self, int channel, int kind, int priority):
        cdef ChannelSender sender
        if kind == UNORDERED:
            sender = UnorderedSender(channel, kind, self._limits)
        else:
            sender = ChannelSender(channel, kind, self._limits)
        sender.weight = HIGHEST_PRIORITY - priority
        while len(self._channels) <= channel:
            self._channels.append(None)
        self._channels[channel] = sender
        return sender

    cdef ChannelSender _sender(self, int channel):
        """Return an open channel, or None."""
        if 0 <= channel < PyList_GET_SIZE(self._channels):
            return <ChannelSender>PyList_GET_ITEM(self._channels, channel)
        return None

    cdef ChannelSender _sender_of(self, OutgoingMessage message):
        """Return the channel of a message. Raises SystemError for one of another session."""
        cdef ChannelSender sender = self._sender(message.channel)
        if sender is None:
            raise SystemError(f"a message of channel {message.channel}, which is not open")
        return sender

    cpdef bint grant(self, int channel, int64_t number, int64_t total) except -1:
        """Use a WINDOW of the peer; return False if the channel is not an ordered one."""
        cdef ChannelSender sender = self._sender(channel)
        if sender is None or sender.kind != ORDERED:
            return False
        sender.granted_number = max(sender.granted_number, number)
        sender.granted_total = max(sender.granted_total, total)
        self._activate(sender)
        return True

    cdef int enqueue(self, bytes data, int8_t retry, object callback) except -1:
        """Queue a message on channel 0."""
        return self.add_on(0, data, retry, callback)

    cpdef int add_on(
        self, int channel, bytes data, int8_t retry=-1, object callback=None
    ) except -1:
        """Queue a message on a channel; the retry mode counts on an unordered one.

        Raises SendQueueFullError as `admit` does, and ValueError for a channel that is not open and
        for a message that is too long for it; nothing is changed then.
        """
        cdef ChannelSender sender = self._sender(channel)
        cdef OutgoingMessage message, replaced = None
        if sender is None:
            raise ValueError(f"channel {channel} is not open")
        if data is None or len(data) > sender.largest:
            raise ValueError(
                f"a message on this channel holds at most {sender.largest} bytes, "
                f"this one has {None if data is None else len(data)}"
            )
        self.admit(len(data))
        message = new_message(sender.channel, data, _retry_mode(sender, retry))
        if sender.kind == LATEST:
            replaced = sender.take_replaced()
        sender.add(message)
        sender.pending += message.size
        self._unsent += 1
        self._activate(sender)
        if callback is not None:
            message.has_callback = True
            self._keep_callback(message, callback, message.size)
        return 0 if replaced is None else self._complete(replaced, False)

    cpdef int set_payload_limit(self, Py_ssize_t payload_limit) except -1:
        """Cut messages for packets that hold frames of `payload_limit` bytes from now on."""
        if not LEAST_PAYLOAD <= payload_limit <= MOST_PAYLOAD:
            raise ValueError(
                f"payload_limit must be {LEAST_PAYLOAD}...{MOST_PAYLOAD}, not {payload_limit}"
            )
        self._limits.payload_limit = payload_limit
        self._limits.has_changed = True
        return 0

    cpdef Py_ssize_t pending_on(self, int channel) except -1:
        """Return the bytes of a channel's messages that were never sent."""
        cdef ChannelSender sender = self._sender(channel)
        return 0 if sender is None else sender.pending

    # -- turns ------------------------------------------------------------------------------------

    cdef object next_part(self, Py_ssize_t room, double now, double repeat_interval, bint alone):
        """Take the next part for a packet, of at most `room` bytes; None if none fits.

        It may fit only without its length, and is the last frame then. `alone`: no part is in the
        packet so far. The caller calls `on_part_sent` with the part.
        """
        cdef ChannelSender sender
        if not _begin_turns(self, now, repeat_interval):
            return None
        while True:
            sender = _whose_turn(self)
            if sender is None:
                break
            part = sender.next(room, alone, now)
            if part is not None:
                _take_turn(self, sender, part, alone)
                if self._unsent <= 1 and not sender.has_queued():
                    _deactivate(self, sender)  # it need not be asked again
                return part
            if sender.has_queued() and (not alone or sender.has_something()):
                sender.tried = self._call
            else:
                _deactivate(self, sender)
        return _next_copy(self, room, alone, now) if self._closing else None

    cdef object next_message(self, Py_ssize_t room, double now, double repeat_interval):
        """Take the next MESSAGE for an empty packet that may not begin with a fragment, or None."""
        cdef ChannelSender sender
        cdef OutgoingMessage message
        if not _begin_turns(self, now, repeat_interval):
            return None
        while True:
            sender = _whose_turn(self)
            if sender is None:
                return None
            message = sender.next_message(room)
            if message is not None:
                _take_turn(self, sender, message, False)
                return message
            sender.tried = self._call

    cdef void _activate(self, ChannelSender sender) noexcept:
        """Let a channel take turns if it has something."""
        if not sender.is_ready:
            sender.is_ready = True
            sender.next_ready = self._ready
            self._ready = <PyObject *>sender

    cpdef bint has_more(self) except -1:
        """Return True if there is something to send, timers aside."""
        cdef ChannelSender sender
        if self.drain_ended:
            return False
        if self._limits.has_changed:
            _activate_queued(self)
        while self._ready != NULL:
            sender = <ChannelSender>self._ready
            if sender.has_something():
                return True
            _deactivate(self, sender)
        return False

    cpdef bint has_unfragmented(self) except -1:
        cdef PyObject *each = self._ready
        while each != NULL:
            if (<ChannelSender>each).has_message():
                return True
            each = (<ChannelSender>each).next_ready
        return False

    cdef object next_redundant(self, Py_ssize_t room, double now, double interval):
        """Return a small unacked reliable message for a redundant copy, or None.

        Each is copied a few times, `interval` seconds apart: if it is lost, it arrives with the
        next packet, long before an ack could show the loss.
        """
        cdef OutgoingMessage message
        while self._redundant.count:
            message = queue_front(&self._redundant)
            if message.completed or message.is_queued or _is_superseded(self, message):
                queue_pop(&self._redundant)
                continue
            if (
                message_size(message, message.number, False) > room
                or now < message.last_sent + interval
            ):
                return None
            message.copies += 1
            return queue_pop(&self._redundant)
        return None

    # -- outcomes ---------------------------------------------------------------------------------

    cdef bint on_part_sent(self, object part, int64_t packet_number, double now) except -1:
        """Record that a packet carries a part; return True if the packet must remember it."""
        cdef OutgoingMessage message
        cdef bint is_first
        if type(part) is OutgoingFragment:
            return self._on_fragment_sent(part, packet_number, now) == 0
        message = <OutgoingMessage?>part
        if message.awaits_room:  # it fits into a packet after all, and must keep no other waiting
            message.awaits_room = False
            self._limits.has_changed = True
        is_first = message.packet_number == 0
        message.packet_number = packet_number
        message.last_sent = now
        if not is_first:
            self.retransmitted += 1
        elif not self._on_first_sent(message, now):
            return False
        if message.retry == BEST_EFFORT:
            queue_append(&self._repeating, message)
        elif self.sends_redundantly and message.retry == RETRY_ON_TIMEOUT and (
            message.copies < MAX_REDUNDANT_COPIES and message.size <= MAX_REDUNDANT_SIZE
        ):
            queue_append(&self._redundant, message)
        return True

    cdef bint _on_first_sent(self, OutgoingMessage message, double now) except -1:
        """Account for a MESSAGE that was never sent; return False if its outcome is not needed."""
        cdef ChannelSender sender = self._sender_of(message)
        message.first_sent = now
        _on_bytes_sent(self, sender, message.size)
        _on_all_sent(self)
        if message.retry == RETRY_ON_TIMEOUT:
            self._unacked += 1
            if sender.kind == LATEST:
                _supersede(self, sender)
        elif message.retry == BEST_EFFORT or message.has_callback or (
            sender.kind == SEQUENCED and sender.has_older()
        ):
            queue_append(&self._deadlines, message)
        else:
            self.share.charge(-(<Py_ssize_t>message.size + ITEM_COST))
            return False
        return True

    cdef int _on_fragment_sent(
        self, OutgoingFragment fragment, int64_t packet_number, double now
    ) except -1:
        cdef OutgoingMessage message = fragment.message
        cdef ChannelSender sender = self._sender_of(message)
        cdef bint is_first = message.packet_number == 0
        message.packet_number = packet_number
        message.last_sent = now
        if fragment.fresh == 0:
            self.retransmitted += 1
            return 0
        _on_bytes_sent(self, sender, fragment.fresh)
        if message.sent == message.size:
            _on_all_sent(self)
            if message.retry != RETRY_ON_TIMEOUT:
                message.first_sent = now
                queue_append(&self._deadlines, message)
        if is_first and message.retry == RETRY_ON_TIMEOUT:
            self._unacked += 1
            if sender.kind == LATEST:
                _supersede(self, sender)
        return 0

    cpdef int on_packet_acked(self, object contents, double sent_at=0.0, double now=0.0) except -1:
        """Use the ack of a packet that carried a part, or a list of parts.

        The packet was sent at `sent_at`, and the ack has come `now`.
        """
        if type(contents) is not list:
            return _on_part_acked(self, contents, sent_at, now)
        for part in <list>contents:
            _on_part_acked(self, part, sent_at, now)
        return 0

    cpdef int on_packet_lost(self, object contents, int64_t packet_number) except -1:
        """Retransmit what must arrive of a lost packet that carried a part, or a list of parts."""
        if type(contents) is not list:
            return self._on_part_lost(contents, packet_number)
        for part in <list>contents:
            self._on_part_lost(part, packet_number)
        return 0

    cdef int _on_part_lost(self, object part, int64_t packet_number) except -1:
        cdef OutgoingFragment fragment
        cdef OutgoingMessage message
        cdef ChannelSender sender
        if type(part) is OutgoingFragment:
            fragment = part
            message = fragment.message
            if message is None or message.grid is None:
                return 0
            sender = self._sender_of(message)
            if sender.kind == SEQUENCED:
                return 0
            message.grid.on_lost(fragment.offset // FRAGMENT_UNIT, _units(fragment.size))
            if message.grid.waiting:
                sender.add_lost(message)
                self._activate(sender)
            return 0
        message = <OutgoingMessage?>part
        if message.packet_number != packet_number or message.retry != RETRY_ON_TIMEOUT or (
            message.completed or message.is_queued or message.grid is not None
        ):
            return 0
        if _is_superseded(self, message):
            return self._complete(message, False)
        sender = self._sender_of(message)
        sender.add_retransmission(message)
        self._activate(sender)
        return 0

    cpdef int expire(self, double now, double timeout) except -1:
        """Complete messages that are not acked `timeout` seconds after they were first sent."""
        cdef OutgoingMessage message
        self._limits.expire(now)
        while self._deadlines.count:
            message = queue_front(&self._deadlines)
            if not message.completed and now < message.first_sent + timeout:
                break
            queue_pop(&self._deadlines)
            if not message.completed and message.holds_room:
                self._limits.give_up(message)
            self._complete(message, False)
        return 0

    cpdef double next_timer(
        self, double timeout, double repeat_interval, bint may_send
    ) except? -1.0:
        cdef double when = self._limits.next_timer()
        cdef OutgoingMessage message
        if self._deadlines.count:
            message = queue_front(&self._deadlines)
            when = min(when, message.first_sent + timeout)
        if may_send and self._closing:
            when = min(when, _next_copy_time(self))
        elif may_send and self._repeating.count:
            message = queue_front(&self._repeating)
            when = min(when, message.last_sent + repeat_interval)
        return when

    cdef Py_ssize_t _acked_of(self, object message) except -1:
        cdef OutgoingGrid grid = (<OutgoingMessage?>message).grid
        return 0 if grid is None else grid.acked_bytes((<OutgoingMessage>message).size)

    cdef int _complete(self, OutgoingMessage message, bint acked) except -1:
        """Record the outcome of a message, unless it has one."""
        cdef ChannelSender sender
        if message.completed:
            return 0
        sender = self._sender_of(message)
        if message.packet_number == 0 or message.sent < message.size:
            _on_bytes_sent(self, sender, message.size - message.sent)
            _on_all_sent(self)
        if message.packet_number and message.retry == RETRY_ON_TIMEOUT:
            self._unacked -= 1
        self.share.charge(-(<Py_ssize_t>message.size + ITEM_COST))
        message.completed = True
        message.data = None
        message.grid = None
        if acked:
            self._limits.release(message)
            if sender.kind == SEQUENCED:
                sender.release_older(message.number)
        if message.awaits_room:
            self._limits.has_changed = True  # it was before others
        if sender.has_queued():
            self._activate(sender)
        return self._add_completed(message, acked) if message.has_callback else 0

    # -- the end ----------------------------------------------------------------------------------

    cpdef int begin_close(self) except -1:
        """Drain: send what is queued, and what is reliable until it is acked."""
        self._closing = True
        return 0

    cpdef bint is_drained(self) except -1:
        """Return True once all is sent and what is reliable is acked, or the drain was ended."""
        if self._closing and not self.drain_ended:
            self.drain_ended = self._unsent == 0 and self._unacked == 0
        return self.drain_ended

    def end_drain(self):
        """Send nothing from now on."""
        self.drain_ended = True

    cpdef int close(self) except -1:
        """Complete all outstanding messages as not acked, and discard them."""
        cdef ChannelSender sender
        cdef OutgoingMessage message
        for sender in list(self._channels):
            if sender is not None:
                for message in sender.take_all():
                    self._complete(message, False)
        for message in queue_pop_all(&self._deadlines):
            self._complete(message, False)
        queue_clear(&self._repeating)
        queue_clear(&self._redundant)
        queue_clear(&self._copies)
        self._limits.clear()
        self._closing = False
        return 0

    # -- for those who drive it from Python -------------------------------------------------------

    def take_frames(
        self, Py_ssize_t room, int64_t packet_number, double now, double repeat_interval=0.1,
        bint ahead=False,
    ):
        """Fill a packet with at most `room` bytes of frames; return these and its contents.

        `ahead`: it may not begin with a fragment.
        """
        cdef bytes payload
        cdef unsigned char *out
        cdef const unsigned char *start
        cdef Py_ssize_t left = room
        if not (0 < room <= MOST_PAYLOAD and packet_number > 0):
            raise ValueError(f"no packet {packet_number} of {room} bytes")
        payload = PyBytes_FromStringAndSize(NULL, room)
        start = out = <unsigned char *>PyBytes_AS_STRING(payload)
        contents = []
        if ahead:
            part = self.next_message(left, now, repeat_interval)
        else:
            part = self.next_part(left, now, repeat_interval, True)
        while part is not None:
            out = _put_part(part, out, &left)
            if self.on_part_sent(part, packet_number, now):
                contents.append(part)
            part = self.next_part(left, now, repeat_interval, False)
        part = self.next_redundant(left, now, repeat_interval)
        while part is not None:
            out = _put_part(part, out, &left)
            self.on_part_sent(part, packet_number, now)
            contents.append(part)
            part = self.next_redundant(left, now, repeat_interval)
        return payload[:out - start], contents


cdef unsigned char *_put_part(object part, unsigned char *out, Py_ssize_t *left) except NULL:
    """Write a part into the `left` bytes of a packet, the last one without its length."""
    cdef Frame frame
    cdef bint is_last
    fill_frame(part, &frame)
    is_last = frame_size(&frame, False) > left[0]
    left[0] = 0 if is_last else left[0] - frame_size(&frame, False)
    return put_frame(out, &frame, is_last)


cdef inline uint32_t _units(Py_ssize_t size) noexcept:
    return <uint32_t>((size + FRAGMENT_UNIT - 1) // FRAGMENT_UNIT)


cdef int8_t _retry_mode(ChannelSender sender, int8_t retry) except? -2:
    """Return how a message of a channel is sent."""
    if sender.kind != UNORDERED:
        return NO_RETRY if sender.kind == SEQUENCED else RETRY_ON_TIMEOUT
    if not RETRY_ON_TIMEOUT <= retry <= BEST_EFFORT:
        raise ValueError(f"retry must be one of -1, 0, 1 (see RetryMode), not {retry}")
    return retry


# -- turns --------------------------------------------------------------------------------------

cdef bint _begin_turns(ChannelQueues queues, double now, double repeat_interval) except -1:
    """Note what can be sent now, and that no channel was tried; return False after a drain."""
    if queues.drain_ended:
        return False
    if queues._limits.has_changed:
        _activate_queued(queues)
    if queues._repeating.count and not queues._closing:
        _queue_repeats(queues, now, repeat_interval)
    queues._call += 1
    return True


cdef ChannelSender _whose_turn(ChannelQueues queues):
    """Return the channel that has sent the fewest bytes, for its weight, of those not tried."""
    cdef PyObject *each = queues._ready
    cdef PyObject *first = NULL
    cdef int64_t turn, least = INT64_MAX
    while each != NULL:
        turn = max((<ChannelSender>each).turn, queues._turn)
        if turn < least and (<ChannelSender>each).tried != queues._call:
            first, least = each, turn
        each = (<ChannelSender>each).next_ready
    return None if first == NULL else <ChannelSender>first


cdef void _take_turn(
    ChannelQueues queues, ChannelSender sender, object part, bint is_first
) noexcept:
    """Count the bytes of a part. The first of a packet is of the channel whose turn it is."""
    cdef int64_t start = max(sender.turn, queues._turn)
    cdef int64_t size = FRAME_HEAD
    if type(part) is OutgoingFragment:
        size += (<OutgoingFragment>part).size
    else:
        size += (<OutgoingMessage>part).size
    if is_first:
        queues._turn = start
    sender.turn = start + (size << sender.weight)


cdef void _deactivate(ChannelQueues queues, ChannelSender sender) noexcept:
    """Take a channel out of those that may have something."""
    cdef PyObject **each = &queues._ready
    while each[0] != <PyObject *>sender:
        each = &(<ChannelSender>each[0]).next_ready
    each[0] = sender.next_ready
    sender.next_ready = NULL
    sender.is_ready = False


cdef int _activate_queued(ChannelQueues queues) except -1:
    """Look at all channels again: what was refused may be begun now."""
    cdef ChannelSender sender
    queues._limits.has_changed = False
    for sender in queues._channels:
        if sender is not None and sender.has_queued():
            queues._activate(sender)
    return 0


cdef int _queue_repeats(ChannelQueues queues, double now, double interval) except -1:
    """Hand the best-effort messages that are to be repeated to their channels."""
    cdef OutgoingMessage message
    cdef ChannelSender sender
    while queues._repeating.count:
        message = queue_front(&queues._repeating)
        if not message.completed and now < message.last_sent + interval:
            break
        if not message.completed:
            sender = queues._sender_of(message)
            (<UnorderedSender>sender).add_repeat(message)
            queues._activate(sender)
        queue_pop(&queues._repeating)
    return 0


# -- outcomes -----------------------------------------------------------------------------------

cdef void _on_bytes_sent(ChannelQueues queues, ChannelSender sender, Py_ssize_t size) noexcept:
    """Account for bytes that were never sent before, or are not to be sent any more."""
    queues.pending -= size
    queues._charged -= size
    sender.pending -= size


cdef void _on_all_sent(ChannelQueues queues) noexcept:
    """Account for a message of which nothing is left that was never sent."""
    queues._charged -= ITEM_COST
    queues._unsent -= 1


cdef bint _is_superseded(ChannelQueues queues, OutgoingMessage message):
    """Return True for a message of a latest channel that has sent a newer one."""
    cdef ChannelSender sender = queues._sender_of(message)
    return sender.kind == LATEST and message.number < sender.newest


cdef int _supersede(ChannelQueues queues, ChannelSender sender) except -1:
    """Complete the lost messages of a latest channel that has sent a newer one."""
    cdef OutgoingMessage message
    for message in sender.take_retransmissions():
        message.is_queued = False
        queues._complete(message, False)
    return 0


cdef int _on_part_acked(
    ChannelQueues queues, object part, double sent_at, double now
) except -1:
    cdef OutgoingFragment fragment
    cdef OutgoingMessage message
    cdef ChannelSender sender
    if type(part) is not OutgoingFragment:
        return queues._complete(<OutgoingMessage?>part, True)
    fragment = part
    message = fragment.message
    if message is None or message.grid is None:
        return 0
    if message.grid.restarts(sent_at, now):
        sender = queues._sender_of(message)
        queues._limits.slow_down()
        sender.add_lost(message)
        queues._activate(sender)
    if not message.grid.counts(sent_at):
        return 0
    message.grid.on_acked(fragment.offset // FRAGMENT_UNIT, _units(fragment.size))
    return queues._complete(message, True) if message.grid.unacked == 0 else 0


# -- copies during a drain ----------------------------------------------------------------------

cdef OutgoingMessage _first_copy(ChannelQueues queues):
    """Return the message of which a drain sends a copy next, each in turn, or None.

    Only once all were sent: until then, later packets show the losses.
    """
    cdef ChannelSender sender
    cdef OutgoingMessage message
    if queues._unsent or not queues._unacked:
        return None
    if queues._copies.count == 0:
        for sender in queues._channels:
            if sender is not None:
                for message in sender.unacked():
                    queue_append(&queues._copies, message)
    while queues._copies.count:
        message = queue_front(&queues._copies)
        if not message.completed:
            return message
        queue_pop(&queues._copies)
    return None


cdef object _next_copy(ChannelQueues queues, Py_ssize_t room, bint alone, double now):
    """Return a copy of what is not acked, one packet per `COPY_INTERVAL`."""
    cdef OutgoingMessage message
    if alone and now < queues._last_copy + COPY_INTERVAL:
        return None
    message = _first_copy(queues)
    if message is None or now < message.last_sent + COPY_INTERVAL:
        return None
    if alone:
        queues._last_copy = now
    if message.grid is not None:
        return _fragment_copy(queues, message, room)
    if message_size(message, message.number, True) > room and not alone:
        return None
    queue_pop(&queues._copies)
    return message if message_size(message, message.number, True) <= room else None


cdef OutgoingFragment _fragment_copy(
    ChannelQueues queues, OutgoingMessage message, Py_ssize_t room
):
    """Return the next fragment of a message that is not acked, or None."""
    cdef OutgoingFragment fragment
    cdef uint32_t first = 0
    cdef uint32_t units = message.grid.unacked_run(message.copied, _units(room), &first)
    if units == 0:  # from the start again
        units = message.grid.unacked_run(0, _units(room), &first)
    fragment = cut_fragment(message, first, units, room)
    message.copied = 0 if fragment is None else first + _units(fragment.size)
    queue_pop(&queues._copies)
    return fragment


cdef double _next_copy_time(ChannelQueues queues) except? -1.0:
    """Return when a drain has a copy to send, or infinity."""
    cdef OutgoingMessage message = _first_copy(queues)
    if message is None or queues.drain_ended:
        return INFINITY
    return max(message.last_sent, queues._last_copy) + COPY_INTERVAL
