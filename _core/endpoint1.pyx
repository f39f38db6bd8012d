"""One side of a session of protocol 1.

Sending: messages wait in the send queue; `next_datagram` coalesces what fits, writes the header
with the acks, seals the packet, and records in the sent window what it carried. Receiving:
`receive` checks the header against the receive window before it decrypts, and validates the whole
payload before it uses any of it; then it handles the acks and delivers the messages. A datagram
that fails a check changes nothing but a counter.

The send time in headers is the wall clock at the start plus the monotonic time since then. At most
32,767 packets share one written second, so no two packets share a nonce; beyond that the sender
waits.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport INFINITY

from mpgameserver._core.ack_frequency cimport ACK_EVERY, MAX_ACK_DELAY_MS
from mpgameserver._core.black_hole cimport (
    SIZE_CLASSES,
    SMALL,
    SizeClass,
    carried,
    on_acked,
    on_lost,
    on_unexplained_loss,
    size_class,
)
from mpgameserver._core.drop_reason cimport (
    ACCEPTED,
    NOT_AUTHENTIC,
    OUT_OF_WINDOW,
    INBOX_FULL,
    MALFORMED,
    MISDIRECTED,
    REASSEMBLY_FULL,
    REPEATED,
    TOO_OLD,
    UNEXPECTED,
)
from mpgameserver._core.endpoint cimport PING_INTERVAL
from mpgameserver._core.fragmenter cimport FragmentHeader, Reassembly, read_fragment_header
from mpgameserver._core.message cimport RETRY_ON_TIMEOUT, Message
from mpgameserver._core.packet cimport (
    FRAGMENT_HEADER,
    SHARED_OVERHEAD,
    SINGLE_OVERHEAD,
    PayloadReader,
    max_payload,
    payload_is_valid,
    read_message,
)
from mpgameserver._core.packet_builder cimport (
    begin_packet,
    end_packet,
    finish_payload,
    put_empty,
    put_message,
    remember_message,
)
from mpgameserver._core.packet_cipher cimport (
    MAX_KEY_PACKETS,
    borrow_buffer,
    give_back_buffer,
    open_packet,
    seal_packet,
)
from mpgameserver._core.packet_header cimport (
    APP,
    APP_FRAGMENT,
    CHALLENGE_RESP,
    DISCONNECT,
    HEADER_SIZE,
    KEEP_ALIVE,
    MAX_MESSAGES,
    TAG_SIZE,
    read_header,
    write_header,
)
from mpgameserver._core.receive_window cimport BEHIND, DUPLICATE, FRESH
from mpgameserver._core.rounding cimport floor_integer
from mpgameserver._core.send_limits cimport ANYTHING, MESSAGES, NOTHING, Room
from mpgameserver._core.send_queue cimport MAX_REDUNDANT_BYTES, NARROW_SPAN, WIDE_SPAN
from mpgameserver._core.sent_window cimport (
    ACKED,
    ACK_ELICITING,
    PING,
    PROBE,
    SentPacket,
    SentWindow,
)
from mpgameserver._core.seqnum cimport HALF_RING, expand, to_wire

__all__ = ["Endpoint1"]

cdef double CLOCK_ROUNDING = 1e-6  # seconds: more than a double rounds a Unix time by


@cython.final
cdef class Endpoint1(Endpoint):
    """The delivery engine of one side of a session of protocol 1.

    `aead` encrypts and decrypts like `cryptography`'s AESGCM: `encrypt(nonce, data,
    associated_data)` and `decrypt(...)`, which raises `cryptography.exceptions.InvalidTag`. `now`
    is the monotonic time and `wall_start` the Unix time of the start, in seconds. `max_datagram` is
    the size of the largest datagram to send, in bytes. `packets_before` and `messages_before` are
    the numbers that the handshake has used. `hello_received` is the packet number of the peer's
    hello, which is acked until the first sealed packet arrives; it is not entered in the receive
    window, because a hello's header is not authenticated.
    """

    def __cinit__(
        self, aead, bint is_server, double now, double wall_start, *,
        Py_ssize_t max_datagram=1472, int64_t packets_before=0, int64_t messages_before=0,
        uint16_t hello_received=0,
    ):
        cdef Py_ssize_t payload_limit = max_payload(max_datagram)
        if not FRAGMENT_HEADER < payload_limit <= 0xFFFF - SINGLE_OVERHEAD:
            raise ValueError(f"max_datagram cannot be {max_datagram} bytes")
        self._cipher = Aead(aead)
        self._is_server = is_server
        self.protocol = 1
        self.begin(now)
        self._start, self._wall_start = now, wall_start
        self._path.body = self._path.largest_body = payload_limit + SINGLE_OVERHEAD
        self._path.unsafe = SIZE_CLASSES
        self._hello_received = hello_received
        self.received_packets = ReceiveWindow()
        self.sent_packets = SentWindow(packets_before)
        self.send_queue = self._queue = SendQueue(payload_limit, messages_before)
        self.reassembler = self._reassembler = Reassembler()
        self._message_filter = DuplicateFilter()

    # -- for the owner ----------------------------------------------------------------------

    def queue_challenge_response(self, bytes payload not None):
        """Queue the handshake's last message, which is retransmitted until it is acked."""
        self._queue.add_control(CHALLENGE_RESP, payload)

    cpdef bint disconnect_acked(self) noexcept:
        return self._queue.disconnect_acked()

    cpdef list arriving_on(self, int channel):
        return [] if channel else self._reassembler.arriving()

    cdef int64_t key_packets(self) noexcept:
        # Both sides seal under one key.
        return self.sent_packets.newest + self.received_packets.newest

    cdef bint path_is_stuck(self) noexcept:
        return self._path.is_stuck

    cpdef bytes abort(self, double now):
        self._queue.close()
        if not self._tick(now):
            return None
        self._queue.add_control(DISCONNECT, b"")
        return self._assemble(ANYTHING)

    cpdef Py_ssize_t largest_datagram(self) noexcept:
        return HEADER_SIZE + self._path.body + TAG_SIZE

    @property
    def path_is_narrow(self):
        """True once the path was found to drop large datagrams; no more are made.

        Only messages that were already fragmented for large datagrams are still sent in them.
        """
        return self._path.unsafe < SIZE_CLASSES

    # -- time -------------------------------------------------------------------------------

    cdef bint _tick(self, double now) noexcept:
        """Move the clock; return False while no nonce is left in the current second.

        Once the key has reached its limit, returns False for good.
        """
        cdef int64_t second
        self._now = max(self._now, now)
        second = floor_integer(self._wall_start + (self._now - self._start))
        if second != self._written_second:
            self._written_second = second
            self._written_count = 0
        return self._written_count < HALF_RING and self.key_packets() < MAX_KEY_PACKETS

    cpdef void advance(self, double now):
        self.enter()
        try:
            self._tick(now)
            self._find_lost()
            while self.sent_packets.pop_timed_out(self._now, self.message_timeout):
                self.timeouts += 1
            self._queue.expire(self._now, self.message_timeout)
            if self._reassembler.share.held:
                self._reassembler.expire(self._heard_for)
            self.send_limits.on_pending(self._queue.pending, self._now)
        finally:
            self._is_entered = False

    cdef int _find_lost(self) except -1:
        """Report the contents of lost packets to the send queue."""
        cdef int64_t number
        cdef bint probed = False
        while True:
            number = self.sent_packets.pop_lost(
                self._now, _loss_delay(self), self.send_limits.pto()
            )
            if number == 0:
                break
            if number > self.sent_packets.newest_acked:
                probed = True
            else:
                self.send_limits.congestion.on_packet_lost()
            contents = self.sent_packets.contents(number)
            if self.sent_packets.remembers(number) and (
                self.sent_packets.packet(number).size_class > SMALL
            ):
                _on_large_lost(self, number, contents)
            if contents is not None:
                self._queue.on_packet_lost(contents, number)
        if probed and (self.established or self.rtt.measured):
            self.send_limits.on_pto()
        return 0

    cpdef double next_timer(self) except? -1.0:
        cdef double when = INFINITY
        cdef Room room = self._room()
        if self._written_count >= HALF_RING:
            return self._start + (self._written_second + 1 - self._wall_start) + CLOCK_ROUNDING
        if self.established:
            when = self._last_sent + self.keep_alive_interval
        if self._unacked >= ACK_EVERY or self._path.wants_small:
            return self._now
        if self._unacked:
            when = min(when, self._ack_due_at)
        if room == ANYTHING and self._queue.has_more():
            return self._now
        when = min(when, self.loss_time(_loss_delay(self)))
        return min(when, self.next_chance(room))

    # -- out --------------------------------------------------------------------------------

    cdef Room _room(self) noexcept:
        """Return what one more packet may begin with; a DISCONNECT that is due is always sent."""
        if self._queue.drain_ended:
            return ANYTHING
        return self.send_limits.room(
            self.sent_packets.newest, self.sent_packets.oldest_undecided, _wants_trial(self),
            self._now,
        )

    cpdef bytes next_datagram(self, double now):
        self.enter()
        try:
            if not self._tick(now):
                return None
            if _wants_trial(self) and self.send_limits.trial_may_begin(
                self.sent_packets.newest, self.sent_packets.oldest_undecided
            ):
                self.send_limits.ack_frequency.begin_trial(self._now)
                self._queue.span_blocked = False
            if self.send_limits.favours_messages(
                self.sent_packets.span(), self._now
            ) and self._queue.has_unfragmented():
                return self._assemble(MESSAGES)
            return self._assemble(self._room())
        finally:
            self._is_entered = False

    cdef bytes _assemble(self, Room room):
        """Build the next packet from what is due and fits, or return None."""
        cdef PacketBuilder packet
        begin_packet(&packet, self._path.largest_body)
        try:
            if room != NOTHING:
                self._fill(&packet, room == MESSAGES)
            if packet.count == 0 and not self._must_speak():
                return None
            if packet.count == 0 and not self._queue.drain_ended:
                if not (self._path.wants_small and _add_probe(self, &packet)):
                    _add_ping(self, &packet)
            return self._close(&packet)
        finally:
            end_packet(&packet)

    cdef int _fill(self, PacketBuilder *packet, bint ahead) except -1:
        """Coalesce what is due into a packet; `ahead`: it may be sent ahead of fragments."""
        cdef Message message
        cdef bint remember
        cdef Py_ssize_t limit = packet.limit - SINGLE_OVERHEAD
        cdef int64_t packet_number = self.sent_packets.newest + 1
        cdef int most = self.send_limits.messages_per_packet(self._queue.backlog(), self._now)
        cdef bint copies = self.copies_messages()
        self._queue.is_idle = self.sent_packets.span() == 0
        while packet.count < most and limit >= 0:
            message = self._queue.next_message(
                limit, packet.count == 0, ahead, self._now, self.keep_alive_interval
            )
            if message is None:
                break
            remember = self._queue.on_message_sent(message, packet_number, self._now)
            self.send_limits.on_content_sent(message.parent is not None, packet_number)
            put_message(packet, message)
            self._queue.is_idle = False
            if remember:
                remember_message(packet, message)
            if message.travels_alone():
                break
            limit = self._path.body - packet.size - SHARED_OVERHEAD
        if packet.count and ahead:
            self.send_limits.on_packet_ahead(self._now)
        elif packet.count:
            self.send_limits.newest_behind = packet_number
        if copies and packet.count and packet.packet_type >= APP:
            _add_redundant_copies(self, packet)
        return 0

    cdef bint _must_speak(self) noexcept:
        """Return True if acks, the keep-alive or a path probe require a packet without messages."""
        if self._path.wants_small:
            return True
        if self._unacked >= ACK_EVERY or (self._unacked and self._now >= self._ack_due_at):
            return True
        return self.established and self._now >= self._last_sent + self.keep_alive_interval

    cdef bytes _close(self, PacketBuilder *packet):
        """Assign the packet number and seal the packet."""
        cdef const unsigned char *payload = finish_payload(packet)
        cdef unsigned char head[HEADER_SIZE]
        cdef PacketFields fields
        cdef bint ack_eliciting = packet.packet_type != KEEP_ALIVE and not packet.is_probe
        cdef SentPacket *sent
        fields.from_server = self._is_server
        fields.time = <uint32_t>self._written_second
        fields.packet_type = packet.packet_type
        fields.length = <uint16_t>packet.size
        fields.count = packet.count
        fields.ack = self.received_packets.ack() or <uint16_t>self._hello_received
        fields.ack_bits = self.received_packets.ack_bits()
        fields.seq = to_wire(self.sent_packets.on_packet_sent(
            self._now, ack_eliciting,
            None if packet.contents == NULL else <object>packet.contents,
        ))
        sent = self.sent_packets.packet(self.sent_packets.newest)
        sent.newest.message = self._queue.newest
        if packet.count and not ack_eliciting:
            sent.flags = PROBE if packet.is_probe else PING
        sent.size_class = size_class(HEADER_SIZE + packet.size + TAG_SIZE)
        if sent.size_class == SMALL:
            self._path.wants_small = False
        if ack_eliciting:
            self.send_limits.on_packet_sent(
                self.sent_packets.newest, self.sent_packets.oldest_undecided, self._now
            )
        self._written_count += 1
        self._last_sent = self._now
        self._unacked = 0
        self.assembled += 1
        write_header(head, &fields)
        return seal_packet(self._cipher, head, payload, packet.size)

    # -- in ---------------------------------------------------------------------------------

    cdef DropReason take_datagram(self, bytes datagram, double now) except? REASON_COUNT:
        cdef PacketFields fields
        cdef DropReason reason = self._judge(&fields, datagram)
        return reason if reason != ACCEPTED else self._take(&fields, datagram, now)

    cdef DropReason _take(self, PacketFields *fields, bytes data, double now) except? REASON_COUNT:
        """Decrypt a datagram whose header was accepted, and use its contents."""
        cdef unsigned char *payload = borrow_buffer()
        cdef DropReason reason
        try:
            reason = self._open(fields, data, payload)
            if reason == ACCEPTED:
                self.received_packets.enter(fields.seq, fields.time)
                self.on_packet_accepted(PyBytes_GET_SIZE(data), now)
                self.messages_received += fields.count
                self._apply_acks(fields)
                self._deliver_all(fields, payload)
        finally:
            give_back_buffer(payload)
        return reason

    cdef DropReason _judge(self, PacketFields *fields, bytes datagram) except? REASON_COUNT:
        """Check what can be checked before a datagram is decrypted."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(datagram)
        cdef int arrival
        if not read_header(
            <const unsigned char *>PyBytes_AS_STRING(datagram), size, fields
        ) or fields.from_server == self._is_server:
            return MISDIRECTED
        if (
            size != HEADER_SIZE + fields.length + TAG_SIZE
            or fields.seq == 0
            or not CHALLENGE_RESP <= fields.packet_type <= APP_FRAGMENT
        ):
            return MALFORMED
        if self._is_server and not self.established and (
            fields.packet_type != CHALLENGE_RESP or fields.count != 1
        ):
            return UNEXPECTED
        arrival = self.received_packets.judge(fields.seq, fields.time)
        if arrival != FRESH:
            if arrival == DUPLICATE:
                return REPEATED
            return TOO_OLD if arrival == BEHIND else OUT_OF_WINDOW
        return ACCEPTED

    cdef DropReason _open(
        self, PacketFields *fields, bytes datagram, unsigned char *payload
    ) except? REASON_COUNT:
        """Decrypt a packet, and check every message of its payload before any is used."""
        cdef PayloadReader reader
        cdef MessageView view
        cdef FragmentHeader fragment
        cdef Py_ssize_t size = 0, fragments = 0, messages = 0
        cdef bint fills_inbox = False
        cdef uint8_t i
        if not open_packet(self._cipher, datagram, payload):
            return NOT_AUTHENTIC
        _start_reading(&reader, fields, payload)
        if not payload_is_valid(reader.next, reader.size, reader.count):
            return MALFORMED
        for i in range(fields.count):
            read_message(&reader, &view)
            if not CHALLENGE_RESP <= view.message_type <= APP_FRAGMENT:
                return MALFORMED
            if i == 0 and view.message_type != fields.packet_type:
                return MALFORMED
            if view.message_type == APP_FRAGMENT:
                if not read_fragment_header(view.data, view.size, &fragment):
                    return MALFORMED
                fragments += 1
                size += view.size
                messages += self._reassembler.is_new(&fragment)
            fills_inbox |= view.message_type >= APP
        if fills_inbox and self.inbox_is_full():
            return INBOX_FULL
        if fragments and not self._reassembler.has_room(size, fragments, messages):
            return REASSEMBLY_FULL
        return ACCEPTED

    cdef int _apply_acks(self, PacketFields *fields) except -1:
        """Handle the ack fields of an accepted packet."""
        cdef uint32_t i
        cdef int64_t number
        cdef double elapsed
        cdef int64_t newest = expand(fields.ack, self.sent_packets.newest)
        cdef int64_t in_flight = self.sent_packets.span()
        cdef int64_t newest_acked = self.sent_packets.newest_acked
        self.sent_packets.on_ack(fields.ack, fields.ack_bits)
        self.send_limits.ack_frequency.on_ack(newest, fields.ack_bits)
        for i in range(self.sent_packets.newly_acked_count):
            number = self.sent_packets.newly_acked[i]
            self.acked += 1
            if not self.sent_packets.packet(number).flags & (ACK_ELICITING | PING):
                continue
            self._queue.newest_acked = max(
                self._queue.newest_acked, self.sent_packets.packet(number).newest.message
            )
            elapsed = self._now - self.sent_packets.packet(number).sent_at
            if self.sent_packets.packet(number).flags & PING:
                if number == newest:
                    self.rate_bins.on_rtt_sample(elapsed, self._now)
                    self.rtt.sample(elapsed)
                else:  # its own ack was lost or never sent, and this one was sent later
                    self._ping_due_at = self._now
                continue
            if self.sent_packets.packet(number).size_class > SMALL:
                on_acked(
                    &self._path, <SizeClass>self.sent_packets.packet(number).size_class, self._now
                )
            self._ping_due_at = self._now + PING_INTERVAL
            self.rate_bins.on_rtt_sample(elapsed, self._now)
            self.send_limits.on_packet_acked(elapsed, number > newest_acked, self._now)
            newest_acked = max(newest_acked, number)
            contents = self.sent_packets.take_contents(number)
            if contents is not None:
                self._queue.on_packet_acked(contents)
        if self.sent_packets.newly_acked_count:
            self.send_limits.congestion.on_ack(newest_acked, self.sent_packets.newest, in_flight)
            if self.send_limits.ack_frequency.is_frequent:
                self._queue.message_span = WIDE_SPAN
        return 0

    cdef int _deliver_all(self, PacketFields *fields, const unsigned char *payload) except -1:
        cdef PayloadReader reader
        cdef MessageView view
        cdef uint8_t _
        _start_reading(&reader, fields, payload)
        for _ in range(fields.count):
            read_message(&reader, &view)
            self._deliver(&view)
        if fields.count:
            self._schedule_ack(fields.packet_type <= KEEP_ALIVE)
        return 0

    cdef int _deliver(self, MessageView *view) except -1:
        """Deliver a message unless it was already received."""
        cdef FragmentHeader fragment
        cdef Reassembly complete
        cdef int64_t number = expand(view.seq, self._message_filter.newest)
        if not self._message_filter.insert(number):
            self.repeated_messages += 1
        elif view.message_type == APP:
            self.deliver(
                number, PyBytes_FromStringAndSize(<char *>view.data, view.size)
            )
        elif view.message_type == APP_FRAGMENT:
            read_fragment_header(view.data, view.size, &fragment)
            complete = self._reassembler.take(
                &fragment, view.data + FRAGMENT_HEADER, view.size - FRAGMENT_HEADER, number,
                self._heard_for,
            )
            if complete is not None:
                self.deliver(complete.first_message, complete.message())
        elif view.message_type == DISCONNECT:
            self.disconnect_received = True
        elif view.message_type == CHALLENGE_RESP:
            self.challenge = PyBytes_FromStringAndSize(<char *>view.data, view.size)
        return 0

    cdef int _schedule_ack(self, bint at_once) except -1:
        if self._unacked == 0:
            self._ack_due_at = self._now + MAX_ACK_DELAY_MS / 1000.0
        if at_once:
            self._ack_due_at = self._now
        self._unacked += 1
        return 0

    cpdef bint ack_is_due(self) noexcept:
        return self._unacked >= ACK_EVERY


cdef double _loss_delay(Endpoint1 endpoint):
    """Return the age at which a packet is lost if a later one was acked."""
    return min(endpoint.rtt.loss_delay(), endpoint.send_limits.pto())


cdef bint _wants_trial(Endpoint1 endpoint) noexcept:
    cdef SendQueue queue = endpoint._queue
    return endpoint.send_limits.wants_trial(queue.span_blocked, queue.pending)


cdef int _on_large_lost(Endpoint1 endpoint, int64_t number, object contents) except -1:
    """Update the path limit after the loss of a large packet.

    The loss counts only if the next packet is smaller, carried messages and was acked. A reliable
    message is stuck only if it was alone in the packet: several would each fit a smaller one.
    """
    cdef SentWindow sent = endpoint.sent_packets
    cdef SizeClass size = <SizeClass>sent.packet(number).size_class
    cdef bint is_reliable = False
    if not sent.remembers(number + 1) or not (
        sent.packet(number + 1).flags & ACKED
        and sent.packet(number + 1).flags & (ACK_ELICITING | PROBE)
        and sent.packet(number + 1).size_class < size
    ):
        on_unexplained_loss(&endpoint._path)
        return 0
    if type(contents) is Message:
        is_reliable = (<Message>contents).retry == RETRY_ON_TIMEOUT and (
            not (<Message>contents).completed
        )
    if on_lost(&endpoint._path, size, is_reliable, endpoint._now):
        endpoint._path.body = max_payload(carried(&endpoint._path)) + SINGLE_OVERHEAD
        endpoint._queue.shrink(max_payload(carried(&endpoint._path)))
    return 0


cdef bint _add_probe(Endpoint1 endpoint, PacketBuilder *packet) except -1:
    """Put an empty copy of an acked message into a packet; return False if none is known.

    No receiver delivers it, because its number is still in the duplicate filter.
    """
    cdef SentWindow sent = endpoint.sent_packets
    cdef int64_t number = sent.newest
    while sent.remembers(number - 1):
        # What it carried has arrived, and no earlier packet carried the newest message of that
        # time.
        if sent.packet(number).flags & ACKED and (
            sent.packet(number).newest.message > sent.packet(number - 1).newest.message
        ):
            if sent.packet(number).newest.message <= endpoint._queue.newest - NARROW_SPAN // 2:
                return False
            put_empty(packet, sent.packet(number).newest.message, APP)
            packet.is_probe = True
            return True
        number -= 1
    return False


cdef int _add_redundant_copies(Endpoint1 endpoint, PacketBuilder *packet) except -1:
    """Fill the rest of a packet with copies of small unacked messages."""
    cdef Message message
    cdef int64_t packet_number = endpoint.sent_packets.newest + 1
    cdef Py_ssize_t until = min(packet.size + MAX_REDUNDANT_BYTES, endpoint._path.body)
    cdef double interval = endpoint.copy_interval()
    while packet.count < MAX_MESSAGES and packet.size + SHARED_OVERHEAD <= until:
        message = endpoint._queue.next_redundant(
            until - packet.size - SHARED_OVERHEAD, endpoint._now, interval
        )
        if message is None:
            break
        endpoint._queue.on_message_sent(message, packet_number, endpoint._now)
        put_message(packet, message)
        remember_message(packet, message)
    return 0


cdef int _add_ping(Endpoint1 endpoint, PacketBuilder *packet) except -1:
    """Turn a packet without messages into a ping, `PING_INTERVAL` after the last sample.

    Not while packets with messages are in flight, which yield samples themselves, unless a probe
    needs an acked message number. A ping has its own message number, because the published
    receiver drops every message with a number that it has already received.
    """
    if (
        endpoint.established
        and endpoint._now >= endpoint._ping_due_at
        and (endpoint.sent_packets.span() == 0 or endpoint._path.wants_small)
        and endpoint._queue.may_number()
    ):
        endpoint._ping_due_at = endpoint._now + PING_INTERVAL
        endpoint._queue.newest += 1
        put_empty(packet, endpoint._queue.newest, KEEP_ALIVE)
    return 0


cdef inline void _start_reading(
    PayloadReader *reader, PacketFields *fields, const unsigned char *payload
) noexcept:
    reader.next = payload
    reader.size = fields.length
    reader.count = fields.count
    reader.packet_type = fields.packet_type
