"""The server's clock, as a client finds it out."""

from __future__ import annotations

import pytest
from support.endpoints2 import SessionPair, Side

from mpgameserver._core.peer_clock import PeerClock
from mpgameserver.netsim import LinkConditions


class LateSide(Side):
    """A server whose clock is ahead of the client's."""

    AHEAD = 5000.25

    def __init__(self) -> None:
        super().__init__(True, self.AHEAD)

    def receive(self, datagram: bytes, now: float) -> None:
        super().receive(datagram, now + self.AHEAD)

    def datagrams(self, now: float) -> list[bytes]:
        return super().datagrams(now + self.AHEAD)


@pytest.mark.parametrize("run", range(5))
def test_the_error_is_at_most_5_ms_at_100_ms_of_round_trip_with_30_ms_of_jitter(run, seed):
    conditions = LinkConditions(latency=0.05, jitter=0.03, loss=0.02)
    pair = SessionPair(conditions, seed + run, None, LateSide()).open()
    pair.run(20)
    worst = 0.0
    for _ in range(300):
        pair.tick()
        known = pair.client.connection.peer_time(pair.now)
        worst = max(worst, abs(known - pair.now - LateSide.AHEAD))
    assert worst < 0.005 + 1 / 64 / 2  # a frame of this test delays what arrives between two


def test_it_is_not_known_before_a_reply():
    pair = SessionPair(LinkConditions(latency=0.2))
    assert pair.client.connection.peer_time(0.0) is None
    pair.open().run(1)
    assert pair.client.connection.peer_time(pair.now) == pytest.approx(pair.now, abs=0.02)


def test_a_server_has_no_other_clock_than_its_own():
    pair = SessionPair().open()
    pair.run(3)
    assert pair.server.connection.peer_time(pair.now) is None


def test_a_reply_to_no_time_and_one_that_cannot_be_true_are_ignored():
    clock = PeerClock()
    clock.on_reply(1_000_000, 5, 6, 2_000_000)
    assert clock.offset is None
