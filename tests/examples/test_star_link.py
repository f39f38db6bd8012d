"""Hold the star: what is shown of the link."""

from __future__ import annotations

import pytest

from mpgameserver import ConnectionStats
from star.linkmeter import INTERVAL, SPAN, LinkFigures, LinkMeter
from star.look import link_lines, score_lines
from star.protocol import TICKS_PER_SNAPSHOT, Score


def test_it_is_time_for_a_look_four_times_a_second() -> None:
    meter = LinkMeter()
    assert meter.is_due(50.0)
    assert not meter.is_due(50.0 + 0.9 * INTERVAL)
    assert meter.is_due(50.0 + INTERVAL)


def test_what_was_not_acked_is_lost_on_the_way_up() -> None:
    meter = LinkMeter()
    meter.note(ConnectionStats(acked=100, timeouts=40))
    meter.note(ConnectionStats(acked=190, timeouts=50))
    assert meter.figures.lost_up == pytest.approx(0.1)


def test_a_missing_snapshot_is_lost_on_the_way_down() -> None:
    meter = LinkMeter()
    meter.note_snapshot(0)
    meter.note(ConnectionStats())
    for number in range(1, 11):
        if number not in (4, 5):
            meter.note_snapshot(number * TICKS_PER_SNAPSHOT)
    meter.note(ConnectionStats())
    assert meter.figures.lost_down == pytest.approx(0.2)


def test_who_joins_a_running_game_has_lost_nothing_of_what_was_before() -> None:
    meter = LinkMeter()
    meter.note(ConnectionStats())
    for number in range(5000, 5005):
        meter.note_snapshot(number * TICKS_PER_SNAPSHOT)
        meter.note(ConnectionStats())
        assert meter.figures.lost_down == 0.0


def test_what_was_lost_long_ago_is_no_longer_counted() -> None:
    meter = LinkMeter()
    meter.note(ConnectionStats(acked=0, timeouts=0))
    for look in range(1, SPAN + 1):
        meter.note(ConnectionStats(acked=10 * look, timeouts=50))
    assert meter.figures.lost_up == 0.0


def test_nothing_is_lost_where_nothing_was_sent() -> None:
    meter = LinkMeter()
    meter.note(ConnectionStats())
    meter.note(ConnectionStats())
    assert (meter.figures.lost_up, meter.figures.lost_down) == (0.0, 0.0)


def test_rates_are_those_of_the_last_whole_second() -> None:
    bins = [0] * 298
    meter = LinkMeter()
    meter.note(
        ConnectionStats(
            pkts_sent=[*bins, 60, 1],
            pkts_recv=[*bins, 40, 2],
            bytes_sent=[*bins, 3000, 3],
            bytes_recv=[*bins, 2000, 4],
        )
    )
    assert meter.figures == LinkFigures(0.0, 0.0, 60, 40, 3000, 2000)


def test_the_overlay_says_it_in_words_and_units() -> None:
    figures = LinkFigures(0.1, 0.25, 61, 40, 3120, 2050)
    assert link_lines(figures, 0.0523) == [
        "round trip 52 ms",
        "lost 10% up, 25% down",
        "sent 61 packets/s, 3.1 kB/s",
        "received 40 packets/s, 2.0 kB/s",
    ]


def test_the_scoreboard_tells_which_one_is_the_own_player() -> None:
    scores = (Score(2, "Bob", 12), Score(1, "", 3))
    assert score_lines(scores, own=2) == [" 12  Bob (you)", "  3  nobody"]
