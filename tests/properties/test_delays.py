"""Delays of messages over bad links: targets in virtual time, the same on every machine."""

from __future__ import annotations

import statistics

import pytest
from soak.delays import echoes, slow_link

RUNS = 30
"""Enough for medians that are steady to a few per cent."""


@pytest.mark.parametrize("rate", [50, 60])
def test_echoes_over_a_lossy_link_come_back_sooner_than_kcps(rate: int, seed: int) -> None:
    runs = [echoes(rate, f"{seed} {run}") for run in range(RUNS)]
    assert statistics.median(run.average for run in runs) <= 120
    assert statistics.median(run.longest for run in runs) <= 390


def test_a_long_message_on_a_slow_link_leaves_the_game_its_round_trip(seed: int) -> None:
    assert slow_link(seed).p99 < 250
