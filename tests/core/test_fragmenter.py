"""Splitting into pieces and putting together again: sizes, order, caps, expiry, contradictions."""

from __future__ import annotations

import math
import random
import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support import models, wire
from support.damage import prefixes
from support.endpoints import Peer, fragments_of, new_endpoint
from support.examples import examples

from mpgameserver._core.budget import ITEM_COST, Budget
from mpgameserver._core.fragmenter import (
    MAX_REASSEMBLIES,
    MAX_REASSEMBLY_BYTES,
    REASSEMBLY_TIMEOUT,
    Reassembler,
)
from mpgameserver._core.packet import size_limits
from mpgameserver.errors import PacketError

DATA = random.Random("fragments").randbytes(60_000)


def piece(number: int, index: int, count: int, data: bytes = b"") -> bytes:
    """One APP_FRAGMENT message."""
    return struct.pack(">HHH", number, index, count) + data


class TestFragmenting:
    @pytest.mark.parametrize("mtu", [512, 576, 600, 1000, 1097, 1098, 1099, 1280, 1500, 9000])
    def test_the_sizes_around_every_edge_are_those_of_the_second_codec(self, mtu):
        limits = size_limits(mtu)
        edges = {k * limits.fragment for k in range(1, 12)}
        edges |= {k * limits.fragment + limits.payload - 6 for k in range(4)}
        sizes = {edge + step for edge in edges for step in range(-3, 4)} | {limits.payload + 1}
        for size in sorted(size for size in sizes if size > limits.payload):
            assert fragments_of(DATA[:size], mtu) == wire.split(1, DATA[:size], mtu)

    @given(st.integers(512, 3000), st.data())
    def test_any_size_at_any_mtu(self, mtu, data):
        limits = size_limits(mtu)
        message = DATA[: data.draw(st.integers(limits.payload + 1, 20_000))]
        pieces = fragments_of(message, mtu)
        assert pieces == wire.split(1, message, mtu)
        assert all(len(one) <= limits.payload for one in pieces)

    @pytest.mark.parametrize("mtu", [512, 576, 1096, 1500])
    def test_the_largest_message_takes_8192_fragments(self, mtu):
        limits = size_limits(mtu)
        endpoint = new_endpoint(max_datagram=limits.datagram)
        endpoint.send_queue.add(bytes(limits.message))
        first = Peer().read(endpoint.next_datagram(0.0))[1][0]
        assert first.payload[:6] == struct.pack(">HHH", 1, 1, wire.MAX_PIECES)
        assert wire.MAX_PIECES == 8192


class ReassemblerMachine(RuleBasedStateMachine):
    """Pieces of few messages in any order, contradictions, repeats, and time."""

    numbers = st.integers(1, 6) | st.sampled_from((0, 32767, 32768, 65535))
    counts = st.integers(0, 4) | st.sampled_from((8192, 8193, 65535))

    @initialize()
    def create(self):
        self.reassembler = Reassembler()
        self.model = models.ReassemblyModel(
            MAX_REASSEMBLY_BYTES, MAX_REASSEMBLIES, ITEM_COST, REASSEMBLY_TIMEOUT
        )
        self.now, self.message = 0.0, 65536

    def add(self, number, index, count, data):
        self.message += 1
        whole = self.reassembler.add(piece(number, index, count, data), self.message, self.now)
        assert whole == self.model.add(number, index, count, data, self.message, self.now)

    @rule(number=numbers, index=st.integers(0, 5), count=counts, data=st.binary(max_size=9))
    def add_a_piece(self, number, index, count, data):
        self.add(number, index, count, data)

    @rule(number=st.integers(1, 6), sizes=st.lists(st.integers(0, 2000), min_size=1, max_size=6))
    def add_all_the_pieces_of_a_message(self, number, sizes):
        order = random.Random(len(sizes)).sample(range(1, len(sizes) + 1), len(sizes))
        for index in order:
            self.add(number, index, len(sizes), DATA[index : index + sizes[index - 1]])

    @rule(pause=st.integers(0, 320).map(lambda n: n / 64) | st.just(REASSEMBLY_TIMEOUT))
    def wait(self, pause):
        self.now += pause

    @rule()
    def expire(self):
        assert self.reassembler.expire(self.now) == self.model.expire(self.now)

    @invariant()
    def they_agree(self):
        if hasattr(self, "reassembler"):
            assert (
                len(self.reassembler),
                self.reassembler.held_bytes,
                self.reassembler.discarded,
            ) == (len(self.model.unfinished), self.model.held_bytes, self.model.discarded)


TestReassemblerMachine = ReassemblerMachine.TestCase
TestReassemblerMachine.settings = settings(max_examples=examples(40), stateful_step_count=40)


class TestReassembler:
    @given(st.integers(90, 1500), st.integers(1, 5000), st.randoms(use_true_random=False))
    def test_what_was_split_comes_back_whole_in_any_order_and_once(self, mtu, size, rng):
        message = DATA[:size]
        pieces = wire.split(65535, message, mtu)
        numbered = [(one, 100 + i) for i, one in enumerate(pieces)] * 2
        rng.shuffle(numbered)
        reassembler, wholes, seen = Reassembler(), [], set()
        for one, number in numbered:
            if number in seen:  # the message filter's business
                continue
            seen.add(number)
            wholes.append(reassembler.add(one, number, 0.0))
        assert [whole for whole in wholes if whole] == [(100, message)]
        assert (len(reassembler), reassembler.held_bytes, reassembler.discarded) == (0, 0, 0)

    @pytest.mark.parametrize("missing", [0, 2000, -1], ids=["first", "middle", "last"])
    def test_an_unfinished_message_takes_a_quarter_more_than_it_is_charged_at_most(self, missing):
        reassembler = Reassembler()
        pieces = wire.split(1, bytes(8_000_000), 1500)
        tracemalloc.start()
        try:
            last = pieces.pop(missing)
            for number, one in enumerate(pieces, 1):
                assert reassembler.add(one, number, 0.0) is None
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 1.25 * reassembler.held_bytes + 10_000
        _, whole = reassembler.add(last, len(pieces) + 1, 0.0)
        assert whole == bytes(8_000_000)

    def test_it_takes_pieces_of_any_size(self):
        reassembler = Reassembler()
        assert reassembler.add(piece(1, 2, 3, b""), 8, 0.0) is None
        assert reassembler.add(piece(1, 3, 3, bytes(60_000)), 9, 0.0) is None
        assert reassembler.add(piece(1, 1, 3, b"x"), 7, 0.0) == (7, b"x" + bytes(60_000))

    def test_it_takes_a_message_of_empty_pieces_only(self):
        reassembler = Reassembler()
        assert reassembler.add(piece(1, 2, 2, b""), 8, 0.0) is None
        assert reassembler.add(piece(1, 1, 2, b""), 7, 0.0) == (7, b"")
        assert reassembler.held_bytes == 0

    def test_messages_come_together_beside_each_other(self):
        reassembler = Reassembler()
        first, second = wire.split(1, DATA[:5000], 1500), wire.split(2, DATA[5000:9000], 1500)
        for i, (one, other) in enumerate(zip(first, second, strict=False)):
            whole = reassembler.add(one, 10 + i, 0.0), reassembler.add(other, 20 + i, 0.0)
        assert whole == (None, (20, DATA[5000:9000]))
        assert reassembler.add(first[-1], 14, 0.0) == (10, DATA[:5000])

    def test_a_piece_that_came_before_changes_nothing(self):
        reassembler = Reassembler()
        reassembler.add(piece(1, 1, 2, b"first"), 7, 0.0)
        held = reassembler.held_bytes
        assert reassembler.add(piece(1, 1, 2, b"second"), 8, 20.0) is None
        assert reassembler.held_bytes == held
        assert reassembler.expire(REASSEMBLY_TIMEOUT) == math.inf
        assert reassembler.discarded == 1

    @pytest.mark.parametrize(
        ("index", "count"),
        [(0, 2), (3, 2), (65535, 2), (1, 0), (0, 0), (1, 8193), (8193, 8193), (65535, 65535)],
    )
    def test_an_impossible_piece_discards_its_message(self, index, count):
        reassembler = Reassembler()
        reassembler.add(piece(5, 1, 2, b"half"), 7, 0.0)
        reassembler.add(piece(6, 1, 2, b"another"), 8, 0.0)
        assert reassembler.add(piece(5, index, count, b"impossible"), 9, 0.0) is None
        assert (len(reassembler), reassembler.discarded) == (1, 1)
        assert reassembler.held_bytes == len(b"another") + ITEM_COST

    def test_0_is_no_fragmented_message_number(self):
        reassembler = Reassembler()
        assert reassembler.add(piece(0, 1, 1, b"whole"), 7, 0.0) is None
        assert (len(reassembler), reassembler.discarded) == (0, 1)

    @pytest.mark.parametrize("count", [1, 2, 4, 8192])
    def test_a_count_that_changes_midway_discards_the_message(self, count):
        reassembler = Reassembler()
        reassembler.add(piece(5, 1, 3, b"a"), 7, 0.0)
        assert reassembler.add(piece(5, 1, count, b"b"), 8, 0.0) is None
        assert (len(reassembler), reassembler.held_bytes, reassembler.discarded) == (0, 0, 1)

    def test_a_message_that_does_not_grow_expires(self):
        reassembler = Reassembler()
        reassembler.add(piece(1, 1, 2, b"a"), 7, 10.0)
        reassembler.add(piece(2, 1, 2, b"b"), 8, 15.0)
        assert reassembler.expire(10.0 + REASSEMBLY_TIMEOUT - 0.01) == 10.0 + REASSEMBLY_TIMEOUT
        assert reassembler.expire(10.0 + REASSEMBLY_TIMEOUT) == 15.0 + REASSEMBLY_TIMEOUT
        assert (len(reassembler), reassembler.discarded) == (1, 1)
        assert reassembler.expire(15.0 + REASSEMBLY_TIMEOUT) == math.inf
        assert (len(reassembler), reassembler.held_bytes) == (0, 0)

    def test_a_message_that_grows_stays(self):
        reassembler = Reassembler()
        for index in range(1, 10):
            now = 20.0 * index
            assert reassembler.add(piece(1, index, 10, b"x"), index, now) is None
            assert reassembler.expire(now) == now + REASSEMBLY_TIMEOUT
        assert reassembler.add(piece(1, 10, 10, b"x"), 10, 200.0) == (1, b"x" * 10)

    def test_only_so_many_messages_are_unfinished(self):
        reassembler = Reassembler()
        for number in range(1, MAX_REASSEMBLIES + 1):
            reassembler.add(piece(number, 1, 3), number, 0.0)
        for number in range(MAX_REASSEMBLIES + 1, MAX_REASSEMBLIES + 5000):
            with pytest.raises(BufferError):
                reassembler.add(piece(number, 1, 2), number, 0.0)
        assert (len(reassembler), reassembler.discarded) == (MAX_REASSEMBLIES, 0)
        assert reassembler.held_bytes == MAX_REASSEMBLIES * ITEM_COST

    def test_at_the_bound_each_of_them_can_still_be_finished(self):
        reassembler = Reassembler()
        for number in range(1, MAX_REASSEMBLIES + 1):
            reassembler.add(piece(number, 1, 2, b"a"), number, 0.0)
        for number in range(1, MAX_REASSEMBLIES + 1):
            assert reassembler.add(piece(number, 2, 2, b"b"), 100, 0.0) == (number, b"ab")
        assert reassembler.held_bytes == 0

    @pytest.mark.parametrize("size", [0, 1024, 65_000])
    def test_the_unfinished_messages_hold_no_more_than_20_mib(self, size):
        reassembler, taken, refused = Reassembler(), 0, 0
        for index in range(1, MAX_REASSEMBLY_BYTES // (size + ITEM_COST) + 200):
            number = 1 + index // 8000
            data = piece(number, 1 + index % 8000, 8192, bytes(size))
            try:
                reassembler.add(data, index, 0.0)
                taken += 1
            except BufferError:
                refused += 1
        assert refused >= 199
        assert reassembler.held_bytes == taken * (size + ITEM_COST) <= MAX_REASSEMBLY_BYTES

    def test_what_expired_makes_room(self):
        reassembler = Reassembler()
        for number in range(1, MAX_REASSEMBLIES + 1):
            reassembler.add(piece(number, 1, 2), number, 0.0)
        reassembler.expire(REASSEMBLY_TIMEOUT)
        assert reassembler.add(piece(100, 1, 2), 100, REASSEMBLY_TIMEOUT) is None
        assert len(reassembler) == 1

    def test_fewer_bytes_than_a_piece_header_are_a_packet_error(self):
        reassembler = Reassembler()
        for data in prefixes(piece(1, 1, 2)):
            with pytest.raises(PacketError, match=f"{len(data)}"):
                reassembler.add(data, 1, 0.0)
        assert (len(reassembler), reassembler.held_bytes, reassembler.discarded) == (0, 0, 0)

    @pytest.mark.parametrize("message", [None, "text", bytearray(10)])
    def test_only_bytes_are_taken(self, message):
        with pytest.raises(TypeError):
            Reassembler().add(message, 1, 0.0)


class TestArriving:
    """The incomplete messages, with what has come of each and an estimate of the rest."""

    @pytest.mark.parametrize("numbers", [(7, 8, 9), (65534, 65535, 1)])
    def test_they_are_in_the_order_of_their_numbers_across_the_wrap(self, numbers):
        reassembler = Reassembler()
        for place in (2, 0, 1):
            data = bytes(100 * (place + 1))
            reassembler.add(piece(numbers[place], 1, 10, data), place + 1, 0.0)
        assert reassembler.arriving() == [(100, 1000), (200, 2000), (300, 3000)]

    @pytest.mark.parametrize("last", [40, 130])
    def test_the_estimate_is_wrong_by_the_last_fragment_alone(self, last):
        reassembler = Reassembler()
        reassembler.add(piece(1, 2, 4, bytes(100)), 1, 0.0)
        assert reassembler.arriving() == [(100, 400)]
        reassembler.add(piece(1, 4, 4, bytes(last)), 2, 0.0)
        assert reassembler.arriving() == [(100 + last, 300 + last)]
        reassembler.add(piece(1, 1, 4, bytes(100)), 3, 0.0)
        assert reassembler.arriving() == [(200 + last, 300 + last)]

    def test_the_last_one_alone_is_taken_for_one_of_them(self):
        reassembler = Reassembler()
        reassembler.add(piece(1, 4, 4, bytes(40)), 1, 0.0)
        assert reassembler.arriving() == [(40, 160)]

    def test_there_is_a_byte_of_what_came_without_any(self):
        """A peer may send empty fragments, and a game divides by the bytes in all."""
        reassembler = Reassembler()
        reassembler.add(piece(1, 2, 3), 1, 0.0)
        assert reassembler.arriving() == [(0, 1)]


class TestSharedBudget:
    def test_what_one_holds_leaves_less_for_the_others(self):
        budget = Budget(3 * (100 + ITEM_COST))
        one, other = Reassembler(), Reassembler()
        one.share.join(Budget(1 << 20, budget))
        other.share.join(Budget(1 << 20, budget))
        for number in (1, 2):
            one.add(piece(number, 1, 2, bytes(100)), number, 0.0)
        other.add(piece(1, 1, 2, bytes(100)), 1, 0.0)
        assert budget.held == one.held_bytes + other.held_bytes == budget.limit
        with pytest.raises(BufferError):
            other.add(piece(2, 1, 2, b""), 2, 0.0)

    def test_what_is_whole_expired_cleared_or_gone_is_given_back(self):
        budget = Budget(1 << 20)
        whole, expired, cleared, gone = (Reassembler() for _ in range(4))
        for reassembler in (whole, expired, cleared, gone):
            reassembler.share.join(Budget(1 << 20, budget))
            reassembler.add(piece(1, 1, 2, bytes(100)), 1, 0.0)
        assert whole.add(piece(1, 2, 2, b"end"), 2, 0.0) is not None
        expired.expire(REASSEMBLY_TIMEOUT)
        cleared.clear()
        del gone, reassembler
        assert budget.held == 0
        assert len(cleared) == cleared.held_bytes == 0
