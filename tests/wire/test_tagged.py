"""Tagged values: one form for each, and no other is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.wire import pack_bytes, pack_integer

from mpgameserver.errors import HandshakeError
from mpgameserver.wire.tagged import TaggedReader, encode_bytes, encode_integer

MAX = (1 << 63) - 1
EDGES = [limit for bits in (7, 15, 31) for limit in ((1 << bits) - 1, 1 << bits)]
integers = st.integers(-MAX, MAX) | st.sampled_from([sign * n for n in EDGES for sign in (1, -1)])


def read(method, data):
    """Return what a reader's method reads when it is all of the data."""
    reader = TaggedReader(data)
    value = getattr(reader, method)()
    reader.finish()
    return value


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "000300"),
        (1, "000301"),
        (-1, "0003ff"),
        (0x7F, "00037f"),
        (-0x7F, "000381"),
        (0x80, "00040080"),
        (-0x80, "0004ff80"),
        (0x7FFF, "00047fff"),
        (-0x8000, "0005ffff8000"),
        (0x7FFFFFFF, "00057fffffff"),
        (0x80000000, "00060000000080000000"),
        (MAX, "00067fffffffffffffff"),
        (-MAX, "00068000000000000001"),
    ],
)
def test_an_integer_has_its_shortest_form(value, encoded):
    assert encode_integer(value).hex() == encoded
    assert read("integer", bytes.fromhex(encoded)) == value


@pytest.mark.parametrize("value", [MAX + 1, -MAX - 1, 1 << 80])
def test_an_integer_that_8_bytes_do_not_hold_is_refused(value):
    with pytest.raises(ValueError, match="63 bits"):
        encode_integer(value)


@given(integers)
def test_integers_round_trip_as_the_second_codec_writes_them(value):
    assert encode_integer(value) == pack_integer(value)
    assert read("integer", encode_integer(value)) == value


@given(st.binary(max_size=300))
def test_byte_strings_round_trip_as_the_second_codec_writes_them(value):
    assert encode_bytes(value) == pack_bytes(value)
    assert read("byte_string", encode_bytes(value)) == value


def test_values_are_read_one_after_the_other():
    reader = TaggedReader(b"\x00\x82" + encode_bytes(b"key") + encode_integer(1) + b"rest")
    reader.expect(b"\x00\x82")
    assert reader.byte_string() == b"key"
    assert reader.integer() == 1
    with pytest.raises(HandshakeError, match="4 bytes are left over"):
        reader.finish()


@pytest.mark.parametrize(
    ("method", "data", "reason"),
    [
        ("integer", "", "2 bytes are announced and 0 are there"),
        ("integer", "000e000301", "tag 14"),
        ("integer", "0000", "tag 0"),
        ("integer", "000700", "tag 7"),
        ("integer", "0004 0001", "not in its shortest form"),
        ("integer", "0003 80", "not in its shortest form"),
        ("integer", "0006 8000000000000000", "not in its shortest form"),
        ("integer", "0005 010203", "4 bytes are announced and 3 are there"),
        ("byte_string", "000301", "continue with 000e"),
        ("byte_string", "000e 000302 61", "2 bytes are announced and 1 are there"),
        ("byte_string", "000e 0003ff 61", "-1 bytes are announced"),
        ("byte_string", "000e 0005 7fffffff 61", "2147483647 bytes are announced"),
        ("byte_string", "000e 000e000301", "tag 14"),
        ("byte_string", "000e 000301 6162", "1 bytes are left over"),
    ],
)
def test_another_form_is_refused(method, data, reason):
    with pytest.raises(HandshakeError, match=reason):
        read(method, bytes.fromhex(data))


@given(st.sampled_from(["integer", "byte_string"]), st.binary(max_size=20))
def test_any_bytes_are_the_one_form_of_a_value_or_an_error(method, data):
    try:
        value = read(method, data)
    except HandshakeError:
        return
    assert (encode_integer if method == "integer" else encode_bytes)(value) == data


@given(integers, st.binary(max_size=40))
def test_every_prefix_is_an_error(number, text):
    for method, data in (("integer", encode_integer(number)), ("byte_string", encode_bytes(text))):
        for size in range(len(data)):
            with pytest.raises(HandshakeError):
                read(method, data[:size])
