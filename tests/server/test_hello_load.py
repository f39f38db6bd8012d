"""Load: from a burst of hellos until they come more slowly than they may be answered."""

from __future__ import annotations

import pytest

from mpgameserver.server.hello_load import MEMORY_SECONDS, HelloLoad

RATE, BURST = 100.0, 10.0


@pytest.fixture
def load() -> HelloLoad:
    return HelloLoad(RATE, BURST)


def passed(load: HelloLoad, times: list[float]) -> int:
    """Count the hellos that find no load."""
    count = 0
    for now in times:
        load.note(now)
        count += not load.is_high(now)
    return count


def test_there_is_none_at_first(load):
    assert not load.is_high(0.0)


def test_it_begins_with_a_burst(load):
    assert passed(load, [0.0] * 50) == BURST - 1


def test_hellos_below_the_rate_are_none(load):
    assert passed(load, [each / 99 for each in range(1000)]) == 1000


@pytest.mark.parametrize("rate", [101, 200, 10_000])
def test_it_lasts_as_long_as_hellos_come_faster(load, rate):
    """However long the flood is, and however slowly its first hellos fill the bucket."""
    seconds = 4.0
    begun = BURST / (rate - RATE)
    times = [each / rate for each in range(int(seconds * rate))]
    assert passed(load, times) <= begun * rate + BURST


def test_a_flood_in_bursts_is_one_flood(load):
    times = [burst * 0.5 + each * 1e-6 for burst in range(40) for each in range(100)]
    assert passed(load, times) <= BURST


def test_it_ends_soon_after_the_flood(load):
    passed(load, [each * 1e-4 for each in range(10_000)])
    assert load.is_high(1.0 + MEMORY_SECONDS - 0.01)
    assert not load.is_high(1.0 + MEMORY_SECONDS + 0.01)


def test_a_clock_that_goes_back_leaks_nothing(load):
    passed(load, [5.0] * 20)
    assert load.is_high(1.0)
    assert load.is_high(5.0)
