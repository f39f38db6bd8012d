"""The frames of a packet of protocol 2, as docs/protocol2.md specifies them.

`take_frame` reads one frame and checks all that can be known without the state of a session: what
it returns False for was not made by a peer that follows the page. A receiver walks a packet twice,
first to check every frame, then to use them, so that no frame of a bad packet is used.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy

from typing import NamedTuple

from mpgameserver._core.varint cimport (
    MAX_VARINT,
    bytes_left,
    put_varint,
    take_bytes,
    take_varint,
    varint_size,
)

from mpgameserver.errors import PacketError

__all__ = ["FrameFields", "FrameType", "decode_frames", "encode_frames"]

cdef enum:
    LENGTH_BIT = 0x10     # of the type of a MESSAGE or FRAGMENT
    FRAGMENT_BIT = 0x20
    CHANNEL_BIT = 0x40


class FrameFields(NamedTuple):
    """A frame as Python values; which fields a type uses is in `frames.pxd`."""

    type: int
    channel: int = 0
    number: int = 0
    total: int = 0
    offset: int = 0
    data: bytes = b""
    ranges: tuple = ()  # of an ACK: tuples (newest, oldest), from new to old


# -- in -----------------------------------------------------------------------------------------

cdef bint take_frame(Cursor *cursor, Frame *frame) noexcept nogil:
    """Read the next frame and move on; return False if the bytes are none.

    The cursor is not at its end. The frame's data lies where it was read.
    """
    cdef uint8_t first = cursor.next[0]
    cursor.next += 1
    frame.channel = 0
    frame.data = NULL
    frame.size = frame.number = frame.total = frame.offset = 0
    if first >= MESSAGE:
        return _take_message(cursor, frame, first)
    if first >= RESERVED:
        frame.type = RESERVED
        frame.number = first
        return _take_counted(cursor, frame, bytes_left(cursor))
    frame.type = <FrameType>first
    if first == ACK:
        return _take_ack(cursor, frame)
    if first == WINDOW:
        return _take_window(cursor, frame)
    if first == CONNECT or first == ACCEPT or first == KEM:
        return _take_piece(cursor, frame)
    return _take_small(cursor, frame)


cdef bint _take_small(Cursor *cursor, Frame *frame) noexcept nogil:
    """Read the fields of a frame that has few."""
    if frame.type == PADDING or frame.type == PING:
        return True
    if frame.type == CLOSE:
        return (
            take_varint(cursor, &frame.number)
            and _take_counted(cursor, frame, MAX_CLOSE_TEXT)
            and bytes_left(cursor) == 0
        )
    if frame.type == PATH_CHALLENGE or frame.type == PATH_RESPONSE:
        return _take_data(cursor, frame, PATH_DATA_SIZE)
    if frame.type == NEW_CONNECTION_ID:
        return take_varint(cursor, &frame.number) and _take_data(
            cursor, frame, CONNECTION_ID_SIZE + RESET_TOKEN_SIZE
        )
    if frame.type == RETIRE_CONNECTION_ID or frame.type == TIME:
        return take_varint(cursor, &frame.number)
    return frame.type == TIME_REPLY and (
        take_varint(cursor, &frame.number)
        and take_varint(cursor, &frame.total)
        and take_varint(cursor, &frame.offset)
    )


cdef bint _take_message(Cursor *cursor, Frame *frame, uint8_t first) noexcept nogil:
    """Read a MESSAGE or a FRAGMENT behind its type."""
    cdef const unsigned char *channel
    frame.type = FRAGMENT if first & FRAGMENT_BIT else MESSAGE
    frame.channel = first & CHANNEL_MASK
    if first & CHANNEL_BIT:
        channel = take_bytes(cursor, 1)
        if channel == NULL or frame.channel or channel[0] <= CHANNEL_MASK:
            return False
        frame.channel = channel[0]
    if not take_varint(cursor, &frame.number) or frame.number == 0:
        return False
    if frame.type == FRAGMENT and not _take_position(cursor, frame):
        return False
    if first & LENGTH_BIT:
        if not _take_counted(cursor, frame, MAX_MESSAGE_SIZE):
            return False
    else:
        _take_data(cursor, frame, bytes_left(cursor))
    if frame.type == MESSAGE:
        return True
    return _is_inside(frame) and (
        frame.size % FRAGMENT_UNIT == 0 or frame.offset + frame.size == frame.total
    )


cdef bint _take_position(Cursor *cursor, Frame *frame) noexcept nogil:
    """Read the total of a fragmented message and, in units, where the fragment belongs."""
    cdef int64_t position
    if not (take_varint(cursor, &frame.total) and take_varint(cursor, &position)):
        return False
    if frame.total > MAX_MESSAGE_SIZE or position > MAX_MESSAGE_SIZE // FRAGMENT_UNIT:
        return False
    frame.offset = position * FRAGMENT_UNIT
    return True


cdef bint _take_window(Cursor *cursor, Frame *frame) noexcept nogil:
    cdef const unsigned char *channel = take_bytes(cursor, 1)
    if channel == NULL:
        return False
    frame.channel = channel[0]
    return take_varint(cursor, &frame.number) and take_varint(cursor, &frame.total)


cdef bint _take_piece(Cursor *cursor, Frame *frame) noexcept nogil:
    """Read a piece of connect data, accept data or a key exchange."""
    return (
        take_varint(cursor, &frame.total)
        and take_varint(cursor, &frame.offset)
        and _take_counted(cursor, frame, MAX_SETUP_SIZE)
        and frame.total <= MAX_SETUP_SIZE
        and _is_inside(frame)
    )


cdef bint _is_inside(const Frame *frame) noexcept nogil:
    """Return True for a part of at least one byte that does not go beyond its whole."""
    return frame.size > 0 and frame.offset <= frame.total - frame.size


cdef bint _take_ack(Cursor *cursor, Frame *frame) noexcept nogil:
    """Read an ACK, and check that its ranges go down and end above 0."""
    cdef AckRanges ranges
    cdef AckRange range
    if not (take_varint(cursor, &frame.number) and take_varint(cursor, &frame.total)):
        return False
    frame.data = cursor.next
    frame.size = bytes_left(cursor)
    begin_ranges(&ranges, frame)
    if ranges.left > MAX_ACK_RANGES or frame.number == 0:
        return False
    while ranges.left:
        if not take_range(&ranges, &range):
            return False
    cursor.next = ranges.cursor.next
    frame.size = cursor.next - frame.data
    return True


cdef bint _take_counted(Cursor *cursor, Frame *frame, int64_t limit) noexcept nogil:
    """Read bytes that are preceded by their length, at most `limit`."""
    cdef int64_t size
    return take_varint(cursor, &size) and size <= limit and _take_data(cursor, frame, size)


cdef bint _take_data(Cursor *cursor, Frame *frame, int64_t size) noexcept nogil:
    frame.data = take_bytes(cursor, size)
    frame.size = <Py_ssize_t>size
    return frame.data != NULL


# -- the ranges of an ACK -----------------------------------------------------------------------

cdef void begin_ranges(AckRanges *ranges, const Frame *ack) noexcept nogil:
    """Begin to walk the ranges of an ACK; there is more than the most of one that is malformed."""
    ranges.cursor.next = ack.data
    ranges.cursor.end = ack.data + ack.size
    ranges.next = ack.number
    ranges.is_first = True
    if take_varint(&ranges.cursor, &ranges.left) and ranges.left < MAX_ACK_RANGES:
        ranges.left += 1
    else:
        ranges.left = MAX_ACK_RANGES + 1


cdef bint take_range(AckRanges *ranges, AckRange *range) noexcept nogil:
    """Take the next range; False if there is none, or it goes below packet 1."""
    cdef int64_t gap = 0, before
    if ranges.left == 0:
        return False
    if not ranges.is_first and not take_varint(&ranges.cursor, &gap):
        return False
    if not take_varint(&ranges.cursor, &before):
        return False
    range.newest = ranges.next - gap
    range.oldest = range.newest - before
    if range.oldest < 1:
        return False
    ranges.next = range.oldest - 2
    ranges.is_first = False
    ranges.left -= 1
    return True


cdef Py_ssize_t put_ranges(
    unsigned char *out, const AckRange *ranges, Py_ssize_t count
) noexcept nogil:
    """Write 1 to `MAX_ACK_RANGES` ranges, from new to old, as an ACK's data; return its size.

    A range takes at most 16 bytes.
    """
    cdef unsigned char *end = put_varint(out, count - 1)
    cdef Py_ssize_t i
    end = put_varint(end, ranges[0].newest - ranges[0].oldest)
    for i in range(1, count):
        end = put_varint(end, ranges[i - 1].oldest - ranges[i].newest - 2)
        end = put_varint(end, ranges[i].newest - ranges[i].oldest)
    return end - out


# -- out ----------------------------------------------------------------------------------------

cdef Py_ssize_t frame_size(const Frame *frame, bint is_last) noexcept nogil:
    """Return the bytes that a frame takes; the last one of a packet needs no length."""
    cdef FrameType kind = frame.type
    cdef Py_ssize_t size = 1 + frame.size
    if kind == MESSAGE or kind == FRAGMENT:
        size += (frame.channel > CHANNEL_MASK) + varint_size(frame.number)
        if kind == FRAGMENT:
            size += varint_size(frame.total) + varint_size(frame.offset // FRAGMENT_UNIT)
        return size if is_last else size + varint_size(frame.size)
    if kind == WINDOW:
        size += 1
    if _has_number(kind):
        size += varint_size(frame.number)
    if _has_total(kind):
        size += varint_size(frame.total)
    if _has_offset(kind):
        size += varint_size(frame.offset)
    return size + varint_size(frame.size) if _is_counted(kind) else size


cdef unsigned char *put_frame(unsigned char *out, const Frame *frame, bint is_last) noexcept nogil:
    """Write a frame where there is room for it; return where the next byte goes."""
    cdef FrameType kind = frame.type
    if kind == MESSAGE or kind == FRAGMENT:
        out = _put_message_head(out, frame, is_last)
    else:
        out[0] = <uint8_t>(frame.number if kind == RESERVED else kind)
        out += 1
        if kind == WINDOW:
            out[0] = frame.channel
            out += 1
        if _has_number(kind):
            out = put_varint(out, frame.number)
        if _has_total(kind):
            out = put_varint(out, frame.total)
        if _has_offset(kind):
            out = put_varint(out, frame.offset)
        if _is_counted(kind):
            out = put_varint(out, frame.size)
    if frame.size:
        memcpy(out, frame.data, frame.size)
    return out + frame.size


cdef unsigned char *_put_message_head(
    unsigned char *out, const Frame *frame, bint is_last
) noexcept nogil:
    """Write what comes before the data of a MESSAGE or FRAGMENT."""
    out[0] = <uint8_t>(frame.type | (0 if is_last else LENGTH_BIT))
    if frame.channel > CHANNEL_MASK:
        out[0] |= CHANNEL_BIT
        out[1] = frame.channel
        out += 2
    else:
        out[0] |= frame.channel
        out += 1
    out = put_varint(out, frame.number)
    if frame.type == FRAGMENT:
        out = put_varint(put_varint(out, frame.total), frame.offset // FRAGMENT_UNIT)
    return out if is_last else put_varint(out, frame.size)


cdef inline bint _has_number(FrameType kind) noexcept nogil:
    return kind == ACK or kind == WINDOW or kind == CLOSE or (
        NEW_CONNECTION_ID <= kind <= TIME_REPLY
    )


cdef inline bint _has_total(FrameType kind) noexcept nogil:
    return ACK <= kind <= ACCEPT or kind == TIME_REPLY or kind == KEM


cdef inline bint _has_offset(FrameType kind) noexcept nogil:
    return kind == CONNECT or kind == ACCEPT or kind == TIME_REPLY or kind == KEM


cdef inline bint _is_counted(FrameType kind) noexcept nogil:
    return CONNECT <= kind <= CLOSE or kind == KEM or kind == RESERVED


# -- for those who take packets apart -----------------------------------------------------------

def decode_frames(bytes payload not None):
    """Return the frames of a packet's payload as a list of `FrameFields`.

    Raises PacketError for anything that is not one frame or more.
    """
    cdef Cursor cursor
    cdef Frame frame
    cursor.next = <const unsigned char *>PyBytes_AS_STRING(payload)
    cursor.end = cursor.next + PyBytes_GET_SIZE(payload)
    frames = []
    while not frames or cursor.next < cursor.end:
        if cursor.next == cursor.end or not take_frame(&cursor, &frame):
            raise PacketError(
                f"no frame behind {len(frames)} frames in a payload of {len(payload)} bytes"
            )
        frames.append(_fields_of(&frame))
    return frames


cdef object _fields_of(const Frame *frame):
    cdef AckRanges ranges
    cdef AckRange range
    cdef bytes data = PyBytes_FromStringAndSize(<const char *>frame.data, frame.size)
    if frame.type == RESERVED:
        return FrameFields(frame.number, data=data)
    if frame.type != ACK:
        return FrameFields(
            frame.type, frame.channel, frame.number, frame.total, frame.offset, data
        )
    found = []
    begin_ranges(&ranges, frame)
    while take_range(&ranges, &range):
        found.append((range.newest, range.oldest))
    return FrameFields(ACK, number=frame.number, total=frame.total, ranges=tuple(found))


def encode_frames(frames):
    """Return the payload that holds `frames`, each a `FrameFields`, the last without a length.

    Raises ValueError for no frames, and for one that no receiver would take.
    """
    cdef bytes payload = b""
    for i, fields in enumerate(frames, 1):
        payload += _encode(fields, i == len(frames))
    try:
        decoded = decode_frames(payload)
    except PacketError as error:
        raise ValueError(f"not frames: {error}") from None
    if [_comparable(fields) for fields in frames] != [_comparable(fields) for fields in decoded]:
        raise ValueError(f"{frames!r} would be read as {decoded!r}")
    return payload


def _comparable(fields):
    """Return a frame as a receiver reads it."""
    return fields._replace(number=fields.ranges[0][0]) if fields.ranges else fields


cdef bytes _encode(fields, bint is_last):
    cdef Frame frame
    cdef AckRange ranges[MAX_ACK_RANGES]
    cdef unsigned char buffer[16 * MAX_ACK_RANGES + 16]
    cdef bytes data = fields.data, out
    cdef Py_ssize_t i = 0
    cdef int first = fields.type
    frame.type = <FrameType>(RESERVED if RESERVED <= first < MESSAGE else first)
    frame.number = first if frame.type == RESERVED else fields.number
    frame.channel = fields.channel
    frame.total = fields.total
    frame.offset = fields.offset
    frame.data = <const unsigned char *>PyBytes_AS_STRING(data)
    frame.size = PyBytes_GET_SIZE(data)
    if frame.type == ACK:
        if not 0 < len(fields.ranges) <= MAX_ACK_RANGES:
            raise ValueError(f"an ACK has 1 to {MAX_ACK_RANGES} ranges, not {len(fields.ranges)}")
        for newest, oldest in fields.ranges:
            ranges[i].newest, ranges[i].oldest = newest, oldest
            i += 1
        frame.number = ranges[0].newest
        frame.data = buffer
        frame.size = put_ranges(buffer, ranges, i)
    if not (
        0 <= frame.number <= MAX_VARINT
        and 0 <= frame.total <= MAX_VARINT
        and 0 <= frame.offset <= MAX_VARINT
    ):
        raise ValueError(f"a number above 2**62 - 1 or below 0: {fields!r}")
    out = PyBytes_FromStringAndSize(NULL, frame_size(&frame, is_last))
    put_frame(<unsigned char *>PyBytes_AS_STRING(out), &frame, is_last)
    return out
