"""The packet header: its fields at their places, their widths, and what is no header."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import wire
from support.damage import prefixes

from mpgameserver._core.packet_header import HeaderFields, decode_header, encode_header
from mpgameserver.errors import PacketError

WIDTHS = {
    "time": 32,
    "packet_type": 8,
    "seq": 16,
    "ack": 16,
    "ack_bits": 32,
    "length": 16,
    "count": 8,
}
ZEROS = HeaderFields(False, *(0 for _ in WIDTHS))
CORNERS = {8: (0, 1, 127, 128, 255), 16: (0, 1, 32767, 32768, 65535)}
CORNERS[32] = (*CORNERS[16], 2**31 - 1, 2**31, 2**32 - 1)

fields = st.builds(
    HeaderFields,
    st.booleans(),
    *(st.integers(0, 2**width - 1) | st.sampled_from(CORNERS[width]) for width in WIDTHS.values()),
)


def by_the_second_codec(values: HeaderFields) -> bytes:
    return wire.pack_header(
        wire.Header(
            wire.TO_CLIENT if values.from_server else wire.TO_SERVER,
            values.time,
            values.seq,
            values.ack,
            values.packet_type,
            values.length,
            values.count,
            values.ack_bits,
        )
    )


@given(fields)
def test_what_was_written_is_read(values):
    data = encode_header(*values)
    assert data == by_the_second_codec(values)
    assert decode_header(data) == values


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, width in WIDTHS.items() for value in CORNERS[width]],
)
def test_the_corners_of_each_field_touch_no_other(name, value):
    for base in (ZEROS, HeaderFields(True, *(2**width - 1 for width in WIDTHS.values()))):
        values = base._replace(**{name: value})
        assert decode_header(encode_header(*values)) == values


@pytest.mark.parametrize(("name", "excess"), [*itertools.product(WIDTHS, (0, 1, 2**64))])
def test_a_value_too_large_for_its_field_is_an_overflow_error(name, excess):
    with pytest.raises(OverflowError):
        encode_header(*ZEROS._replace(**{name: 2 ** WIDTHS[name] + excess}))


@pytest.mark.parametrize("name", WIDTHS)
def test_a_negative_value_is_an_overflow_error(name):
    with pytest.raises(OverflowError):
        encode_header(*ZEROS._replace(**{name: -1}))


@pytest.mark.parametrize("value", [None, "1", b"1"])
@pytest.mark.parametrize("name", WIDTHS)
def test_what_is_no_integer_is_a_type_error(name, value):
    with pytest.raises(TypeError):
        encode_header(*ZEROS._replace(**{name: value}))


@given(fields, st.binary(max_size=40))
def test_what_follows_the_header_is_not_looked_at(values, rest):
    assert decode_header(encode_header(*values) + rest) == values


@given(fields)
def test_every_prefix_of_a_header_is_a_packet_error(values):
    for data in prefixes(encode_header(*values)):
        with pytest.raises(PacketError, match=f"{len(data)} bytes"):
            decode_header(data)


@pytest.mark.parametrize("identifier", [b"FSOB", b"FSOD", b"FSOR", b"FSOT", b"fsos", b"\0\0\0\0"])
def test_an_unknown_identifier_is_a_packet_error(identifier):
    with pytest.raises(PacketError):
        decode_header(identifier + bytes(16))


@given(st.binary(max_size=64) | st.binary(max_size=60).map(lambda rest: b"FSOS" + rest))
def test_any_bytes_are_a_header_or_a_packet_error(data):
    try:
        values = decode_header(data)
    except PacketError:
        assert len(data) < 20 or data[:4] not in (wire.TO_SERVER, wire.TO_CLIENT)
    else:
        assert encode_header(*values) == data[:20]


@pytest.mark.parametrize("data", [None, "FSOS", 20, bytearray(20), memoryview(bytes(20))])
def test_only_bytes_are_decoded(data):
    with pytest.raises(TypeError):
        decode_header(data)
