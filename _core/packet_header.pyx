"""The packet header: 20 bytes, big-endian, unencrypted but authenticated.

| offset | bytes | field |
| 0 | 4 | identifier: FSOS to the server, FSOC to the client |
| 4 | 4 | send time, whole seconds |
| 8 | 2 | packet sequence number |
| 10 | 2 | ack: newest packet sequence number received |
| 12 | 1 | packet type |
| 13 | 2 | payload length |
| 15 | 1 | number of messages |
| 16 | 4 | ack bits |

The first 12 bytes are the nonce of AES-GCM, all 20 its associated data.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcmp, memcpy

from typing import NamedTuple

from mpgameserver._core.bigendian cimport get16, get32, put16, put32

from mpgameserver.errors import PacketError

__all__ = ["HeaderFields", "decode_header", "encode_header"]


class HeaderFields(NamedTuple):
    """The fields of a packet header, in the order that `encode_header` takes them."""

    from_server: bool
    time: int
    packet_type: int
    seq: int
    ack: int
    ack_bits: int
    length: int
    count: int


cdef void write_header(unsigned char *out, const PacketFields *fields) noexcept nogil:
    """Write the 20 bytes of a header; the caller has checked that they fit."""
    memcpy(out, b"FSOC" if fields.from_server else b"FSOS", 4)
    put32(out + 4, fields.time)
    put16(out + 8, fields.seq)
    put16(out + 10, fields.ack)
    out[TYPE_OFFSET] = fields.packet_type
    put16(out + 13, fields.length)
    out[15] = fields.count
    put32(out + 16, fields.ack_bits)


cdef bint read_header(
    const unsigned char *data, Py_ssize_t size, PacketFields *fields
) noexcept nogil:
    """Read a header; return False, with nothing written, if it is not valid."""
    if size < HEADER_SIZE or memcmp(data, b"FSO", 3) != 0:
        return False
    if data[3] != c"C" and data[3] != c"S":
        return False
    fields.from_server = data[3] == c"C"
    fields.time = get32(data + 4)
    fields.seq = get16(data + 8)
    fields.ack = get16(data + 10)
    fields.packet_type = data[TYPE_OFFSET]
    fields.length = get16(data + 13)
    fields.count = data[15]
    fields.ack_bits = get32(data + 16)
    return True


def encode_header(
    bint from_server,
    uint32_t time,
    uint8_t packet_type,
    uint16_t seq,
    uint16_t ack,
    uint32_t ack_bits,
    uint16_t length,
    uint8_t count,
):
    """Return the 20 bytes of a header.

    Every field is an unsigned integer of its width on the wire. Raises OverflowError for one that
    does not fit.
    """
    cdef PacketFields fields
    fields.from_server = from_server
    fields.time = time
    fields.packet_type = packet_type
    fields.seq = seq
    fields.ack = ack
    fields.ack_bits = ack_bits
    fields.length = length
    fields.count = count
    cdef bytes out = PyBytes_FromStringAndSize(NULL, HEADER_SIZE)
    write_header(<unsigned char *>PyBytes_AS_STRING(out), &fields)
    return out


def decode_header(bytes datagram not None):
    """Return the header of a datagram as `HeaderFields`; what follows it is ignored.

    Raises PacketError for fewer than 20 bytes or an unknown identifier.
    """
    cdef PacketFields fields
    if not read_header(
        <const unsigned char *>PyBytes_AS_STRING(datagram), PyBytes_GET_SIZE(datagram), &fields
    ):
        raise PacketError(
            f"no packet header in a datagram of {len(datagram)} bytes that starts "
            f"with {datagram[:4]!r}"
        )
    return HeaderFields(
        bool(fields.from_server), fields.time, fields.packet_type, fields.seq,
        fields.ack, fields.ack_bits, fields.length, fields.count,
    )
