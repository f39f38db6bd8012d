"""The payload of a packet: no message, one, or up to 255.

No message: no bytes. One: its 2-byte number, then the message, whose type is that of the header.
More: for each a 2-byte length, the 2-byte number and the 1-byte type, then the message.

Reading takes two steps: `payload_is_valid` checks every length, so that nothing of a packet is used
before all of it is known to be valid; `read_message` then walks through it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from operator import index
from typing import NamedTuple

from mpgameserver._core.bigendian cimport get16, put16
from mpgameserver._core.packet_header cimport HEADER_SIZE, MAX_MESSAGES, TAG_SIZE

from mpgameserver.errors import PacketError

__all__ = ["SizeLimits", "decode_payload", "encode_payload", "size_limits"]

_MAX_UDP_DATAGRAM = 65507


class SizeLimits(NamedTuple):
    """The bytes that an MTU leaves for each part of a datagram."""

    datagram: int
    payload: int  # the largest message that is not fragmented
    fragment: int    # a full fragment of a fragmented message
    message: int  # the largest message


cdef Py_ssize_t max_payload(Py_ssize_t max_datagram) noexcept nogil:
    """Return the largest message that fits alone into a datagram."""
    return max_datagram - HEADER_SIZE - TAG_SIZE - SINGLE_OVERHEAD


cdef Py_ssize_t max_fragment(Py_ssize_t payload_limit) noexcept nogil:
    """Return the size of a full fragment of a fragmented message."""
    if payload_limit - FRAGMENT_HEADER < PREFERRED_FRAGMENT:
        return payload_limit - FRAGMENT_HEADER
    return PREFERRED_FRAGMENT


cdef Py_ssize_t max_message(Py_ssize_t payload_limit) noexcept nogil:
    """Return the size of the largest message: 8,191 full fragments and a last one."""
    cdef Py_ssize_t fragment = max_fragment(payload_limit)
    cdef Py_ssize_t last = payload_limit - FRAGMENT_HEADER - 1
    return (MAX_FRAGMENTS - 1) * fragment + (last if last > fragment else fragment)


def size_limits(mtu, ip_udp_header=IPV4_UDP_HEADER):
    """Return the `SizeLimits` that follow from an MTU.

    `ip_udp_header` is 28 bytes over IPv4 and 48 over IPv6.

    Raises ValueError for an MTU that is too small for a handshake or too large for UDP.
    """
    datagram = mtu - ip_udp_header
    if mtu < MIN_MTU or datagram > _MAX_UDP_DATAGRAM:
        raise ValueError(
            f"mtu must be {MIN_MTU}...{_MAX_UDP_DATAGRAM + ip_udp_header} bytes, not {mtu!r}"
        )
    payload = max_payload(datagram)
    fragment = max_fragment(payload)
    return SizeLimits(
        datagram, payload, fragment, max_message(payload)
    )


cdef bint payload_is_valid(
    const unsigned char *data, Py_ssize_t size, uint8_t count
) noexcept nogil:
    """Return True if the payload is exactly `count` messages, each with a number."""
    cdef Py_ssize_t offset = 0
    cdef uint8_t _
    if count == 0:
        return size == 0
    if count == 1:
        return size >= SINGLE_OVERHEAD and get16(data) != 0
    for _ in range(count):
        if size - offset < SHARED_OVERHEAD or get16(data + offset + 2) == 0:
            return False
        offset += SHARED_OVERHEAD + get16(data + offset)
        if offset > size:
            return False
    return offset == size


cdef void read_message(PayloadReader *reader, MessageView *view) noexcept nogil:
    """Point `view` at the next message, and advance the reader."""
    cdef const unsigned char *data = reader.next
    if reader.count == 1:
        view.size = <uint16_t>(reader.size - SINGLE_OVERHEAD)
        view.seq = get16(data)
        view.message_type = reader.packet_type
        view.data = data + SINGLE_OVERHEAD
    else:
        view.size = get16(data)
        view.seq = get16(data + 2)
        view.message_type = data[4]
        view.data = data + SHARED_OVERHEAD
    reader.next = view.data + view.size


cdef void write_shared_head(
    unsigned char *out, uint16_t size, uint16_t seq, uint8_t message_type
) noexcept nogil:
    """Write the header of a message that shares its packet.

    Its bytes 2 and 3 are the header of a message that is alone in its packet.
    """
    put16(out, size)
    put16(out + 2, seq)
    out[4] = message_type


def encode_payload(messages):
    """Return the payload that holds `messages`, each a tuple (sequence number, type, bytes).

    Raises ValueError for more than 255 messages, a number outside 1...65535, a type outside
    0...255, or more bytes than a length field can hold.
    """
    if len(messages) > MAX_MESSAGES:
        raise ValueError(f"a packet holds at most {MAX_MESSAGES} messages, not {len(messages)}")
    cdef unsigned char head[SHARED_OVERHEAD]
    cdef Py_ssize_t overhead = SINGLE_OVERHEAD if len(messages) == 1 else SHARED_OVERHEAD
    parts = []
    for seq, message_type, message in messages:
        if not (1 <= index(seq) <= 0xFFFF and 0 <= message_type <= 0xFF and len(message) <= 0xFFFF):
            raise ValueError(
                f"not a message: number {seq!r}, type {message_type!r}, {len(message)} bytes"
            )
        write_shared_head(head, len(message), seq, message_type)
        if overhead == SINGLE_OVERHEAD:
            parts.append(PyBytes_FromStringAndSize(<char *>head + 2, SINGLE_OVERHEAD))
        else:
            parts.append(PyBytes_FromStringAndSize(<char *>head, SHARED_OVERHEAD))
        parts.append(message)
    payload = b"".join(parts)
    if len(payload) > 0xFFFF:
        raise ValueError(f"a payload holds at most 65535 bytes, not {len(payload)}")
    return payload


def decode_payload(bytes payload not None, uint8_t count, uint8_t packet_type):
    """Return the messages of a payload as a list of tuples (sequence number, type, bytes).

    `count` and `packet_type` are those of the header. Raises PacketError when the payload is
    not exactly `count` messages, or when one has the number 0.
    """
    cdef PayloadReader reader
    cdef MessageView view
    reader.next = <const unsigned char *>PyBytes_AS_STRING(payload)
    reader.size = PyBytes_GET_SIZE(payload)
    reader.count = count
    reader.packet_type = packet_type
    if reader.size > 0xFFFF or not payload_is_valid(reader.next, reader.size, count):
        raise PacketError(f"a payload of {len(payload)} bytes is not {count} messages")
    messages = []
    for _ in range(count):
        read_message(&reader, &view)
        messages.append(
            (view.seq, view.message_type, PyBytes_FromStringAndSize(<char *>view.data, view.size))
        )
    return messages
