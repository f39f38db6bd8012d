"""Payloads of no, one and many messages, the sizes that an MTU leaves, and what is no payload."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import wire
from support.damage import mutated, prefixes

from mpgameserver._core.packet import decode_payload, encode_payload, size_limits
from mpgameserver.errors import PacketError

CORNERS = (1, 32767, 32768, 65535)
numbers = st.integers(1, 65535) | st.sampled_from(CORNERS)
messages = st.tuples(numbers, st.integers(0, 255), st.binary(max_size=20))
payloads = st.lists(messages, max_size=12)


def header(size: int, count: int, packet_type: int) -> wire.Header:
    return wire.Header(wire.TO_SERVER, 0, 1, 0, packet_type, size, count, 0)


def type_of(many: list[tuple[int, int, bytes]]) -> int:
    return many[0][1] if many else wire.KEEP_ALIVE


def by_the_second_codec(payload: bytes, count: int, packet_type: int) -> list[wire.Message]:
    return wire.unpack_payload(payload, header(len(payload), count, packet_type))


class TestCodec:
    @given(payloads)
    def test_what_was_written_is_read(self, many):
        payload = encode_payload(many)
        assert payload == wire.pack_payload([wire.Message(*one) for one in many])
        assert decode_payload(payload, len(many), type_of(many)) == many
        assert by_the_second_codec(payload, len(many), type_of(many)) == many

    @pytest.mark.parametrize("count", [0, 1, 2, 3, 254, 255])
    def test_the_overhead_of_so_many_messages(self, count):
        payload = encode_payload([(1 + i, 6, b"") for i in range(count)])
        assert len(payload) == {0: 0, 1: 2}.get(count, 5 * count)

    @pytest.mark.parametrize("number", CORNERS)
    @pytest.mark.parametrize("count", [1, 2])
    def test_the_corners_of_the_number(self, number, count):
        many = [(number, 6, b"message")] * count
        assert decode_payload(encode_payload(many), count, 6) == many

    @pytest.mark.parametrize("size", [0, 1, 255, 256, 32767, 32768, 65530])
    def test_the_corners_of_the_length(self, size):
        for many in ([(1, 6, bytes(size))], [(1, 6, bytes(size - size // 1000)), (2, 7, b"")]):
            assert decode_payload(encode_payload(many), len(many), 6) == many

    def test_a_message_alone_takes_its_type_from_the_header(self):
        assert decode_payload(b"\0\1message", 1, 7) == [(1, 7, b"message")]

    def test_messages_that_share_a_packet_have_types_of_their_own(self):
        payload = encode_payload([(1, 7, b"a"), (2, 6, b"b")])
        assert decode_payload(payload, 2, 3) == [(1, 7, b"a"), (2, 6, b"b")]


class TestMistakesOfTheCaller:
    @pytest.mark.parametrize("number", [0, -1, 65536])
    def test_a_number_outside_the_ring_is_a_value_error(self, number):
        with pytest.raises(ValueError, match=str(number)):
            encode_payload([(number, 6, b"")])

    @pytest.mark.parametrize("message_type", [-1, 256])
    def test_a_type_of_more_than_a_byte_is_a_value_error(self, message_type):
        with pytest.raises(ValueError, match=str(message_type)):
            encode_payload([(1, message_type, b"")])

    def test_a_message_of_more_than_its_length_holds_is_a_value_error(self):
        with pytest.raises(ValueError, match="65536"):
            encode_payload([(1, 6, bytes(65536))])

    def test_more_than_255_messages_are_a_value_error(self):
        with pytest.raises(ValueError, match="256"):
            encode_payload([(1, 6, b"")] * 256)

    @pytest.mark.parametrize(("count", "packet_type"), [(256, 6), (-1, 6), (1, 256), (1, -1)])
    def test_a_count_or_type_of_more_than_a_byte_is_an_overflow_error(self, count, packet_type):
        with pytest.raises(OverflowError):
            decode_payload(b"\0\1", count, packet_type)

    @pytest.mark.parametrize("payload", [None, "text", bytearray(2)])
    def test_only_bytes_are_decoded(self, payload):
        with pytest.raises(TypeError):
            decode_payload(payload, 1, 6)


class TestRefusals:
    @given(payloads)
    def test_every_prefix_of_a_shared_payload_is_refused(self, many):
        payload = encode_payload(many)
        if len(many) == 1:
            return
        for wrong in [*prefixes(payload), payload + b"\0"]:
            with pytest.raises(PacketError):
                decode_payload(wrong, len(many), 6)

    @given(payloads, st.integers(0, 255))
    def test_the_count_must_be_that_of_the_messages(self, many, count):
        payload = encode_payload(many)
        if count in (1, len(many)):
            return
        with pytest.raises(PacketError):
            decode_payload(payload, count, 6)

    @pytest.mark.parametrize("payload", [b"", b"\0", b"\1"])
    def test_a_message_alone_has_a_number(self, payload):
        with pytest.raises(PacketError):
            decode_payload(payload, 1, 6)

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_0_is_no_message_number(self, place):
        many = [wire.Message(5, 6, b"x")] * 3
        many[place] = many[place]._replace(seq=0)
        for wrong in (many, many[place:][:1]):
            with pytest.raises(PacketError):
                decode_payload(wire.pack_payload(wrong), len(wrong), 6)

    @pytest.mark.parametrize("declared", [1, 2, 255, 65535])
    def test_a_length_that_runs_past_the_payload_is_refused(self, declared):
        payload = declared.to_bytes(2, "big") + b"\0\1\6" + b"\0\0\0\2\6"
        with pytest.raises(PacketError):
            decode_payload(payload, 2, 6)

    def test_lengths_that_overlap_are_refused(self):
        payload = encode_payload([(1, 6, encode_payload([(2, 6, b""), (3, 6, b"")]))])
        with pytest.raises(PacketError):
            decode_payload(b"\0\x0a" + payload, 2, 6)

    @given(
        st.binary(max_size=60)
        | st.tuples(payloads, st.randoms(use_true_random=False)).map(
            lambda pair: mutated(pair[1], encode_payload(pair[0]))
        ),
        st.integers(0, 12),
        st.integers(0, 255),
    )
    def test_any_bytes_are_what_the_second_codec_says(self, payload, count, packet_type):
        try:
            expected = by_the_second_codec(payload, count, packet_type)
        except wire.WireError:
            with pytest.raises(PacketError):
                decode_payload(payload, count, packet_type)
        else:
            assert decode_payload(payload, count, packet_type) == expected


class TestSizes:
    @pytest.mark.parametrize("head", [28, 48])
    def test_they_are_those_of_the_second_codec(self, head):
        for mtu in range(512, 3000):
            assert size_limits(mtu, head)[:3] == wire.sizes(mtu, head)[:3]

    def test_the_largest_message_takes_8192_pieces(self):
        largest = size_limits(1500).message
        assert len(wire.split(1, bytes(largest), 1500)) == wire.MAX_PIECES
        assert len(wire.split(1, bytes(largest + 1), 1500)) == wire.MAX_PIECES + 1

    def test_the_largest_message_at_the_default(self):
        assert size_limits(1500) == (1472, 1434, 1024, 8_389_011)

    @pytest.mark.parametrize("mtu", [-1, 0, 511, 65536, 2**64])
    def test_an_mtu_that_udp_cannot_carry_is_a_value_error(self, mtu):
        with pytest.raises(ValueError, match=str(mtu)):
            size_limits(mtu)

    @pytest.mark.parametrize(("mtu", "head"), [(65535, 28), (65555, 48)])
    def test_the_largest_mtu_is_that_of_udp(self, mtu, head):
        assert size_limits(mtu, head).datagram == 65507
        with pytest.raises(ValueError, match=str(mtu + 1)):
            size_limits(mtu + 1, head)
