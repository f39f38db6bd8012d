"""One side of a session of protocol 2; docs/protocol2.md specifies what it sends and accepts.

A datagram that opens is walked twice. The first walk checks every frame, and changes nothing: a
packet that breaks a rule has no effect but the end of the session. The second walk uses the frames.
One for which there is no room is skipped, and then the packet is not acked: its sender will send
the contents again, while those that end an incomplete message are used, and make room.

A packet is filled with what must go first: pieces of the connect and accept data, windows, replies,
then messages, and the ACK where it fits. What is remembered of it is a message, a list of messages,
or a tuple of a list of control frames and one of those.

Until `establish` only what both sides may send at the start of a session is sent. A client keeps
what arrives too early, because packets overtake each other, and receives it again then.

The peer breaks a rule: `error_code` says which code closes the session, which is the owner's to do.
"""

import os
from hmac import compare_digest

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport INFINITY
from libc.stdint cimport int8_t, uint32_t

from mpgameserver._core.ack_frequency cimport ACK_EVERY, MAX_ACK_DELAY_MS
from mpgameserver._core.ack_schedule cimport ack_demand
from mpgameserver._core.budget cimport ITEM_COST
from mpgameserver._core.channel_receiver cimport (
    IGNORED,
    MALFORMED as MALFORMED_FRAME,
    NO_ROOM,
    UNORDERED,
    WINDOW_BROKEN,
)
from mpgameserver._core.control_frames cimport ControlFrame, control_frame
from mpgameserver._core.drop_reason cimport (
    ACCEPTED,
    INBOX_FULL,
    MALFORMED,
    NOT_AUTHENTIC,
    REASSEMBLY_FULL,
    REPEATED,
    TOO_OLD,
    UNEXPECTED,
)
from mpgameserver._core.endpoint cimport PING_INTERVAL, seqnum_of, untracked
from mpgameserver._core.fifo cimport Fifo, queue_append, queue_pop
from mpgameserver._core.frame_writer cimport (
    begin_frames,
    contents_of,
    end_frames,
    finish_frames,
    remember_control,
    remember_part,
    room_left,
    write_encoded,
    write_frame,
    write_message,
)
from mpgameserver._core.frames cimport (
    ACCEPT,
    ACK,
    CLOSE,
    CONNECT,
    CONNECTION_ID_SIZE,
    FRAGMENT,
    KEM,
    MAX_ACK_RANGES,
    MESSAGE,
    NEW_CONNECTION_ID,
    PADDING,
    PATH_CHALLENGE,
    PATH_DATA_SIZE,
    PATH_RESPONSE,
    PING,
    RESERVED,
    RETIRE_CONNECTION_ID,
    TIME,
    TIME_REPLY,
    WINDOW,
    AckRange,
    AckRanges,
    FrameType,
    begin_ranges,
    frame_size,
    put_ranges,
    take_frame,
    take_range,
)
from mpgameserver._core.inspection cimport begin_inspection, is_skipped, skip_frame
from mpgameserver._core.outgoing cimport fill_frame, is_fragment
from mpgameserver._core.packet_cipher cimport borrow_buffer, give_back_buffer
from mpgameserver._core.packet_header cimport TAG_SIZE
from mpgameserver._core.packet_protection cimport (
    MAX_NUMBER_SIZE,
    MAX_PHASE_PACKETS,
    SealedHeader,
    number_size,
)
from mpgameserver._core.peer_clock cimport PeerClock
from mpgameserver._core.received_packets cimport REMEMBERED_PACKETS
from mpgameserver._core.rounding cimport floor_integer
from mpgameserver._core.send_limits cimport ANYTHING, MESSAGES, NOTHING, SendLimits
from mpgameserver._core.send_queue cimport MAX_REDUNDANT_BYTES
from mpgameserver._core.sent_window cimport ACK_ELICITING, MAX_SENT_SLOTS, SentWindow
from mpgameserver._core.varint cimport Cursor

__all__ = ["Endpoint2"]

cpdef enum:
    # Datagrams that a client keeps until it is accepted; docs/protocol2.md, "Accept data".
    MAX_EARLY_PACKETS = 64

cdef enum:
    CLOSE_PROTOCOL = 1       # codes of a CLOSE
    CLOSE_WINDOW = 7
    CLOSE_KEYS = 8
    LEAST_DATAGRAM = 1200    # bytes that every path must carry (RFC 9000 section 14)
    ACK_SPACE = 16           # bytes left for an ACK beside the largest message of one packet
    # Half of the packets of a key: the peer may be slow to ack the first of the next.
    UPDATE_AFTER = MAX_PHASE_PACKETS >> 1
    # Packets in flight below which no number is skipped: who acks what it has not received gains
    # nothing then, and a game's sessions in virtual time do not depend on chance.
    SKIP_SPAN = 16
    LEAST_SKIP = 64          # packets between two numbers that are skipped...
    SKIP_MASK = 1023         # ...and as many more at random, at most
    CLOSING_PTOS = 3         # probe timeouts for which a CLOSE is sent

cdef bytes RESET_HEAD = b"\x04\xff\x04"   # a handshake packet of the kind 4
cdef int64_t MAX_FORGED = <int64_t>1 << 52     # under one key: RFC 9001 section 6.6
cdef double LEAST_ROUND_TRIP = MAX_ACK_DELAY_MS / 1000.0     # of `wants_ping`
cdef double DEFAULT_IDLE_TIMEOUT = 5.0


@cython.final
cdef class Endpoint2(Endpoint):
    """The delivery engine of one side of a session of protocol 2.

    `own_secret` and `peer_secret` are the traffic secrets of what this side and the peer seal, each
    a `TrafficSecret`. `connection_id` has 8 bytes. `max_datagram` is the size of the largest
    datagram to send, in bytes, at least 1,200. Raises ValueError for other values.
    """

    def __cinit__(
        self, own_secret, peer_secret, bint is_server, double now, bytes connection_id not None, *,
        Py_ssize_t max_datagram=LEAST_DATAGRAM,
    ):
        if PyBytes_GET_SIZE(connection_id) != CONNECTION_ID_SIZE:
            raise ValueError(f"a connection id of {len(connection_id)} bytes")
        if not LEAST_DATAGRAM <= max_datagram <= 0xFFFF:
            raise ValueError(f"max_datagram cannot be {max_datagram} bytes")
        self.protocol = 2
        self.begin(now)
        self.connection_id = connection_id
        self.peer_idle_timeout = DEFAULT_IDLE_TIMEOUT
        self._is_server = is_server
        self._incoming_id_size = CONNECTION_ID_SIZE if is_server else 0
        self._outgoing_id = b"" if is_server else connection_id
        self._frames_limit = (
            max_datagram - 1 - PyBytes_GET_SIZE(self._outgoing_id) - MAX_NUMBER_SIZE - TAG_SIZE
        )
        self._sealer = PacketSealer(own_secret, own_secret.mask())
        self._opener = PacketOpener(peer_secret, peer_secret.mask())
        self.received_packets = ReceivedPackets()
        self.send_queue = self._queue = ChannelQueues(self._frames_limit - ACK_SPACE)
        self.reassembler = self._reassembler = GridReassembler()
        self._acks = AckSchedule()
        self._control = ControlQueue()
        self._setup = SetupPieces()
        self._receivers = [None] * 256
        self._receivers[0] = ChannelReceiver(0, UNORDERED, self._reassembler)
        self._inboxes = [None] * 256
        self._ordered = []
        self._early = []
        self._close_text = b""
        self._time_echo = -1
        self.clock = None if is_server else PeerClock()
        self._phase_start = 1
        self._followed_at = self._close_sent_at = -INFINITY
        self._forget_at = INFINITY
        self._random = int.from_bytes(os.urandom(8), "big") | 1
        self._skip_at = _next_skip(self, 0)
        self.send_limits.trust_receiver()

    # -- the start --------------------------------------------------------------------------------

    @property
    def setup(self):
        """The peer's connect or accept data, None until all of it has come."""
        return self._setup.whole

    def send_setup(self, bytes data not None):
        """Queue the connect data of a client, or the accept data of a server."""
        self._control.add_pieces(ACCEPT if self._is_server else CONNECT, data)

    def open_channel(
        self, int channel, int kind, int priority=0, tuple window=(0, 0), tuple peer_window=(0, 0)
    ):
        """Open a channel besides 0, in both directions.

        `kind` is its `ChannelKind`; `window` and `peer_window` are the first windows of an ordered
        channel, each (highest number, highest total), that this side and the peer grant. Raises
        ValueError for what no table of channels holds, and for a channel that is open.
        """
        cdef ChannelReceiver receiver = ChannelReceiver(
            channel, kind, self._reassembler, window[0], window[1]
        )
        if self._receivers[channel] is not None:
            raise ValueError(f"channel {channel} is open")
        self._queue.open(channel, kind, priority, peer_window[0], peer_window[1])
        self._receivers[channel] = receiver
        self._inboxes[channel] = Fifo()
        if receiver.order is not None:
            self._ordered.append(receiver)

    def establish(self, double now):
        """Let messages flow: the client is accepted, and its channels are open on this side."""
        cdef list early = self._early
        self.established = True
        self._early = []
        for datagram in early:
            self.receive(datagram, now)

    # -- paths ------------------------------------------------------------------------------------

    @property
    def last_is_newest(self):
        """True if the last packet that was accepted has the highest number of all."""
        return self.last_number == self.received_packets.newest()

    def challenge_path(self, bytes challenge not None, Py_ssize_t size, double now):
        """Return a packet with a PATH_CHALLENGE of 8 bytes, filled up to `size` bytes in all.

        It is not for the address of the session. Returns None while no packet can be sealed.
        """
        if PyBytes_GET_SIZE(challenge) != PATH_DATA_SIZE:
            raise ValueError(f"a challenge of {len(challenge)} bytes")
        self.enter()
        try:
            self._now = max(self._now, now)
            if self.error_code or not self._renew_key():
                return None
            return _assemble_challenge(self, challenge, size)
        finally:
            self._is_entered = False

    def on_path_changed(self):
        """Begin anew on another path: what is in flight is lost, and nothing is known of it."""
        self.sent_packets.on_path_changed()
        self.send_limits = SendLimits()
        self.send_limits.trust_receiver()
        self.rtt = self.send_limits.rtt

    # -- for the owner ----------------------------------------------------------------------------

    cdef int set_close(self, int64_t code, bytes text) except -1:
        self._close_code = code
        self._close_text = text
        return 0

    cdef int send_on(self, int channel, bytes data, int8_t retry, object callback) except -1:
        return self._queue.add_on(channel, data, retry, callback)

    cpdef Py_ssize_t pending_on(self, int channel) except -1:
        return self._queue.pending_on(channel)

    cpdef tuple take_message(self):
        cdef tuple item = Endpoint.take_message(self)
        if len(item) > 2:
            _on_taken(self, item[2], item[1])
        return item

    def take_messages(self):
        """Take all messages received, of the game's channels too on a server."""
        cdef list messages = []
        while self._inbox.count:
            messages.append(self.take_message())
        return messages

    cpdef tuple take_channel_message(self, int channel):
        """Take the oldest message of a client's channel: (SeqNum, bytes).

        Raises IndexError if there is none.
        """
        cdef tuple item = queue_pop(&_inbox_of(self, channel)._queue)
        self.inbox_share.charge(-(PyBytes_GET_SIZE(item[1]) + ITEM_COST))
        _on_taken(self, channel, item[1])
        return item

    cpdef Py_ssize_t channel_inbox_size(self, int channel) except -1:
        """Return the number of messages of a client's channel that it has not taken."""
        return _inbox_of(self, channel)._queue.count

    def request_key_update(self):
        """Seal with a new key as soon as the protocol allows it."""
        self._wants_key = True

    @property
    def key_phase(self):
        """The number of key updates of this side and of the peer."""
        return self._sealer.phase, self._opener.phase

    cpdef bint disconnect_acked(self) noexcept:
        return self._close_acked or (
            self._close_packet > 0
            and self._now >= self._close_first_at + CLOSING_PTOS * self.rtt.pto()
        )

    cpdef bytes abort(self, double now):
        self._now = max(self._now, now)
        self.close()
        if self.disconnect_received:
            return _assemble_ack(self) if self._acks.waiting else None
        return _assemble_close(self)

    cpdef void close(self) except *:
        cdef ChannelReceiver receiver
        self._queue.close()
        self._control.clear()
        self._early.clear()
        for receiver in self._receivers:
            if receiver is not None:
                receiver.clear()

    # -- time -------------------------------------------------------------------------------------

    cpdef void advance(self, double now):
        self.enter()
        try:
            self._now = max(self._now, now)
            self._find_lost()
            while self.sent_packets.pop_timed_out(self._now, self.message_timeout):
                self.timeouts += 1
            self._queue.expire(self._now, self.message_timeout)
            if self._reassembler.share.held:
                self._reassembler.expire(self._heard_for)
                if self._reassembler.is_order_broken:
                    _break(self, CLOSE_PROTOCOL)
            if self._now >= self._forget_at:
                self._forget_at = INFINITY
                self._opener.forget_previous()
            self.send_limits.on_pending(self._queue.pending, self._now)
        finally:
            self._is_entered = False

    cdef int _find_lost(self) except -1:
        """Send again what was in lost packets, as far as it is to be."""
        cdef int64_t number
        cdef bint probed = False
        while True:
            number = self.sent_packets.pop_lost(
                self._now, self.rtt.loss_delay(), self.send_limits.pto()
            )
            if number == 0:
                break
            if number < self.sent_packets.path_start:
                pass  # it was sent on another path, of which nothing is to be learned
            elif number > self.sent_packets.newest_acked:
                probed = True
            else:
                self.send_limits.congestion.on_packet_lost()
            contents = self.sent_packets.contents(number)
            if contents is not None:
                _on_contents_lost(self, contents, number)
        if probed:
            self.send_limits.on_pto()
        return 0

    cpdef double next_timer(self) except? -1.0:
        cdef double when = self._acks.due_at
        cdef Room room
        if self._queue.is_drained():
            return min(when, _close_due(self))
        if self._acks.at_once:
            return self._now
        if _speaks(self):
            when = min(when, self._last_sent + self.keep_alive_interval)
        room = self._room()
        if room == ANYTHING and _has_more(self):
            return self._now
        return min(when, min(self.loss_time(), self.next_chance(room)))

    # -- out --------------------------------------------------------------------------------------

    cdef Room _room(self) noexcept:
        """Return what one more packet may begin with."""
        if self._queue.drain_ended:
            return ANYTHING
        if self.sent_packets.span() >= MAX_SENT_SLOTS - 1:
            return NOTHING
        return self.send_limits.room(
            self.sent_packets.newest, self.sent_packets.oldest_undecided, False, self._now
        )

    cpdef bytes next_datagram(self, double now):
        self.enter()
        try:
            self._now = max(self._now, now)
            if self.error_code or not self._renew_key():
                return None
            if self._queue.is_drained():  # nothing but the end is left to send
                if self._now >= _close_due(self):
                    return _assemble_close(self)
                return _assemble_ack(self) if self._acks.due_at <= self._now else None
            return self._assemble(self._room())
        finally:
            self._is_entered = False

    cdef bytes _assemble(self, Room room):
        """Build the next packet from what is due and fits, or return None."""
        cdef FrameWriter packet
        cdef unsigned char ranges[16 * MAX_ACK_RANGES + 16]
        cdef Frame ack = self._ack_frame(ranges)
        cdef Py_ssize_t ack_size = 0
        if self._acks.waiting:
            ack_size = frame_size(&ack, False)
        begin_frames(&packet, self._frames_limit)
        try:
            if room != NOTHING:
                self._fill(&packet, room == MESSAGES, ack_size)
            if packet.size == 0 and not _must_speak(self):
                return None
            if not packet.is_ack_eliciting and _wants_ping(self, &ack):
                _write_ping(self, &packet)
            if ack.number and (ack_size or packet.size == 0):
                self._write_ack(&packet, &ack)
            if packet.size == 0:
                _write_ping(self, &packet)
            return self._seal(&packet)
        finally:
            end_frames(&packet)

    cdef int _fill(self, FrameWriter *packet, bint ahead, Py_ssize_t ack_size) except -1:
        """Write what is due besides an ACK; `ahead`: the packet may be sent ahead of fragments."""
        cdef bint is_setup = _write_control(self, packet)
        _write_replies(self, packet)
        # Nothing that a client could not take stands beside or before a piece of the accept data.
        if not self.established or is_setup or not self._control.is_empty():
            return 0
        if self._windows_due:
            _write_windows(self, packet)
        self._write_messages(packet, ahead, ack_size)
        if packet.messages and ahead:
            self.send_limits.on_packet_ahead(self._now)
        elif packet.messages:
            self.send_limits.newest_behind = self.sent_packets.newest + 1
        return 0

    cdef int _write_messages(self, FrameWriter *packet, bint ahead, Py_ssize_t ack_size) except -1:
        """Write messages, the shorter ones beside each other, and copies of small ones."""
        cdef Py_ssize_t reserved = ack_size if ack_size <= ACK_SPACE else 0
        cdef bint copies = self.copies_messages()
        cdef bint alone
        cdef Py_ssize_t room
        while room_left(packet) > reserved:
            alone = packet.messages == 0
            room = room_left(packet) - reserved
            if ahead and alone:
                part = self._queue.next_message(room, self._now, self.keep_alive_interval)
            else:
                part = self._queue.next_part(room, self._now, self.keep_alive_interval, alone)
            if part is None:
                break
            self._write_part(packet, part)
        if copies and packet.messages:
            _write_copies(self, packet, reserved)
        return 0

    cdef int _write_part(self, FrameWriter *packet, object part) except -1:
        """Write a message or a fragment that was taken from the queue."""
        cdef Frame frame
        cdef int64_t number = self.sent_packets.newest + 1
        fill_frame(part, &frame)
        write_message(packet, &frame)  # first: what follows may run a finalizer that closes all
        self.send_limits.on_content_sent(is_fragment(part), number)
        if self._queue.on_part_sent(part, number, self._now):
            remember_part(packet, part)
        return 0

    cdef Frame _ack_frame(self, unsigned char *ranges) noexcept:
        """Return the ACK of now; its `number` is 0 if nothing was received."""
        cdef AckRange found[MAX_ACK_RANGES]
        cdef Frame frame
        cdef Py_ssize_t count
        _begin_frame(&frame, ACK)
        if self.received_packets.newest() == 0:
            return frame
        count = self.received_packets.ranges(found)
        frame.number = found[0].newest
        frame.total = self._acks.delay(self._now)
        frame.data = ranges
        frame.size = put_ranges(ranges, found, count)
        return frame

    cdef int _write_ack(self, FrameWriter *packet, const Frame *ack) except -1:
        """Write the ACK, if it fits."""
        if frame_size(ack, False) <= room_left(packet):
            write_frame(packet, ack)
            packet.reported = ack.number
            packet.late = self.received_packets.late
        return 0

    cdef bytes _seal(self, FrameWriter *packet):
        """Assign the packet number and seal the packet."""
        cdef int64_t number
        cdef bint ack_eliciting = packet.is_ack_eliciting
        finish_frames(packet)
        number = self.sent_packets.on_packet_sent(self._now, ack_eliciting, contents_of(packet))
        if packet.reported:
            self.sent_packets.on_report_sent(packet.reported, <uint32_t>packet.late)
            self._acks.on_ack_sent(self._now, ack_eliciting)
        if ack_eliciting:
            self.send_limits.on_packet_sent(number, self.sent_packets.oldest_undecided, self._now)
        self._last_sent = self._now
        self.assembled += 1
        if number >= self._skip_at and self.sent_packets.span() > SKIP_SPAN:
            self.sent_packets.skip_number(self._now)
            self._skip_at = _next_skip(self, number)
        return self._sealer.seal_frames(
            self._outgoing_id, number, self.sent_packets.newest_acked, packet.buffer, packet.size
        )

    cdef bint _renew_key(self) except -1:
        """Go on to the next key where that is due; return False if no packet can be sealed."""
        cdef bint may_begin
        if self._opener.phase > self._sealer.phase:
            return _update_key(self)
        may_begin = (
            self._sealer.phase == self._opener.phase
            and self.sent_packets.newest_acked >= self._phase_start
            and self._now >= self._followed_at + CLOSING_PTOS * self.rtt.pto()
        )
        if may_begin and (self._wants_key or self._sealer.sealed >= UPDATE_AFTER):
            return _update_key(self)
        if self._sealer.sealed >= MAX_PHASE_PACKETS:
            _break(self, CLOSE_KEYS)
        return self.error_code == 0

    # -- in ---------------------------------------------------------------------------------------

    cpdef bint ack_is_due(self) noexcept:
        return self._acks.at_once or self._acks.waiting >= ACK_EVERY

    cdef DropReason take_datagram(self, bytes datagram, double now) except? REASON_COUNT:
        """Open a datagram, and use its frames."""
        cdef SealedHeader header
        cdef unsigned char *frames
        cdef Py_ssize_t size
        cdef int64_t newest = self.received_packets.newest()
        if self.error_code:
            return UNEXPECTED
        if not self._opener.unmask(datagram, self._incoming_id_size, newest, &header):
            self.was_reset = self.was_reset or _is_reset(self, datagram)
            return MALFORMED
        if not self.received_packets.is_new(header.number):
            return TOO_OLD if header.number <= newest - REMEMBERED_PACKETS else REPEATED
        frames = borrow_buffer()
        try:
            size = self._opener.open_frames(&header, datagram, frames)
            if size < 0:
                if self._dropped[<int>NOT_AUTHENTIC] + 1 >= MAX_FORGED:
                    _break(self, CLOSE_KEYS)
                return NOT_AUTHENTIC
            return self._use(header.number, frames, size, datagram, now)
        finally:
            give_back_buffer(frames)

    cdef DropReason _use(
        self, int64_t number, const unsigned char *frames, Py_ssize_t size, bytes datagram,
        double now
    ) except? REASON_COUNT:
        """Check all frames of a packet that has opened, and use those for which there is room."""
        cdef Inspection found
        if not self._inspect(&found, frames, size):
            return MALFORMED
        if found.is_early:
            return _keep_early(self, datagram)
        self.on_packet_accepted(PyBytes_GET_SIZE(datagram), now)
        self.last_number = number
        self.path_response = None
        _note_phase(self)
        self._use_all(&found, frames, size)
        if self.error_code:
            return MALFORMED
        if found.lacks == ACCEPTED:
            out_of_order = self.received_packets.enter(number)
            self._acks.on_packet_received(
                self._now, found.demand, out_of_order, number == self.received_packets.newest()
            )
        return found.lacks

    cdef bint _inspect(
        self, Inspection *found, const unsigned char *frames, Py_ssize_t size
    ) except -1:
        """Check the frames of a packet; return False if one breaks a rule, which ends the session.
        """
        cdef Cursor cursor
        cdef Frame frame
        begin_inspection(found)
        self._reassembler.begin_packet()
        cursor.next, cursor.end = frames, frames + size
        while cursor.next < cursor.end:
            if not take_frame(&cursor, &frame) or not self._inspect_frame(found, &frame):
                return _break(self, CLOSE_PROTOCOL)
            if self.error_code:
                return False
            found.demand |= ack_demand(frame.type)
            found.frames += 1
        return True

    cdef bint _inspect_frame(self, Inspection *found, const Frame *frame) except -1:
        """Return False if a frame breaks a rule."""
        cdef FrameType kind = frame.type
        if kind == MESSAGE or kind == FRAGMENT:
            return self._inspect_message(found, frame)
        if kind == ACK:
            return _inspect_ack(self, frame)
        if kind == CONNECT:
            return self._is_server
        if kind == ACCEPT:
            return not self._is_server
        if kind == KEM or kind == RETIRE_CONNECTION_ID:
            # No answer of ours, and no hello, leads to a KEM; the only id is that of this packet.
            return False
        if kind == WINDOW and self.established and (
            self._receivers[frame.channel] is None
            or (<ChannelReceiver>self._receivers[frame.channel]).order is None
        ):
            return False
        if kind == NEW_CONNECTION_ID and self._is_server:
            return False
        if kind == WINDOW or kind == NEW_CONNECTION_ID or kind == RESERVED:
            return self._may_be_early(found)
        return True

    cdef bint _may_be_early(self, Inspection *found) noexcept:
        """Return True for a frame that only an accepted client sends or takes, if it may come now.
        """
        if not self.established:
            found.is_early = True
        return self.established or not self._is_server

    cdef bint _inspect_message(self, Inspection *found, const Frame *frame) except -1:
        cdef ChannelReceiver receiver = self._receivers[frame.channel]
        cdef int fate
        if not self.established:
            return self._may_be_early(found)
        if receiver is None:
            return False
        fate = receiver.inspect(frame)
        if fate == WINDOW_BROKEN:
            return not _break(self, CLOSE_WINDOW)
        if fate == MALFORMED_FRAME:
            return False
        if fate == NO_ROOM:
            skip_frame(found, REASSEMBLY_FULL)
        elif fate == IGNORED:
            found.repeated += 1
        elif self.inbox_is_full():
            skip_frame(found, INBOX_FULL)
        return True

    cdef int _use_all(
        self, Inspection *found, const unsigned char *frames, Py_ssize_t size
    ) except -1:
        """Use the frames for which there is room; behind an end only those of the end."""
        cdef Cursor cursor
        cdef Frame frame
        cdef int i = 0
        self.repeated_messages += found.repeated
        cursor.next, cursor.end = frames, frames + size
        while cursor.next < cursor.end and self.error_code == 0:
            take_frame(&cursor, &frame)
            if not is_skipped(found, i):
                self._use_frame(&frame)
            i += 1
        return 0

    cdef int _use_frame(self, const Frame *frame) except -1:
        cdef FrameType kind = frame.type
        if kind == ACK:
            return self._apply_ack(frame)
        if kind == CLOSE:
            return _use_close(self, frame)
        if self.disconnect_received or self._close_packet:
            return 0
        if kind == MESSAGE or kind == FRAGMENT:
            return _use_message(self, frame)
        if kind == WINDOW:
            self._queue.grant(frame.channel, frame.number, frame.total)
        elif kind == CONNECT or kind == ACCEPT:
            if not self._setup.add(frame):
                _break(self, CLOSE_PROTOCOL)
        elif kind == PATH_CHALLENGE:
            self._path_response = PyBytes_FromStringAndSize(<const char *>frame.data, frame.size)
        elif kind == PATH_RESPONSE:
            self.path_response = PyBytes_FromStringAndSize(<const char *>frame.data, frame.size)
        elif kind == TIME_REPLY and self.clock is not None:
            self.clock.on_reply(
                frame.number, frame.total, frame.offset, _microseconds(self._now)
            )
        elif kind == TIME:
            self._time_echo = frame.number
            self._time_received = _microseconds(self._now)
        return 0

    cdef int _apply_ack(self, const Frame *frame) except -1:
        """Mark the packets of an ACK."""
        cdef AckRanges ranges
        cdef AckRange range
        cdef int64_t in_flight = self.sent_packets.span()
        cdef int64_t late = self.received_packets.late
        self.sent_packets.begin_ack()
        begin_ranges(&ranges, frame)
        while take_range(&ranges, &range):
            self.sent_packets.on_range_acked(range.newest, range.oldest)
        if self.sent_packets.newly_acked_count == 0:
            return 0
        _sample_round_trip(self, frame)
        self.received_packets.on_report_acked(
            self.sent_packets.newest_report_acked(<uint32_t>late), late
        )
        _on_newly_acked(self)
        self.send_limits.congestion.on_ack(
            self.sent_packets.newest_acked, self.sent_packets.newest, in_flight
        )
        return 0

cdef bint _write_control(Endpoint2 endpoint, FrameWriter *packet) except -1:
    """Write control frames; return True if one is a piece of the connect or accept data."""
    cdef ControlFrame frame = endpoint._control.take(room_left(packet))
    cdef bint is_setup = False
    while frame is not None:
        write_encoded(packet, frame.encoded)
        remember_control(packet, frame)
        is_setup |= frame.type == CONNECT or frame.type == ACCEPT
        frame = endpoint._control.take(room_left(packet))
    return is_setup


cdef int _write_replies(Endpoint2 endpoint, FrameWriter *packet) except -1:
    """Answer the last PATH_CHALLENGE and the last TIME; a client asks for the time itself."""
    cdef Frame frame
    if endpoint._path_response is not None:
        _begin_frame(&frame, PATH_RESPONSE)
        frame.data = <const unsigned char *>PyBytes_AS_STRING(endpoint._path_response)
        frame.size = PyBytes_GET_SIZE(endpoint._path_response)
        write_frame(packet, &frame)
        endpoint._path_response = None
    if endpoint._time_echo >= 0:
        _begin_frame(&frame, TIME_REPLY)
        frame.number = endpoint._time_echo
        frame.total = endpoint._time_received
        frame.offset = _microseconds(endpoint._now)
        write_frame(packet, &frame)
        endpoint._time_echo = -1
    if endpoint.clock is not None and endpoint.established and endpoint.clock.is_due(endpoint._now):
        _begin_frame(&frame, TIME)
        frame.number = _microseconds(endpoint._now)
        write_frame(packet, &frame)
        endpoint.clock.on_asked(frame.number, endpoint._now)
    return 0


cdef int _write_windows(Endpoint2 endpoint, FrameWriter *packet) except -1:
    """Write the WINDOWs that are due."""
    cdef ChannelReceiver receiver
    cdef ControlFrame window
    cdef Frame frame
    for receiver in endpoint._ordered:
        if not receiver.order.is_window_due():
            continue
        _begin_frame(&frame, WINDOW)
        frame.channel = receiver.channel
        receiver.order.renew_window()
        frame.number = receiver.order.granted_number
        frame.total = receiver.order.granted_total
        if frame_size(&frame, False) > room_left(packet):
            receiver.order.on_window_lost()  # due again in the next packet
            return 0
        window = control_frame(&frame)
        write_encoded(packet, window.encoded)
        remember_control(packet, window)
    endpoint._windows_due = False
    return 0


cdef int _on_contents_acked(Endpoint2 endpoint, object contents) except -1:
    cdef ControlFrame frame
    if type(contents) is tuple:
        for frame in <list>(<tuple>contents)[0]:
            frame.is_acked = True
            endpoint._close_acked |= frame.type == CLOSE
        contents = (<tuple>contents)[1]
    return 0 if contents is None else endpoint._queue.on_packet_acked(contents)


cdef int _on_contents_lost(Endpoint2 endpoint, object contents, int64_t number) except -1:
    cdef ControlFrame frame
    if type(contents) is tuple:
        for frame in <list>(<tuple>contents)[0]:
            if frame.type == WINDOW:
                _on_window_lost(endpoint, frame)
            elif frame.type != CLOSE:  # which is repeated by a timer
                endpoint._control.add_again(frame)
        contents = (<tuple>contents)[1]
    return 0 if contents is None else endpoint._queue.on_packet_lost(contents, number)


cdef bint _has_more(Endpoint2 endpoint) except -1:
    """Return True if there is something to send now that no timer has to call for."""
    if endpoint._path_response is not None or endpoint._time_echo >= 0:
        return True
    if not endpoint._control.is_empty():
        return True
    return endpoint.established and (endpoint._windows_due or endpoint._queue.has_more())


cdef bint _speaks(Endpoint2 endpoint) noexcept:
    """Return True if silence would make the peer believe that this side is gone."""
    return endpoint.error_code == 0 and (endpoint.established or endpoint.received > 0)


cdef int _use_close(Endpoint2 endpoint, const Frame *frame) except -1:
    if not endpoint.disconnect_received:
        endpoint.disconnect_received = True
        endpoint.close_code = frame.number
        endpoint.close_text = PyBytes_FromStringAndSize(
            <const char *>frame.data, frame.size
        ).decode(errors="replace")
    return 0


cdef bint _inspect_ack(Endpoint2 endpoint, const Frame *frame) except -1:
    cdef AckRanges ranges
    cdef AckRange range
    begin_ranges(&ranges, frame)
    while take_range(&ranges, &range):
        if not endpoint.sent_packets.was_sent(range.newest, range.oldest):
            return False
    return True


cdef bint _must_speak(Endpoint2 endpoint) noexcept:
    """Return True if an ACK or the keep-alive requires a packet without anything else."""
    if endpoint._acks.due_at <= endpoint._now:
        return True
    return _speaks(endpoint) and endpoint._now >= endpoint._last_sent + endpoint.keep_alive_interval


cdef bint _wants_ping(Endpoint2 endpoint, const Frame *ack) noexcept:
    """Return True if a packet that is not ack-eliciting should be; `ack` is its ACK.

    Once it is acked, the older ranges of its ACK need not be reported again.
    """
    if endpoint._now >= endpoint._ping_due_at and _speaks(endpoint):
        return True
    # The data begins with the number of older ranges, which takes one byte.
    return endpoint._acks.waiting > 0 and ack.data[0] > 0 and endpoint._acks.wants_ping(
        endpoint._now, max(endpoint.rtt.srtt, LEAST_ROUND_TRIP)
    )


cdef int _on_newly_acked(Endpoint2 endpoint) except -1:
    """Complete what the packets that an ACK has newly reported have carried."""
    cdef uint32_t i
    cdef int64_t number
    for i in range(endpoint.sent_packets.newly_acked_count):
        number = endpoint.sent_packets.newly_acked[i]
        endpoint.acked += 1
        if endpoint.sent_packets.packet(number).flags & ACK_ELICITING:
            if number >= endpoint.sent_packets.path_start:
                endpoint.send_limits.on_delivery(endpoint._now)
            contents = endpoint.sent_packets.take_contents(number)
            if contents is not None:
                _on_contents_acked(endpoint, contents)
    return 0


cdef int _use_message(Endpoint2 endpoint, const Frame *frame) except -1:
    cdef ChannelReceiver receiver = endpoint._receivers[frame.channel]
    cdef bytes message = receiver.take(frame, endpoint._heard_for)
    cdef int64_t number
    endpoint.messages_received += 1
    while message is not None:
        number = frame.number if receiver.order is None else receiver.order.delivered
        _deliver_on(endpoint, receiver, number, message)
        message = receiver.next_ready()
    return 0


cdef double _close_due(Endpoint2 endpoint) noexcept:
    """Return when the CLOSE is to be sent next."""
    if endpoint.disconnect_acked():
        return INFINITY
    return endpoint._close_sent_at + endpoint.rtt.pto()


cdef inline void _begin_frame(Frame *frame, FrameType kind) noexcept:
    frame.type = kind
    frame.channel = 0
    frame.number = frame.total = frame.offset = 0
    frame.data = NULL
    frame.size = 0


cdef inline int64_t _microseconds(double now) noexcept:
    return max(floor_integer(now * 1e6), <int64_t>0)


cdef bint _break(Endpoint2 endpoint, int64_t code) noexcept:
    """Note the code with which the session has to end; return False."""
    if endpoint.error_code == 0:
        endpoint.error_code = code
    return False


cdef bint _is_reset(Endpoint2 endpoint, bytes datagram) except -1:
    """Return True for a stateless reset with the token that the server has given."""
    return endpoint.reset_token is not None and compare_digest(
        datagram, RESET_HEAD + endpoint.reset_token
    )


cdef DropReason _keep_early(Endpoint2 endpoint, bytes datagram) except? REASON_COUNT:
    """Keep a datagram that came before the client was accepted, if there is room."""
    if len(endpoint._early) >= MAX_EARLY_PACKETS:
        return UNEXPECTED
    endpoint._early.append(datagram)
    return ACCEPTED


cdef int _note_phase(Endpoint2 endpoint) except -1:
    """Note that the peer has gone on to another key."""
    if endpoint._opener.phase > endpoint._opener_phase:
        endpoint._opener_phase = endpoint._opener.phase
        endpoint._followed_at = endpoint._now
        endpoint._forget_at = endpoint._now + CLOSING_PTOS * endpoint.rtt.pto()
    return 0


cdef bint _update_key(Endpoint2 endpoint) except -1:
    """Go on to the next key of this side; return True."""
    endpoint._sealer.update()
    endpoint._phase_start = endpoint.sent_packets.newest + 1
    endpoint._wants_key = False
    return True


cdef int64_t _next_skip(Endpoint2 endpoint, int64_t number) noexcept:
    """Return the next packet number to be skipped, which the peer cannot foresee."""
    endpoint._random ^= endpoint._random << 13
    endpoint._random ^= endpoint._random >> 7
    endpoint._random ^= endpoint._random << 17
    return number + LEAST_SKIP + <int64_t>(endpoint._random & SKIP_MASK)


cdef Fifo _inbox_of(Endpoint2 endpoint, int channel):
    """Return the inbox of a client's channel. Raises ValueError for one that is not open."""
    if endpoint._is_server or not 0 < channel < 256 or endpoint._inboxes[channel] is None:
        raise ValueError(f"no inbox of channel {channel}")
    return endpoint._inboxes[channel]


cdef int _on_taken(Endpoint2 endpoint, int channel, bytes message) except -1:
    """Note that the game has taken a message, which may make a WINDOW due."""
    cdef ChannelReceiver receiver = endpoint._receivers[channel]
    if receiver.order is not None:
        receiver.order.on_taken(PyBytes_GET_SIZE(message))
        endpoint._windows_due |= receiver.order.is_window_due()
    return 0


cdef int _on_window_lost(Endpoint2 endpoint, ControlFrame window) except -1:
    if not window.is_acked:
        (<ChannelReceiver>endpoint._receivers[window.channel]).order.on_window_lost()
        endpoint._windows_due = True
    return 0


cdef int _deliver_on(
    Endpoint2 endpoint, ChannelReceiver receiver, int64_t number, bytes message
) except -1:
    """Put a message into the inbox: a client has one for each channel, a server one for all."""
    cdef Fifo inbox
    if receiver.channel == 0:
        return endpoint.deliver(number, message)
    if endpoint._is_server:
        queue_append(
            &endpoint._inbox, untracked((seqnum_of(number), message, receiver.channel))
        )
        endpoint.inbox_size = endpoint._inbox.count
    else:
        inbox = endpoint._inboxes[receiver.channel]
        queue_append(&inbox._queue, untracked((seqnum_of(number), message)))
    endpoint.inbox_share.charge(PyBytes_GET_SIZE(message) + ITEM_COST)
    return 0


cdef int _sample_round_trip(Endpoint2 endpoint, const Frame *ack) except -1:
    """Take the round-trip time of the newest packet that an ACK reports (RFC 9002 section 5).

    The delay that the peer reports is taken off, unless that leaves less than the path's minimum.
    """
    cdef SentWindow sent = endpoint.sent_packets
    cdef int64_t number = sent.newly_acked[0]
    cdef double delay = min(ack.total * 1e-6, MAX_ACK_DELAY_MS / 1000.0)
    cdef double elapsed = endpoint._now - sent.packet(number).sent_at
    if number != ack.number or number < sent.path_start or not (
        sent.packet(number).flags & ACK_ELICITING
    ):
        return 0
    if endpoint.rtt.measured and elapsed - delay >= endpoint.rtt.min_rtt:
        elapsed -= delay
    endpoint.rtt.sample(elapsed)
    endpoint.rate_bins.on_rtt_sample(elapsed, endpoint._now)
    endpoint.send_limits.congestion.on_rtt_sample(elapsed, endpoint._now)
    endpoint._ping_due_at = endpoint._now + _ping_interval(endpoint)
    return 0


cdef double _ping_interval(Endpoint2 endpoint) noexcept:
    """Return after which time without a sample a PING is due, within the peer's patience."""
    return min(PING_INTERVAL, endpoint.peer_idle_timeout / 3)


cdef int _write_ping(Endpoint2 endpoint, FrameWriter *packet) except -1:
    """Write a PING, if it fits; another is due after the interval."""
    cdef Frame frame
    _begin_frame(&frame, PING)
    if room_left(packet) < 1:
        return 0
    write_frame(packet, &frame)
    packet.is_ack_eliciting = True
    endpoint._ping_due_at = endpoint._now + _ping_interval(endpoint)
    return 0


cdef int _write_copies(Endpoint2 endpoint, FrameWriter *packet, Py_ssize_t reserved) except -1:
    """Fill the rest of a packet with copies of small unacked messages."""
    cdef Py_ssize_t until = min(packet.size + MAX_REDUNDANT_BYTES, packet.limit - reserved)
    cdef double interval = endpoint.copy_interval()
    while not packet.is_full and packet.size < until:
        part = endpoint._queue.next_redundant(until - packet.size, endpoint._now, interval)
        if part is None:
            break
        endpoint._write_part(packet, part)
    return 0


cdef bytes _assemble_ack(Endpoint2 endpoint):
    """Return a datagram with nothing but an ACK."""
    cdef FrameWriter packet
    cdef unsigned char ranges[16 * MAX_ACK_RANGES + 16]
    cdef Frame ack = endpoint._ack_frame(ranges)
    begin_frames(&packet, endpoint._frames_limit)
    try:
        endpoint._write_ack(&packet, &ack)
        return endpoint._seal(&packet)
    finally:
        end_frames(&packet)


cdef bytes _assemble_challenge(Endpoint2 endpoint, bytes challenge, Py_ssize_t size):
    """Return a datagram of `size` bytes, if that is not too small, with a PATH_CHALLENGE."""
    cdef FrameWriter packet
    cdef Frame frame
    cdef Py_ssize_t filled = size - 1 - PyBytes_GET_SIZE(endpoint._outgoing_id) - TAG_SIZE
    filled -= number_size(endpoint.sent_packets.newest + 1, endpoint.sent_packets.newest_acked)
    begin_frames(&packet, endpoint._frames_limit)
    try:
        _begin_frame(&frame, PATH_CHALLENGE)
        frame.data = <const unsigned char *>PyBytes_AS_STRING(challenge)
        frame.size = PyBytes_GET_SIZE(challenge)
        write_frame(&packet, &frame)
        packet.is_ack_eliciting = True
        _begin_frame(&frame, PADDING)
        while packet.size < filled:
            write_frame(&packet, &frame)
        return endpoint._seal(&packet)
    finally:
        end_frames(&packet)


cdef bytes _assemble_close(Endpoint2 endpoint):
    """Return a datagram with a CLOSE, and an ACK where there is something to ack."""
    cdef FrameWriter packet
    cdef unsigned char ranges[16 * MAX_ACK_RANGES + 16]
    cdef Frame ack = endpoint._ack_frame(ranges)
    cdef Frame close
    cdef ControlFrame frame
    _begin_frame(&close, CLOSE)
    close.number = endpoint._close_code
    close.data = <const unsigned char *>PyBytes_AS_STRING(endpoint._close_text)
    close.size = PyBytes_GET_SIZE(endpoint._close_text)
    begin_frames(&packet, endpoint._frames_limit)
    try:
        if ack.number:
            endpoint._write_ack(&packet, &ack)
        frame = control_frame(&close)
        write_encoded(&packet, frame.encoded)
        remember_control(&packet, frame)
        endpoint._close_packet = endpoint.sent_packets.newest + 1
        endpoint._close_sent_at = endpoint._now
        if endpoint._close_first_at == 0:
            endpoint._close_first_at = endpoint._now
        return endpoint._seal(&packet)
    finally:
        end_frames(&packet)
