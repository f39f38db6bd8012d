"""The packets that one side of a session of protocol 2 sends.

A packet is filled with what must go first: pieces of the connect and accept data, windows, replies,
then messages, and the ACK where it fits. What is remembered of it is a message, a list of messages,
or a tuple of a list of control frames and one of those.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint32_t

from mpgameserver._core.ack_frequency cimport MAX_ACK_DELAY_MS
from mpgameserver._core.channel_receiver cimport ChannelReceiver
from mpgameserver._core.control_frames cimport ControlFrame, control_frame, is_piece
from mpgameserver._core.endpoint2_state cimport (
    ACK_SPACE,
    CLOSE_KEYS,
    CLOSING_PTOS,
    Endpoint2State,
    break_rule,
    next_skip,
    ping_interval,
    speaks,
)
from mpgameserver._core.frame_writer cimport (
    FrameWriter,
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
    write_padding,
)
from mpgameserver._core.frames cimport (
    ACK,
    CLOSE,
    MAX_ACK_RANGES,
    PATH_RESPONSE,
    PING,
    TIME,
    TIME_REPLY,
    WINDOW,
    AckRange,
    Frame,
    FrameType,
    begin_frame,
    frame_size,
    put_ranges,
)
from mpgameserver._core.outgoing cimport fill_frame, is_fragment
from mpgameserver._core.packet_header cimport TAG_SIZE
from mpgameserver._core.packet_protection cimport MAX_PHASE_PACKETS, number_size
from mpgameserver._core.path_mtu cimport datagram_class
from mpgameserver._core.rounding cimport microseconds
from mpgameserver._core.send_limits cimport ANYTHING, MESSAGES, NOTHING, Room
from mpgameserver._core.send_queue cimport MAX_REDUNDANT_BYTES
from mpgameserver._core.sent_window cimport MAX_SENT_SLOTS, PROBE

__all__ = []

cdef enum:
    # Half of the packets of a key: the peer may be slow to ack the first of the next.
    UPDATE_AFTER = MAX_PHASE_PACKETS >> 1
    # Packets in flight below which no number is skipped: who acks what it has not received gains
    # nothing then, and a game's sessions in virtual time do not depend on chance. At 60 packets a
    # second there are no more up to half a second of round trip.
    SKIP_SPAN = 32
    MANY_WAITING = 32      # so that those sent within the next round trip are fewer than 127
    CLOSE_RESERVE = 128    # packets of a key that are left for CLOSEs: they last for 3 s
    TWO_BYTES = 129        # packets from one that take a number of two bytes

cdef double LEAST_ROUND_TRIP = MAX_ACK_DELAY_MS / 1000.0     # of `wants_ping`


cdef Room room_for(Endpoint2State endpoint) noexcept:
    """Return what one more packet may begin with."""
    if endpoint._queue.drain_ended:
        return ANYTHING
    if endpoint.sent_packets.span() >= MAX_SENT_SLOTS - 1:
        return NOTHING
    return endpoint.send_limits.room(
        endpoint.sent_packets.newest, endpoint.sent_packets.oldest_undecided, False, endpoint._now
    )


cdef bytes assemble(Endpoint2State endpoint, Room room):
    """Build the next packet from what is due and fits, or return None."""
    cdef FrameWriter packet
    cdef unsigned char ranges[16 * MAX_ACK_RANGES + 16]
    cdef Frame ack
    cdef Py_ssize_t ack_size = 0
    ack.number = 0
    if endpoint._acks.waiting:
        ack = _ack_frame(endpoint, ranges)
        ack_size = frame_size(&ack, False)
    begin_frames(&packet, endpoint._frames_limit)
    try:
        if room != NOTHING:
            _fill(endpoint, &packet, room == MESSAGES, ack_size)
        else:
            _write_replies(endpoint, &packet)
        if packet.size == 0 and not _must_speak(endpoint):
            return None
        if not packet.is_ack_eliciting and (
            _wants_ping(endpoint, &ack) or endpoint.path_mtu.is_last(endpoint.sent_packets.newest)
        ):
            _write_ping(endpoint, &packet)
        if packet.size == 0 and ack_size == 0:
            ack = _ack_frame(endpoint, ranges)
        if ack.number:
            _write_ack(endpoint, &packet, &ack)
        if packet.size == 0:
            _write_ping(endpoint, &packet)
        return _seal(endpoint, &packet)
    finally:
        end_frames(&packet)


cdef int _fill(
    Endpoint2State endpoint, FrameWriter *packet, bint ahead, Py_ssize_t ack_size
) except -1:
    """Write what is due besides an ACK; `ahead`: the packet may be sent ahead of fragments."""
    cdef bint is_setup = _write_control(endpoint, packet)
    _write_replies(endpoint, packet)
    # Nothing that a client could not take stands beside or before a piece of the accept data.
    if not endpoint.established or is_setup or not endpoint._control.is_empty():
        return 0
    if endpoint._windows_due:
        _write_windows(endpoint, packet)
    _write_messages(endpoint, packet, ahead, ack_size)
    if packet.messages and ahead:
        endpoint.send_limits.on_packet_ahead(endpoint._now)
    elif packet.messages:
        endpoint.send_limits.newest_behind = endpoint.sent_packets.newest + 1
    return 0


cdef bint _write_control(Endpoint2State endpoint, FrameWriter *packet) except -1:
    """Write control frames; return True if one is a piece of the connect or accept data."""
    cdef ControlFrame frame = endpoint._control.take(room_left(packet))
    cdef bint is_setup = False
    while frame is not None:
        write_encoded(packet, frame.encoded)
        remember_control(packet, frame)
        is_setup |= is_piece(frame.type)
        frame = endpoint._control.take(room_left(packet))
    return is_setup


cdef int _write_replies(Endpoint2State endpoint, FrameWriter *packet) except -1:
    """Answer the last PATH_CHALLENGE and the last TIME; a client asks for the time itself."""
    cdef Frame frame
    if endpoint._path_response is not None:
        begin_frame(&frame, PATH_RESPONSE)
        frame.data = <const unsigned char *>PyBytes_AS_STRING(endpoint._path_response)
        frame.size = PyBytes_GET_SIZE(endpoint._path_response)
        write_frame(packet, &frame)
        endpoint._path_response = None
    if endpoint._time_echo >= 0:
        begin_frame(&frame, TIME_REPLY)
        frame.number = endpoint._time_echo
        frame.total = endpoint._time_received
        frame.offset = microseconds(endpoint._now)
        write_frame(packet, &frame)
        endpoint._time_echo = -1
    if endpoint.clock is not None and endpoint.established and endpoint.clock.is_due(endpoint._now):
        begin_frame(&frame, TIME)
        frame.number = microseconds(endpoint._now)
        write_frame(packet, &frame)
        endpoint.clock.on_asked(frame.number, endpoint._now)
    return 0


cdef int _write_windows(Endpoint2State endpoint, FrameWriter *packet) except -1:
    """Write the WINDOWs that are due."""
    cdef ChannelReceiver receiver
    cdef ControlFrame window
    cdef Frame frame
    for receiver in endpoint._ordered:
        if not receiver.order.is_window_due():
            continue
        begin_frame(&frame, WINDOW)
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


cdef int _write_messages(
    Endpoint2State endpoint, FrameWriter *packet, bint ahead, Py_ssize_t ack_size
) except -1:
    """Write messages, the shorter ones beside each other, and copies of small ones."""
    cdef Py_ssize_t reserved = ack_size if ack_size <= ACK_SPACE else 0
    cdef bint copies = endpoint.copies_messages()
    cdef bint alone
    cdef Py_ssize_t room
    while room_left(packet) > reserved:
        alone = packet.messages == 0
        room = room_left(packet) - reserved
        if ahead and alone:
            part = endpoint._queue.next_message(room, endpoint._now, endpoint.keep_alive_interval)
        else:
            part = endpoint._queue.next_part(
                room, endpoint._now, endpoint.keep_alive_interval, alone
            )
        if part is None:
            break
        _write_part(endpoint, packet, part)
    if copies and packet.messages:
        _write_copies(endpoint, packet, reserved)
    return 0


cdef int _write_part(Endpoint2State endpoint, FrameWriter *packet, object part) except -1:
    """Write a message or a fragment that was taken from the queue."""
    cdef Frame frame
    cdef int64_t number = endpoint.sent_packets.newest + 1
    fill_frame(part, &frame)
    write_message(packet, &frame)  # first: what follows may run a finalizer that closes all
    endpoint.send_limits.on_content_sent(is_fragment(part), number)
    if endpoint._queue.on_part_sent(part, number, endpoint._now):
        remember_part(packet, part)
    return 0


cdef int _write_copies(Endpoint2State endpoint, FrameWriter *packet, Py_ssize_t reserved) except -1:
    """Fill the rest of a packet with copies of small unacked messages."""
    cdef Py_ssize_t until = min(packet.size + MAX_REDUNDANT_BYTES, packet.limit - reserved)
    cdef double interval = endpoint.copy_interval()
    while not packet.is_full and packet.size < until:
        part = endpoint._queue.next_redundant(until - packet.size, endpoint._now, interval)
        if part is None:
            break
        _write_part(endpoint, packet, part)
    return 0


cdef int _write_ping(Endpoint2State endpoint, FrameWriter *packet) except -1:
    """Write a PING, if it fits; another is due after the interval."""
    cdef Frame frame
    begin_frame(&frame, PING)
    if room_left(packet) < 1:
        return 0
    write_frame(packet, &frame)
    packet.is_ack_eliciting = True
    endpoint._ping_due_at = endpoint._now + ping_interval(endpoint)
    return 0


cdef Frame _ack_frame(Endpoint2State endpoint, unsigned char *ranges) noexcept:
    """Return the ACK of now; its `number` is 0 if nothing was received."""
    cdef AckRange found[MAX_ACK_RANGES]
    cdef Frame frame
    cdef Py_ssize_t count
    begin_frame(&frame, ACK)
    if endpoint.received_packets.newest() == 0:
        return frame
    count = endpoint.received_packets.ranges(found)
    frame.number = found[0].newest
    frame.total = endpoint._acks.delay(endpoint._now)
    frame.data = ranges
    frame.size = put_ranges(ranges, found, count)
    return frame


cdef int _write_ack(Endpoint2State endpoint, FrameWriter *packet, const Frame *ack) except -1:
    """Write the ACK, if it fits."""
    if frame_size(ack, False) <= room_left(packet):
        write_frame(packet, ack)
        packet.reported = ack.number
        packet.late = endpoint.received_packets.late
    return 0


cdef bint _must_speak(Endpoint2State endpoint) noexcept:
    """Return True if an ACK or the keep-alive requires a packet without anything else."""
    if endpoint._acks.due_at <= endpoint._now:
        return True
    if endpoint.path_mtu.is_last(endpoint.sent_packets.newest):
        return True
    return speaks(endpoint) and endpoint._now >= endpoint._last_sent + endpoint.keep_alive_interval


cdef bint _wants_ping(Endpoint2State endpoint, const Frame *ack) noexcept:
    """Return True if a packet that is not ack-eliciting should be; `ack` is its ACK.

    Once it is acked, the older ranges of its ACK need not be reported again.
    """
    if endpoint._now >= endpoint._ping_due_at and speaks(endpoint):
        return True
    # The data begins with the number of older ranges, which takes one byte.
    return endpoint._acks.waiting > 0 and ack.data[0] > 0 and endpoint._acks.wants_ping(
        endpoint._now, max(endpoint.rtt.srtt, LEAST_ROUND_TRIP)
    )


cdef bytes _seal(Endpoint2State endpoint, FrameWriter *packet):
    """Assign the packet number and seal the packet."""
    cdef bytes datagram
    cdef int64_t number
    cdef bint ack_eliciting = packet.is_ack_eliciting
    finish_frames(packet)
    number = endpoint.sent_packets.on_packet_sent(endpoint._now, ack_eliciting, contents_of(packet))
    if packet.reported:
        endpoint.sent_packets.on_report_sent(packet.reported, <uint32_t>packet.late)
        endpoint._acks.on_ack_sent(endpoint._now, ack_eliciting)
    if ack_eliciting:
        endpoint.send_limits.on_packet_sent(
            number, endpoint.sent_packets.oldest_undecided, endpoint._now
        )
    endpoint._last_sent = endpoint._now
    endpoint.assembled += 1
    datagram = endpoint._sealer.seal_frames(
        endpoint._outgoing_id, number, _told_from(endpoint, number), packet.buffer, packet.size
    )
    if packet.size > endpoint._least_frames:
        endpoint.sent_packets.note_size_class(number, datagram_class(PyBytes_GET_SIZE(datagram)))
    if number >= endpoint._skip_at and endpoint.sent_packets.span() > SKIP_SPAN:
        endpoint.sent_packets.skip_number(endpoint._now)
        endpoint._skip_at = next_skip(endpoint, number)
    return datagram


cdef int64_t _told_from(Endpoint2State endpoint, int64_t number) noexcept:
    """Return the number from which on the peer must be able to tell a packet number.

    One byte tells no more than 127 later packets apart, and jitter lets more of them overtake a
    packet of a side that sends fast: such a side writes at least two.
    """
    cdef int64_t newest_acked = endpoint.sent_packets.newest_acked
    endpoint._sends_fast |= number - newest_acked > MANY_WAITING
    return min(newest_acked, number - TWO_BYTES) if endpoint._sends_fast else newest_acked


cdef bint _awaits_kem(Endpoint2State endpoint) noexcept:
    """Return True while no key may be updated: the peer may not have the shared secret yet."""
    return (
        endpoint._key_exchange is not None
        and endpoint._opener.phase == 0
        and not endpoint._setup.has_begun()
    )


cdef bint renew_key(Endpoint2State endpoint) except -1:
    """Go on to the next key where that is due; return False if no packet can be sealed."""
    cdef bint may_begin
    if endpoint._opener.phase > endpoint._sealer.phase:
        return update_key(endpoint)
    may_begin = (
        endpoint._sealer.phase == endpoint._opener.phase
        and not _awaits_kem(endpoint)
        and endpoint.sent_packets.newest_acked >= endpoint._phase_start
        and endpoint._now >= endpoint._followed_at + CLOSING_PTOS * endpoint.rtt.pto()
    )
    if may_begin and (endpoint._wants_key or endpoint._sealer.sealed >= UPDATE_AFTER):
        return update_key(endpoint)
    if endpoint._sealer.sealed >= MAX_PHASE_PACKETS - CLOSE_RESERVE:
        break_rule(endpoint, CLOSE_KEYS)
    return endpoint.error_code == 0


cdef bint update_key(Endpoint2State endpoint) except -1:
    """Go on to the next key of this side; return True."""
    endpoint._sealer.update()
    endpoint._phase_start = endpoint.sent_packets.newest + 1
    endpoint._wants_key = False
    return True


cdef bint has_replies(Endpoint2State endpoint) noexcept:
    """Return True if an answer is due, which leaves whatever is in flight: it is never acked."""
    return endpoint._path_response is not None or endpoint._time_echo >= 0


cdef bint has_more(Endpoint2State endpoint) except -1:
    """Return True if there is something to send now that no timer has to call for."""
    if has_replies(endpoint):
        return True
    if not endpoint._control.is_empty():
        return True
    return endpoint.established and (endpoint._windows_due or endpoint._queue.has_more())


cdef double close_due(Endpoint2State endpoint) noexcept:
    """Return when the CLOSE is to be sent next."""
    if endpoint.disconnect_acked():
        return INFINITY
    return endpoint._close_sent_at + endpoint.rtt.pto()


cdef bytes assemble_ack(Endpoint2State endpoint):
    """Return a datagram with nothing but an ACK."""
    cdef FrameWriter packet
    cdef unsigned char ranges[16 * MAX_ACK_RANGES + 16]
    cdef Frame ack = _ack_frame(endpoint, ranges)
    begin_frames(&packet, endpoint._frames_limit)
    try:
        _write_ack(endpoint, &packet, &ack)
        return _seal(endpoint, &packet)
    finally:
        end_frames(&packet)


cdef bytes assemble_probe(
    Endpoint2State endpoint, FrameType kind, bytes data, Py_ssize_t size
):
    """Return a datagram of `size` bytes, if that is not too small, that probes a path.

    `kind` is PATH_CHALLENGE or PATH_RESPONSE, for another address, or PING.
    """
    cdef FrameWriter packet
    cdef Frame frame
    cdef int64_t number = endpoint.sent_packets.newest + 1
    cdef Py_ssize_t filled = size - 1 - PyBytes_GET_SIZE(endpoint._outgoing_id) - TAG_SIZE
    filled -= number_size(number, _told_from(endpoint, number))
    begin_frames(&packet, max(filled, endpoint._frames_limit))
    try:
        begin_frame(&frame, kind)
        frame.data = <const unsigned char *>PyBytes_AS_STRING(data)
        frame.size = PyBytes_GET_SIZE(data)
        write_frame(&packet, &frame)
        packet.is_ack_eliciting = True
        write_padding(&packet, filled)
        return _seal(endpoint, &packet)
    finally:
        end_frames(&packet)


cdef bytes assemble_size_probe(Endpoint2State endpoint):
    """Return the probe of the path MTU that is due, or None if there is nothing to find out.

    Behind a large packet that may meet a black hole it is a small one, to see what arrives.
    """
    cdef int64_t number = endpoint.sent_packets.newest + 1
    cdef Py_ssize_t size
    cdef bytes datagram
    if endpoint.path_mtu.wants_small(endpoint.sent_packets):
        endpoint.path_mtu.small_after = 0
        return assemble_probe(endpoint, PING, b"", 0)
    size = endpoint.path_mtu.take_probe(number, endpoint._now)
    if size == 0:
        return None
    datagram = assemble_probe(endpoint, PING, b"", size)
    endpoint.sent_packets.packet(number).flags |= PROBE
    endpoint.has_probed = True
    return datagram


cdef bytes assemble_close(Endpoint2State endpoint):
    """Return a datagram with a CLOSE, and an ACK where there is something to ack."""
    cdef FrameWriter packet
    cdef unsigned char ranges[16 * MAX_ACK_RANGES + 16]
    cdef Frame ack = _ack_frame(endpoint, ranges)
    cdef Frame close
    cdef ControlFrame frame
    begin_frame(&close, CLOSE)
    close.number = endpoint._close_code
    close.data = <const unsigned char *>PyBytes_AS_STRING(endpoint._close_text)
    close.size = PyBytes_GET_SIZE(endpoint._close_text)
    begin_frames(&packet, endpoint._frames_limit)
    try:
        if ack.number:
            _write_ack(endpoint, &packet, &ack)
        frame = control_frame(&close)
        write_encoded(&packet, frame.encoded)
        remember_control(&packet, frame)
        endpoint._close_packet = endpoint.sent_packets.newest + 1
        endpoint._close_sent_at = endpoint._now
        if endpoint._close_first_at == 0:
            endpoint._close_first_at = endpoint._now
        return _seal(endpoint, &packet)
    finally:
        end_frames(&packet)
