"""Traffic per second: 300 bins, against a model that keeps every event."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import models

from mpgameserver._core.rate_bins import BINS, RateBins

ZEROS = [0] * BINS
# Seconds from one event to the next; now and then backwards, and beyond all bins.
pauses = (
    st.floats(0.0, 0.3)
    | st.floats(-2.0, 5.0)
    | st.sampled_from((0.999, 1.0, 1.001, 299.0, 300.0, 301.0, 5000.0))
)
events = st.tuples(
    st.sampled_from(("sent", "received", "round trip")), pauses, st.integers(0, 65507)
)


def test_before_any_traffic_there_are_300_zeros():
    assert RateBins(5.0).lists(5.0) == (ZEROS,) * 5


@given(st.floats(-1e6, 1e6), st.lists(events, max_size=60))
def test_the_bins_are_those_of_the_model(start, calls):
    bins, model, now = RateBins(start), models.RateModel(start), start
    for name, pause, value in calls:
        now += pause
        if name == "round trip":
            bins.on_rtt_sample(value / 1024, now)
            model.round_trip(value / 1024, now)
        else:
            getattr(bins, f"on_{name}")(value, now)
            model.count(name, value, now)
    assert bins.lists(now) == model.lists(now)


def test_the_current_second_is_last():
    bins = RateBins(0.0)
    bins.on_sent(10, 0.5)
    bins.on_sent(20, 1.5)
    bins.on_received(7, 1.9)
    sent, received, packets_sent, packets_received, _ = bins.lists(1.99)
    assert (sent[-2:], packets_sent[-2:]) == ([10, 20], [1, 1])
    assert (received[-2:], packets_received[-2:]) == ([0, 7], [0, 1])


def test_a_bin_is_gone_after_300_seconds():
    bins = RateBins(0.0)
    bins.on_sent(10, 0.0)
    assert bins.lists(299.999)[0] == [10] + [0] * 299
    assert bins.lists(300.0)[0] == ZEROS


def test_latency_is_the_mean_of_the_second_in_whole_milliseconds():
    bins = RateBins(0.0)
    for elapsed in (0.010, 0.011, 0.0125):
        bins.on_rtt_sample(elapsed, 0.5)
    assert bins.lists(0.5)[4][-1] == 11
    bins.on_rtt_sample(0.2, 1.5)
    assert bins.lists(1.5)[4][-2:] == [11, 200]


@pytest.mark.parametrize("seconds", [1000.0, 1e300, math.inf])
def test_latency_stays_at_the_most_that_a_bin_holds(seconds):
    bins = RateBins(0.0)
    bins.on_rtt_sample(seconds, 0.0)
    assert bins.lists(0.0)[4][-1] == 65535


@pytest.mark.parametrize("now", [2.0**53, 2.0**64, 1e300, math.inf])
def test_a_clock_beyond_every_integer_is_later_than_all_that_was_counted(now):
    bins = RateBins(0.0)
    bins.on_sent(10, 0.0)
    assert bins.lists(now)[0] == ZEROS
    bins.on_sent(20, now)
    assert bins.lists(now)[0] == [0] * (BINS - 1) + [20]


@pytest.mark.parametrize("now", [-(2.0**64), -math.inf, math.nan])
def test_a_clock_that_says_nothing_is_that_of_the_current_second(now):
    bins = RateBins(0.0)
    bins.on_sent(10, 1.0)
    bins.on_sent(20, now)
    assert bins.lists(now)[0][-2:] == [0, 30]


def test_packets_stay_at_the_most_that_a_bin_holds_while_bytes_go_on():
    bins = RateBins(0.0)
    for _ in range(70_000):
        bins.on_sent(100, 0.0)
        bins.on_received(1, 0.0)
    sent, received, packets_sent, packets_received, _ = bins.lists(0.0)
    assert (packets_sent[-1], packets_received[-1]) == (65535, 65535)
    assert (sent[-1], received[-1]) == (7_000_000, 70_000)


def test_what_was_handed_out_does_not_change():
    bins = RateBins(0.0)
    before = bins.lists(0.0)
    bins.on_sent(10, 0.0)
    assert before == (ZEROS,) * 5


@pytest.mark.parametrize("size", [-1, 2**32])
def test_a_size_that_32_bits_do_not_hold_is_an_overflow_error(size):
    bins = RateBins(0.0)
    for count in (bins.on_sent, bins.on_received):
        with pytest.raises(OverflowError):
            count(size, 0.0)
    assert bins.lists(0.0) == (ZEROS,) * 5


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("sent", [65_536]), ("received", [65_507, 30]), ("sent", [1] * 256), ("received", [1] * 256)],
    ids=["bytes sent", "bytes received", "packets sent", "packets received"],
)
def test_a_busy_second_widens_the_bins_and_changes_none(name, sizes):
    bins, model = RateBins(0.0), models.RateModel(0.0)
    quiet = sys.getsizeof(bins)
    for second in range(400):
        for size in sizes if second == 350 else [second % 40]:
            getattr(bins, f"on_{name}")(size, float(second))
            model.count(name, size, float(second))
        bins.on_rtt_sample(second / 1000, float(second))
        model.round_trip(second / 1000, float(second))
        assert bins.lists(float(second)) == model.lists(float(second))
    assert quiet <= 2_600
    assert sys.getsizeof(bins) == quiet + 300 * 8
