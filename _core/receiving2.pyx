"""The packets that one side of a session of protocol 2 receives.

A datagram that opens is walked twice. The first walk checks every frame, and changes nothing: a
packet that breaks a rule has no effect but the end of the session. The second walk uses the frames.
One for which there is no room is skipped, and then the packet is not acked: its sender will send
the contents again, while those that end an incomplete message are used, and make room.
"""

from hmac import compare_digest

from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t

from mpgameserver._core.ack_schedule cimport ack_demand
from mpgameserver._core.acks2 cimport apply_ack
from mpgameserver._core.budget cimport ITEM_COST
from mpgameserver._core.channel_receiver cimport (
    IGNORED,
    MALFORMED as MALFORMED_FRAME,
    NO_ROOM,
    WINDOW_BROKEN,
    ChannelReceiver,
    receiver_at,
)
from mpgameserver._core.drop_reason cimport (
    ACCEPTED,
    INBOX_FULL,
    MALFORMED,
    NOT_AUTHENTIC,
    REASON_COUNT,
    REASSEMBLY_FULL,
    REPEATED,
    TOO_OLD,
    UNEXPECTED,
    DropReason,
)
from mpgameserver._core.endpoint cimport seqnum_of, untracked
from mpgameserver._core.endpoint2_state cimport (
    CLOSE_KEYS,
    CLOSE_PROTOCOL,
    CLOSE_WINDOW,
    CLOSING_PTOS,
    Endpoint2State,
    break_rule,
    issue_ids,
)
from mpgameserver._core.fifo cimport Fifo, queue_append
from mpgameserver._core.frames cimport (
    ACCEPT,
    ACK,
    CLOSE,
    CONNECT,
    FRAGMENT,
    KEM,
    MESSAGE,
    NEW_CONNECTION_ID,
    PATH_CHALLENGE,
    PATH_RESPONSE,
    RESERVED,
    RETIRE_CONNECTION_ID,
    TIME,
    TIME_REPLY,
    WINDOW,
    AckRange,
    AckRanges,
    Frame,
    FrameType,
    begin_ranges,
    take_frame,
    take_range,
)
from mpgameserver._core.inspection cimport (
    KEPT_FRAMES,
    Inspection,
    begin_inspection,
    is_skipped,
    skip_frame,
)
from mpgameserver._core.packet_cipher cimport borrow_buffer, give_back_buffer
from mpgameserver._core.packet_protection cimport SealedHeader
from mpgameserver._core.received_packets cimport REMEMBERED_PACKETS
from mpgameserver._core.rounding cimport microseconds
from mpgameserver._core.sending2 cimport update_key
from mpgameserver._core.varint cimport Cursor

from mpgameserver.errors import HandshakeError

__all__ = []

cpdef enum:
    # Datagrams that a client keeps until it is accepted; docs/protocol2.md, "Accept data".
    MAX_EARLY_PACKETS = 64

cdef bytes RESET_HEAD = b"\x04\xff\x04"   # a handshake packet of the kind 4
cdef int64_t MAX_FORGED = <int64_t>1 << 52     # under one key: RFC 9001 section 6.6


cdef DropReason open_datagram(
    Endpoint2State endpoint, bytes datagram, double now
) except? REASON_COUNT:
    """Open a datagram, and use its frames."""
    cdef SealedHeader header
    cdef unsigned char *frames
    cdef Py_ssize_t size
    cdef int64_t newest = endpoint.received_packets.newest()
    if endpoint.error_code and not endpoint._close_packet:
        return UNEXPECTED
    if not endpoint._opener.unmask(datagram, endpoint._incoming_id_size, newest, &header):
        if not _is_reset(endpoint, datagram):
            return MALFORMED
        endpoint.was_reset = True
        return ACCEPTED
    if not endpoint.received_packets.is_new(header.number):
        return TOO_OLD if header.number <= newest - REMEMBERED_PACKETS else REPEATED
    frames = borrow_buffer()
    try:
        size = endpoint._opener.open_frames(&header, datagram, frames)
        if size < 0:
            if endpoint._dropped[<int>NOT_AUTHENTIC] + 1 >= MAX_FORGED:
                break_rule(endpoint, CLOSE_KEYS)
            return NOT_AUTHENTIC
        if endpoint.error_code:
            return _use_closing(endpoint, header.number, frames, frames + size)
        return _use(endpoint, header.number, frames, size, datagram, now)
    finally:
        give_back_buffer(frames)


cdef DropReason _use_closing(
    Endpoint2State endpoint, int64_t number, const unsigned char *frames, const unsigned char *end
) except? REASON_COUNT:
    """Use of a packet behind the CLOSE for a broken rule only what says that it has arrived.

    Any other asks for the CLOSE again (RFC 9000 section 10.2.1), once: it may be a replay.
    """
    cdef Cursor cursor
    cdef Frame frame
    endpoint.received_packets.enter(number)
    cursor.next, cursor.end = frames, end
    while cursor.next < cursor.end and take_frame(&cursor, &frame):
        if frame.type == CLOSE:
            endpoint._close_acked = True
        elif frame.type == ACK and _inspect_ack(endpoint, &frame):
            apply_ack(endpoint, &frame)
    endpoint._asks_for_close = True
    return UNEXPECTED


cdef bint _is_reset(Endpoint2State endpoint, bytes datagram) except -1:
    """Return True for a stateless reset with the token that the server has given."""
    return (
        endpoint.peer_ids is not None
        and endpoint.peer_ids.token is not None
        and compare_digest(datagram, RESET_HEAD + endpoint.peer_ids.token)
    )


cdef DropReason _use(
    Endpoint2State endpoint, int64_t number, const unsigned char *frames, Py_ssize_t size,
    bytes datagram, double now
) except? REASON_COUNT:
    """Check all frames of a packet that has opened, and use those for which there is room."""
    cdef Inspection found
    if not _inspect(endpoint, &found, frames, size):
        return MALFORMED
    if found.is_early:
        return _keep_early(endpoint, datagram)
    endpoint.on_packet_accepted(PyBytes_GET_SIZE(datagram), now)
    endpoint.last_number = number
    endpoint.path_response = None
    _note_phase(endpoint)
    _use_all(endpoint, &found, frames + size, datagram)
    if endpoint.error_code:
        return MALFORMED
    if found.lacks == ACCEPTED:
        out_of_order = endpoint.received_packets.enter(number)
        endpoint._acks.on_packet_received(
            endpoint._now, found.demand, out_of_order, number == endpoint.received_packets.newest()
        )
    return found.lacks


cdef DropReason _keep_early(Endpoint2State endpoint, bytes datagram) except? REASON_COUNT:
    """Keep a datagram that came before the client was accepted, if there is room."""
    if len(endpoint._early) >= MAX_EARLY_PACKETS:
        return UNEXPECTED
    endpoint._early.append(datagram)
    return ACCEPTED


cdef int _note_phase(Endpoint2State endpoint) except -1:
    """Note that the peer has gone on to another key."""
    if endpoint._opener.phase > endpoint._opener_phase:
        endpoint._opener_phase = endpoint._opener.phase
        endpoint._followed_at = endpoint._now
        endpoint._forget_at = endpoint._now + CLOSING_PTOS * endpoint.rtt.pto()
    return 0


cdef bint _inspect(
    Endpoint2State endpoint, Inspection *found, const unsigned char *frames, Py_ssize_t size
) except -1:
    """Check the frames of a packet; return False if one breaks a rule, which ends the session.
    """
    cdef Cursor cursor
    cdef Frame further
    cdef Frame *frame
    begin_inspection(found)
    endpoint._reassembler.begin_packet()
    cursor.next, cursor.end = frames, frames + size
    while cursor.next < cursor.end:
        frame = &found.kept[found.frames] if found.frames < KEPT_FRAMES else &further
        if not take_frame(&cursor, frame) or not _inspect_frame(endpoint, found, frame):
            return break_rule(endpoint, CLOSE_PROTOCOL)
        if endpoint.error_code:
            return False
        found.demand |= ack_demand(frame.type)
        found.frames += 1
        if found.frames <= KEPT_FRAMES:
            found.rest = cursor.next
    return True


cdef bint _inspect_frame(Endpoint2State endpoint, Inspection *found, const Frame *frame) except -1:
    """Return False if a frame breaks a rule."""
    cdef FrameType kind = frame.type
    if kind == MESSAGE or kind == FRAGMENT:
        return _inspect_message(endpoint, found, frame)
    if kind == ACK:
        return _inspect_ack(endpoint, frame)
    if kind == CONNECT:
        return endpoint._is_server
    if kind == ACCEPT:
        return not endpoint._is_server
    if kind == KEM:
        return _may_exchange_keys(endpoint, frame)
    if kind == RETIRE_CONNECTION_ID:
        # A session for which no id was issued has only that of this packet.
        return endpoint._own_ids is not None and endpoint.established
    if kind == WINDOW and endpoint.established and (
        receiver_at(endpoint._receivers, frame.channel) is None
        or receiver_at(endpoint._receivers, frame.channel).order is None
    ):
        return False
    if kind == NEW_CONNECTION_ID and endpoint._is_server:
        return False
    if kind == WINDOW or kind == NEW_CONNECTION_ID or kind == RESERVED:
        return _may_be_early(endpoint, found)
    return True


cdef bint _may_be_early(Endpoint2State endpoint, Inspection *found) noexcept:
    """Return True for a frame that only an accepted client sends or takes, if it may come now.
    """
    if not endpoint.established:
        found.is_early = True
    return endpoint.established or not endpoint._is_server


cdef bint _may_exchange_keys(Endpoint2State endpoint, const Frame *frame) except -1:
    """Return True for a KEM that was agreed on in the handshake, and that comes before the setup.
    """
    if endpoint._key_exchange is None or frame.total != endpoint._key_exchange.peers_size:
        return False
    return endpoint._kem.whole is not None or not endpoint._setup.has_begun()


cdef bint _inspect_ack(Endpoint2State endpoint, const Frame *frame) except -1:
    cdef AckRanges ranges
    cdef AckRange range
    begin_ranges(&ranges, frame)
    while take_range(&ranges, &range):
        if not endpoint.sent_packets.was_sent(range.newest, range.oldest):
            return False
    return True


cdef bint _inspect_message(
    Endpoint2State endpoint, Inspection *found, const Frame *frame
) except -1:
    cdef ChannelReceiver receiver = receiver_at(endpoint._receivers, frame.channel)
    cdef int fate
    if not endpoint.established:
        return _may_be_early(endpoint, found)
    if receiver is None:
        return False
    fate = receiver.inspect(frame)
    if fate == WINDOW_BROKEN:
        return not break_rule(endpoint, CLOSE_WINDOW)
    if fate == MALFORMED_FRAME:
        return False
    if fate == NO_ROOM:
        skip_frame(found, REASSEMBLY_FULL)
    elif fate == IGNORED:
        found.repeated += 1
    elif endpoint.inbox_is_full():
        skip_frame(found, INBOX_FULL)
    return True


cdef int _use_all(
    Endpoint2State endpoint, Inspection *found, const unsigned char *end, bytes datagram
) except -1:
    """Use the frames for which there is room; behind an end only those of the end."""
    cdef Cursor cursor
    cdef Frame further
    cdef Frame *frame
    cdef int i
    endpoint.repeated_messages += found.repeated
    cursor.next, cursor.end = found.rest, end
    for i in range(found.frames):
        if endpoint.error_code:
            break
        frame = &found.kept[i] if i < KEPT_FRAMES else &further
        if i >= KEPT_FRAMES:
            take_frame(&cursor, frame)
        if not is_skipped(found, i):
            _use_frame(endpoint, frame, datagram)
    return 0


cdef int _use_frame(Endpoint2State endpoint, const Frame *frame, bytes datagram) except -1:
    cdef FrameType kind = frame.type
    if kind == ACK:
        return apply_ack(endpoint, frame)
    if kind == CLOSE:
        return _use_close(endpoint, frame)
    if endpoint.disconnect_received or endpoint._close_packet:
        return 0
    if kind == MESSAGE or kind == FRAGMENT:
        return _use_message(endpoint, frame)
    if kind == WINDOW:
        endpoint._queue.grant(frame.channel, frame.number, frame.total)
    elif kind == CONNECT or kind == ACCEPT:
        if not endpoint._setup.add(frame):
            break_rule(endpoint, CLOSE_PROTOCOL)
    elif kind == KEM:
        _use_kem(endpoint, frame)
    elif kind == NEW_CONNECTION_ID:
        if not endpoint.peer_ids.add(frame):
            break_rule(endpoint, CLOSE_PROTOCOL)
    elif kind == RETIRE_CONNECTION_ID:
        _use_retire(endpoint, frame, datagram)
    elif kind == PATH_CHALLENGE:
        endpoint._path_response = PyBytes_FromStringAndSize(<const char *>frame.data, frame.size)
    elif kind == PATH_RESPONSE:
        endpoint.path_response = PyBytes_FromStringAndSize(<const char *>frame.data, frame.size)
    elif kind == TIME_REPLY and endpoint.clock is not None:
        endpoint.clock.on_reply(
            frame.number, frame.total, frame.offset, microseconds(endpoint._now)
        )
    elif kind == TIME:
        endpoint._time_echo = frame.number
        endpoint._time_received = microseconds(endpoint._now)
    return 0


cdef int _use_kem(Endpoint2State endpoint, const Frame *frame) except -1:
    """Take a piece of the peer's part of a key exchange; mix the secret in with the last one."""
    cdef bytes secret, reply
    cdef bint was_whole = endpoint._kem.whole is not None
    if not endpoint._kem.add(frame):
        break_rule(endpoint, CLOSE_PROTOCOL)
    elif endpoint._kem.whole is not None and not was_whole:
        try:
            secret, reply = endpoint._key_exchange.take(endpoint._kem.whole)
        except HandshakeError:
            break_rule(endpoint, CLOSE_PROTOCOL)
            return 0
        endpoint._sealer.mix(secret)
        endpoint._opener.mix(secret)
        endpoint._control.add_pieces(KEM, reply)
        if not endpoint._is_server:
            update_key(endpoint)
            endpoint._control.add_pieces(CONNECT, endpoint._held_setup)
    return 0


cdef int _use_retire(Endpoint2State endpoint, const Frame *frame, bytes datagram) except -1:
    """Retire an id, and issue another one for it."""
    if endpoint._own_ids is None:  # the session has ended
        return 0
    if not endpoint._own_ids.retire(frame.number, datagram):
        break_rule(endpoint, CLOSE_PROTOCOL)
    else:
        issue_ids(endpoint)
    return 0


cdef int _use_close(Endpoint2State endpoint, const Frame *frame) except -1:
    if not endpoint.disconnect_received:
        endpoint.disconnect_received = True
        endpoint.close_code = frame.number
        endpoint.close_text = PyBytes_FromStringAndSize(
            <const char *>frame.data, frame.size
        ).decode(errors="replace")
    return 0


cdef int _use_message(Endpoint2State endpoint, const Frame *frame) except -1:
    cdef ChannelReceiver receiver = receiver_at(endpoint._receivers, frame.channel)
    cdef bytes message = receiver.take(frame, endpoint._heard_for)
    cdef int64_t number
    endpoint.messages_received += 1
    while message is not None:
        number = frame.number if receiver.order is None else receiver.order.delivered
        _deliver_on(endpoint, receiver, number, message)
        message = receiver.next_ready()
    return 0


cdef int _deliver_on(
    Endpoint2State endpoint, ChannelReceiver receiver, int64_t number, bytes message
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
