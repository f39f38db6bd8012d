"""The demo, second by second: the figures of all clients, added up."""

from __future__ import annotations

from mpgameserver.cli.demo.timeline import Timeline
from mpgameserver.stats import ConnectionStats

QUIET = [0] * 297


def test_it_begins_with_the_first_packet_of_any_client() -> None:
    early = ConnectionStats(pkts_sent=[*QUIET, 1, 0, 2], bytes_sent=[*QUIET, 10, 0, 30])
    late = ConnectionStats(pkts_recv=[*QUIET, 0, 0, 5], bytes_recv=[*QUIET, 0, 0, 7])
    timeline = Timeline.of([early, late])
    assert timeline.packets_sent == (1, 0, 2)
    assert timeline.packets_received == (0, 0, 5)
    assert timeline.bytes_sent == (10, 0, 30)
    assert timeline.bytes_received == (0, 0, 7)


def test_the_latency_is_that_of_the_clients_that_had_one() -> None:
    sent = [*QUIET, 1, 1, 1]
    first = ConnectionStats(pkts_sent=sent, latency=[*QUIET, 0, 40, 60])
    second = ConnectionStats(pkts_sent=sent, latency=[*QUIET, 0, 0, 100])
    timeline = Timeline.of([first, second])
    assert timeline.latency == (None, 40, 80)
    assert timeline.latency_highest == (None, 40, 100)


def test_of_a_long_demo_it_has_the_last_300_seconds() -> None:
    assert len(Timeline.of([ConnectionStats(pkts_sent=[3] * 300)]).packets_sent) == 300


def test_where_nothing_was_said_it_is_empty() -> None:
    assert Timeline.of([ConnectionStats()]) == Timeline() == Timeline.of([])
