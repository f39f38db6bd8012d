"""Figures as people read them."""

from __future__ import annotations

import pytest

from mpgameserver.figures import kilobytes, milliseconds, percentile


def test_a_percentile_is_one_of_the_values():
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert percentile(values, 50) == 3.0
    assert percentile(values, 99) == 5.0
    assert percentile(values, 20) == 1.0
    assert percentile(values, 21) == 2.0
    assert percentile(values, 100) == 5.0
    assert percentile([7.0], 1) == 7.0


def test_the_99th_percentile_of_200_values_leaves_two_above():
    assert percentile(range(1, 201), 99) == 198


def test_a_percentile_of_nothing_and_one_out_of_range_are_mistakes():
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)
    for percent in (0, -1, 100.5):
        with pytest.raises(ValueError, match="percent must be"):
            percentile([1.0], percent)


def test_times_are_shown_in_milliseconds_and_sizes_in_kilobytes():
    assert milliseconds(0.05234) == "52.3"
    assert milliseconds(1.5) == "1500"
    assert milliseconds(None) == "-"
    assert kilobytes(15_449) == "15.4"
    assert kilobytes(1_048_576) == "1049"
    assert kilobytes(None) == "-"
