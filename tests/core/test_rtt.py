"""The round-trip estimate, against the text of RFC 9002."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import models

from mpgameserver._core.rtt import Rtt

times = st.floats(0.0, 60.0, allow_subnormal=False)


def after(*samples: float) -> Rtt:
    estimate = Rtt()
    for elapsed in samples:
        estimate.sample(elapsed)
    return estimate


def test_before_the_first_sample_all_is_zero():
    estimate = Rtt()
    assert not estimate.measured
    values = (estimate.srtt, estimate.rttvar, estimate.latest_rtt, estimate.min_rtt)
    assert values == (0.0, 0.0, 0.0, 0.0)


def test_before_the_first_sample_a_probe_waits_a_quarter_second():
    assert Rtt().pto() == 0.25


def test_the_first_sample_is_the_estimate():
    estimate = after(0.08)
    assert estimate.measured
    assert (estimate.srtt, estimate.rttvar) == (0.08, 0.04)
    assert (estimate.latest_rtt, estimate.min_rtt) == (0.08, 0.08)


@given(st.lists(times, min_size=1, max_size=50))
def test_it_is_the_weighted_average_of_the_rfc(samples):
    model, estimate = models.RttModel(), Rtt()
    for elapsed in samples:
        model.sample(elapsed)
        estimate.sample(elapsed)
    assert estimate.srtt == pytest.approx(model.srtt, abs=1e-12)
    assert estimate.rttvar == pytest.approx(model.rttvar, abs=1e-12)
    assert (estimate.latest_rtt, estimate.min_rtt) == (samples[-1], min(samples))
    assert min(samples) - 1e-9 <= estimate.srtt <= max(samples) + 1e-9


@given(st.lists(times, min_size=1, max_size=50))
def test_the_delays_follow_from_the_estimate(samples):
    estimate = after(*samples)
    reorder = max(9 / 8 * max(estimate.srtt, samples[-1]), 0.010)
    probe = estimate.srtt + max(4 * estimate.rttvar, 0.010) + 0.025
    assert estimate.loss_delay() == pytest.approx(reorder)
    assert estimate.loss_delay(1.0) == max(2 * max(estimate.srtt, samples[-1]), 0.010)
    assert estimate.pto() == pytest.approx(probe)


def test_on_a_steady_path_the_variation_fades():
    estimate = after(*[0.05] * 100)
    assert estimate.srtt == pytest.approx(0.05)
    assert estimate.rttvar < 1e-9
    assert estimate.pto() == pytest.approx(0.05 + 0.010 + 0.025)


@pytest.mark.parametrize("elapsed", [-0.0, -1e-9, -5.0])
def test_a_round_trip_below_zero_counts_as_zero(elapsed):
    estimate = after(elapsed)
    assert (estimate.srtt, estimate.min_rtt, estimate.latest_rtt) == (0.0, 0.0, 0.0)


def test_a_loopback_path_waits_for_the_length_of_a_frame():
    assert after(*[0.0001] * 20).loss_delay() == 0.010
