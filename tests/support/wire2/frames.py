"""The frames of a packet, each by itself; `rules` has what a session allows."""

from __future__ import annotations

from typing import NamedTuple

from support.wire import WireError
from support.wire2.fields import Reader, pack_bytesv, pack_varint

MAX_RANGES = 32
MAX_CLOSE_TEXT = 256
MAX_DATA = 8192
MAX_MESSAGE = 8_389_011
UNIT = 64
CHANNEL_BEHIND, FRAGMENTED, LENGTH_FIRST = 0x40, 0x20, 0x10


class Padding(NamedTuple):
    pass


class Ping(NamedTuple):
    pass


class Ack(NamedTuple):
    delay: int
    ranges: tuple[tuple[int, int], ...]
    """The lowest and the highest number of each, from new to old."""


class Window(NamedTuple):
    channel: int
    highest_number: int
    highest_total: int


class Connect(NamedTuple):
    total: int
    offset: int
    data: bytes


class Accept(NamedTuple):
    total: int
    offset: int
    data: bytes


class Close(NamedTuple):
    code: int
    text: bytes

    @property
    def shown(self) -> str:
        return self.text.decode(errors="replace")


class PathChallenge(NamedTuple):
    data: bytes


class PathResponse(NamedTuple):
    data: bytes


class NewConnectionId(NamedTuple):
    sequence: int
    connection_id: bytes
    reset_token: bytes


class RetireConnectionId(NamedTuple):
    sequence: int


class Time(NamedTuple):
    clock: int


class TimeReply(NamedTuple):
    clock: int
    received: int
    left: int


class Kem(NamedTuple):
    total: int
    offset: int
    data: bytes


class Reserved(NamedTuple):
    type: int
    data: bytes


class Message(NamedTuple):
    channel: int
    number: int
    data: bytes
    has_length: bool = True
    """Without one the data ends with the packet."""


class Fragment(NamedTuple):
    channel: int
    number: int
    total: int
    position: int
    """In units of 64 bytes."""
    data: bytes
    has_length: bool = True


Frame = (
    Padding
    | Ping
    | Ack
    | Window
    | Connect
    | Accept
    | Close
    | PathChallenge
    | PathResponse
    | NewConnectionId
    | RetireConnectionId
    | Time
    | TimeReply
    | Kem
    | Reserved
    | Message
    | Fragment
)
KINDS = (
    *(Padding, Ping, Ack, Window, Connect, Accept, Close, PathChallenge, PathResponse),
    *(NewConnectionId, RetireConnectionId, Time, TimeReply, Kem),
)
"""By type, from 0."""
NOT_ACK_ELICITING = (Padding, Ack, PathResponse, Time, TimeReply)


def is_ack_eliciting(frame: Frame) -> bool:
    return not isinstance(frame, NOT_ACK_ELICITING)


# Acks.


def ack_of(numbers: set[int], delay: int) -> Ack:
    """Return the ACK of these packet numbers, without the oldest ranges if there are too many."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(numbers, reverse=True):
        if ranges and number == ranges[-1][0] - 1:
            ranges[-1] = (number, ranges[-1][1])
        else:
            ranges.append((number, number))
    return Ack(delay, tuple(ranges[:MAX_RANGES]))


def _pack_ack(ack: Ack) -> bytes:
    (low, newest), *others = ack.ranges
    values = [newest, ack.delay, len(others), newest - low]
    for lowest, highest in others:
        values += [low - highest - 2, highest - lowest]
        low = lowest
    return b"".join(pack_varint(value) for value in values)


def _read_ack(reader: Reader) -> Ack:
    newest, delay, more, first = (reader.varint() for _ in range(4))
    if more >= MAX_RANGES:
        raise WireError("more than 32 ranges")
    ranges = [(newest - first, newest)]
    for _ in range(more):
        highest = ranges[-1][0] - reader.varint() - 2
        ranges.append((highest - reader.varint(), highest))
    if ranges[-1][0] < 1:
        raise WireError("ranges that run below packet 1")
    return Ack(delay, tuple(ranges))


# All but ACK, MESSAGE and FRAGMENT: fields in a row.


def _pack_fields(frame: Frame) -> bytes:
    """Return the fields of a frame: integers are varints, byte strings have a length."""
    return b"".join(
        pack_varint(each) if isinstance(each, int) else pack_bytesv(each) for each in frame
    )


def _pack_behind_type(frame: Frame) -> bytes:
    if isinstance(frame, Ack):
        return _pack_ack(frame)
    if isinstance(frame, Window):
        return bytes([frame.channel]) + _pack_fields(frame[1:])
    if isinstance(frame, PathChallenge | PathResponse):
        return frame.data
    if isinstance(frame, NewConnectionId):
        return pack_varint(frame.sequence) + frame.connection_id + frame.reset_token
    return _pack_fields(frame)


def _read_piece(kind: type, reader: Reader) -> Connect | Accept | Kem:
    piece = kind(reader.varint(), reader.varint(), reader.bytesv())
    if not 1 <= piece.total <= MAX_DATA:
        raise WireError("a total of 0 or above 8,192 bytes")
    if not piece.data or piece.offset + len(piece.data) > piece.total:
        raise WireError("a piece without data or beyond its total")
    return piece


def _read_close(reader: Reader) -> Close:
    code, text = reader.varint(), reader.bytesv()
    if len(text) > MAX_CLOSE_TEXT:
        raise WireError("a text above 256 bytes")
    return Close(code, text)


READERS = {
    Padding: lambda reader: Padding(),
    Ping: lambda reader: Ping(),
    Ack: _read_ack,
    Window: lambda reader: Window(reader.byte(), reader.varint(), reader.varint()),
    Connect: lambda reader: _read_piece(Connect, reader),
    Accept: lambda reader: _read_piece(Accept, reader),
    Close: _read_close,
    PathChallenge: lambda reader: PathChallenge(reader.take(8)),
    PathResponse: lambda reader: PathResponse(reader.take(8)),
    NewConnectionId: lambda reader: NewConnectionId(
        reader.varint(), reader.take(8), reader.take(16)
    ),
    RetireConnectionId: lambda reader: RetireConnectionId(reader.varint()),
    Time: lambda reader: Time(reader.varint()),
    TimeReply: lambda reader: TimeReply(reader.varint(), reader.varint(), reader.varint()),
    Kem: lambda reader: _read_piece(Kem, reader),
}


# MESSAGE and FRAGMENT.


def _pack_on_channel(frame: Message | Fragment) -> bytes:
    type_ = 0x80 | FRAGMENTED * isinstance(frame, Fragment) | LENGTH_FIRST * frame.has_length
    if frame.channel < 16:
        begin = bytes([type_ | frame.channel])
    else:
        begin = bytes([type_ | CHANNEL_BEHIND, frame.channel])
    numbers = frame[1:2] if isinstance(frame, Message) else frame[1:4]
    data = pack_bytesv(frame.data) if frame.has_length else frame.data
    return begin + b"".join(pack_varint(number) for number in numbers) + data


def _read_channel(type_: int, reader: Reader) -> int:
    if not type_ & CHANNEL_BEHIND:
        return type_ & 15
    channel = reader.byte()
    if type_ & 15 or channel < 16:
        raise WireError("a channel in the wrong place")
    return channel


def _read_on_channel(type_: int, reader: Reader) -> Message | Fragment:
    channel, number = _read_channel(type_, reader), reader.varint()
    place = (reader.varint(), reader.varint()) if type_ & FRAGMENTED else ()
    has_length = bool(type_ & LENGTH_FIRST)
    data = reader.bytesv() if has_length else reader.rest()
    if number == 0:
        raise WireError("0 is no message number")
    if not place:
        return Message(channel, number, data, has_length)
    fragment = Fragment(channel, number, *place, data, has_length)
    _check_fragment(fragment)
    return fragment


def _check_fragment(fragment: Fragment) -> None:
    size = len(fragment.data)
    end = UNIT * fragment.position + size
    if not 1 <= fragment.total <= MAX_MESSAGE:
        raise WireError("a total of 0 or above the largest message")
    if not size or end > fragment.total:
        raise WireError("a fragment without data or beyond its total")
    if end < fragment.total and size % UNIT:
        raise WireError("a fragment in the middle that does not end with a unit")


# Packets.


def pack(frame: Frame) -> bytes:
    if isinstance(frame, Message | Fragment):
        return _pack_on_channel(frame)
    if isinstance(frame, Reserved):
        return bytes([frame.type]) + pack_bytesv(frame.data)
    return bytes([KINDS.index(type(frame))]) + _pack_behind_type(frame)


def pack_all(frames: list[Frame]) -> bytes:
    """Return the payload of a packet; only its last frame may be without a length."""
    return b"".join(pack(frame) for frame in frames)


def unpack_all(payload: bytes) -> list[Frame]:
    reader = Reader(payload)
    frames = []
    while reader:
        if frames and isinstance(frames[-1], Close):
            raise WireError("something after a CLOSE")
        frames.append(_read_frame(reader.byte(), reader))
    if not frames:
        raise WireError("no frame")
    return frames


def _read_frame(type_: int, reader: Reader) -> Frame:
    if type_ >= 0x80:
        return _read_on_channel(type_, reader)
    if type_ >= 0x40:
        return Reserved(type_, reader.bytesv())
    if type_ >= len(KINDS):
        raise WireError(f"type {type_} is invalid")
    return READERS[KINDS[type_]](reader)
