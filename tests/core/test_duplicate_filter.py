"""The duplicate filter, against the set of all numbers ever inserted."""

from __future__ import annotations

import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support import models
from support.examples import examples

from mpgameserver._core.duplicate_filter import (
    CHANNEL_FILTER_WIDTH,
    MESSAGE_FILTER_WIDTH,
    DuplicateFilter,
)

# Where bitmaps of 64-bit words that double from 256 bits have their edges.
EDGES = (1, 2, 63, 64, 65, 127, 128, 255, 256, 257, 511, 512, 1000, 16384, 32767, 32768, 65536)
STARTS = (1, 64, 65535, 65536, 2**31 - 1, 2**32, 2**48)
steps = st.integers(1, 80) | st.sampled_from((*EDGES, 32769, 65535, 65537, 200_000, 2**33))


class AgainstTheModel(RuleBasedStateMachine):
    @initialize(width=st.sampled_from(EDGES), start=st.sampled_from(STARTS))
    def create(self, width, start):
        self.filter = DuplicateFilter(width)
        self.model = models.DuplicateModel(width)
        self.insert(start)

    def insert(self, number):
        if number >= 1:
            assert self.filter.insert(number) is self.model.insert(number)

    def check(self, number):
        assert self.filter.contains(number) is self.model.contains(number)

    @rule(step=steps)
    def insert_ahead(self, step):
        self.insert(self.model.newest + step)

    @rule(first=steps, count=st.integers(1, 200))
    def insert_a_run_ahead(self, first, count):
        for number in range(self.model.newest + first, self.model.newest + first + count):
            self.insert(number)

    @rule(step=steps)
    def insert_behind(self, step):
        self.insert(self.model.newest - step)

    @rule(back=st.integers(0, 2), edge=st.sampled_from(EDGES))
    def look_around_the_edges(self, back, edge):
        for number in (
            self.model.newest - edge + back,
            self.model.newest - self.model.width + back,
        ):
            self.check(number)
            self.insert(number)

    @rule(rng=st.randoms(use_true_random=False))
    def insert_again_what_was_inserted(self, rng):
        for number in rng.sample(sorted(self.model.inserted), min(20, len(self.model.inserted))):
            assert not self.filter.insert(number)

    @invariant()
    def they_agree_near_the_newest(self):
        if hasattr(self, "filter"):
            assert self.filter.newest == self.model.newest
            for number in range(self.model.newest - 130, self.model.newest + 3):
                self.check(number)


TestAgainstTheModel = AgainstTheModel.TestCase
TestAgainstTheModel.settings = settings(max_examples=examples(40), stateful_step_count=40)


@given(st.sampled_from(EDGES), st.lists(steps, min_size=1, max_size=8))
@settings(max_examples=examples(30))
def test_all_of_the_filter_is_that_of_the_model(width, jumps):
    ours, model, number = DuplicateFilter(width), models.DuplicateModel(width), 1
    for jump in jumps:
        for one in (number, number + 1, number + jump // 2):
            assert ours.insert(one) is model.insert(one)
        number += jump
    newest, edge = model.newest, model.newest - width
    expected = {one for one in model.inserted if one > edge}
    assert {one for one in range(max(edge, 0) + 1, newest + 1) if ours.contains(one)} == expected
    assert ours.contains(edge)


def test_a_shuffled_stream_passes_once_through_many_laps_of_the_ring(seed):
    rng = random.Random(seed)
    numbers = list(range(1, 4 * models.RING, 3))
    late = [number + rng.randrange(30_000) for number in numbers]
    stream = [number for _, number in sorted(zip(late, numbers, strict=True))]
    ours = DuplicateFilter()
    assert all(ours.insert(number) for number in stream)
    assert not any(ours.insert(number) for number in stream)


@pytest.mark.parametrize("width", EDGES)
def test_what_lies_behind_the_filter_counts_as_had(width):
    ours = DuplicateFilter(width)
    ours.insert(100_000)
    assert not ours.contains(100_001 - width) or width == 1
    assert ours.contains(100_000 - width)
    assert not ours.insert(100_000 - width)
    assert not ours.insert(1)


@pytest.mark.parametrize("behind", [1, 255, 256, 257, 32766, 32767])
def test_what_arrives_late_is_new_once(behind):
    ours = DuplicateFilter()
    assert ours.insert(40_000)
    assert ours.insert(40_000 - behind)
    assert not ours.insert(40_000 - behind)
    assert not ours.insert(40_000)


def test_before_the_first_number_nothing_was_had():
    ours = DuplicateFilter()
    assert ours.newest == 0
    assert not ours.contains(1)
    assert not ours.contains(2**62)
    assert ours.newest == 0


def test_the_width_is_that_of_half_the_ring_by_default():
    assert DuplicateFilter().width == MESSAGE_FILTER_WIDTH == 32768


@pytest.mark.parametrize("width", [0, 65537, 2**32 - 1])
def test_another_width_is_a_value_error(width):
    with pytest.raises(ValueError, match=str(width)):
        DuplicateFilter(width)


@pytest.mark.parametrize("width", [-1, 2**32])
def test_a_width_that_32_bits_do_not_hold_is_an_overflow_error(width):
    with pytest.raises(OverflowError):
        DuplicateFilter(width)


@pytest.mark.parametrize("number", [0, -1, -65536])
def test_a_number_below_1_is_a_value_error_that_changes_nothing(number):
    ours = DuplicateFilter()
    ours.insert(5)
    with pytest.raises(ValueError, match=str(number)):
        ours.insert(number)
    assert ours.newest == 5
    assert ours.insert(4)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_a_number_that_64_bits_do_not_hold_is_an_overflow_error(number):
    ours = DuplicateFilter()
    for call in (ours.insert, ours.contains):
        with pytest.raises(OverflowError):
            call(number)


def test_numbers_without_gaps_of_a_few_messages_cost_little():
    ours = DuplicateFilter()
    for number in range(1, 250):
        ours.insert(number)
    assert sys.getsizeof(ours) < 256


@pytest.mark.parametrize("width", [MESSAGE_FILTER_WIDTH, CHANNEL_FILTER_WIDTH])
def test_no_numbers_make_it_larger_than_a_bit_for_each(width):
    ours = DuplicateFilter(width)
    for power in range(62):
        ours.insert(1 << power)
    assert width // 8 <= sys.getsizeof(ours) < width // 8 + 256


def test_it_grows_once_however_many_numbers_come():
    ours = DuplicateFilter()
    sizes = [sys.getsizeof(ours)]
    for number in range(1, 70_000):
        ours.insert(number)
        sizes.append(sys.getsizeof(ours))
    assert len(set(sizes)) == 2
    assert sizes[256] == sizes[0]
    assert sizes[257] == sizes[-1]
