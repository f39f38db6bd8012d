"""Sequence numbers: the ring, its wrap-around, and absolute numbers without one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import models, wire

from mpgameserver._core.seqnum import RING_SIZE, SeqNum, expand_number, wire_number

CORNERS = (1, 2, 32766, 32767, 32768, 32769, 65534, 65535)
on_ring = st.integers(1, RING_SIZE) | st.sampled_from(CORNERS)
steps = st.integers(-200_000, 200_000) | st.sampled_from((0, 65535, -65535, 10**30, -(10**30)))


class TestRange:
    def test_the_largest_is_65535(self):
        assert SeqNum.maximum() == RING_SIZE == 65535
        assert isinstance(SeqNum.maximum(), SeqNum)

    @pytest.mark.parametrize("value", [0, *CORNERS])
    def test_what_16_bits_hold_is_a_number(self, value):
        assert SeqNum(value) == value
        assert int(SeqNum(value)) == value
        assert hash(SeqNum(value)) == hash(value)

    def test_without_a_value_it_is_none_yet(self):
        assert SeqNum() == 0

    def test_it_reads_as_its_number(self):
        number = SeqNum(65535)
        assert (str(number), f"{number}", f"{number:>7}") == ("65535", "65535", "  65535")
        assert repr(number) == "SeqNum(65535)"

    @pytest.mark.parametrize("value", [-1, 65536, -65536, 2**64, -(2**64)])
    def test_what_16_bits_do_not_hold_is_a_value_error_that_names_it(self, value):
        with pytest.raises(ValueError, match=str(value)):
            SeqNum(value)

    @pytest.mark.parametrize("value", [-1, 65536, 2**64])
    @pytest.mark.parametrize(
        "method", ["diff", "newer_than", "__lt__", "__le__", "__gt__", "__ge__"]
    )
    def test_it_is_compared_with_sequence_numbers_only(self, method, value):
        with pytest.raises(ValueError, match=str(value)):
            getattr(SeqNum(1), method)(value)

    @pytest.mark.parametrize("value", [None, 5j, [5]])
    def test_it_is_made_of_integers_only(self, value):
        with pytest.raises(TypeError):
            SeqNum(value)
        with pytest.raises(TypeError):
            SeqNum(1).diff(value)


class TestRing:
    @pytest.mark.parametrize(("a", "b"), [*itertools.product(CORNERS, repeat=2)])
    def test_the_step_between_corners(self, a, b):
        assert SeqNum(a).diff(b) == wire.diff(a, b)

    @given(on_ring, on_ring)
    def test_the_step_is_the_shortest_one(self, a, b):
        step = SeqNum(a).diff(b)
        assert step == wire.diff(a, b)
        assert SeqNum(b) + step == a
        assert -32767 <= step == -SeqNum(b).diff(a)

    @given(on_ring, on_ring)
    def test_newer_is_what_is_a_step_forward(self, a, b):
        step, x, y = wire.diff(a, b), SeqNum(a), SeqNum(b)
        assert x.newer_than(y) is (x > y) is (step > 0)
        assert (x < y) is (step < 0)
        assert (x >= y) is (step >= 0)
        assert (x <= y) is (step <= 0)
        assert (x == y) is (a == b)

    @given(st.integers(0, RING_SIZE), steps)
    def test_plus_and_minus_stay_on_the_ring(self, a, step):
        assert SeqNum(a) + step == step + SeqNum(a) == SeqNum(a) - -step == wire.add(a, step)
        assert 1 <= int(SeqNum(a) + step) <= RING_SIZE
        assert type(SeqNum(a) + step) is type(SeqNum(a) - step) is SeqNum

    @given(on_ring, steps)
    def test_minus_takes_back_what_plus_added(self, a, step):
        assert SeqNum(a) + step - step == a

    def test_after_65535_comes_1_and_before_1_comes_65535(self):
        assert SeqNum(65535) + 1 == 1
        assert SeqNum(1) - 1 == 65535

    def test_the_first_one_follows_none_yet(self):
        assert SeqNum(0) + 1 == 1

    def test_all_of_the_ring_is_walked_once(self):
        place, walked = SeqNum(0), []
        for _ in range(RING_SIZE):
            place += 1
            walked.append(place)
        assert walked == list(range(1, RING_SIZE + 1))
        assert place + 1 == 1

    def test_a_subclass_stays_what_it_is(self):
        class Number(SeqNum):
            pass

        assert type(Number(65535) + 1) is Number
        assert type(Number.maximum()) is Number

    def test_its_text_names_it(self):
        assert repr(SeqNum(7)) == "SeqNum(7)"
        assert f"{SeqNum(7):05d}" == "00007"


class TestAbsoluteNumbers:
    @pytest.mark.parametrize(
        ("number", "seq"),
        [(1, 1), (65535, 65535), (65536, 1), (131070, 65535), (131071, 1), (2**62, 32769)],
    )
    def test_the_wire_form(self, number, seq):
        assert wire_number(number) == models.to_wire(number)
        assert wire_number(number) == (number - 1) % 65535 + 1
        assert number < 2**40 or wire_number(number + 65535) == wire_number(number)
        assert number > 2**40 or wire_number(number) == seq

    @pytest.mark.parametrize("number", [0, -1, -65535])
    def test_absolute_numbers_begin_at_1(self, number):
        with pytest.raises(ValueError, match=str(number)):
            wire_number(number)

    @given(st.integers(32768, 2**60), st.integers(-32767, 32767))
    def test_a_wire_number_stands_for_the_nearest_absolute_one(self, near, step):
        number = near + step
        assert expand_number(wire_number(number), near) == number

    @given(on_ring, st.integers(0, 200_000))
    def test_expansion_is_that_of_the_model(self, seq, near):
        assert expand_number(seq, near) == models.expand(seq, near)

    @given(on_ring)
    def test_with_nothing_known_a_whole_ring_is_left_below(self, seq):
        number = expand_number(seq, 0)
        assert wire_number(number) == seq
        assert expand_number(wire_number(number - 32767), number) >= 1

    @pytest.mark.parametrize("seq", [0, -1, 65536])
    def test_only_wire_numbers_are_expanded(self, seq):
        with pytest.raises(ValueError, match=str(seq)):
            expand_number(seq, 5)

    def test_nothing_is_near_a_negative_number(self):
        with pytest.raises(ValueError, match="-1"):
            expand_number(1, -1)

    @pytest.mark.parametrize("call", [wire_number, lambda n: expand_number(1, n)])
    def test_what_64_bits_do_not_hold_is_an_overflow_error(self, call):
        with pytest.raises(OverflowError):
            call(2**63)
