"""One side of a connection once there is a key: turns messages into sealed datagrams and back.

Sending: messages wait in the send queue; `next_datagram` coalesces what fits, writes the header
with the acks, seals the packet, and records in the sent window what it carried. Receiving:
`receive` checks the header against the receive window before it decrypts, and validates the whole
payload before it uses any of it; then it handles the acks and delivers the messages. A datagram
that fails a check changes nothing but a counter.

There is no clock here: every call takes `now`, in monotonic seconds, which never goes back: an
earlier time counts as the latest one seen. The send time in headers is the wall clock at the start
plus the monotonic time since then. At most 32,767 packets share one written second, so no two
packets share a nonce; beyond that the sender waits.
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
from mpgameserver._core.budget cimport GUARANTEED, ITEM_COST, Share
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
from mpgameserver._core.fifo cimport queue_append, queue_clear, queue_pop, queue_pop_all
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
from mpgameserver._core.sent_window cimport ACKED, ACK_ELICITING, PING, PROBE, SentPacket
from mpgameserver._core.seqnum cimport HALF_RING, RING_SIZE, expand, to_wire

from mpgameserver._core.seqnum import SeqNum

cdef extern from "Python.h":
    void PyObject_GC_UnTrack(object)

__all__ = ["DROP_REASONS", "Endpoint"]

# The name of each `DropReason` in `Endpoint.drops`.
DROP_REASONS = (
    "malformed", "misdirected", "unexpected", "repeated", "too old", "out of window",
    "authentication failed", "inbox full", "reassembly full",
)
cpdef enum:
    # Bytes of unread messages; a game that calls `getMessages` once per frame stays far below.
    MAX_INBOX_BYTES = 64 * 1024 * 1024

cdef double REDUNDANT_INTERVAL = 0.010  # seconds: packets sent together are lost together
cdef double LOSSY = 0.01           # fraction of packets; above it small messages are copied
cdef double MAX_HEARD = 1.0        # seconds: the part of an idle time that counts towards timeouts
# Seconds. Every second has a ping, even if a keep-alive delays it and one ack yields no sample.
cdef double PING_INTERVAL = 0.5
cdef double CLOCK_ROUNDING = 1e-6  # seconds: more than a double rounds a Unix time by


@cython.final
cdef class Endpoint:
    """The delivery engine of one side of a connection.

    `aead` encrypts and decrypts like `cryptography`'s AESGCM: `encrypt(nonce, data,
    associated_data)` and `decrypt(...)`, which raises `cryptography.exceptions.InvalidTag`. `now`
    is the monotonic time and `wall_start` the Unix time of the start, in seconds. `max_datagram` is
    the size of the largest datagram to send, in bytes. `packets_before` and `messages_before` are
    the numbers that the handshake has used. `hello_received` is the packet number of the peer's
    hello, which is acked until the first sealed packet arrives; it is not entered in the receive
    window, because a hello's header is not authenticated.

    Not thread-safe. `next_datagram`, `receive` and `advance` raise RuntimeError while one of them
    is running, because a finalizer, or an AEAD in Python, may call anything in the middle of one.
    All other methods may be called there.
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
        self._start = self._now = self.last_received = self._last_sent = now
        self.inbox_share = Share(GUARANTEED)
        self._wall_start = wall_start
        self._ping_due_at = -INFINITY
        self.keep_alive_interval = 0.1
        self.message_timeout = 1.0
        self._path.body = self._path.largest_body = payload_limit + SINGLE_OVERHEAD
        self._path.unsafe = SIZE_CLASSES
        self._hello_received = hello_received
        self.received_packets = ReceiveWindow()
        self.sent_packets = SentWindow(packets_before)
        self.send_queue = SendQueue(payload_limit, messages_before)
        self.reassembler = Reassembler()
        self.send_limits = SendLimits()
        self.rtt = self.send_limits.rtt
        self.rate_bins = RateBins(now)
        self._message_filter = DuplicateFilter()

    def __dealloc__(self):
        queue_clear(&self._inbox)

    # -- for the owner ----------------------------------------------------------------------

    def queue_challenge_response(self, bytes payload not None):
        """Queue the handshake's last message, which is retransmitted until it is acked."""
        self.send_queue.add_control(CHALLENGE_RESP, payload)

    cpdef void begin_close(self) except *:
        """Drain: send what is queued, retransmit reliable messages, then send a DISCONNECT.

        The DISCONNECT is sent when all others are acked, or at `end_drain`.
        """
        self.send_queue.begin_close()

    cpdef void end_drain(self) noexcept:
        """Send the DISCONNECT of `begin_close` now, and nothing else from then on."""
        self.send_queue.drain_ended = True

    cpdef bint disconnect_acked(self) noexcept:
        """Return True once the DISCONNECT of `begin_close` was acked."""
        return self.send_queue.disconnect_acked()

    cpdef void close(self) except *:
        """Complete all outstanding messages as not acked, and send no more."""
        self.send_queue.close()

    cpdef bytes abort(self, double now):
        """Close at once, and return a datagram with a DISCONNECT.

        Returns None while no nonce is left.
        """
        self.send_queue.close()
        if not self._tick(now):
            return None
        self.send_queue.add_control(DISCONNECT, b"")
        return self._assemble(ANYTHING)

    cpdef tuple take_message(self):
        """Take the oldest message received: (SeqNum, bytes). Raises IndexError if there is none."""
        cdef tuple item = queue_pop(&self._inbox)
        self.inbox_size = self._inbox.count
        self.inbox_share.charge(-(PyBytes_GET_SIZE(item[1]) + ITEM_COST))
        return item

    def take_messages(self):
        """Take all messages received, as a list of (SeqNum, bytes), in order of arrival."""
        cdef list messages
        try:
            messages = queue_pop_all(&self._inbox)
        finally:
            self.inbox_size = self._inbox.count
        self.inbox_share.charge(-self.inbox_share.held)
        return messages

    cpdef list take_completed(self):
        """Take the list of (callback, acked) of the messages that are completed."""
        cdef list completed, fresh = []  # created first: a garbage collection may call this method
        completed, self.send_queue.completed = self.send_queue.completed, fresh
        return completed

    @property
    def drops(self):
        """The number of datagrams dropped, by reason (`DROP_REASONS`)."""
        return {DROP_REASONS[i - 1]: self._dropped[i] for i in range(1, REASON_COUNT)}

    @property
    def dropped(self):
        """The number of datagrams dropped in all."""
        cdef int64_t total = 0
        for i in range(1, REASON_COUNT):
            total += self._dropped[i]
        return total

    @property
    def path_is_narrow(self):
        """True once the path was found to drop large datagrams; no more are made.

        Only messages that were already fragmented for large datagrams are still sent in them.
        """
        return self._path.unsafe < SIZE_CLASSES

    cpdef void on_datagram_sent(self, uint32_t size, double now):
        """Count a datagram that was handed to the network."""
        self.sent += 1
        self.rate_bins.on_sent(size, now)

    cdef int _enter(self) except -1:
        """Begin a call that no other may interrupt; the caller resets `_is_entered` at its end."""
        if self._is_entered:
            raise RuntimeError("the endpoint is in the middle of another call")
        self._is_entered = True
        return 0

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
        """Detect lost packets and expire messages as of `now`.

        Call it once per frame or tick, before `next_datagram`.
        """
        self._enter()
        try:
            self._tick(now)
            self._find_lost()
            while self.sent_packets.pop_timed_out(self._now, self.message_timeout):
                self.timeouts += 1
            self.send_queue.expire(self._now, self.message_timeout)
            if self.reassembler.share.held:
                self.reassembler.expire(self._heard_for)
            self.send_limits.on_pending(self.send_queue.pending, self._now)
        finally:
            self._is_entered = False

    cdef int _find_lost(self) except -1:
        """Report the contents of lost packets to the send queue."""
        cdef int64_t number
        cdef bint probed = False
        while True:
            number = self.sent_packets.pop_lost(
                self._now, self.rtt.loss_delay(), self.send_limits.pto()
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
                self.send_queue.on_packet_lost(contents, number)
        if probed and (self.established or self.rtt.measured):
            self.send_limits.on_pto()
        return 0

    cpdef double next_timer(self) except? -1.0:
        """Return when `advance` or `next_datagram` is next due if nothing arrives before.

        A time in the past means that there is something to send now.
        """
        cdef double delay, when = INFINITY
        cdef int64_t oldest = self.sent_packets.oldest_undecided
        cdef Room room = self._room()
        cdef bint may_send = room == ANYTHING
        if self._written_count >= HALF_RING:
            return self._start + (self._written_second + 1 - self._wall_start) + CLOCK_ROUNDING
        if self.established:
            when = self._last_sent + self.keep_alive_interval
        if self._unacked >= ACK_EVERY or self._path.wants_small:
            return self._now
        if self._unacked:
            when = min(when, self._ack_due_at)
        if oldest <= self.sent_packets.newest:
            delay = self.send_limits.pto()
            if oldest < self.sent_packets.newest_acked:
                delay = min(delay, self.rtt.loss_delay())
            when = min(when, self.sent_packets.packet(oldest).sent_at + delay)
        if may_send and self.send_queue.has_more():
            return self._now
        if (
            not may_send
            and self.send_limits.newest_fragment >= oldest
            and self.send_queue.has_unfragmented()
        ):
            if room == MESSAGES:
                return self._now
            if self.send_limits.ahead_until() > self._now:
                when = min(when, self.send_limits.ahead_until())
        if not may_send and self.send_limits.paced_until > self._now:
            when = min(when, self.send_limits.paced_until)
        return min(when, self.send_queue.next_timer(
            self.message_timeout, self.keep_alive_interval, may_send
        ))

    # -- out --------------------------------------------------------------------------------

    cdef Room _room(self) noexcept:
        """Return what one more packet may begin with; a DISCONNECT that is due is always sent."""
        if self.send_queue.drain_ended:
            return ANYTHING
        return self.send_limits.room(
            self.sent_packets.newest, self.sent_packets.oldest_undecided, _wants_trial(self),
            self._now,
        )

    cpdef bytes next_datagram(self, double now):
        """Return the next datagram to send now, or None if there is none.

        Call it until it returns None.
        """
        self._enter()
        try:
            if not self._tick(now):
                return None
            if _wants_trial(self) and self.send_limits.trial_may_begin(
                self.sent_packets.newest, self.sent_packets.oldest_undecided
            ):
                self.send_limits.ack_frequency.begin_trial(self._now)
                self.send_queue.span_blocked = False
            if self.send_limits.favours_messages(
                self.sent_packets.span(), self._now
            ) and self.send_queue.has_unfragmented():
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
            if packet.count == 0 and not self.send_queue.drain_ended:
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
        cdef int most = self.send_limits.messages_per_packet(self.send_queue.backlog(), self._now)
        cdef bint is_lossy = self.send_limits.congestion.loss > LOSSY
        if is_lossy != self.send_queue.sends_redundantly:
            self.send_queue.set_redundant(is_lossy)
        self.send_queue.is_idle = self.sent_packets.span() == 0
        while packet.count < most and limit >= 0:
            message = self.send_queue.next_message(
                limit, packet.count == 0, ahead, self._now, self.keep_alive_interval
            )
            if message is None:
                break
            remember = self.send_queue.on_message_sent(message, packet_number, self._now)
            self.send_limits.on_content_sent(message.parent is not None, packet_number)
            put_message(packet, message)
            self.send_queue.is_idle = False
            if remember:
                remember_message(packet, message)
            if message.travels_alone():
                break
            limit = self._path.body - packet.size - SHARED_OVERHEAD
        if packet.count and ahead:
            self.send_limits.on_packet_ahead(self._now)
        elif packet.count:
            self.send_limits.newest_behind = packet_number
        if is_lossy and packet.count and packet.packet_type >= APP:
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
        sent.newest.message = self.send_queue.newest
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

    cpdef DropReason receive(self, bytes datagram, double now) except? REASON_COUNT:
        """Process a datagram from the peer's address.

        Returns 0 if it is accepted. Otherwise it is dropped, nothing but a counter is changed, and
        the result is the position in `DROP_REASONS`, from 1. Never raises for the peer's bytes.
        """
        cdef PacketFields fields
        cdef DropReason reason
        self._enter()
        try:
            reason = self._judge(&fields, datagram)
            if reason == ACCEPTED:
                reason = self._take(&fields, datagram, now)
        finally:
            self._is_entered = False
        if reason != ACCEPTED:
            self._dropped[<int>reason] += 1
        return reason

    cdef DropReason _take(self, PacketFields *fields, bytes data, double now) except? REASON_COUNT:
        """Decrypt a datagram whose header was accepted, and use its contents."""
        cdef unsigned char *payload = borrow_buffer()
        cdef DropReason reason
        try:
            reason = self._open(fields, data, payload)
            if reason == ACCEPTED:
                self._note_received(fields, PyBytes_GET_SIZE(data), now)
                self._apply_acks(fields)
                self._deliver_all(fields, payload)
        finally:
            give_back_buffer(payload)
        return reason

    cdef int _note_received(self, PacketFields *fields, Py_ssize_t size, double now) except -1:
        """Count an accepted packet, and restart the idle timeout."""
        self._now = max(self._now, now)
        self.received_packets.enter(fields.seq, fields.time)
        self._heard_for += min(self._now - self.last_received, MAX_HEARD)
        self.last_received = self._now
        self.received += 1
        self.messages_received += fields.count
        self.rate_bins.on_received(<uint32_t>size, self._now)
        return 0

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
                messages += self.reassembler.is_new(&fragment)
            fills_inbox |= view.message_type >= APP
        if fills_inbox and (
            self.inbox_share.held >= MAX_INBOX_BYTES or not self.inbox_share.has_room(1)
        ):
            return INBOX_FULL
        if fragments and not self.reassembler.has_room(size, fragments, messages):
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
            self.send_queue.newest_acked = max(
                self.send_queue.newest_acked, self.sent_packets.packet(number).newest.message
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
                self.send_queue.on_packet_acked(contents)
        if self.sent_packets.newly_acked_count:
            self.send_limits.congestion.on_ack(newest_acked, self.sent_packets.newest, in_flight)
            if self.send_limits.ack_frequency.is_frequent:
                self.send_queue.message_span = WIDE_SPAN
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
            self._deliver_app(
                number, PyBytes_FromStringAndSize(<char *>view.data, view.size)
            )
        elif view.message_type == APP_FRAGMENT:
            read_fragment_header(view.data, view.size, &fragment)
            complete = self.reassembler.take(
                &fragment, view.data + FRAGMENT_HEADER, view.size - FRAGMENT_HEADER, number,
                self._heard_for,
            )
            if complete is not None:
                self._deliver_app(complete.first_message, complete.message())
        elif view.message_type == DISCONNECT:
            self.disconnect_received = True
        elif view.message_type == CHALLENGE_RESP:
            self.challenge = PyBytes_FromStringAndSize(<char *>view.data, view.size)
        return 0

    cdef int _deliver_app(self, int64_t number, bytes message) except -1:
        cdef tuple item = (_seqnums[to_wire(number)], message)
        # It cannot be part of a cycle, and a full inbox must not slow down each garbage collection.
        PyObject_GC_UnTrack(item)
        queue_append(&self._inbox, item)
        self.inbox_size = self._inbox.count
        self.inbox_share.charge(PyBytes_GET_SIZE(message) + ITEM_COST)
        return 0

    cdef int _schedule_ack(self, bint at_once) except -1:
        if self._unacked == 0:
            self._ack_due_at = self._now + MAX_ACK_DELAY_MS / 1000.0
        if at_once:
            self._ack_due_at = self._now
        self._unacked += 1
        return 0

    cpdef bint ack_is_due(self) noexcept:
        """Return True if enough packets wait for an ack that one should be sent at once."""
        return self._unacked >= ACK_EVERY


# All SeqNums, by number, because creating one takes longer than decrypting a small packet. They are
# created when the module is imported: created on demand, they would make memory grow for half an
# hour of play, and delay a frame that needs many.
cdef list _seqnums = _all_seqnums()


cdef list _all_seqnums():
    cdef list numbers = []
    for value in range(RING_SIZE + 1):
        number = int.__new__(SeqNum, value)
        PyObject_GC_UnTrack(number)  # it cannot be part of a cycle, and there are 65,536
        numbers.append(number)
    return numbers


cdef bint _wants_trial(Endpoint endpoint) noexcept:
    cdef SendQueue queue = endpoint.send_queue
    return endpoint.send_limits.wants_trial(queue.span_blocked, queue.pending)


cdef int _on_large_lost(Endpoint endpoint, int64_t number, object contents) except -1:
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
        endpoint.send_queue.shrink(max_payload(carried(&endpoint._path)))
    return 0


cdef bint _add_probe(Endpoint endpoint, PacketBuilder *packet) except -1:
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
            if sent.packet(number).newest.message <= endpoint.send_queue.newest - NARROW_SPAN // 2:
                return False
            put_empty(packet, sent.packet(number).newest.message, APP)
            packet.is_probe = True
            return True
        number -= 1
    return False


cdef int _add_redundant_copies(Endpoint endpoint, PacketBuilder *packet) except -1:
    """Fill the rest of a packet with copies of small unacked messages."""
    cdef Message message
    cdef int64_t packet_number = endpoint.sent_packets.newest + 1
    cdef Py_ssize_t until = min(packet.size + MAX_REDUNDANT_BYTES, endpoint._path.body)
    cdef double interval = max(endpoint.rtt.srtt / 8, REDUNDANT_INTERVAL)
    while packet.count < MAX_MESSAGES and packet.size + SHARED_OVERHEAD <= until:
        message = endpoint.send_queue.next_redundant(
            until - packet.size - SHARED_OVERHEAD, endpoint._now, interval
        )
        if message is None:
            break
        endpoint.send_queue.on_message_sent(message, packet_number, endpoint._now)
        put_message(packet, message)
        remember_message(packet, message)
    return 0


cdef int _add_ping(Endpoint endpoint, PacketBuilder *packet) except -1:
    """Turn a packet without messages into a ping, `PING_INTERVAL` after the last sample.

    Not while packets with messages are in flight, which yield samples themselves, unless a probe
    needs an acked message number. A ping has its own message number, because the published
    receiver drops every message with a number that it has already received.
    """
    if (
        endpoint.established
        and endpoint._now >= endpoint._ping_due_at
        and (endpoint.sent_packets.span() == 0 or endpoint._path.wants_small)
        and endpoint.send_queue.may_number()
    ):
        endpoint._ping_due_at = endpoint._now + PING_INTERVAL
        endpoint.send_queue.newest += 1
        put_empty(packet, endpoint.send_queue.newest, KEEP_ALIVE)
    return 0


cdef inline void _start_reading(
    PayloadReader *reader, PacketFields *fields, const unsigned char *payload
) noexcept:
    reader.next = payload
    reader.size = fields.length
    reader.count = fields.count
    reader.packet_type = fields.packet_type
