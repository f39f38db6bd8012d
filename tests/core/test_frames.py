"""The frames of protocol 2: the golden bytes both ways, and anything else refused.

Which field of `FrameFields` holds what is in `frames.pxd`.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.damage import mutated, prefixes
from support.wire2.fields import WireError
from support.wire2.frames import unpack_all

from mpgameserver._core.frames import (
    FRAGMENT_UNIT,
    MAX_ACK_RANGES,
    MAX_MESSAGE_SIZE,
    FrameFields,
    FrameType,
    decode_frames,
    encode_frames,
)
from mpgameserver._core.packet import size_limits
from mpgameserver.errors import PacketError

VECTORS = json.loads(Path(__file__).parents[1].joinpath("protocol2.json").read_text())
FRAMES = VECTORS["frames"]
INVALID = VECTORS["invalid"]["payloads"]

NAMES = {
    "number": ("number", "code", "sequence", "clock", "highest_number"),
    "total": ("total", "delay", "highest_total", "received"),
    "offset": ("offset", "left"),
    "data": ("data", "text"),
}
"""Of each field, what the vectors call it, by type of frame."""


def fields_of(vector: dict) -> FrameFields:
    """A frame of the vectors as the product has it."""
    if vector["frame"] == "RESERVED":
        return FrameFields(vector["type"], data=bytes.fromhex(vector["data"]))
    found: dict = {"channel": vector.get("channel", 0)}
    for field, names in NAMES.items():
        for name in names:
            if name in vector:
                found[field] = vector[name]
    if "data" in found:
        found["data"] = bytes.fromhex(found["data"])
    if "position" in vector:
        found["offset"] = vector["position"] * FRAGMENT_UNIT
    if vector["frame"] == "NEW_CONNECTION_ID":
        found["data"] = bytes.fromhex(vector["connection_id"] + vector["reset_token"])
    if vector["frame"] == "ACK":
        ranges = tuple((newest, oldest) for oldest, newest in vector["ranges"])
        found |= {"ranges": ranges, "number": ranges[0][0]}
    return FrameFields(FrameType[vector["frame"]], **found)


each_frame = pytest.mark.parametrize(
    "vector", FRAMES, ids=lambda v: f"{v['frame']} {v['bytes'][:24]}"
)


class TestTheGoldenFrames:
    @each_frame
    def test_are_read(self, vector):
        assert decode_frames(bytes.fromhex(vector["bytes"])) == [fields_of(vector)]

    @each_frame
    def test_are_written(self, vector):
        frame, golden = fields_of(vector), bytes.fromhex(vector["bytes"])
        if vector.get("has_length"):
            # Only the last frame of a packet goes without a length.
            written = encode_frames([frame, FrameFields(FrameType.PING)])
            assert written == golden + bytes([FrameType.PING])
        else:
            assert encode_frames([frame]) == golden

    @each_frame
    def test_end_where_they_end(self, vector):
        """No prefix is the same frame, and no byte after it belongs to it."""
        frame, golden = fields_of(vector), bytes.fromhex(vector["bytes"])
        for prefix in prefixes(golden):
            assert read(prefix) != [frame]
        if vector["frame"] == "CLOSE":
            assert read(golden + b"\x01") is None
        elif vector.get("has_length", True):
            assert read(golden + b"\x01") == [frame, FrameFields(FrameType.PING)]

    @pytest.mark.parametrize("vector", VECTORS["payloads"], ids=lambda v: v["bytes"][:24])
    def test_follow_each_other(self, vector):
        expected = [fields_of(frame) for frame in vector["frames"]]
        assert decode_frames(bytes.fromhex(vector["bytes"])) == expected
        if vector["is_shortest"]:
            assert encode_frames(expected) == bytes.fromhex(vector["bytes"])


def read(payload: bytes) -> list[FrameFields] | None:
    """The frames of a payload; None if it is refused."""
    try:
        return decode_frames(payload)
    except PacketError:
        return None


@pytest.mark.parametrize("vector", INVALID, ids=lambda v: v["reason"])
def test_what_the_page_refuses_is_refused(vector):
    assert read(bytes.fromhex(vector["bytes"])) is None


def agree(payload: bytes) -> None:
    """The two decoders say the same of some bytes, and what was read can be written."""
    try:
        expected = unpack_all(payload)
    except WireError:
        expected = None
    found = read(payload)
    assert (found is None) == (expected is None), payload.hex()
    if found is not None:
        assert len(found) == len(expected)
        assert read(encode_frames(found)) == found


@given(st.binary(max_size=80))
def test_any_bytes_are_frames_or_one_error(payload):
    agree(payload)


@given(st.lists(st.sampled_from(FRAMES), min_size=1, max_size=4), st.integers(0, 1 << 32))
def test_damaged_frames_are_frames_or_one_error(vectors, seed):
    payload = b"".join(bytes.fromhex(vector["bytes"])[:400] for vector in vectors)
    agree(mutated(random.Random(seed), payload))


def test_the_largest_message_is_that_of_protocol_1():
    assert size_limits(1500).message == MAX_MESSAGE_SIZE


class TestWriting:
    @pytest.mark.parametrize(
        "frame",
        [
            FrameFields(14),
            FrameFields(FrameType.MESSAGE, number=0),
            FrameFields(FrameType.MESSAGE, number=1 << 62),
            FrameFields(FrameType.MESSAGE, number=-1),
            FrameFields(FrameType.FRAGMENT, number=1, total=10, offset=1, data=b"x"),
            FrameFields(FrameType.FRAGMENT, number=1, total=100, data=b"x"),
            FrameFields(FrameType.FRAGMENT, number=1, total=MAX_MESSAGE_SIZE + 1, data=bytes(64)),
            FrameFields(FrameType.ACK, number=1),
            FrameFields(FrameType.ACK, ranges=((5, 4), (4, 3))),
            FrameFields(FrameType.ACK, ranges=((5, 0),)),
            FrameFields(FrameType.ACK, ranges=((4, 5),)),
            FrameFields(FrameType.ACK, ranges=tuple((99 - 2 * i,) * 2 for i in range(33))),
            FrameFields(FrameType.CLOSE, data=bytes(257)),
            FrameFields(FrameType.PATH_CHALLENGE, data=bytes(7)),
            FrameFields(FrameType.PING, data=b"x"),
        ],
        ids=str,
    )
    def test_refuses_what_no_receiver_takes(self, frame):
        with pytest.raises(
            ValueError, match=r"not frames|would be read as|a number above|an ACK has"
        ):
            encode_frames([frame])

    def test_refuses_no_frames(self):
        with pytest.raises(ValueError, match="not frames"):
            encode_frames([])

    def test_writes_as_many_ranges_as_an_ack_may_have(self):
        ranges = tuple((1 << 61) - i * (1 << 33) for i in range(MAX_ACK_RANGES))
        ack = FrameFields(FrameType.ACK, number=1 << 61, ranges=tuple((n, n - 9) for n in ranges))
        assert decode_frames(encode_frames([ack])) == [ack]
