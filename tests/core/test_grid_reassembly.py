"""Messages on a grid of units of 64 bytes: overlaps, memory, limits, age."""

from __future__ import annotations

import gc
import math
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from mpgameserver._core.budget import ITEM_COST, Budget
from mpgameserver._core.channel_receiver import ChannelKind, ChannelReceiver, FrameFate
from mpgameserver._core.frames import (
    FRAGMENT_UNIT,
    MAX_MESSAGE_SIZE,
    FrameFields,
    FrameType,
    encode_frames,
)
from mpgameserver._core.grid_reassembly import (
    INCOMPLETE_TIMEOUT,
    MAX_INCOMPLETE_BYTES,
    MAX_INCOMPLETE_MESSAGES,
    GridMessage,
    GridReassembler,
)

EDGES = (1, 63, 64, 65, 128, 4095, 4096, 4097, 16384, 16385, 65536, 100_000)


class GridModel:
    """The units of a message, of each the one that came first."""

    def __init__(self, total: int) -> None:
        self.count = -(-total // FRAGMENT_UNIT)
        self.units: dict[int, bytes] = {}

    def insert(self, offset: int, data: bytes) -> bytes | None:
        for start in range(0, len(data), FRAGMENT_UNIT):
            unit = (offset + start) // FRAGMENT_UNIT
            self.units.setdefault(unit, data[start : start + FRAGMENT_UNIT])
        if len(self.units) < self.count:
            return None
        return b"".join(self.units[unit] for unit in range(self.count))


def fragment(number: int, total: int, offset: int, data: bytes, channel: int = 1) -> bytes:
    """A FRAGMENT as it is on the wire."""
    return encode_frames([FrameFields(FrameType.FRAGMENT, channel, number, total, offset, data)])


class Receiver:
    """An unordered channel, or another, and the session's reassembler."""

    def __init__(self, kind: ChannelKind = ChannelKind.UNORDERED) -> None:
        self.reassembler = GridReassembler()
        self.channel = ChannelReceiver(1, kind, self.reassembler, 1000, 1 << 40)

    def receive(self, *frames: bytes, now: float = 0.0) -> tuple[list[FrameFate], list[bytes]]:
        """Inspect a packet, use the frames that are taken; their fates, and what is delivered."""
        self.reassembler.begin_packet()
        fates = [self.channel.inspect_frame(frame) for frame in frames]
        delivered = []
        for frame, fate in zip(frames, fates, strict=True):
            if fate is FrameFate.TAKEN:
                delivered += self.channel.take_frame(frame, now)
        return fates, delivered

    def fate(self, number: int, total: int, offset: int = 0, now: float = 0.0) -> FrameFate:
        """Return the fate of one fragment, and use it if it is taken."""
        data = bytes(min(FRAGMENT_UNIT, total - offset))
        return self.receive(fragment(number, total, offset, data), now=now)[0][0]

    @property
    def held(self) -> int:
        return self.reassembler.share.held


def cost(total: int) -> int:
    """The bytes charged for an incomplete message."""
    return total + total // (8 * FRAGMENT_UNIT) + ITEM_COST


class TestGrid:
    @given(st.sampled_from(EDGES) | st.integers(1, 40_000), st.integers(0, 1 << 32))
    @settings(max_examples=examples(60))
    def test_any_fragments_in_any_order_and_the_units_that_came_first(self, total, seed):
        rng = random.Random(seed)
        message, model = GridMessage(total), GridModel(total)
        expected = None
        while expected is None:
            first = rng.randrange(model.count)
            last = min(model.count, first + rng.choice((1, 2, 19, 200, model.count)))
            size = min(last * FRAGMENT_UNIT, total) - first * FRAGMENT_UNIT
            data = rng.randbytes(size)  # other bytes each time
            expected = model.insert(first * FRAGMENT_UNIT, data)
            assert message.insert(first * FRAGMENT_UNIT, data) == expected

    @pytest.mark.parametrize("order", ["forward", "backward", "shuffled"])
    def test_the_largest_message(self, order):
        whole = random.Random(order).randbytes(MAX_MESSAGE_SIZE)
        starts = list(range(0, MAX_MESSAGE_SIZE, 1152))
        if order == "backward":
            starts.reverse()
        elif order == "shuffled":
            random.Random(order).shuffle(starts)
        message = GridMessage(MAX_MESSAGE_SIZE)
        for start in starts[:-1]:
            assert message.insert(start, whole[start : start + 1152]) is None
        assert message.insert(starts[-1], whole[starts[-1] : starts[-1] + 1152]) == whole

    def test_a_fragment_that_comes_again_with_other_bytes_changes_nothing(self):
        message = GridMessage(100)
        assert message.insert(0, b"a" * 64) is None
        assert message.insert(0, b"b" * 64) is None
        assert message.insert(0, b"c" * 100) == b"a" * 64 + b"c" * 36
        assert message.insert(0, b"d" * 100) == b"a" * 64 + b"c" * 36

    @pytest.mark.parametrize("total", [0, -1, MAX_MESSAGE_SIZE + 1])
    def test_a_total_that_no_message_has_is_refused(self, total):
        with pytest.raises(ValueError, match=str(total)):
            GridMessage(total)

    @pytest.mark.parametrize(
        ("offset", "size"), [(0, 0), (1, 64), (64, 137), (192, 9), (192, 64), (-64, 64), (0, 63)]
    )
    def test_a_fragment_that_is_not_on_the_grid_is_refused(self, offset, size):
        with pytest.raises(ValueError, match="no fragment of 200 bytes"):
            GridMessage(200).insert(offset, bytes(size))

    @pytest.mark.parametrize("offset", [0, MAX_MESSAGE_SIZE // 64 * 64 - 1152])
    def test_one_fragment_of_the_largest_message_takes_little_memory(self, offset):
        data = bytes(1152)
        tracemalloc.start()
        try:
            message = GridMessage(MAX_MESSAGE_SIZE)
            message.insert(offset, data)
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert held < MAX_MESSAGE_SIZE // 512 + 8 * 1024

    def test_memory_follows_what_has_come(self):
        whole = bytes(1 << 20)
        message = GridMessage(1 << 20)
        tracemalloc.start()
        try:
            for start in range(0, 1 << 20, 1024):
                assert tracemalloc.get_traced_memory()[0] <= 8 * (start + 1024)
                message.insert(start, whole[start : start + 1024])
            assert tracemalloc.get_traced_memory()[1] < 1.2 * (1 << 20)
        finally:
            tracemalloc.stop()


class TestLimits:
    def test_the_total_is_charged_with_the_first_fragment(self):
        receiver = Receiver()
        assert receiver.fate(1, 100_000) is FrameFate.TAKEN
        assert (receiver.held, receiver.reassembler.held_bytes) == (cost(100_000), 100_000)
        assert receiver.fate(1, 100_000, 64) is FrameFate.TAKEN
        assert receiver.held == cost(100_000)

    def test_a_complete_message_is_no_longer_charged(self):
        receiver = Receiver()
        receiver.fate(1, 100)
        assert receiver.receive(fragment(1, 100, 64, b"x" * 36))[1] == [bytes(64) + b"x" * 36]
        assert (receiver.held, receiver.reassembler.held_bytes, len(receiver.reassembler)) == (
            0, 0, 0,
        )  # fmt: skip

    def test_no_more_messages_are_begun_than_the_cap(self):
        receiver = Receiver()
        for number in range(1, MAX_INCOMPLETE_MESSAGES + 1):
            assert receiver.fate(number, 100) is FrameFate.TAKEN
        assert receiver.fate(MAX_INCOMPLETE_MESSAGES + 1, 100) is FrameFate.NO_ROOM
        assert receiver.fate(7, 100, 64) is FrameFate.TAKEN
        assert receiver.fate(MAX_INCOMPLETE_MESSAGES + 1, 100) is FrameFate.TAKEN

    def test_the_messages_that_one_packet_begins_count_together(self):
        receiver = Receiver()
        frames = [fragment(n, 100, 0, bytes(64)) for n in range(1, MAX_INCOMPLETE_MESSAGES + 3)]
        fates, _ = receiver.receive(*frames)
        assert fates == [FrameFate.TAKEN] * MAX_INCOMPLETE_MESSAGES + [FrameFate.NO_ROOM] * 2
        assert len(receiver.reassembler) == MAX_INCOMPLETE_MESSAGES

    @pytest.mark.parametrize("together", [True, False])
    def test_the_bytes_of_all_that_is_begun_are_within_the_cap(self, together):
        receiver = Receiver()
        total = MAX_INCOMPLETE_BYTES // 4
        frames = [fragment(number, total, 0, bytes(64)) for number in range(1, 6)]
        if together:
            fates = receiver.receive(*frames)[0]
        else:
            fates = [receiver.receive(frame)[0][0] for frame in frames]
        assert fates == [FrameFate.TAKEN] * 4 + [FrameFate.NO_ROOM]
        assert receiver.reassembler.held_bytes == MAX_INCOMPLETE_BYTES

    def test_the_messages_that_one_packet_begins_claim_the_budget_together(self):
        receiver = Receiver()
        receiver.reassembler.share.join(Budget(2 * cost(1000)))
        frames = [fragment(number, 1000, 0, bytes(64)) for number in range(1, 4)]
        assert receiver.receive(*frames)[0] == [FrameFate.TAKEN] * 2 + [FrameFate.NO_ROOM]

    def test_what_an_earlier_packet_would_have_taken_does_not_count(self):
        receiver = Receiver()
        receiver.reassembler.begin_packet()
        for number in range(1, MAX_INCOMPLETE_MESSAGES + 1):
            receiver.channel.inspect_frame(fragment(number, 100, 0, bytes(64)))
        assert receiver.fate(1000, 100) is FrameFate.TAKEN
        assert len(receiver.reassembler) == 1

    def test_a_peer_that_announces_64_of_the_largest_messages(self):
        """One of them fits; the rest is refused, and what was sent is all the memory it takes."""
        receiver = Receiver()
        frames = [
            fragment(number, MAX_MESSAGE_SIZE, 64 * number, bytes(1024)) for number in range(1, 65)
        ]
        tracemalloc.start()
        try:
            fates = [receiver.receive(frame)[0][0] for frame in frames]
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert fates.count(FrameFate.TAKEN) == MAX_INCOMPLETE_BYTES // MAX_MESSAGE_SIZE == 1
        assert receiver.held == cost(MAX_MESSAGE_SIZE)
        assert held < 64 * 1024

    def test_a_budget_that_is_used_up_refuses_what_is_new(self):
        receiver = Receiver()
        receiver.reassembler.share.join(Budget(cost(1000)))
        assert receiver.fate(1, 1000) is FrameFate.TAKEN
        assert receiver.fate(2, 64) is FrameFate.NO_ROOM
        assert receiver.fate(1, 1000, 64) is FrameFate.TAKEN

    def test_several_fragments_that_begin_one_message_claim_its_room_once(self):
        receiver = Receiver()
        receiver.reassembler.share.join(Budget(cost(1000)))
        first, second = fragment(1, 1000, 0, bytes(64)), fragment(1, 1000, 128, bytes(64))
        assert receiver.receive(first, second)[0] == [FrameFate.TAKEN] * 2

    @pytest.mark.parametrize("end", ["clear the session", "clear the channel", "collect"])
    def test_nothing_stays_charged_at_the_end(self, end):
        receiver = Receiver()
        budget = Budget(1 << 30)
        receiver.reassembler.share.join(budget)
        for number in range(1, 20):
            receiver.fate(number, 50_000, 64 * number)
        assert budget.held == 19 * cost(50_000)
        if end == "clear the session":
            receiver.reassembler.clear()
        elif end == "clear the channel":
            receiver.channel.clear()
        else:
            share = receiver.reassembler.share
            del receiver.reassembler, receiver.channel
            gc.collect()
            assert share.held == 0
        assert budget.held == 0


class TestAge:
    def test_a_message_without_a_fragment_for_too_long_is_given_up(self):
        receiver = Receiver()
        receiver.fate(1, 100, now=10.0)
        assert receiver.reassembler.expire(10.0 + INCOMPLETE_TIMEOUT - 0.1) == (
            10.0 + INCOMPLETE_TIMEOUT
        )
        assert receiver.reassembler.expire(10.0 + INCOMPLETE_TIMEOUT) == math.inf
        assert (receiver.held, receiver.reassembler.discarded) == (0, 1)

    def test_any_fragment_counts_even_one_that_came_before(self):
        receiver = Receiver()
        receiver.fate(1, 100, now=10.0)
        receiver.fate(2, 100, now=11.0)
        receiver.fate(1, 100, now=30.0)
        assert receiver.reassembler.expire(41.0) == 30.0 + INCOMPLETE_TIMEOUT
        assert len(receiver.reassembler) == 1
        _, delivered = receiver.receive(fragment(1, 100, 64, bytes(36)), now=50.0)
        assert delivered == [bytes(100)]
        assert receiver.reassembler.expire(1000.0) == math.inf

    def test_it_may_begin_anew(self):
        receiver = Receiver()
        receiver.fate(1, 100)
        receiver.reassembler.expire(100.0)
        assert receiver.fate(1, 100, 64, now=100.0) is FrameFate.TAKEN
        _, delivered = receiver.receive(fragment(1, 100, 0, b"b" * 64), now=100.0)
        assert delivered == [b"b" * 64 + bytes(36)]

    def test_an_ordered_one_is_kept(self):
        """Nothing behind it could ever be delivered; its channel's window bounds it."""
        receiver = Receiver(ChannelKind.ORDERED)
        receiver.fate(1, 100)
        assert receiver.reassembler.expire(100.0) == 100.0 + INCOMPLETE_TIMEOUT
        assert receiver.reassembler.discarded == 0
        _, delivered = receiver.receive(fragment(1, 100, 64, bytes(36)), now=100.0)
        assert delivered == [bytes(100)]

    def test_nothing_expires_where_there_is_nothing(self):
        assert GridReassembler().expire(math.inf) == math.inf
